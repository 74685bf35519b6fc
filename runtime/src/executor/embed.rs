//! Token ids or pixels to hidden states.

use super::gemm::{Rows, apply};
use super::{Context, Input, RunError};
use crate::image::PatchGrid;
use crate::kernels::{Epilogue, NormWeights, ROW_TILE};
use crate::memory::Buffers;
use crate::model::config::Embedding;
use crate::tensor::MatrixMut;

/// Fills the first `tokens` rows of the hidden states.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    input: &Input<'_>,
    tokens: usize,
) -> Result<(), RunError> {
    match *input {
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
    let rows = buffers.hidden.chunks_exact_mut(model.config().hidden).take(tokens);
    for (position, (row, id)) in rows.zip(ids).enumerate() {
        row.fill(0.0);
        words.add_row(*id as usize, row);
        if let Some(table) = type_table {
            table.add_row(types.get(position).map_or(0, |kind| usize::from(*kind)), row);
        }
        if let Some(table) = position_table {
            table.add_row(position, row);
        }
        if let Some(weights) = weights {
            norm_in_place(context, row, buffers.tile.floats, weights);
        }
    }
    Ok(())
}

/// Normalises a row by way of `scratch`.
pub(super) fn norm_in_place(
    context: &Context<'_>,
    row: &mut [f32],
    scratch: &mut [f32],
    weights: NormWeights<'_>,
) {
    let Some(copy) = scratch.get_mut(..row.len()) else { return };
    copy.copy_from_slice(row);
    context.norm(row, copy, weights);
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
    let (class_row, patch_rows) = buffers.hidden.split_at_mut(first * d);
    if first > 0 {
        class_row.copy_from_slice(model.class_token()?);
    }
    let projection = model.patch_projection()?;
    let epilogue = Epilogue::overwrite(projection.bias);
    for (index, out) in patch_rows.chunks_mut(ROW_TILE * d).enumerate() {
        let start = index * ROW_TILE;
        let count = ROW_TILE.min(grid.patches().saturating_sub(start));
        if count == 0 {
            break;
        }
        read_patches(context, &grid, pixels, start, buffers.tile.floats)?;
        let rows = Rows::Float(buffers.tile.float_rows(count, grid.inputs()));
        let out = out.get_mut(..count * d).unwrap_or_default();
        apply(context.kernels, &mut MatrixMut::new(out, d), rows, &projection, &epilogue);
    }
    let positions = model.position_table()?;
    for (position, row) in buffers.hidden.chunks_exact_mut(d).take(tokens).enumerate() {
        positions.add_row(position, row);
    }
    Ok(())
}

/// Writes a tile of normalised patches from patch `start`.
fn read_patches(
    context: &Context<'_>,
    grid: &PatchGrid,
    pixels: &[u8],
    start: usize,
    tile: &mut [f32],
) -> Result<(), RunError> {
    let normalization = context.model.normalization().ok_or(RunError::NoNormalization)?;
    let rows = tile.chunks_exact_mut(grid.inputs()).take(ROW_TILE);
    for (index, row) in rows.enumerate().take(grid.patches().saturating_sub(start)) {
        grid.read(pixels, start + index, &normalization, row);
    }
    Ok(())
}
