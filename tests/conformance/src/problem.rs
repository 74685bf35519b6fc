//! One linear map with its rows, of every kind of weights: what tests, benchmarks and boards multiply.

use coda_runtime::kernels::{Epilogue, Kernels, PANEL, Panels, PanelsInt4, PanelsInt8, RowsInt8};
use coda_runtime::tensor::{Matrix, MatrixMut};
use half::f16;

/// A matrix product: weights, and rows of the type that they read.
#[derive(Clone, Copy, Debug)]
pub enum Product<'a> {
    /// f32 weights, f32 rows.
    F32(Matrix<'a>, Panels<'a, f32>),
    /// f16 weights, f32 rows.
    F16(Matrix<'a>, Panels<'a, f16>),
    /// int8 weights, int8 rows.
    Int8(RowsInt8<'a>, PanelsInt8<'a>),
    /// int4 weights, int8 rows.
    Int4(RowsInt8<'a>, PanelsInt4<'a>),
}

impl Product<'_> {
    /// Name of its kernel.
    pub const fn kernel(&self) -> &'static str {
        match self {
            Self::F32(..) => "gemm_f32_f32_f32w",
            Self::F16(..) => "gemm_f32_f32_f16w",
            Self::Int8(..) => "gemm_f32_qd8_qc8w",
            Self::Int4(..) => "gemm_f32_qd8_qc4w",
        }
    }

    /// Multiplies by a table.
    pub fn run(&self, kernels: &Kernels, out: &mut MatrixMut<'_>, epilogue: &Epilogue<'_>) {
        match *self {
            Self::F32(lhs, rhs) => (kernels.gemm_f32_f32_f32w)(out, lhs, rhs, epilogue),
            Self::F16(lhs, rhs) => (kernels.gemm_f32_f32_f16w)(out, lhs, rhs, epilogue),
            Self::Int8(lhs, rhs) => (kernels.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue),
            Self::Int4(lhs, rhs) => (kernels.gemm_f32_qd8_qc4w)(out, lhs, rhs, epilogue),
        }
    }
}

/// Quantises rows of one length by a table, as many as there are scales.
pub fn quantize_rows<'q, 'r>(
    kernels: &Kernels,
    values: &'q mut [i8],
    scales: &'q mut [f32],
    rows: impl Iterator<Item = &'r [f32]>,
    inputs: usize,
) -> RowsInt8<'q> {
    let stride = inputs.next_multiple_of(PANEL).max(PANEL);
    let slots = values.chunks_exact_mut(stride).zip(scales.iter_mut());
    for ((slot, scale), row) in slots.zip(rows) {
        *scale = (kernels.quantize_row)(slot, row, &[]);
    }
    RowsInt8 { values, scales, stride }
}

/// Values between -1 and 1.
pub fn floats() -> impl Iterator<Item = f32> {
    (0usize..).map(|index| (index.wrapping_mul(7919) % 2001) as f32 / 1000.0 - 1.0)
}
