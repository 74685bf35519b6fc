//! Scores, softmax and context, one head and one tile of queries at a time: no n by n map exists.
//!
//! ```text
//! for each head
//!     pack its keys by rows and its values by columns
//!     for each tile of queries
//!         scores  = queries keys^T * scale + relative bias
//!         weights = softmax(scores)
//!         queries = weights values
//! ```
//!
//! | file | products of |
//! |---|---|
//! | `float` | f32 values |
//! | `cached` | f32 queries and keys that were packed before, as f32 or f16 |
//! | `int8` | int8 values, where the package says so |
//! | `low_rank` | int8 values and low-rank keys |
//!
//! `keys` says what attends to what, `sums` adds up rows.
//!
//! Every worker packs for itself: keys of all heads, packed once, would need room that no plan has.

#[cfg(feature = "decoder")]
mod cached;
mod float;
mod head;
mod int8;
mod keys;
mod low_rank;
mod sums;

#[cfg(feature = "decoder")]
pub(crate) use cached::{CachedKeys, attend_cached};
pub(crate) use keys::{Keys, Queries, RelativeBias};
pub(crate) use low_rank::{LowRank, PackedLowRank};

use super::context::Context;
use super::workers::for_parts;
use crate::memory::Scratch;

/// Replaces each query by its context.
pub(crate) fn attend(
    context: &Context<'_>,
    scratch: Scratch<'_>,
    queries: Queries<'_>,
    keys: &Keys<'_>,
) {
    for_parts(context.workers, scratch, queries, &|scratch, mut queries| {
        if context.config.int8_attention || !cfg!(feature = "float") {
            int8::attend(context, scratch, &mut queries, keys);
        } else {
            float::attend(context, scratch, &mut queries, keys);
        }
    });
}
