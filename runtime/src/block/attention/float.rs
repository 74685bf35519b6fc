//! Products of f32 values.

use super::super::context::Context;
use super::head::HeadColumns;
use super::keys::{Keys, Queries};
use crate::kernels::Epilogue;
use crate::memory::{ATTENTION_TILE, FloatTile, HeadExtent, Scratch, divide_float};
use crate::panel::{PANEL, Panels};
use crate::tensor::{Matrix, MatrixMut, Part};
use core::ops::Range;

/// Keys and values of one head, whoever packed them.
#[derive(Clone, Copy)]
struct HeadKeys<'k> {
    /// A key is an output channel.
    keys: Panels<'k, f32>,
    /// A column is an output channel.
    values: Panels<'k, f32>,
}

/// All heads of some query rows.
pub(super) fn attend(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    queries: &mut Queries<'_>,
    keys: &Keys<'_>,
) {
    let (head_dim, key_rows) = (context.config.head_dim, keys.keys.rows());
    let extent =
        HeadExtent { head_dim, queries: queries.len(), packed: key_rows, key_rows, rank: 0 };
    let (packed, mut tile) = divide_float(scratch.stage, &extent);
    for head in HeadColumns::all(context.config) {
        pack_keys(packed.keys, keys.keys, &head);
        pack_values(packed.values, keys.values, &head);
        let panels = HeadKeys {
            keys: Panels { values: &*packed.keys, outputs: key_rows, inputs: head_dim },
            values: Panels { values: &*packed.values, outputs: head_dim, inputs: key_rows },
        };
        for first in (0..queries.len()).step_by(ATTENTION_TILE) {
            let queries = queries.tile(first, ATTENTION_TILE);
            attend_tile(context, &mut tile, queries, &head, panels, keys);
        }
    }
}

/// One head of a tile of query rows.
fn attend_tile(
    context: &Context<'_>,
    tile: &mut FloatTile<'_>,
    mut queries: Queries<'_>,
    head: &HeadColumns,
    panels: HeadKeys<'_>,
    keys: &Keys<'_>,
) {
    let (head_dim, key_rows) = (head.columns.len().max(1), panels.keys.outputs.max(1));
    let scaled = tile.queries.part_mut(0..queries.len() * head_dim);
    for (slots, row) in scaled.chunks_exact_mut(head_dim).zip(queries.rows.as_matrix().iter()) {
        let query = row.part(head.columns.clone());
        let scale = context.config.attention_scale;
        slots.iter_mut().zip(query).for_each(|(slot, x)| *slot = x * scale);
    }
    let scores = tile.scores.part_mut(0..queries.len() * key_rows);
    multiply(context, scores, scaled, panels.keys);
    for (row, position) in scores.chunks_exact_mut(key_rows).zip(queries.positions) {
        keys.add_bias(row, head, *position);
        if cfg!(feature = "more-families") && context.config.causal {
            keys.hide_later(row, *position);
        }
        match keys.near(*position) {
            Some(near) => (context.kernels.softmax)(only(row, near)),
            None => (context.kernels.softmax)(row),
        }
    }
    let mixed = tile.context.part_mut(0..queries.len() * head_dim);
    multiply(context, mixed, scores, panels.values);
    queries.put_context(head, mixed);
}

/// The values of `range`; those around it become zero.
fn only(row: &mut [f32], range: Range<usize>) -> &mut [f32] {
    let (before, rest) = row.parts_mut(range.start);
    let (values, behind) = rest.parts_mut(range.len());
    before.fill(0.0);
    behind.fill(0.0);
    values
}

/// `out = lhs panels`, f32.
fn multiply(context: &Context<'_>, out: &mut [f32], lhs: &[f32], panels: Panels<'_, f32>) {
    let mut out = MatrixMut::new(out, panels.outputs);
    let lhs = Matrix::new(lhs, panels.inputs);
    (context.kernels.gemm_f32_f32_f32w)(&mut out, lhs, panels, &Epilogue::overwrite(&[]));
}

/// One head's keys as panels of 8 keys: `[ceil(keys / 8), head_dim, 8]`, zero padded.
fn pack_keys(out: &mut [f32], keys: Matrix<'_>, head: &HeadColumns) {
    let panel = (head.columns.len() * PANEL).max(1);
    for (panel, first) in out.chunks_exact_mut(panel).zip((0..).step_by(PANEL)) {
        for lane in 0..PANEL {
            // Past the last key there are zeros.
            let key = keys.row(first + lane).get(head.columns.clone()).unwrap_or_default();
            let slots = panel.iter_mut().skip(lane).step_by(PANEL);
            slots.zip(key.iter().chain(core::iter::repeat(&0.0))).for_each(|(slot, x)| *slot = *x);
        }
    }
}

/// One head's values as panels of 8 columns: `[ceil(head_dim / 8), keys, 8]`, zero padded.
fn pack_values(out: &mut [f32], values: Matrix<'_>, head: &HeadColumns) {
    let panels = out.chunks_exact_mut((values.rows() * PANEL).max(1));
    for (panel, column) in panels.zip(head.columns.clone().step_by(PANEL)) {
        let columns = column..head.columns.end.min(column + PANEL);
        for (slots, row) in panel.chunks_exact_mut(PANEL).zip(values.iter()) {
            slots.fill(0.0);
            let part = row.part(columns.clone());
            slots.iter_mut().zip(part).for_each(|(slot, x)| *slot = *x);
        }
    }
}
