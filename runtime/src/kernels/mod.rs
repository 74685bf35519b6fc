//! Arithmetic on rows and panels: one table of functions for each instruction set.
//!
//! A [`Kernels`] value is a struct of safe function pointers. [`scalar`] is the specification: every
//! other table gives the same bits, which the conformance suite of the `tests` package checks for
//! all of [`Kernels::available`].
//!
//! # Numbers
//!
//! - Row reductions (norms, softmax, dot products): eight partial sums, lane `i mod 8`, folded as
//!   `((0+4)+(2+6)) + ((1+5)+(3+7))`. Elements after the last multiple of 8 join their lanes.
//! - Float GEMM: each output sums its products in ascending order of the input.
//! - Integer GEMM: i32, exact in any order; then `sum as f32 * (row scale * channel scale)`. With int4
//!   weights the exact sum of each group of 32 inputs times the group's scale, groups in order, then
//!   times the row scale.
//! - Softmax quantised to int8: `w = round(127 * 128 exp(x - max))`, `q = round(w / 128)`; a row's weights
//!   are its q, and what rounding took from or gave to all of them together, shared evenly ([`WeightScale`]).
//!   Both sums are exact, and the weights add up to 1.
//! - No fused multiply-add. `exp`, `ln`, `erf` are in this crate; `sqrt` is correctly rounded.
//!
//! # Time
//!
//! The time of a kernel depends on shapes and not on values, with one exception: the int8 GEMM of
//! `avx2` adds products in narrower sums where the values of a row leave room, as most of a model's do.
//! Rows whose values are spread evenly take it up to a third longer.
//!
//! Names are `gemm_<output>_<left>_<right>`: `qd8` is a row quantised to int8 as it is read, `qc8w`
//! int8 weights with a scale for each output channel, `qc4w` int4 weights with a scale for each channel
//! and 32 inputs, `f16w` and `f32w` float weights.

pub mod compact;
pub mod math;
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        armv7_a,
        all(target_arch = "wasm32", target_feature = "simd128")
    )),
    allow(dead_code, reason = "bodies for vector units")
)]
pub mod portable;
pub mod scalar;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "wasm32"))]
#[macro_use]
mod recompile;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod amx_int8;
#[cfg(armv7_a)]
#[allow(unsafe_code, reason = "instruction-set file")]
mod armv7_neon;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod avx_vnni;
#[cfg(cortex_m)]
#[allow(unsafe_code, reason = "registers and an instruction of a core")]
mod cortex_m;
#[cfg(cortex_m)]
#[allow(unsafe_code, reason = "instruction-set file")]
pub mod dsp;
#[cfg(cortex_m_v8)]
#[allow(unsafe_code, reason = "instruction-set file")]
pub mod mve;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod neon;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod neon_dotprod;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "instruction-set file")]
mod neon_i8mm;
#[cfg(any(target_arch = "aarch64", test))]
mod neon_packed;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[allow(unsafe_code, reason = "instruction-set file")]
mod simd128;

use crate::config::Activation;
use crate::tensor::{Matrix, MatrixMut};
use half::f16;

pub use crate::panel::{Int4Group, PANEL, Panels, PanelsInt4, PanelsInt8, RowsInt8};

/// Rows that a GEMM stage works on at a time; the tile buffers of a plan have this many rows.
pub const ROW_TILE: usize = 32;

/// A table of kernels.
///
/// A new instruction set is one file with one such value, which takes what it does not accelerate
/// from another table (`..portable::KERNELS`), and one line in `TABLES`.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Name of the instruction set.
    pub name: &'static str,
    /// `out = epilogue(lhs rhs^T)`, f32 weights.
    pub gemm_f32_f32_f32w: GemmF32<f32>,
    /// `out = epilogue(lhs rhs^T)`, f16 weights, widened exactly.
    pub gemm_f32_f32_f16w: GemmF32<f16>,
    /// `out = epilogue(lhs rhs^T)`, int8 weights, int8 rows.
    pub gemm_f32_qd8_qc8w: fn(&mut MatrixMut<'_>, RowsInt8<'_>, PanelsInt8<'_>, &Epilogue<'_>),
    /// `out = epilogue(lhs rhs^T)`, int4 weights, int8 rows.
    pub gemm_f32_qd8_qc4w: fn(&mut MatrixMut<'_>, RowsInt8<'_>, PanelsInt4<'_>, &Epilogue<'_>),
    /// Quantises a row times its factors; see [`scalar::quantize_row`].
    pub quantize_row: fn(&mut [i8], &[f32], &[f32]) -> f32,
    /// LayerNorm of a row; see [`scalar::layer_norm`].
    pub layer_norm: fn(&mut [f32], &[f32], NormWeights<'_>),
    /// [`layer_norm`](Self::layer_norm) of every row in place, where a table is faster at several rows
    /// together. Weight and bias have a value for each column; otherwise the rows stay as they are.
    pub layer_norm_rows: Option<fn(&mut MatrixMut<'_>, NormWeights<'_>)>,
    /// RMSNorm of a row; see [`scalar::rms_norm`].
    pub rms_norm: fn(&mut [f32], &[f32], NormWeights<'_>),
    /// Softmax of a row in place; see [`scalar::softmax`].
    pub softmax: fn(&mut [f32]),
    /// Softmax of a row, quantised; see [`scalar::softmax_int8`].
    pub softmax_int8: fn(&mut [i8], &[f32]) -> WeightScale,
    /// Quantises rows into panels, each an output channel; see [`scalar::pack_rows`].
    pub pack_rows: PackInt8,
    /// Quantises columns into panels, each an output channel; see [`scalar::pack_columns`].
    pub pack_columns: PackInt8,
    /// Adds a row of an f16 table; see [`scalar::add_f16`].
    pub add_f16: fn(&mut [f32], &[f16]),
    /// Adds a row of an int8 table; see [`scalar::add_int8`].
    pub add_int8: fn(&mut [f32], &[i8], f32),
    /// Dot product of two rows of one length.
    pub dot: fn(&[f32], &[f32]) -> f32,
}

/// Makes the values and scales of a [`PanelsInt8`] of floats.
pub type PackInt8 = fn(&mut [i8], &mut [f32], Matrix<'_>);

/// A float GEMM with weights of type `W`.
pub type GemmF32<W> = fn(&mut MatrixMut<'_>, Matrix<'_>, Panels<'_, W>, &Epilogue<'_>);

/// The largest softmax weight before it is rounded to int8.
pub(crate) const WEIGHT_STEPS: f32 = 127.0 * 128.0;

/// What makes quantised softmax weights q of a row add up to 1: `scale q + offset`.
///
/// In a long row many small weights round to zero, together a good part of the whole: `offset` gives it back
/// to all of them evenly. The mix of values is `scale sum(q v) + offset sum(v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightScale {
    /// Factor of each q.
    pub scale: f32,
    /// Added to each weight; negative where more was rounded up than down.
    pub offset: f32,
}

impl WeightScale {
    /// From `sum(w)`, `sum(q)` and the number of weights.
    #[inline(always)]
    pub(crate) fn new(fine: i32, coarse: i32, count: usize) -> Self {
        let total = fine as f32;
        let offset = (fine - (coarse << 7)) as f32 / (count as f32 * total);
        Self { scale: 128.0 / total, offset }
    }
}

/// Weights of a norm.
#[derive(Clone, Copy, Debug, Default)]
pub struct NormWeights<'a> {
    /// Factor of each column.
    pub weight: &'a [f32],
    /// Offset of each column; empty for none.
    pub bias: &'a [f32],
    /// Added inside the root.
    pub eps: f32,
}

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

/// A table's name, and the table if this CPU has it.
type Candidate = (&'static str, fn() -> Option<&'static Kernels>);

/// Every table of this build, fastest first.
const TABLES: &[Candidate] = &[
    #[cfg(target_arch = "x86_64")]
    (amx_int8::NAME, amx_int8::detect),
    #[cfg(target_arch = "x86_64")]
    (avx512_vnni::NAME, avx512_vnni::detect),
    #[cfg(target_arch = "x86_64")]
    (avx_vnni::NAME, avx_vnni::detect),
    #[cfg(target_arch = "x86_64")]
    (avx2::NAME, avx2::detect),
    #[cfg(target_arch = "aarch64")]
    (neon_i8mm::NAME, neon_i8mm::detect),
    #[cfg(target_arch = "aarch64")]
    (neon_dotprod::NAME, neon_dotprod::detect),
    #[cfg(target_arch = "aarch64")]
    (neon::NAME, neon::detect),
    #[cfg(armv7_a)]
    (armv7_neon::NAME, armv7_neon::detect),
    #[cfg(cortex_m_v8)]
    (mve::NAME, mve::detect),
    #[cfg(cortex_m)]
    (dsp::NAME, dsp::detect),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    (simd128::NAME, simd128::detect),
    // It multiplies integers, where floats are software.
    #[cfg(target_arch = "riscv32")]
    (compact::KERNELS.name, || Some(&compact::KERNELS)),
    (portable::KERNELS.name, || Some(&portable::KERNELS)),
    #[cfg(not(target_arch = "riscv32"))]
    (compact::KERNELS.name, || Some(&compact::KERNELS)),
    (scalar::KERNELS.name, || Some(&scalar::KERNELS)),
];

/// Environment variable that names the table to use.
#[cfg(feature = "std")]
pub const ENVIRONMENT_VARIABLE: &str = "CODA_KERNELS";

impl Kernels {
    /// Every table this CPU can run, fastest first.
    pub fn available() -> impl Iterator<Item = &'static Kernels> {
        TABLES.iter().filter_map(|(_, detect)| detect())
    }

    /// Names of the tables of this build, fastest first, whether or not this CPU can run them.
    pub fn compiled() -> impl Iterator<Item = &'static str> {
        TABLES.iter().map(|(name, _)| *name)
    }

    /// The fastest table this CPU can run.
    #[must_use]
    pub fn best() -> &'static Kernels {
        Self::available().next().unwrap_or(&scalar::KERNELS)
    }

    /// The table of a name, if this CPU can run it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Kernels> {
        Self::available().find(|kernels| kernels.name == name)
    }

    /// The table that the environment variable `CODA_KERNELS` names, else the fastest.
    ///
    /// # Errors
    /// [`UnknownKernels`] if the variable names no table that this CPU can run.
    #[cfg(feature = "std")]
    pub fn from_environment() -> Result<&'static Kernels, UnknownKernels> {
        match std::env::var(ENVIRONMENT_VARIABLE) {
            Ok(name) => Self::by_name(&name).ok_or(UnknownKernels { name }),
            Err(_) => Ok(Self::best()),
        }
    }
}

/// The environment names a kernel table that is not here.
#[cfg(feature = "std")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernels {
    /// The name.
    pub name: std::string::String,
}

#[cfg(feature = "std")]
impl core::fmt::Display for UnknownKernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{ENVIRONMENT_VARIABLE}={}: this CPU and build have ", self.name)?;
        for (index, kernels) in Kernels::available().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, kernels.name)?;
        }
        Ok(())
    }
}

#[cfg(feature = "std")]
impl core::error::Error for UnknownKernels {}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Kernels({})", self.name)
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
        (Activation::GeluTanh, _) => math::gelu_tanh(x),
    }
}

/// Folds eight partial sums in the one written order.
#[inline(always)]
pub(crate) fn fold(s: [f32; 8]) -> f32 {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}
