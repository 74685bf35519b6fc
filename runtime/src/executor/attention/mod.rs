//! Scores, softmax and context, one head and one tile of queries at a time: no n by n map exists.
//!
//! | file | products of |
//! |---|---|
//! | `float` | f32 values |
//! | `int8` | int8 values, where the package says so |

mod float;
mod int8;

use super::Context;
use super::workers::for_parts;
use crate::memory::Buffers;
use crate::tensor::{Matrix, MatrixMut};
use core::ops::Range;

/// Relative position bias of one model.
#[derive(Clone, Copy)]
struct RelativeBias<'a> {
    /// `[heads, 2 D + 1]`.
    values: &'a [f32],
    distance: usize,
}

/// What every query attends to.
#[derive(Clone, Copy)]
struct Keys<'a> {
    keys: Matrix<'a>,
    values: Matrix<'a>,
    /// Original position of each key row.
    positions: Option<&'a [u32]>,
    bias: Option<RelativeBias<'a>>,
}

/// Replaces each of the first `queries` query rows by its attention context.
///
/// Key row j stands at the position of the j-th token of the order, or at position j if
/// `keys_by_token`.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    queries: usize,
    key_rows: usize,
    keys_by_token: bool,
) {
    let config = context.model.config();
    let width = config.attention_width();
    let rows = |data| Matrix::new(data, width).first_rows(key_rows);
    let bias = context.model.relative_bias().ok().filter(|_| config.relative_distance > 0);
    let bias = bias.map(|values| RelativeBias { values, distance: config.relative_distance });
    let order: &[u32] = buffers.order;
    let positions = order.get(..key_rows).filter(|_| !keys_by_token);
    let keys = Keys { keys: rows(buffers.keys), values: rows(buffers.values), positions, bias };
    let order = order.get(..queries).unwrap_or(&[]);
    let data = buffers.queries.get_mut(..queries * width).unwrap_or_default();
    let rows = (order, MatrixMut::new(data, width));
    for_parts(context.workers, buffers.scratch.reborrow(), rows, &|scratch, (order, mut rows)| {
        if config.int8_attention || !cfg!(feature = "float") {
            int8::attend(context, scratch, keys, order, &mut rows);
        } else {
            float::attend(context, scratch, keys, order, &mut rows);
        }
    });
}

/// Puts the context of one head, `[tile, head]`, into the `columns` of the rows from `first` on.
fn put_context(rows: &mut MatrixMut<'_>, first: usize, columns: Range<usize>, mixed: &[f32]) {
    for (offset, mixed) in mixed.chunks_exact(columns.len().max(1)).enumerate() {
        let slots = rows.row_mut(first + offset).get_mut(columns.clone()).unwrap_or_default();
        slots.iter_mut().zip(mixed).for_each(|(slot, x)| *slot = *x);
    }
}

impl Keys<'_> {
    /// Adds the relative bias of one query, if the model has one, to its scores with every key.
    fn add_bias(&self, scores: &mut [f32], head: usize, query: u32) {
        if let Some(bias) = self.bias {
            bias.add(scores, head, query, self.positions);
        }
    }
}

impl RelativeBias<'_> {
    /// Adds the bias of one query to its scores. Without `positions` key j stands at position j.
    fn add(&self, scores: &mut [f32], head: usize, query: u32, positions: Option<&[u32]>) {
        let entries = 2 * self.distance + 1;
        let table = self.values.get(head * entries..(head + 1) * entries).unwrap_or(&[]);
        for (index, score) in scores.iter_mut().enumerate() {
            let key = match positions {
                Some(positions) => positions.get(index).map_or(0, |position| *position as usize),
                None => index,
            };
            let ahead = (key + self.distance).saturating_sub(query as usize);
            *score += table.get(ahead.min(2 * self.distance)).copied().unwrap_or(0.0);
        }
    }
}
