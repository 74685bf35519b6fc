//! Queries, and what they attend to.

use super::super::workers::Split;
use super::head::HeadColumns;
use super::low_rank::PackedLowRank;
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
    /// The largest distance of a key from its query; `None` for any. Then rows are in order of position.
    #[cfg(feature = "more-families")]
    pub(crate) distance: Option<usize>,
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
    /// Columns of the grid of patches whose distances count; 0 for those of positions.
    #[cfg(feature = "more-families")]
    pub(crate) grid_columns: usize,
}

impl Queries<'_> {
    /// Query rows.
    pub(super) const fn len(&self) -> usize {
        self.positions.len()
    }

    /// At most `count` rows from `first` on.
    pub(super) fn tile(&mut self, first: usize, count: usize) -> Queries<'_> {
        let rows = first..self.len().min(first + count);
        Queries { positions: self.positions.part(rows.clone()), rows: self.rows.row_range(rows) }
    }

    /// Puts the context of one head, `[tile, head]`, into its columns.
    pub(super) fn put_context(&mut self, head: &HeadColumns, context: &[f32]) {
        let context = context.chunks_exact(head.columns.len().max(1));
        for (row, context) in self.rows.rows_from(0).zip(context) {
            row.part_mut(head.columns.clone()).fill_from(context);
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
    pub(super) fn rows(&self) -> usize {
        self.keys.rows() + self.low_rank.map_or(0, |low_rank| low_rank.rows())
    }

    /// Rank of the low-rank keys; 0 for none.
    pub(super) fn rank(&self) -> usize {
        self.low_rank.map_or(0, |low_rank| low_rank.rank())
    }

    /// The rows of those keys that a query at `position` attends to; `None` for all.
    pub(super) fn near(&self, position: u32) -> Option<Range<usize>> {
        #[cfg(not(feature = "more-families"))]
        let distance = None::<usize>.filter(|_| position > 0)?;
        #[cfg(feature = "more-families")]
        let distance = self.distance?;
        let (query, rows) = (position as usize, self.keys.rows());
        let (first, behind) = (query.saturating_sub(distance), query.saturating_add(distance) + 1);
        let row_at = |place: usize| match self.positions {
            Some(positions) => positions.partition_point(|position| (*position as usize) < place),
            None => place.min(rows),
        };
        Some(row_at(first)..row_at(behind))
    }

    /// Adds the relative bias of one query, if the model has one, to its scores with every key.
    pub(super) fn add_bias(&self, scores: &mut [f32], head: &HeadColumns, query: u32) {
        if let Some(bias) = self.bias {
            bias.add_to_scores(scores, head, query, self.positions);
        }
    }

    /// Gives the keys behind one query no weight in the softmax of its scores. Its own key stays.
    pub(super) fn hide_later(&self, scores: &mut [f32], query: u32) {
        for (index, score) in scores.iter_mut().enumerate() {
            if position_of(self.positions, index) > query as usize {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// The position of key `index`; without `positions` key j stands at position j.
fn position_of(positions: Option<&[u32]>, index: usize) -> usize {
    match positions {
        Some(positions) => positions.get(index).copied().unwrap_or_default() as usize,
        None => index,
    }
}

impl RelativeBias<'_> {
    /// Adds the bias of one query to its scores.
    pub(super) fn add_to_scores(
        &self,
        scores: &mut [f32],
        head: &HeadColumns,
        query: u32,
        positions: Option<&[u32]>,
    ) {
        #[cfg(feature = "more-families")]
        if self.grid_columns > 0 {
            return self.add_of_grid(scores, head, query, positions);
        }
        let (entries, last) = (2 * self.distance + 1, 2 * self.distance);
        let table = self.table.part(head.index * entries..(head.index + 1) * entries);
        for (index, score) in scores.iter_mut().enumerate() {
            let key = position_of(positions, index);
            // The clamped distance from query to key, plus D.
            let ahead = (key + self.distance).saturating_sub(query as usize).min(last);
            *score += table.get(ahead).copied().unwrap_or_default();
        }
    }

    /// The same of the grid of patches, with three entries for the class token before them.
    #[cfg(feature = "more-families")]
    fn add_of_grid(
        &self,
        scores: &mut [f32],
        head: &HeadColumns,
        query: u32,
        positions: Option<&[u32]>,
    ) {
        let (columns, last) = (self.grid_columns.max(1), 2 * self.distance);
        let table = self.table.part(head.index * (last + 4)..(head.index + 1) * (last + 4));
        // Twice as many columns, less one: every distance of two patches is another number.
        let place = |patch: usize| patch / columns * (2 * columns - 1) + patch % columns;
        let query = (query as usize).checked_sub(1).map(place);
        for (index, score) in scores.iter_mut().enumerate() {
            let key = position_of(positions, index).checked_sub(1).map(place);
            let entry = match (query, key) {
                (Some(query), Some(key)) => (key + self.distance).saturating_sub(query).min(last),
                (None, Some(_)) => last + 1,
                (Some(_), None) => last + 2,
                (None, None) => last + 3,
            };
            *score += table.get(entry).copied().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_near_to_keys_by_their_positions_in_the_input_and_not_by_their_rows() {
        let values = [0.0; 10];
        let positions = [0, 3, 4, 6, 9];
        let rows = |positions, distance, query| {
            let (keys, values) = (Matrix::new(&values, 2), Matrix::new(&values, 2));
            Keys { keys, values, low_rank: None, positions, bias: None, distance }.near(query)
        };
        for (query, near) in [(0, 0..1), (3, 1..3), (4, 1..4), (6, 2..4), (9, 4..5)] {
            assert_eq!(rows(Some(&positions[..]), Some(2), query), Some(near), "{query}");
        }
        assert_eq!(rows(None, Some(2), 1), Some(0..4));
        assert_eq!(rows(None, Some(9), 4), Some(0..5));
        assert_eq!(rows(Some(&positions[..]), None, 4), None);
    }
}
