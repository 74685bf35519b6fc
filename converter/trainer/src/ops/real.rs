//! The two float types, their functions, and matrix products of strided views.

use super::View;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, Shape, WithDType};
use coda_runtime::kernels::math;
use num_traits::Float;

/// f32 as the runtime computes it, or f64.
pub trait Real: WithDType + Float + Default + std::iter::Sum {
    /// e^x.
    #[must_use]
    fn exponential(self) -> Self;
    /// The error function.
    #[must_use]
    fn error_function(self) -> Self;
    /// A constant.
    #[must_use]
    fn constant(value: f64) -> Self;

    /// Appends the product of each pair of matrices, if something faster than candle computes it;
    /// whether it did.
    ///
    /// # Errors
    /// That refused.
    #[doc(hidden)]
    fn products(_: &Stack<'_>, _: &Stack<'_>, _: &mut Vec<Self>) -> Result<bool> {
        Ok(false)
    }

    /// The values as `products` multiplies them, if that is in another type.
    #[must_use]
    #[doc(hidden)]
    fn rounded(_: &[Self]) -> Option<Vec<u16>> {
        None
    }

    /// The larger of two values.
    #[must_use]
    #[inline(always)]
    fn at_least(self, low: Self) -> Self {
        if self < low { low } else { self }
    }

    /// The smaller of two values.
    #[must_use]
    #[inline(always)]
    fn at_most(self, high: Self) -> Self {
        if self > high { high } else { self }
    }
}

impl Real for f32 {
    #[inline(always)]
    fn exponential(self) -> Self {
        math::exp(self)
    }

    #[inline(always)]
    fn error_function(self) -> Self {
        math::erf(self)
    }

    #[inline(always)]
    fn constant(value: f64) -> Self {
        value as Self
    }

    #[cfg(feature = "onednn")]
    fn products(left: &Stack<'_>, right: &Stack<'_>, out: &mut Vec<Self>) -> Result<bool> {
        super::bf16::products(left, right, out)
    }

    #[cfg(feature = "onednn")]
    fn rounded(values: &[Self]) -> Option<Vec<u16>> {
        let mut out = vec![0; values.len()];
        super::bf16::round(values, &mut out);
        Some(out)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn exponential(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn error_function(self) -> Self {
        libm::erf(self)
    }

    #[inline(always)]
    fn constant(value: f64) -> Self {
        value
    }
}

/// Compiles a loop for the vector instructions of this CPU.
#[inline(always)]
pub(crate) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// The sum of products, in eight partial sums so that it becomes vector code.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let (left, left_rest) = a.as_chunks::<16>();
    let (right, right_rest) = b.as_chunks::<16>();
    for (a, b) in left.iter().zip(right) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: T = left_rest.iter().zip(right_rest).map(|(a, b)| *a * *b).sum();
    lanes.into_iter().sum::<T>() + rest
}

/// The sum of all values, as [`dot`].
#[inline(always)]
pub(crate) fn sum<T: Real>(values: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] += chunk[lane];
        }
    }
    lanes.into_iter().sum::<T>() + rest.iter().copied().sum()
}

/// The largest value.
#[inline(always)]
pub(crate) fn largest<T: Real>(values: &[T]) -> T {
    let mut lanes = [T::neg_infinity(); 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(rest).fold(T::neg_infinity(), |top, value| top.at_least(*value))
}

/// A stack of matrices inside a storage: sizes and strides (matrix, row, column), and where it begins.
#[doc(hidden)]
pub struct Stack<'a> {
    pub(crate) storage: &'a CpuStorage,
    pub(crate) sizes: [usize; 3],
    pub(crate) strides: [usize; 3],
    pub(crate) offset: usize,
    /// All values in bf16, dense, if they are kept so.
    #[cfg_attr(not(feature = "onednn"), expect(dead_code, reason = "products in bf16 read it"))]
    pub(crate) rounded: Option<&'a [u16]>,
}

impl<'a> Stack<'a> {
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

    /// A dense stack of `heads` matrices of `rows` rows that begins at `offset`.
    pub(crate) const fn packed(storage: &'a CpuStorage, offset: usize, sizes: [usize; 3]) -> Self {
        let strides = [sizes[1] * sizes[2], sizes[2], 1];
        Self { storage, sizes, strides, offset, rounded: None }
    }

    pub(crate) const fn transposed(self) -> Self {
        let ([b, r, c], [bs, rs, cs]) = (self.sizes, self.strides);
        Self { sizes: [b, c, r], strides: [bs, cs, rs], ..self }
    }

    fn layout(&self) -> Layout {
        Layout::new(Shape::from(self.sizes.to_vec()), self.strides.to_vec(), self.offset)
    }

    /// The product of each pair of matrices, packed.
    pub(crate) fn times<T: Real>(&self, other: &Self) -> Result<Vec<T>> {
        let mut out = Vec::new();
        self.append(other, &mut out)?;
        Ok(out)
    }

    /// Appends the product of each pair of matrices.
    pub(crate) fn append<T: Real>(&self, other: &Self, out: &mut Vec<T>) -> Result<()> {
        let ([b, m, k], [_, _, n]) = (self.sizes, other.sizes);
        let size = b * m * n;
        if size * k == 0 {
            out.resize(out.len() + size, T::zero());
            return Ok(());
        }
        if T::products(self, other, out)? {
            return Ok(());
        }
        let (left, right) = (self.layout(), other.layout());
        let found = self.storage.matmul(other.storage, (b, m, n, k), &left, &right)?;
        out.extend_from_slice(&T::cpu_storage_data(found)?);
        Ok(())
    }
}
