//! What becomes of a sum of products.

use super::math;
use crate::config::Activation;

/// What a GEMM does with a sum before it is stored: bias, activation, destination.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Added to each output channel; empty for none.
    pub bias: &'a [f32],
    /// Applied after the bias. Of int8 rows and weights the exact GELU is computed to 8 bits, which is
    /// more than the products have: see [`math::gelu_erf_8bit`].
    pub activation: Option<Activation>,
    /// Where the value goes.
    pub store: Store<'a>,
}

/// Where a GEMM's value goes. Row i is the i-th row of the left side.
#[derive(Clone, Copy, Debug)]
pub enum Store<'a> {
    /// `out[i] = v`.
    Overwrite,
    /// `out[i] += scale * v`; an empty scale is 1.
    Add {
        /// Factor of each output channel (LayerScale).
        scale: &'a [f32],
    },
    /// `out[i] *= v`: the gated feed-forward layer.
    Multiply,
}

impl<'a> Epilogue<'a> {
    /// Adds `bias` and overwrites the output.
    #[must_use]
    pub const fn overwrite(bias: &'a [f32]) -> Self {
        Self { bias, activation: None, store: Store::Overwrite }
    }

    /// The same with another destination.
    #[must_use]
    pub const fn store(self, store: Store<'a>) -> Self {
        Self { store, ..self }
    }

    /// The same with an activation.
    #[must_use]
    pub const fn activation(self, activation: Activation) -> Self {
        Self { activation: Some(activation), ..self }
    }
}

/// To what an activation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// The precision of f32, of sums of float products.
    F32,
    /// 8 bits, of sums of int8 products.
    Int8,
}

/// One activation.
#[inline(always)]
pub(crate) fn activate(activation: Activation, precision: Precision, x: f32) -> f32 {
    match (activation, precision) {
        (Activation::Relu, _) => math::relu(x),
        (Activation::GeluErf, Precision::F32) => math::gelu_erf(x),
        (Activation::GeluErf, Precision::Int8) => math::gelu_erf_8bit(x),
        #[cfg(feature = "more-families")]
        (Activation::Silu, _) => math::swish(x, 1.0),
        #[cfg(feature = "more-families")]
        (Activation::GeluQuick, _) => math::swish(x, math::QUICK),
        // The tanh form: no package has what a build leaves out.
        _ => math::gelu_tanh(x),
    }
}
