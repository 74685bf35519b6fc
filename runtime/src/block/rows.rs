//! Rows into a linear map. Gathering, normalising and quantising a row is one pass over it.

use super::context::Context;
use crate::config::Norm;
use crate::kernels::{Epilogue, Kernels, NormWeights};
use crate::memory::Tile;
use crate::model::{Linear, Weights};
use crate::panel::{PANEL, Panels, PanelsInt4, PanelsInt8, RowsInt8};
use crate::tensor::{Matrix, MatrixMut, Part};
use core::ops::Range;

/// Rows ready for a GEMM.
#[derive(Clone, Copy)]
pub(crate) enum PreparedRows<'r> {
    Float(Matrix<'r>),
    Int8(RowsInt8<'r>),
}

/// What happens to a row before it is quantised or multiplied.
#[derive(Clone, Copy, Default)]
pub(crate) struct Transform<'a> {
    /// Normalise.
    pub(crate) norm: Option<NormWeights<'a>>,
    /// Multiply each column; empty for none.
    pub(crate) scale: &'a [f32],
}

impl Transform<'_> {
    pub(crate) const fn is_nothing(&self) -> bool {
        self.norm.is_none() && self.scale.is_empty()
    }
}

impl Context<'_> {
    /// Loads rows into the tile for the maps that read them, of which `map` is one: transformed, and
    /// quantised if its weights are integers.
    pub(crate) fn load<'r, 't>(
        &self,
        tile: &'t mut Tile<'_>,
        rows: impl Iterator<Item = &'r [f32]>,
        transform: Transform<'_>,
        map: &Linear<'_>,
    ) -> PreparedRows<'t> {
        match map.is_integer() {
            true => self.load_int8(tile, rows, transform, map.inputs),
            false => self.load_floats(tile, rows, transform, map.inputs),
        }
    }

    fn load_floats<'r, 't>(
        &self,
        tile: &'t mut Tile<'_>,
        rows: impl Iterator<Item = &'r [f32]>,
        transform: Transform<'_>,
        columns: usize,
    ) -> PreparedRows<'t> {
        let mut count = 0;
        for (slot, row) in tile.floats.chunks_exact_mut(columns.max(1)).zip(rows) {
            match transform.norm {
                Some(weights) => self.norm(slot, row, weights),
                None => slot.fill_from(row),
            }
            slot.iter_mut().zip(transform.scale).for_each(|(x, scale)| *x *= scale);
            count += 1;
        }
        PreparedRows::Float(tile.float_rows(count, columns))
    }

    fn load_int8<'r, 't>(
        &self,
        tile: &'t mut Tile<'_>,
        rows: impl Iterator<Item = &'r [f32]>,
        transform: Transform<'_>,
        columns: usize,
    ) -> PreparedRows<'t> {
        let stride = columns.next_multiple_of(PANEL);
        let slots = tile.int8.chunks_exact_mut(stride.max(PANEL)).zip(tile.scales.iter_mut());
        let mut count = 0;
        for ((slot, scale), row) in slots.zip(rows) {
            let row = match (transform.norm, tile.floats.get_mut(..columns)) {
                (Some(weights), Some(normed)) => {
                    self.norm(normed, row, weights);
                    &*normed
                }
                _ => row,
            };
            *scale = (self.kernels.quantize_row)(slot, row, transform.scale);
            count += 1;
        }
        PreparedRows::Int8(tile.int8_rows(count, stride))
    }
}

/// Rows of an intermediate result as `map` reads them.
pub(crate) fn stage_rows<'t>(
    context: &Context<'_>,
    tile: &'t mut Tile<'_>,
    source: Matrix<'t>,
    map: &Linear<'_>,
) -> PreparedRows<'t> {
    match map.is_integer() {
        true => context.load_int8(tile, source.iter(), Transform::default(), source.columns()),
        false => PreparedRows::Float(source),
    }
}

/// `out = epilogue(rows W^T)`.
pub(crate) fn apply(
    kernels: &Kernels,
    out: &mut MatrixMut<'_>,
    rows: PreparedRows<'_>,
    linear: &Linear<'_>,
    epilogue: &Epilogue<'_>,
) {
    let Linear { outputs, inputs, .. } = *linear;
    match (rows, linear.weights) {
        (PreparedRows::Float(lhs), Weights::F32(values)) => {
            (kernels.gemm_f32_f32_f32w)(out, lhs, Panels { values, outputs, inputs }, epilogue);
        }
        (PreparedRows::Float(lhs), Weights::F16(values)) => {
            (kernels.gemm_f32_f32_f16w)(out, lhs, Panels { values, outputs, inputs }, epilogue);
        }
        (PreparedRows::Int8(lhs), Weights::Int8 { values, scales }) => {
            let rhs = PanelsInt8 { values, scales, outputs, inputs };
            (kernels.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
        }
        (PreparedRows::Int8(lhs), Weights::Int4(groups)) => {
            (kernels.gemm_f32_qd8_qc4w)(out, lhs, PanelsInt4 { groups, outputs, inputs }, epilogue);
        }
        // `load` and `stage_rows` ask the map, and maps that share rows are of one type
        // (`Layer::check_one_type`; of cross attention `Decoder::view_layer`).
        _ => debug_assert!(false, "rows of another type than the weights read"),
    }
}

/// `out = W x + b` of one vector: logits, or a dense stage.
pub(crate) fn map_vector(kernels: &Kernels, out: &mut [f32], vector: &[f32], map: &Linear<'_>) {
    let rows = PreparedRows::Float(Matrix::new(vector, map.inputs));
    let mut out = MatrixMut::new(out, map.outputs);
    apply(kernels, &mut out, rows, map, &Epilogue::overwrite(map.bias));
}

/// Rows `range` of a row-major buffer.
pub(crate) fn rows_of(buffer: &mut [f32], range: Range<usize>, columns: usize) -> MatrixMut<'_> {
    MatrixMut::new(buffer.part_mut(range.start * columns..range.end * columns), columns)
}

/// Normalises rows in place: all together where the kernels can, else one by one by way of `scratch`.
pub(crate) fn norm_rows(
    context: &Context<'_>,
    rows: &mut MatrixMut<'_>,
    scratch: &mut [f32],
    weights: NormWeights<'_>,
) {
    let columns = rows.columns();
    let whole = weights.weight.len() == columns && weights.bias.len() == columns;
    match context.kernels.layer_norm_rows {
        Some(norm) if whole && context.config.norm == Norm::LayerNorm => norm(rows, weights),
        _ => {
            let copy = scratch.part_mut(0..columns);
            for row in rows.rows_from(0) {
                copy.fill_from(row);
                context.norm(row, copy, weights);
            }
        }
    }
}
