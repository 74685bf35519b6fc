//! Two-dimensional views of floats, and nothing more general.

use core::ops::Range;

/// Parts of slices, where an earlier check has established that they are inside.
///
/// A build with debug assertions panics where one is not; another gives an empty part, so that no
/// panic is left in the hot path.
pub(crate) trait Part<T> {
    /// The values of `range`.
    fn part(&self, range: Range<usize>) -> &[T];
    /// The same, to write.
    fn part_mut(&mut self, range: Range<usize>) -> &mut [T];
    /// The first `count` values and the rest, to write.
    fn parts_mut(&mut self, count: usize) -> (&mut [T], &mut [T]);
    /// Takes over values, which are as many.
    fn fill_from(&mut self, values: &[T])
    where
        T: Copy;
}

impl<T> Part<T> for [T] {
    #[inline(always)]
    fn part(&self, range: Range<usize>) -> &[T] {
        debug_assert!(self.get(range.clone()).is_some(), "{range:?} of {} values", self.len());
        self.get(range).unwrap_or_default()
    }

    #[inline(always)]
    fn part_mut(&mut self, range: Range<usize>) -> &mut [T] {
        debug_assert!(self.get(range.clone()).is_some(), "{range:?} of {} values", self.len());
        self.get_mut(range).unwrap_or_default()
    }

    #[inline(always)]
    fn parts_mut(&mut self, count: usize) -> (&mut [T], &mut [T]) {
        debug_assert!(count <= self.len(), "{count} of {} values", self.len());
        self.split_at_mut_checked(count).unwrap_or_default()
    }

    #[inline(always)]
    fn fill_from(&mut self, values: &[T])
    where
        T: Copy,
    {
        debug_assert!(self.len() == values.len(), "{} of {} values", values.len(), self.len());
        self.iter_mut().zip(values).for_each(|(slot, value)| *slot = *value);
    }
}

/// A row-major matrix view; a row may be longer than its columns (`stride`).
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    columns: usize,
    stride: usize,
}

/// A mutable row-major matrix view; a row may be longer than its columns (`stride`).
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Views `data` as rows of `columns` values; a rest shorter than a row is ignored.
    #[must_use]
    pub const fn new(data: &'a [f32], columns: usize) -> Self {
        Self { data, columns, stride: columns }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        let behind = self.stride.saturating_sub(self.columns);
        (self.data.len() + behind).checked_div(self.stride).unwrap_or(0)
    }

    /// Number of columns.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// `count` columns from `first` on; none if there are fewer.
    #[must_use]
    pub fn column_range(&self, first: usize, count: usize) -> Matrix<'a> {
        let behind = self.columns.checked_sub(first.saturating_add(count));
        let end = behind.and_then(|behind| self.data.len().checked_sub(behind));
        let data = end.and_then(|end| self.data.get(first..end)).unwrap_or(&[]);
        Matrix { data, columns: count, stride: self.stride }
    }

    /// Row `index`, `[columns]`; empty past the end.
    #[must_use]
    pub fn row(&self, index: usize) -> &'a [f32] {
        let start = index.saturating_mul(self.stride);
        self.data.get(start..start.saturating_add(self.columns)).unwrap_or(&[])
    }

    /// The first `count` rows.
    #[must_use]
    pub fn first_rows(&self, count: usize) -> Matrix<'a> {
        let data = self.data.get(..count.saturating_mul(self.stride)).unwrap_or(self.data);
        Matrix { data, ..*self }
    }

    /// Rows of a range, as far as they are there.
    #[must_use]
    pub fn row_range(&self, rows: Range<usize>) -> Matrix<'a> {
        let end = rows.end.saturating_mul(self.stride).min(self.data.len());
        let start = rows.start.saturating_mul(self.stride).min(end);
        Matrix { data: self.data.get(start..end).unwrap_or_default(), ..*self }
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let columns = self.columns;
        self.data.chunks(self.stride.max(1)).filter_map(move |row| row.get(..columns))
    }
}

impl<'a> MatrixMut<'a> {
    /// Views `data` as rows of `columns` values; a rest shorter than a row is ignored.
    #[must_use]
    pub const fn new(data: &'a mut [f32], columns: usize) -> Self {
        Self { data, columns, stride: columns }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        let behind = self.stride.saturating_sub(self.columns);
        (self.data.len() + behind).checked_div(self.stride).unwrap_or(0)
    }

    /// Number of columns.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Row `index`, `[columns]`; empty past the end.
    #[must_use]
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        let start = index.saturating_mul(self.stride);
        self.data.get_mut(start..start.saturating_add(self.columns)).unwrap_or(&mut [])
    }

    /// Rows from `first` on, in order.
    pub fn rows_from(&mut self, first: usize) -> impl Iterator<Item = &mut [f32]> {
        let (columns, stride) = (self.columns, self.stride.max(1));
        let rest = self.data.get_mut(first.saturating_mul(stride)..).unwrap_or_default();
        rest.chunks_mut(stride).filter_map(move |row| row.get_mut(..columns))
    }

    /// The same view for a shorter time.
    #[must_use]
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        MatrixMut { data: self.data, columns: self.columns, stride: self.stride }
    }

    /// The same rows without their first `first` columns; none if there are fewer.
    #[must_use]
    pub fn columns_from(self, first: usize) -> MatrixMut<'a> {
        match self.columns.checked_sub(first) {
            Some(columns) => {
                let data = self.data.get_mut(first..).unwrap_or_default();
                MatrixMut { data, columns, stride: self.stride }
            }
            None => MatrixMut { data: &mut [], columns: 0, stride: 0 },
        }
    }

    /// The same rows, their first `count` columns at most.
    #[must_use]
    pub fn first_columns(self, count: usize) -> MatrixMut<'a> {
        MatrixMut { columns: count.min(self.columns), ..self }
    }

    /// Values from the first to the last of a block of `rows` rows and `columns` columns that
    /// begins at a row and column, and the distance of its rows; `None` if it is not inside.
    #[must_use]
    pub fn block(
        &mut self,
        first_row: usize,
        first_column: usize,
        rows: usize,
        columns: usize,
    ) -> Option<(&mut [f32], usize)> {
        if first_column.checked_add(columns)? > self.columns {
            return None;
        }
        let start = first_row.checked_mul(self.stride)?.checked_add(first_column)?;
        let length = rows.checked_sub(1)?.checked_mul(self.stride)?.checked_add(columns)?;
        Some((self.data.get_mut(start..start.checked_add(length)?)?, self.stride))
    }

    /// The first `count` rows.
    #[must_use]
    pub fn first_rows(&mut self, count: usize) -> MatrixMut<'_> {
        self.row_range(0..count)
    }

    /// Rows of a range, as far as they are there.
    #[must_use]
    pub fn row_range(&mut self, rows: Range<usize>) -> MatrixMut<'_> {
        let end = rows.end.saturating_mul(self.stride).min(self.data.len());
        let start = rows.start.saturating_mul(self.stride).min(end);
        let data = self.data.get_mut(start..end).unwrap_or_default();
        MatrixMut { data, columns: self.columns, stride: self.stride }
    }

    /// The first `at` rows, and the rest.
    #[must_use]
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let Self { data, columns, stride } = self;
        let middle = at.saturating_mul(stride).min(data.len());
        let (first, rest) = data.split_at_mut(middle);
        (MatrixMut { data: first, columns, stride }, MatrixMut { data: rest, columns, stride })
    }

    /// The same values, read only.
    #[must_use]
    pub fn as_matrix(&self) -> Matrix<'_> {
        Matrix { data: self.data, columns: self.columns, stride: self.stride }
    }
}
