//! Rows into a linear map. Gathering, normalising and quantising a row is one pass over it.

use super::Context;
use crate::config::Norm;
use crate::kernels::{
    Activation, Epilogue, Kernels, NormWeights, PANEL, Panels, PanelsInt4, PanelsInt8, RowsInt8,
};
use crate::memory::Tile;
use crate::model::{Layer, Linear, Weights};
use crate::tensor::{Matrix, MatrixMut};

/// Rows ready for a GEMM.
#[derive(Clone, Copy)]
pub(super) enum Rows<'r> {
    Float(Matrix<'r>),
    Int8(RowsInt8<'r>),
}

/// What happens to a row before it is quantised or multiplied.
#[derive(Clone, Copy, Default)]
pub(super) struct Prepare<'a> {
    /// Normalise.
    pub(super) norm: Option<NormWeights<'a>>,
    /// Multiply each column; empty for none.
    pub(super) scale: &'a [f32],
}

impl Prepare<'_> {
    pub(super) const fn is_nothing(&self) -> bool {
        self.norm.is_none() && self.scale.is_empty()
    }
}

/// In which form rows are loaded into the tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Float,
    Int8,
}

impl Form {
    /// The form that a linear map reads.
    pub(super) const fn of(linear: &Linear<'_>) -> Self {
        if linear.is_integer() { Self::Int8 } else { Self::Float }
    }
}

impl Context<'_> {
    /// The form that the frozen weights of a layer read.
    pub(super) const fn form(&self, layer: &Layer<'_>) -> Form {
        Form::of(&layer.attention.query)
    }

    /// Normalises one row.
    pub(super) fn norm(&self, out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
        match self.model.config().norm {
            Norm::LayerNorm => (self.kernels.layer_norm)(out, row, weights),
            Norm::RmsNorm => (self.kernels.rms_norm)(out, row, weights),
        }
    }

    /// Loads rows of `columns` values into the tile: prepared, and quantised if `form` is int8.
    pub(super) fn load<'r, 't>(
        &self,
        tile: &'t mut Tile<'_>,
        columns: usize,
        rows: impl Iterator<Item = &'r [f32]>,
        prepare: Prepare<'_>,
        form: Form,
    ) -> Rows<'t> {
        let stride = columns.next_multiple_of(PANEL);
        let mut floats = tile.floats.chunks_exact_mut(columns.max(1));
        let mut int8 = tile.int8.chunks_exact_mut(stride.max(PANEL)).zip(tile.scales.iter_mut());
        let mut count = 0;
        for row in rows {
            match form {
                Form::Float => {
                    let Some(slot) = floats.next() else { break };
                    match prepare.norm {
                        Some(weights) => self.norm(slot, row, weights),
                        None => slot.copy_from_slice(row),
                    }
                    slot.iter_mut().zip(prepare.scale).for_each(|(x, scale)| *x *= scale);
                }
                Form::Int8 => {
                    let Some((slot, scale)) = int8.next() else { break };
                    let row = match (prepare.norm, floats.next()) {
                        (Some(weights), Some(normed)) => {
                            self.norm(normed, row, weights);
                            &*normed
                        }
                        _ => row,
                    };
                    *scale = (self.kernels.quantize_row)(slot, row, prepare.scale);
                }
            }
            count += 1;
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
    let mut epilogue = *epilogue;
    if let (Rows::Int8(_), Some(Activation::GeluErf)) = (rows, epilogue.activation) {
        epilogue.activation = Some(Activation::GeluErf8Bit);
    }
    let epilogue = &epilogue;
    match (rows, linear.weights) {
        (Rows::Float(lhs), Weights::F32(values)) => {
            (kernels.gemm_f32_f32_f32w)(out, lhs, Panels { values, outputs, inputs }, epilogue);
        }
        (Rows::Float(lhs), Weights::F16(values)) => {
            (kernels.gemm_f32_f32_f16w)(out, lhs, Panels { values, outputs, inputs }, epilogue);
        }
        (Rows::Int8(lhs), Weights::Int8 { values, scales }) => {
            let rhs = PanelsInt8 { values, scales, outputs, inputs };
            (kernels.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
        }
        (Rows::Int8(lhs), Weights::Int4(groups)) => {
            (kernels.gemm_f32_qd8_qc4w)(out, lhs, PanelsInt4 { groups, outputs, inputs }, epilogue);
        }
        // `Form::of` and `Model::check_one_type` make rows in the form that the weights read.
        _ => debug_assert!(false, "rows in a form that the weights do not read"),
    }
}
