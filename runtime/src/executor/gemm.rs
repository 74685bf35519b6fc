//! Rows into a linear map. Gathering, normalising and quantising a row is one pass over it.

use super::{Activations, Context};
use crate::kernels::{Epilogue, Kernels, NormWeights, PANEL, Panels, PanelsInt8, RowsInt8};
use crate::memory::Tile;
use crate::model::config::Norm;
use crate::model::{Layer, Linear, Weights};
use crate::tensor::{Matrix, MatrixMut};

/// Rows ready for a GEMM.
#[derive(Clone, Copy)]
pub(super) enum Rows<'r> {
    Float(Matrix<'r>),
    Int8(RowsInt8<'r>),
}

/// In which form rows are loaded into the tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Float,
    Int8,
}

impl Context<'_> {
    /// The form that the frozen weights of a layer read.
    pub(super) fn form(&self, layer: &Layer<'_>) -> Form {
        match self.activations {
            Activations::Int8 if layer.is_int8() => Form::Int8,
            _ => Form::Float,
        }
    }

    /// Normalises one row.
    pub(super) fn norm(&self, out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
        match self.model.config().norm {
            Norm::LayerNorm => (self.kernels.layer_norm)(out, row, weights),
            Norm::RmsNorm => (self.kernels.rms_norm)(out, row, weights),
        }
    }

    /// Loads rows of `columns` values into the tile, normalised if `norm` is given, quantised if
    /// `form` is int8.
    pub(super) fn load<'r, 't>(
        &self,
        tile: &'t mut Tile<'_>,
        columns: usize,
        rows: impl Iterator<Item = &'r [f32]>,
        norm: Option<NormWeights<'_>>,
        form: Form,
    ) -> Rows<'t> {
        let stride = columns.next_multiple_of(PANEL);
        let floats = tile.floats.chunks_exact_mut(columns.max(1));
        let mut floats = floats.map(Some).chain(core::iter::repeat_with(|| None));
        let mut int8 = tile.int8.chunks_exact_mut(stride.max(PANEL)).zip(tile.scales.iter_mut());
        let mut count = 0;
        for row in rows {
            count += 1;
            let slot = floats.next().flatten();
            let row = match (slot, norm) {
                (Some(slot), Some(weights)) => {
                    self.norm(slot, row, weights);
                    &*slot
                }
                (Some(slot), None) if form == Form::Float => {
                    slot.copy_from_slice(row);
                    continue;
                }
                _ => row,
            };
            if form == Form::Int8
                && let Some((slot, scale)) = int8.next()
            {
                *scale = (self.kernels.quantize_row)(slot, row);
            }
        }
        match form {
            Form::Float => Rows::Float(tile.float_rows(count, columns)),
            Form::Int8 => Rows::Int8(tile.int8_rows(count, stride)),
        }
    }
}

/// `out = epilogue(rows W^T)`.
pub(super) fn apply(
    kernels: &Kernels,
    out: &mut MatrixMut<'_>,
    rows: Rows<'_>,
    linear: &Linear<'_>,
    epilogue: &Epilogue<'_>,
) {
    let Linear { outputs, inputs, .. } = *linear;
    match (rows, linear.weights) {
        (Rows::Float(lhs), Weights::F32(values)) => {
            (kernels.gemm_f32_f32_f32w)(out, lhs, Panels { values, outputs, inputs }, epilogue);
        }
        (Rows::Float(lhs), Weights::F16(values)) => {
            (kernels.gemm_f32_f32_f16w)(out, lhs, Panels { values, outputs, inputs }, epilogue);
        }
        (Rows::Float(lhs), Weights::Int8 { values, scales }) => {
            let rhs = PanelsInt8 { values, scales, outputs, inputs };
            (kernels.gemm_f32_f32_qc8w)(out, lhs, rhs, epilogue);
        }
        (Rows::Int8(lhs), Weights::Int8 { values, scales }) => {
            let rhs = PanelsInt8 { values, scales, outputs, inputs };
            (kernels.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
        }
        // Int8 rows are only made for int8 weights (`Context::form`, `Model::check_one_type`).
        (Rows::Int8(_), Weights::F32(_) | Weights::F16(_)) => {}
    }
}
