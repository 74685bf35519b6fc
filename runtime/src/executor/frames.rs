//! Log-mel frames to hidden states: two convolutions and positions.
//!
//! ```text
//! y_f = gelu(W1 [x_(f-1), x_f, x_(f+1)] + b1)                  2 n frames
//! X_i = gelu(W2 [y_(2i-1), y_(2i), y_(2i+1)] + b2) + p_i       n tokens; rows outside are zeros
//! ```
//!
//! No buffer holds y: a tile of tokens computes the rows that it reads, of which the first is computed by
//! the tile before too.

use super::pass::Pass;
use crate::block::{PreparedRows, apply, for_row_tiles, rows_of};
use crate::config::Activation;
use crate::kernels::{Epilogue, Kernels};
use crate::memory::{bytes_of, typed};
use crate::model::{FrameWeights, Linear};
use crate::panel::{PANEL, RowsInt8};
use crate::tensor::{Matrix, MatrixMut, Part};

/// Fills the hidden states from features that were checked, `[2 n, bins]`.
pub(super) fn forward(pass: &mut Pass<'_, '_>, weights: &FrameWeights<'_>, features: &[f32]) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    let [first, second] =
        [weights.first, weights.second].map(|map| Convolution { kernels: context.kernels, map });
    let frames = Padded { values: features, columns: weights.bins };
    let rows = (0..pass.tokens, rows_of(pass.buffers.hidden, 0..pass.tokens, d));
    let scratch = pass.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (tokens, mut out)| {
        // The rows of y that the tile reads.
        let between = (2 * tokens.start).saturating_sub(1)..2 * tokens.end;
        let (y, room) = scratch.tile.floats.parts_mut(between.len() * d);
        for start in between.clone().step_by(tokens.len().max(1)) {
            let centres = start..(start + tokens.len()).min(between.end);
            let own = centres.start - between.start..centres.end - between.start;
            first.apply(&mut rows_of(y, own, d), frames, room, centres);
        }
        let centres = (2 * tokens.start - between.start..between.len()).step_by(2);
        second.apply(&mut out, Padded { values: y, columns: d }, room, centres);
        for (row, position) in out.rows_from(0).zip(tokens) {
            weights.positions.add_row(context.kernels, position, row);
        }
    });
}

/// Rows in one piece; those before the first and behind the last are zeros.
#[derive(Clone, Copy)]
struct Padded<'r> {
    values: &'r [f32],
    columns: usize,
}

impl<'r> Padded<'r> {
    /// The row `centre` with those beside it that are there, behind so many zeros.
    fn around(self, centre: usize) -> (usize, &'r [f32]) {
        let end = ((centre + 2) * self.columns).min(self.values.len());
        match centre.checked_sub(1) {
            Some(first) => (0, self.values.part(first * self.columns..end)),
            None => (self.columns, self.values.part(0..end)),
        }
    }
}

/// A convolution over three rows.
struct Convolution<'a> {
    kernels: &'a Kernels,
    map: Linear<'a>,
}

impl Convolution<'_> {
    /// One row of `out` for each of `centres`, by way of `room`.
    fn apply(
        &self,
        out: &mut MatrixMut<'_>,
        rows: Padded<'_>,
        room: &mut [f32],
        centres: impl Iterator<Item = usize>,
    ) {
        let (count, windows) = (out.rows(), centres.map(|centre| rows.around(centre)));
        let rows = match self.map.is_integer() {
            true => self.load_int8(room, count, windows),
            false => self.load_floats(room, count, windows),
        };
        let epilogue = Epilogue::overwrite(self.map.bias).activation(Activation::GeluErf);
        apply(self.kernels, out, rows, &self.map, &epilogue);
    }

    fn load_floats<'t, 'w>(
        &self,
        room: &'t mut [f32],
        count: usize,
        windows: impl Iterator<Item = (usize, &'w [f32])>,
    ) -> PreparedRows<'t> {
        let columns = self.map.inputs;
        for (slot, (zeros, values)) in room.chunks_exact_mut(columns.max(1)).zip(windows) {
            slot.fill(0.0);
            slot.part_mut(zeros..zeros + values.len()).fill_from(values);
        }
        PreparedRows::Float(Matrix::new(room.part(0..count * columns), columns))
    }

    fn load_int8<'t, 'w>(
        &self,
        room: &'t mut [f32],
        count: usize,
        windows: impl Iterator<Item = (usize, &'w [f32])>,
    ) -> PreparedRows<'t> {
        let stride = self.map.inputs.next_multiple_of(PANEL);
        let (scales, values) = room.parts_mut(count);
        let values = typed(bytes_of(values)).part_mut(0..count * stride);
        let slots = values.chunks_exact_mut(stride.max(PANEL)).zip(scales.iter_mut());
        for ((slot, scale), (zeros, values)) in slots.zip(windows) {
            let (before, slot) = slot.parts_mut(zeros);
            before.fill(0);
            *scale = (self.kernels.quantize_row)(slot, values, &[]);
        }
        PreparedRows::Int8(RowsInt8 { values, scales, stride })
    }
}
