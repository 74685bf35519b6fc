//! Element-wise activations.

use super::real::vectorized;
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply1};
use candle_core::{CpuStorage, Result, Tensor};
use coda_runtime::model::config::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, PI};
use std::sync::{Mutex, PoisonError};

/// Factor of the cube in the tanh form of GELU.
const GELU_CUBE: f64 = 0.044_715;

/// The activation of every value.
///
/// # Errors
/// Out of memory.
pub fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    apply1(Activated { kind, saved: Mutex::default() }, x)
}

struct Activated {
    kind: Activation,
    /// The cumulative distribution of the erf form, kept for the gradient.
    saved: Mutex<Option<CpuStorage>>,
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

#[inline(always)]
fn map<T: Real>(values: &[T], function: impl Fn(T) -> T) -> Vec<T> {
    let mut out = vec![T::zero(); values.len()];
    vectorized(|| out.iter_mut().zip(values).for_each(|(slot, x)| *slot = function(*x)));
    out
}

#[inline(always)]
fn map_two<T: Real>(values: &[T], others: &[T], function: impl Fn(T, T) -> T) -> Vec<T> {
    let mut out = vec![T::zero(); values.len()];
    vectorized(|| {
        let pairs = values.iter().zip(others);
        out.iter_mut().zip(pairs).for_each(|(slot, (x, g))| *slot = function(*x, *g));
    });
    out
}

impl Differentiable<1> for Activated {
    const NAME: &'static str = "activation";

    fn forward<T: Real>(&self, [x]: [View<'_, T>; 1]) -> Result<Out<T>> {
        let out = match self.kind {
            Activation::Relu => map(x.values, |x| x.at_least(T::zero())),
            Activation::GeluErf => {
                let shares = map(x.values, cumulative);
                let out = map_two(x.values, &shares, |x, share| x * share);
                let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
                *saved = Some(T::to_cpu_storage_owned(shares));
                out
            }
            Activation::GeluTanh => map(x.values, |x| x * logistic(T::constant(2.0) * inner(x).0)),
        };
        Ok((out, x.columns))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let (x, g) = (pass.inputs[0].values, pass.gradient.values);
        let density = T::constant(1.0 / (2.0 * PI).sqrt());
        let two = T::constant(2.0);
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = match &*saved {
            Some(saved) => T::cpu_storage_as_slice(saved)?,
            None => &[],
        };
        let out = match self.kind {
            Activation::Relu => map_two(x, g, |x, g| if x > T::zero() { g } else { T::zero() }),
            Activation::GeluErf => {
                let slopes = map_two(x, shares, |x, share| {
                    share + x * density * (T::constant(-0.5) * x * x).exponential()
                });
                map_two(&slopes, g, |slope, g| slope * g)
            }
            Activation::GeluTanh => map_two(x, g, |x, g| {
                let (y, slope) = inner(x);
                let gate = logistic(two * y);
                g * (gate + x * two * slope * gate * (T::one() - gate))
            }),
        };
        Ok([Some(out)])
    }
}
