//! What a table of kernels is.

use super::epilogue::Epilogue;
use super::passes::{NormWeights, WeightScale};
use crate::panel::{Panels, PanelsInt4, PanelsInt8, RowsInt8};
use crate::tensor::{Matrix, MatrixMut};
use half::f16;

/// Rows that a GEMM stage works on at a time; the tile buffers of a plan have this many rows.
pub const ROW_TILE: usize = 32;

/// A table of kernels.
///
/// A new instruction set is one file with one such value, which takes what it does not accelerate
/// from another table (`..portable::KERNELS`), and one line in `TABLES` of `mod.rs`.
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
    /// Quantises a row times its factors; see [`super::scalar::quantize_row`].
    pub quantize_row: fn(&mut [i8], &[f32], &[f32]) -> f32,
    /// LayerNorm of a row; see [`super::scalar::layer_norm`].
    pub layer_norm: fn(&mut [f32], &[f32], NormWeights<'_>),
    /// [`layer_norm`](Self::layer_norm) of every row in place, where a table is faster at several rows
    /// together. Weight and bias have a value for each column; otherwise the rows stay as they are.
    pub layer_norm_rows: Option<fn(&mut MatrixMut<'_>, NormWeights<'_>)>,
    /// RMSNorm of a row; see [`super::scalar::rms_norm`].
    pub rms_norm: fn(&mut [f32], &[f32], NormWeights<'_>),
    /// Softmax of a row in place; see [`super::scalar::softmax`].
    pub softmax: fn(&mut [f32]),
    /// Softmax of a row, quantised; see [`super::scalar::softmax_int8`].
    pub softmax_int8: fn(&mut [i8], &[f32]) -> WeightScale,
    /// Quantises rows into panels, each an output channel; see [`super::scalar::pack_rows`].
    pub pack_rows: PackInt8,
    /// Quantises columns into panels, each an output channel; see [`super::scalar::pack_columns`].
    pub pack_columns: PackInt8,
    /// Adds a row of an f16 table; see [`super::scalar::add_f16`].
    pub add_f16: fn(&mut [f32], &[f16]),
    /// Adds a row of an int8 table; see [`super::scalar::add_int8`].
    pub add_int8: fn(&mut [f32], &[i8], f32),
    /// Dot product of two rows of one length.
    pub dot: fn(&[f32], &[f32]) -> f32,
}

/// Makes the values and scales of a [`PanelsInt8`] of floats.
pub type PackInt8 = fn(&mut [i8], &mut [f32], Matrix<'_>);

/// A float GEMM with weights of type `W`.
pub type GemmF32<W> = fn(&mut MatrixMut<'_>, Matrix<'_>, Panels<'_, W>, &Epilogue<'_>);

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}
