//! An image of any size to hidden states.

use super::Input;
use super::pass::Pass;
use crate::block::{PreparedRows, apply, for_row_tiles, rows_of};
use crate::image::{PatchGrid, Standardization};
use crate::kernels::Epilogue;
use crate::model::GridWeights;
use crate::tensor::Part;

/// Where patches come from.
enum Source<'a> {
    Pixels(&'a [u8], Standardization),
    Values(&'a [f32]),
}

impl<'a> Source<'a> {
    /// The patches of an input, and how many are in a row.
    fn of(input: &Input<'a>) -> (Self, usize) {
        match *input {
            Input::Grid { columns, pixels } => {
                (Self::Pixels(pixels, Standardization::of(pixels)), columns)
            }
            Input::GridPatches { columns, values } => (Self::Values(values), columns),
            _ => {
                debug_assert!(false, "an input of another kind is refused");
                (Self::Values(&[]), 1)
            }
        }
    }

    /// Writes the values of one patch.
    fn read(&self, grid: &PatchGrid, patch: usize, slot: &mut [f32]) {
        match self {
            Self::Pixels(pixels, standard) => standard.read(pixels, grid, patch, slot),
            Self::Values(values) => {
                slot.fill_from(values.part(patch * grid.inputs()..(patch + 1) * grid.inputs()));
            }
        }
    }
}

/// Projected patches, with the rows for where each is.
pub(super) fn forward(pass: &mut Pass<'_, '_>, weights: &GridWeights<'_>, input: &Input<'_>) {
    let GridWeights { most, projection, places } = weights;
    let (source, columns) = Source::of(input);
    let (context, columns) = (pass.context, columns.max(1));
    let (kernels, grid) = (context.kernels, PatchGrid { columns, ..*most });
    let out = rows_of(pass.buffers.hidden, 0..pass.tokens, context.config.hidden);
    let rows = (0..pass.tokens, out);
    let scratch = pass.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (patches, mut out)| {
        let slots = scratch.tile.floats.chunks_exact_mut(grid.inputs().max(1));
        for (patch, slot) in patches.clone().zip(slots) {
            source.read(&grid, patch, slot);
        }
        let rows = PreparedRows::Float(scratch.tile.float_rows(patches.len(), grid.inputs()));
        apply(kernels, &mut out, rows, projection, &Epilogue::overwrite(projection.bias));
        for (patch, row) in patches.zip(out.rows_from(0)) {
            // Known here too: a division by zero would be a panic.
            let columns = columns.max(1);
            places.add_row(kernels, patch / columns, row);
            places.add_row(kernels, most.rows + patch % columns, row);
        }
    });
}
