//! Token ids or pixels to hidden states.

use super::Input;
#[cfg(feature = "frames")]
use super::frames;
#[cfg(feature = "grid")]
use super::grid;
use super::pass::Pass;
use crate::block::{Context, PreparedRows, Transform, apply, for_row_tiles, norm_rows, rows_of};
use crate::image::{InputNormalization, PatchGrid};
use crate::kernels::{Epilogue, NormWeights};
use crate::memory::Tile;
use crate::model::{EmbeddingWeights, Linear, Model, PatchWeights, TokenWeights};
use crate::tensor::{MatrixMut, Part};

/// Fills the hidden states from an input that was checked.
pub(super) fn forward(pass: &mut Pass<'_, '_>, model: &Model<'_>, input: &Input<'_>) {
    match (*input, pass.globals.embedding) {
        (Input::Tokens { ids, types, .. }, EmbeddingWeights::Tokens(weights))
            if cfg!(feature = "tokens") =>
        {
            embed_tokens(pass, &weights, ids, types);
        }
        (Input::Pixels(pixels), EmbeddingWeights::Patches(weights))
            if cfg!(feature = "patches") =>
        {
            let normalization = model.normalization();
            debug_assert!(normalization.is_some(), "checked with the input");
            if let Some(normalization) = normalization {
                embed_patches(pass, &weights, &Source::Pixels(pixels, normalization));
            }
        }
        #[cfg(feature = "more-families")]
        (Input::Patches(values), EmbeddingWeights::Patches(weights))
            if cfg!(feature = "patches") =>
        {
            embed_patches(pass, &weights, &Source::Values(values));
        }
        #[cfg(feature = "frames")]
        (Input::Features(values), EmbeddingWeights::Frames(weights)) => {
            frames::forward(pass, &weights, values);
        }
        #[cfg(feature = "grid")]
        (_, EmbeddingWeights::Grid(weights)) => grid::forward(pass, &weights, input),
        _ => debug_assert!(false, "an input of another kind is refused"),
    }
}

/// `map(norm((word + type) + position))`, whatever of it the model has.
fn embed_tokens(pass: &mut Pass<'_, '_>, weights: &TokenWeights<'_>, ids: &[u32], types: &[u8]) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    let rows = (0..pass.tokens, rows_of(pass.buffers.hidden, 0..pass.tokens, d));
    let columns = weights.projection.map_or(d, |map| map.inputs);
    let scratch = pass.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (positions, mut rows)| {
        for (row, position) in rows.rows_from(0).zip(positions) {
            let row = row.part_mut(0..columns);
            row.fill(0.0);
            let id = ids.get(position).map_or(0, |id| *id as usize);
            weights.words.add_row(context.kernels, id, row);
            if let Some(table) = weights.types {
                // An input without types is of type 0.
                let kind = types.get(position).map_or(0, |kind| usize::from(*kind));
                table.add_row(context.kernels, kind, row);
            }
            if let Some(table) = weights.positions {
                table.add_row(context.kernels, position, row);
            }
        }
        match (weights.projection, weights.norm) {
            (Some(map), norm) if cfg!(feature = "more-families") => {
                project(&context, &mut scratch.tile, &mut rows, &map, norm);
            }
            (_, Some(weights)) => norm_rows(&context, &mut rows, scratch.tile.floats, weights),
            _ => {}
        }
    });
}

/// The map of the first columns of each row, which are normalised first, in place.
fn project(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    rows: &mut MatrixMut<'_>,
    map: &Linear<'_>,
    norm: Option<NormWeights<'_>>,
) {
    let sums = rows.as_matrix().iter().map(|row| row.part(0..map.inputs));
    let sums = context.load(tile, sums, Transform { norm, scale: &[] }, map);
    apply(context.kernels, rows, sums, map, &Epilogue::overwrite(map.bias));
}

/// Where patches come from.
enum Source<'a> {
    Pixels(&'a [u8], InputNormalization),
    #[cfg(feature = "more-families")]
    Values(&'a [f32]),
}

impl Source<'_> {
    /// Writes the values of one patch.
    fn read(&self, grid: &PatchGrid, patch: usize, slot: &mut [f32]) {
        match self {
            Self::Pixels(pixels, normalization) => grid.read(pixels, patch, normalization, slot),
            #[cfg(feature = "more-families")]
            Self::Values(values) => {
                slot.fill_from(values.part(patch * grid.inputs()..(patch + 1) * grid.inputs()));
            }
        }
    }
}

/// Prefix tokens, projected patches, positions; their norm.
fn embed_patches(pass: &mut Pass<'_, '_>, weights: &PatchWeights<'_>, source: &Source<'_>) {
    let PatchWeights { grid, projection, .. } = weights;
    let (context, d) = (pass.context, pass.context.config.hidden);
    let hidden = pass.buffers.hidden.part_mut(0..pass.tokens * d);
    let first = pass.tokens - grid.patches();
    hidden.iter_mut().zip(weights.prefix).for_each(|(slot, x)| *slot = *x);
    let out = MatrixMut::new(hidden.part_mut(first * d..pass.tokens * d), d);
    let scratch = pass.scratch.reborrow();
    for_row_tiles(
        context.workers,
        scratch,
        (0..grid.patches(), out),
        |scratch, (patches, mut out)| {
            let slots = scratch.tile.floats.chunks_exact_mut(grid.inputs().max(1));
            for (patch, slot) in patches.clone().zip(slots) {
                source.read(grid, patch, slot);
            }
            let rows = PreparedRows::Float(scratch.tile.float_rows(patches.len(), grid.inputs()));
            let epilogue = Epilogue::overwrite(projection.bias);
            apply(context.kernels, &mut out, rows, projection, &epilogue);
        },
    );
    add_positions(pass, weights);
}

/// Positions, and the norm that follows them.
fn add_positions(pass: &mut Pass<'_, '_>, weights: &PatchWeights<'_>) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    let hidden = pass.buffers.hidden.part_mut(0..pass.tokens * d);
    let rows = hidden.chunks_exact_mut(d.max(1)).enumerate();
    rows.for_each(|(position, row)| weights.positions.add_row(context.kernels, position, row));
    if let (Some(weights), true) = (weights.norm, cfg!(feature = "more-families")) {
        let floats = &mut *pass.scratch.tile.floats;
        norm_rows(&context, &mut MatrixMut::new(hidden, d), floats, weights);
    }
}
