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
//! - Integer GEMM: i32, exact in any order up to [`INT8_PRODUCTS`]; then `sum as f32 * (row scale * channel scale)`. With int4
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
mod epilogue;
pub mod math;
mod passes;
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
mod table;

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

pub use crate::panel::{Int4Group, PANEL, Panels, PanelsInt4, PanelsInt8, RowsInt8};
pub use epilogue::{Epilogue, Store};
pub(crate) use epilogue::{Precision, activate};
pub use passes::{NormWeights, WeightScale};
pub(crate) use passes::{WEIGHT_STEPS, fold};
pub use table::{GemmF32, Kernels, PackInt8, ROW_TILE};

/// Most products of an int8 row and an int8 channel that a GEMM adds up: a row is from -127 to 127, a
/// weight of a file may be -128, and the sum must fit an i32. Who makes rows keeps to it: packages with
/// wider int8 maps are refused when they are bound, and plans with more keys of int8 attention.
pub const INT8_PRODUCTS: usize = 131_072;
const _: () = assert!(127 * 128 * INT8_PRODUCTS as u64 <= i32::MAX as u64);

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
