//! Matrices as products read them: views into a storage, not copies.

use super::{Real, View};
use candle_core::{CpuStorage, Layout, Shape};

/// A strided batch of matrices inside a storage: sizes and strides (matrix, row, column), and where it
/// begins.
pub(crate) struct Matrices<'a> {
    pub(crate) storage: &'a CpuStorage,
    pub(crate) sizes: [usize; 3],
    pub(crate) strides: [usize; 3],
    pub(crate) offset: usize,
    /// All values in bf16, dense, if they are kept so.
    #[cfg_attr(not(feature = "onednn"), expect(dead_code, reason = "products in bf16 read it"))]
    pub(crate) rounded: Option<&'a [u16]>,
}

impl<'a> Matrices<'a> {
    /// One whole view.
    pub(crate) fn whole<T: Real>(view: &View<'a, T>) -> Self {
        Self {
            storage: view.storage,
            sizes: [1, view.rows(), view.columns],
            strides: [view.values.len(), view.columns, 1],
            offset: view.offset,
            rounded: None,
        }
    }

    /// Rows `start..start + count`.
    pub(crate) fn rows<T: Real>(view: &View<'a, T>, start: usize, count: usize) -> Self {
        Self::heads(view, start, count, 1)
    }

    /// Rows `start..start + count`, their columns split into `heads` matrices.
    pub(crate) fn heads<T: Real>(
        view: &View<'a, T>,
        start: usize,
        count: usize,
        heads: usize,
    ) -> Self {
        let width = view.columns / heads;
        Self {
            storage: view.storage,
            sizes: [heads, count, width],
            strides: [width, view.columns, 1],
            offset: view.offset + start * view.columns,
            rounded: None,
        }
    }

    /// A dense batch of `heads` matrices of `rows` rows that begins at `offset`.
    pub(crate) const fn packed(storage: &'a CpuStorage, offset: usize, sizes: [usize; 3]) -> Self {
        let strides = [sizes[1] * sizes[2], sizes[2], 1];
        Self { storage, sizes, strides, offset, rounded: None }
    }

    pub(crate) const fn transposed(self) -> Self {
        let ([b, r, c], [bs, rs, cs]) = (self.sizes, self.strides);
        Self { sizes: [b, c, r], strides: [bs, cs, rs], ..self }
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::new(Shape::from(self.sizes.to_vec()), self.strides.to_vec(), self.offset)
    }
}
