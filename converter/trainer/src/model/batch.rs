//! A ragged batch: the rows of all sequences one after the other.

use candle_core::Tensor;
use std::ops::Range;

/// What a batch holds before the embedding.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// Tokens of all sequences.
    Tokens {
        /// Their ids.
        ids: Vec<u32>,
        /// Their types, of which a model with one or none takes no notice.
        types: Vec<u32>,
    },
    /// Normalised patches of all images, `[images * patches, inputs]`.
    Patches(Tensor),
}

/// Sequences that are computed together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Ids or patches.
    pub inputs: Inputs,
    /// The rows of each sequence in the hidden states.
    pub ranges: Vec<Range<usize>>,
    /// The position of each row in its sequence, where some patches were left out; empty if all are
    /// there.
    pub positions: Vec<u32>,
    /// The label of each sequence.
    pub labels: Vec<usize>,
    /// Tells the random selections of two batches apart; 0 in evaluations.
    pub draw: u64,
}

/// Ranges of sequences of these lengths.
#[must_use]
pub(crate) fn ranges(lengths: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut start = 0;
    let range = |length| {
        let range = start..start + length;
        start = range.end;
        range
    };
    lengths.into_iter().map(range).collect()
}
