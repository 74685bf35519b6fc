//! The two float types, and their arithmetic.

use candle_core::WithDType;
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
