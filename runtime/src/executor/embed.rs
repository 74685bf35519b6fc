//! Token ids or pixels to hidden states.

use super::gemm::{Rows, apply};
use super::layer::rows_of;
use super::workers::for_row_tiles;
use super::{Context, Input, RunError};
use crate::config::{Embedding, Norm};
use crate::kernels::{Epilogue, NormWeights};
use crate::memory::Buffers;
use crate::tensor::MatrixMut;

/// Fills the first `tokens` rows of the hidden states.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    input: &Input<'_>,
    tokens: usize,
) -> Result<(), RunError> {
    match *input {
        Input::Tokens { .. } if !cfg!(feature = "tokens") => Err(RunError::WrongInput),
        Input::Pixels(_) if !cfg!(feature = "patches") => Err(RunError::WrongInput),
        Input::Tokens { ids, types, .. } => embed_tokens(context, buffers, ids, types, tokens),
        Input::Pixels(pixels) => embed_patches(context, buffers, pixels, tokens),
    }
}

/// `norm((word + type) + position)`, whatever of it the model has.
fn embed_tokens(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    ids: &[u32],
    types: &[u8],
    tokens: usize,
) -> Result<(), RunError> {
    let model = context.model;
    let Embedding::Tokens { positions, token_types, norm, .. } = model.config().embedding else {
        return Err(RunError::WrongInput);
    };
    let words = model.token_table()?;
    let type_table = if token_types > 0 { Some(model.type_table()?) } else { None };
    let position_table = if positions > 0 { Some(model.position_table()?) } else { None };
    let weights = if norm { Some(model.embedding_norm()?) } else { None };
    let d = model.config().hidden;
    let rows = (0..tokens, rows_of(buffers.hidden, 0..tokens, d));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (positions, mut rows)| {
        for (index, position) in positions.enumerate() {
            let row = rows.row_mut(index);
            row.fill(0.0);
            words.add_row(context.kernels, ids.get(position).map_or(0, |id| *id as usize), row);
            if let Some(table) = type_table {
                let kind = types.get(position).map_or(0, |kind| usize::from(*kind));
                table.add_row(context.kernels, kind, row);
            }
            if let Some(table) = position_table {
                table.add_row(context.kernels, position, row);
            }
        }
        if let Some(weights) = weights {
            norm_rows(context, &mut rows, scratch.tile.floats, weights);
        }
    });
    Ok(())
}

/// Normalises rows in place: all together where the table can, else one by one by way of `scratch`.
pub(super) fn norm_rows(
    context: &Context<'_>,
    rows: &mut MatrixMut<'_>,
    scratch: &mut [f32],
    weights: NormWeights<'_>,
) {
    let columns = rows.columns();
    let whole = weights.weight.len() == columns && weights.bias.len() == columns;
    match context.kernels.layer_norm_rows {
        Some(norm) if whole && context.model.config().norm == Norm::LayerNorm => {
            norm(rows, weights);
        }
        _ => {
            for row in rows.rows_from(0) {
                let Some(copy) = scratch.get_mut(..row.len()) else { return };
                copy.copy_from_slice(row);
                context.norm(row, copy, weights);
            }
        }
    }
}

/// Class token, projected patches, positions.
fn embed_patches(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    pixels: &[u8],
    tokens: usize,
) -> Result<(), RunError> {
    let model = context.model;
    let grid = model.patch_grid().ok_or(RunError::WrongInput)?;
    let d = model.config().hidden;
    let first = tokens - grid.patches();
    let rows = buffers.hidden.split_at_mut_checked(first * d);
    let (class_row, patch_rows) = rows.unwrap_or_default();
    if first > 0 {
        class_row.iter_mut().zip(model.class_token()?).for_each(|(slot, x)| *slot = *x);
    }
    let projection = model.patch_projection()?;
    let epilogue = Epilogue::overwrite(projection.bias);
    let normalization = model.normalization().ok_or(RunError::NoNormalization)?;
    let patch_rows = patch_rows.get_mut(..grid.patches() * d).unwrap_or_default();
    let rows = (0..grid.patches(), MatrixMut::new(patch_rows, d));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (patches, mut out)| {
        let slots = scratch.tile.floats.chunks_exact_mut(grid.inputs().max(1));
        for (patch, slot) in patches.clone().zip(slots) {
            grid.read(pixels, patch, &normalization, slot);
        }
        let rows = Rows::Float(scratch.tile.float_rows(patches.len(), grid.inputs()));
        apply(context.kernels, &mut out, rows, &projection, &epilogue);
    });
    let positions = model.position_table()?;
    for (position, row) in buffers.hidden.chunks_exact_mut(d.max(1)).take(tokens).enumerate() {
        positions.add_row(context.kernels, position, row);
    }
    Ok(())
}
