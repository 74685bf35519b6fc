//! Products of int8 values (ours): queries and keys with a scale for each row of a head, values with
//! one for each column, softmax weights in 1/127 of the largest and an offset for all alike.
//!
//! ```text
//! scores  = qs ks (q . k)                 q, k: int8 rows; qs, ks: their scales
//! weights = ws w + o                      w: int8; their sum is 1
//! context = ws vs (w . v) + o sum(V)      v: int8 columns; vs: their scales; V: the values
//! ```

use super::super::context::Context;
use super::head::HeadColumns;
use super::keys::{Keys, Queries};
use super::sums::add_rows;
use crate::kernels::{Epilogue, Kernels, Store, WeightScale};
use crate::memory::{
    ATTENTION_TILE, HeadExtent, Int8Keys, Int8Rows, Int8Tile, Scratch, divide_int8,
};
use crate::panel::{PANEL, PanelsInt8, RowsInt8};
use crate::tensor::{Matrix, MatrixMut, Part};

/// Keys and values of one head, whoever packed them.
#[derive(Clone, Copy)]
struct HeadKeys<'k> {
    /// A key is an output channel.
    keys: PanelsInt8<'k>,
    /// A column is an output channel.
    values: PanelsInt8<'k>,
    /// Sums of the values' columns.
    value_sums: &'k [f32],
}

/// All heads of some query rows.
pub(super) fn attend(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    queries: &mut Queries<'_>,
    keys: &Keys<'_>,
) {
    let extent = HeadExtent {
        head_dim: context.config.head_dim,
        queries: queries.len(),
        packed: keys.keys.rows(),
        key_rows: keys.rows(),
        rank: keys.rank(),
    };
    let (mut packed, mut tile, mut rows) = divide_int8(scratch.stage, &extent);
    for head in HeadColumns::all(context.config) {
        let panels = HeadKeys::pack(context.kernels, &mut packed, keys, &head);
        for first in (0..queries.len()).step_by(ATTENTION_TILE) {
            let mut stage = Stage { context, head: &head, keys, panels, rows: &mut rows };
            stage.attend_tile(queries.tile(first, ATTENTION_TILE), &mut tile);
        }
    }
}

impl<'k> HeadKeys<'k> {
    /// Packs the columns of one head.
    fn pack(
        kernels: &Kernels,
        packed: &'k mut Int8Keys<'_>,
        keys: &Keys<'_>,
        head: &HeadColumns,
    ) -> Self {
        let (first, width, rows) = (head.columns.start, head.columns.len(), keys.keys.rows());
        let values = keys.values.column_range(first, width);
        (kernels.pack_rows)(packed.keys, packed.key_scales, keys.keys.column_range(first, width));
        (kernels.pack_columns)(packed.values, packed.value_scales, values);
        add_rows(packed.value_sums, values);
        // Softmax gives no weight to a score that is NaN: of such a key the values must be.
        let squares = (kernels.dot)(packed.key_scales, packed.key_scales);
        if let Some(scale) = packed.value_scales.first_mut().filter(|_| squares.is_nan()) {
            *scale = squares;
        }
        let panels =
            |values, scales, outputs, inputs| PanelsInt8 { values, scales, outputs, inputs };
        Self {
            keys: panels(packed.keys, packed.key_scales, rows, width),
            values: panels(packed.values, packed.value_scales, width, rows),
            value_sums: packed.value_sums,
        }
    }
}

/// One head at work on a tile of queries.
struct Stage<'s, 'r> {
    context: &'s Context<'s>,
    head: &'s HeadColumns,
    keys: &'s Keys<'s>,
    panels: HeadKeys<'s>,
    rows: &'s mut Int8Rows<'r>,
}

impl Stage<'_, '_> {
    fn attend_tile(&mut self, mut queries: Queries<'_>, tile: &mut Int8Tile<'_>) {
        let count = queries.len();
        let (head_dim, key_rows) = (self.head.columns.len().max(1), self.keys.rows().max(1));
        let scores = tile.scores.part_mut(0..count * key_rows);
        let context = tile.context.part_mut(0..count * head_dim);
        let head = queries.rows.as_matrix().column_range(self.head.columns.start, head_dim);
        self.score(MatrixMut::new(scores, key_rows), head);
        self.weigh(MatrixMut::new(scores, key_rows), queries.positions, context);
        self.mix(MatrixMut::new(context, head_dim));
        queries.put_context(self.head, context);
    }

    /// Scores of every query with every key.
    fn score(&mut self, mut scores: MatrixMut<'_>, queries: Matrix<'_>) {
        let (kernels, exact) = (self.context.kernels, self.panels.keys.outputs);
        let scale = self.context.config.attention_scale;
        let stride = self.panels.keys.inputs.next_multiple_of(PANEL).max(PANEL);
        let slots = self.rows.rows.chunks_exact_mut(stride).zip(self.rows.scales.iter_mut());
        for ((slot, row_scale), query) in slots.zip(queries.iter()) {
            *row_scale = (kernels.quantize_row)(slot, query, &[]) * scale;
        }
        let scales = self.rows.scales.part(0..queries.rows());
        let lhs = RowsInt8 { values: self.rows.rows, scales, stride };
        let mut of_exact = scores.reborrow().first_columns(exact);
        let epilogue = Epilogue::overwrite(&[]);
        (kernels.gemm_f32_qd8_qc8w)(&mut of_exact, lhs, self.panels.keys, &epilogue);
        if let Some(low_rank) = &self.keys.low_rank {
            low_rank.score(self.context, self.head, scores.columns_from(exact), queries, self.rows);
        }
    }

    /// Turns scores into int8 weights and an offset for each query, and begins its context with
    /// the offset's share.
    fn weigh(&mut self, mut scores: MatrixMut<'_>, positions: &[u32], context: &mut [f32]) {
        let stride = scores.columns().next_multiple_of(PANEL).max(PANEL);
        let columns = &self.head.columns;
        let values = self.keys.values.column_range(columns.start, columns.len());
        let softmax = self.context.kernels.softmax_int8;
        let weights = self.rows.scales.iter_mut().zip(self.rows.offsets.iter_mut());
        let slots = self.rows.rows.chunks_exact_mut(stride).zip(weights);
        let slots = slots.zip(context.chunks_exact_mut(self.head.columns.len().max(1)));
        for ((row, position), ((slot, (scale, offset)), context)) in
            scores.rows_from(0).zip(positions).zip(slots)
        {
            self.keys.add_bias(row, self.head, *position);
            if let Some(near) = self.keys.near(*position) {
                let (before, slot) = slot.parts_mut(near.start);
                before.fill(0);
                WeightScale { scale: *scale, offset: *offset } =
                    softmax(slot, row.part(near.clone()));
                add_rows(context, values.row_range(near));
                context.iter_mut().for_each(|slot| *slot *= *offset);
                continue;
            }
            WeightScale { scale: *scale, offset: *offset } = softmax(slot, row);
            let sums = context.iter_mut().zip(self.panels.value_sums);
            sums.for_each(|(slot, sum)| *slot = *offset * *sum);
        }
    }

    /// Adds the values of every key, weighted.
    fn mix(&mut self, mut context: MatrixMut<'_>) {
        let exact = self.panels.values.inputs;
        let stride = self.keys.rows().next_multiple_of(PANEL).max(PANEL);
        let scales = self.rows.scales.part(0..context.rows());
        let lhs = RowsInt8 { values: self.rows.rows, scales, stride };
        let add = Epilogue::overwrite(&[]).store(Store::Add { scale: &[] });
        let gemm = self.context.kernels.gemm_f32_qd8_qc8w;
        gemm(&mut context, lhs, self.panels.values, &add);
        if let Some(low_rank) = &self.keys.low_rank {
            low_rank.mix(self.context, self.head, context, exact, self.rows);
        }
    }
}
