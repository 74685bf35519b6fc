//! Scores, softmax and context, one head and one tile of queries at a time: no n by n map exists.
//!
//! | file | products of |
//! |---|---|
//! | `float` | f32 values |
//! | `int8` | int8 values, where the package says so |
//! | `low_rank` | int8 values and low-rank keys |

mod float;
mod int8;
mod low_rank;

pub(super) use low_rank::LowRank;

use super::Context;
use super::workers::for_parts;
use crate::memory::Buffers;
use crate::tensor::{Matrix, MatrixMut};
use core::ops::Range;
use low_rank::Packed;

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

/// What a layer's queries attend to, by rows of the key and value buffers.
#[derive(Clone, Copy)]
pub(super) enum KeyRows<'a> {
    /// So many rows, each of the token at its place in the order.
    InOrder(usize),
    /// So many rows, by position.
    ByPosition(usize),
    /// A row for each query, and low-rank ones behind, `[n - k, rank]`, where keys are.
    LowRank(LowRank<'a>),
}

/// Replaces each of the first `queries` query rows by its attention context.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    queries: usize,
    key_rows: KeyRows<'_>,
) {
    let config = context.model.config();
    let width = config.attention_width();
    let (exact, all, low_rank) = match key_rows {
        KeyRows::InOrder(rows) | KeyRows::ByPosition(rows) => (rows, rows, None),
        KeyRows::LowRank(low_rank) => (queries, queries + low_rank.rows, Some(low_rank)),
    };
    let (keys, low) = buffers.keys.split_at_mut_checked(exact * width).unwrap_or_default();
    let (values, space) = buffers.values.split_at_mut_checked(exact * width).unwrap_or_default();
    let low_rank = low_rank.filter(|_| cfg!(feature = "low-rank"));
    let low_rank = low_rank
        .and_then(|low_rank| Packed::new(context.kernels, low_rank, low, space, config.head_dim));
    let bias = context.model.relative_bias().ok().filter(|_| config.relative_distance > 0);
    let bias = bias.map(|values| RelativeBias { values, distance: config.relative_distance });
    let order: &[u32] = buffers.order;
    let in_order = !matches!(key_rows, KeyRows::ByPosition(_));
    let positions = order.get(..all).filter(|_| in_order);
    let (keys, values) = (Matrix::new(keys, width), Matrix::new(values, width));
    let keys = Keys { keys, values, positions, bias };
    let order = order.get(..queries).unwrap_or(&[]);
    let data = buffers.queries.get_mut(..queries * width).unwrap_or_default();
    let rows = (order, MatrixMut::new(data, width));
    for_parts(context.workers, buffers.scratch.reborrow(), rows, &|scratch, (order, mut rows)| {
        if config.int8_attention || !cfg!(feature = "float") {
            let low_rank = low_rank.as_ref().filter(|_| cfg!(feature = "low-rank"));
            int8::attend(context, scratch, (keys, low_rank), order, &mut rows);
        } else {
            float::attend(context, scratch, keys, order, &mut rows);
        }
    });
}

/// Columns whose sums stay in registers.
const SUM_COLUMNS: usize = 16;

/// The sum of all rows. Sums of many columns do not go through memory for each row, except on a
/// Cortex-M, where code is scarce.
fn add_rows(sums: &mut [f32], rows: Matrix<'_>) {
    sums.fill(0.0);
    let columns = sums.len().min(rows.columns());
    let blocks = if cfg!(cortex_m) { 0 } else { columns / SUM_COLUMNS };
    for (index, sums) in sums.as_chunks_mut::<SUM_COLUMNS>().0.iter_mut().enumerate().take(blocks) {
        let mut all = [0.0; SUM_COLUMNS];
        for row in rows.column_range(index * SUM_COLUMNS, SUM_COLUMNS).iter() {
            let Some(row) = row.first_chunk::<SUM_COLUMNS>() else { return };
            all.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        *sums = all;
    }
    let (first, count) = (blocks * SUM_COLUMNS, columns - blocks * SUM_COLUMNS);
    if let Some(sums) = sums.get_mut(first..columns).filter(|sums| !sums.is_empty()) {
        for row in rows.column_range(first, count).iter() {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_every_column_and_of_no_other() {
        let values: [f32; 3 * 50] = core::array::from_fn(|index| index as f32);
        for columns in [0, 1, 15, 16, 17, 32, 40] {
            let rows = Matrix::new(&values, 50).column_range(3, columns);
            let mut sums = [f32::NAN; 41];
            add_rows(&mut sums, rows);
            for (column, sum) in sums.iter().enumerate() {
                let expected = (0..3).map(|row| (50 * row + 3 + column) as f32).sum();
                assert_eq!(*sum, if column < columns { expected } else { 0.0 }, "{columns}");
            }
        }
    }
}
