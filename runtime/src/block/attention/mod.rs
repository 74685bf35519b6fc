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
//! | `int8` | int8 values, where the package says so |
//! | `low_rank` | int8 values and low-rank keys |
//!
//! Every worker packs for itself: keys of all heads, packed once, would need room that no plan has.

mod float;
mod int8;
mod low_rank;

pub(crate) use low_rank::{LowRank, PackedLowRank};

use super::Context;
use super::workers::{Split, for_parts};
use crate::memory::Scratch;
use crate::tensor::{Matrix, MatrixMut, Part};
use core::ops::Range;

/// What queries attend to, whoever made it: a row for each token, all heads side by side.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'k> {
    pub(crate) keys: Matrix<'k>,
    pub(crate) values: Matrix<'k>,
    /// Keys of further tokens, by their rank.
    pub(crate) low_rank: Option<PackedLowRank<'k>>,
    /// Position of each row, those of low rank included; without, row j is at position j.
    pub(crate) positions: Option<&'k [u32]>,
    pub(crate) bias: Option<RelativeBias<'k>>,
}

/// Rows that attend. Each is replaced by its context.
pub(crate) struct Queries<'q> {
    pub(crate) positions: &'q [u32],
    pub(crate) rows: MatrixMut<'q>,
}

/// Relative position bias of one model.
#[derive(Clone, Copy)]
pub(crate) struct RelativeBias<'a> {
    /// `[heads, 2 D + 1]`.
    pub(crate) table: &'a [f32],
    /// D.
    pub(crate) distance: usize,
}

/// One head: its number, and its columns of a row.
#[derive(Clone, Debug)]
struct Head {
    index: usize,
    columns: Range<usize>,
}

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

impl Context<'_> {
    /// Every head of the model.
    fn heads(&self) -> impl Iterator<Item = Head> + use<> {
        let width = self.config.head_dim;
        let head = move |index| Head { index, columns: index * width..(index + 1) * width };
        (0..self.config.heads).map(head)
    }
}

impl Queries<'_> {
    /// Query rows.
    const fn len(&self) -> usize {
        self.positions.len()
    }

    /// At most `count` rows from `first` on.
    fn tile(&mut self, first: usize, count: usize) -> Queries<'_> {
        let rows = first..self.len().min(first + count);
        Queries { positions: self.positions.part(rows.clone()), rows: self.rows.row_range(rows) }
    }

    /// Puts the context of one head, `[tile, head]`, into its columns.
    fn put_context(&mut self, head: &Head, context: &[f32]) {
        let context = context.chunks_exact(head.columns.len().max(1));
        for (row, context) in self.rows.rows_from(0).zip(context) {
            row.part_mut(head.columns.clone()).copy_from_slice(context);
        }
    }
}

impl Split for Queries<'_> {
    fn rows(&self) -> usize {
        self.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (positions, other_positions) = Split::split(self.positions, at);
        let (rows, other_rows) = self.rows.split(at);
        let other = Self { positions: other_positions, rows: other_rows };
        (Self { positions, rows }, other)
    }
}

impl Keys<'_> {
    /// Key rows, those of low rank included.
    fn rows(&self) -> usize {
        self.keys.rows() + self.low_rank.map_or(0, |low_rank| low_rank.rows())
    }

    /// Rank of the low-rank keys; 0 for none.
    fn rank(&self) -> usize {
        self.low_rank.map_or(0, |low_rank| low_rank.rank())
    }

    /// Adds the relative bias of one query, if the model has one, to its scores with every key.
    fn add_bias(&self, scores: &mut [f32], head: &Head, query: u32) {
        if let Some(bias) = self.bias {
            bias.add_to_scores(scores, head, query, self.positions);
        }
    }
}

impl RelativeBias<'_> {
    /// Adds the bias of one query to its scores. Without `positions` key j stands at position j.
    fn add_to_scores(
        &self,
        scores: &mut [f32],
        head: &Head,
        query: u32,
        positions: Option<&[u32]>,
    ) {
        let (entries, last) = (2 * self.distance + 1, 2 * self.distance);
        let table = self.table.part(head.index * entries..(head.index + 1) * entries);
        for (index, score) in scores.iter_mut().enumerate() {
            let key = match positions {
                Some(positions) => positions.get(index).map_or(0, |position| *position as usize),
                None => index,
            };
            // The clamped distance from query to key, plus D.
            let ahead = (key + self.distance).saturating_sub(query as usize).min(last);
            *score += table.get(ahead).copied().unwrap_or_default();
        }
    }
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
    let first = blocks * SUM_COLUMNS;
    let sums = sums.part_mut(first..columns);
    if !sums.is_empty() {
        for row in rows.column_range(first, columns - first).iter() {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
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
