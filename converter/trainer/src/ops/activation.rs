//! Element-wise activations.

use super::real::vectorized;
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply1};
use candle_core::{CpuStorage, Result, Tensor};
use coda_runtime::config::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, PI};
use std::sync::{Mutex, PoisonError};

/// Factor of the cube in the tanh form of GELU.
const GELU_CUBE: f64 = 0.044_715;

/// Values that are activated at once: few enough for the first-level cache.
const BLOCK: usize = 256;

/// The activation of every value.
///
/// # Errors
/// Out of memory.
pub fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    apply1(Activated { kind, keeps: x.track_op(), slopes: Mutex::default() }, x)
}

struct Activated {
    kind: Activation,
    /// A gradient will be asked for.
    keeps: bool,
    /// The derivatives.
    slopes: Mutex<Option<CpuStorage>>,
}

/// The cumulative normal distribution.
#[inline(always)]
fn cumulative<T: Real>(x: T) -> T {
    T::constant(0.5) * (T::one() + (x * T::constant(FRAC_1_SQRT_2)).error_function())
}

/// `sqrt(2/pi) (x + 0.044715 x^3)` and its derivative.
#[inline(always)]
fn inner<T: Real>(x: T) -> (T, T) {
    let (root, cube) = (T::constant(FRAC_2_PI.sqrt()), T::constant(GELU_CUBE));
    let square = x * x;
    (root * (x + cube * square * x), root * (T::one() + T::constant(3.0) * cube * square))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
fn logistic<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exponential())
}

/// The activation in place; the derivatives are appended to `slopes`.
pub(super) fn activate<T: Real>(
    values: &mut [T],
    kind: Activation,
    mut slopes: Option<&mut Vec<T>>,
) {
    vectorized(|| {
        for block in values.chunks_mut(BLOCK) {
            let mut own = [T::zero(); BLOCK];
            let own = &mut own[..block.len()];
            match kind {
                Activation::Relu => relu(block, own),
                Activation::GeluErf => gelu_erf(block, own, slopes.is_some()),
                Activation::GeluTanh => gelu_tanh(block, own),
                Activation::Silu => swish(block, own, T::one()),
                Activation::GeluQuick => swish(block, own, T::constant(1.702)),
            }
            if let Some(slopes) = slopes.as_mut() {
                slopes.extend_from_slice(own);
            }
        }
    });
}

/// `values * factors`, in place.
pub(super) fn scale_by<T: Real>(values: &mut [T], factors: &[T]) {
    vectorized(|| values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= *factor));
}

#[inline(always)]
fn relu<T: Real>(values: &mut [T], slopes: &mut [T]) {
    for (x, slope) in values.iter_mut().zip(slopes) {
        *slope = if *x > T::zero() { T::one() } else { T::zero() };
        *x = x.at_least(T::zero());
    }
}

/// Each function in a loop of its own, so that it becomes vector code.
#[inline(always)]
fn gelu_erf<T: Real>(values: &mut [T], slopes: &mut [T], keeps: bool) {
    let density = T::constant(1.0 / (2.0 * PI).sqrt());
    let mut shares = [T::zero(); BLOCK];
    shares.iter_mut().zip(&*values).for_each(|(share, x)| *share = cumulative(*x));
    if keeps {
        for (slope, x) in slopes.iter_mut().zip(&*values) {
            *slope = *x * density * (T::constant(-0.5) * *x * *x).exponential();
        }
        slopes.iter_mut().zip(&shares).for_each(|(slope, share)| *slope += *share);
    }
    values.iter_mut().zip(&shares).for_each(|(x, share)| *x *= *share);
}

#[inline(always)]
fn swish<T: Real>(values: &mut [T], slopes: &mut [T], rate: T) {
    for (x, slope) in values.iter_mut().zip(slopes) {
        let gate = logistic(rate * *x);
        *slope = gate + *x * rate * gate * (T::one() - gate);
        *x *= gate;
    }
}

#[inline(always)]
fn gelu_tanh<T: Real>(values: &mut [T], slopes: &mut [T]) {
    let two = T::constant(2.0);
    for (x, slope) in values.iter_mut().zip(slopes) {
        let (y, rise) = inner(*x);
        let gate = logistic(two * y);
        *slope = gate + *x * two * rise * gate * (T::one() - gate);
        *x *= gate;
    }
}

impl Differentiable<1> for Activated {
    const NAME: &'static str = "activation";

    fn forward<T: Real>(&self, [x]: [View<'_, T>; 1]) -> Result<Out<T>> {
        let mut out = x.values.to_vec();
        let mut slopes = Vec::with_capacity(if self.keeps { out.len() } else { 0 });
        activate(&mut out, self.kind, self.keeps.then_some(&mut slopes));
        let mut saved = self.slopes.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = Some(T::to_cpu_storage_owned(slopes));
        Ok((out, x.columns))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let saved = self.slopes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(saved) = &*saved else { candle_core::bail!("a gradient before the values") };
        let mut out = pass.gradient.values.to_vec();
        scale_by(&mut out, T::cpu_storage_as_slice(saved)?);
        Ok([Some(out)])
    }
}
