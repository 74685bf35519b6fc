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

impl Default for Inputs {
    fn default() -> Self {
        Self::Tokens { ids: Vec::new(), types: Vec::new() }
    }
}

/// Sequences that are computed together.
#[derive(Clone, Debug, Default)]
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
    /// Answers that a decoder learns to write, if it does.
    pub answers: Option<DecoderInputs>,
    /// Tells the random selections of two batches apart; 0 in evaluations.
    pub draw: u64,
}

/// Answers as a decoder reads them while it is taught: the right tokens enter, whatever it would have written
/// (teacher forcing). Rows of all answers one after the other: there is no padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecoderInputs {
    /// Of each answer the ids that it begins with, then its own but for the last.
    pub ids: Vec<u32>,
    /// The rows of each answer.
    pub ranges: Vec<Range<usize>>,
    /// The rows behind which an id is to be learnt: the last of the first ids, and all that follow.
    pub scored: Vec<u32>,
    /// That id, for each of those rows; the end id is the last of an answer.
    pub targets: Vec<usize>,
    /// The scored rows of each answer, counted among all scored rows.
    pub parts: Vec<Range<usize>>,
}

impl DecoderInputs {
    /// Of `answers` with their end id, which all begin with the ids `start`.
    #[must_use]
    pub fn new(start: &[u32], answers: &[&[u32]]) -> Self {
        let mut inputs = Self::default();
        for answer in answers {
            let first = inputs.ids.len();
            let scored = first + start.len().saturating_sub(1);
            inputs.ids.extend(start.iter().chain(answer.iter()));
            inputs.ids.truncate(scored + answer.len());
            let end = inputs.ids.len();
            inputs.ranges.push(first..end);
            inputs.parts.push(inputs.targets.len()..inputs.targets.len() + answer.len());
            inputs.scored.extend(scored as u32..end as u32);
            inputs.targets.extend(answer.iter().map(|id| *id as usize));
        }
        inputs
    }
}

impl Batch {
    /// What each row of logits should say: the label of a sequence, or the ids of its answer.
    #[must_use]
    pub fn expected(&self) -> &[usize] {
        self.answers.as_ref().map_or(&self.labels, |answers| &answers.targets)
    }
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
