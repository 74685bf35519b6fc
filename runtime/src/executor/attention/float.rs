//! Products of f32 values.

use super::super::Context;
use super::{Keys, put_context};
use crate::kernels::{Epilogue, PANEL, Panels};
use crate::memory::{ATTENTION_TILE, AttentionScratch, Scratch, typed};
use crate::tensor::{Matrix, MatrixMut};

/// One head's scratch.
struct Head<'s> {
    keys: &'s mut [f32],
    values: &'s mut [f32],
    queries: &'s mut [f32],
    scores: &'s mut [f32],
    context: &'s mut [f32],
}

impl<'s> Head<'s> {
    fn divide(scratch: &'s mut Scratch<'_>, sizes: AttentionScratch) -> Option<Self> {
        let stage: &mut [f32] = typed(scratch.stage);
        let (keys, stage) = stage.split_at_mut_checked(sizes.keys)?;
        let (values, stage) = stage.split_at_mut_checked(sizes.values)?;
        let (queries, stage) = stage.split_at_mut_checked(sizes.queries)?;
        let (scores, stage) = stage.split_at_mut_checked(sizes.scores)?;
        let context = stage.get_mut(..sizes.context)?;
        Some(Self { keys, values, queries, scores, context })
    }
}

/// All heads of some query rows.
pub(super) fn attend(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    keys: Keys<'_>,
    order: &[u32],
    rows: &mut MatrixMut<'_>,
) {
    let config = context.model.config();
    let (head_dim, key_rows) = (config.head_dim, keys.keys.rows());
    let sizes = AttentionScratch::new(head_dim, order.len(), key_rows);
    let Some(mut head) = Head::divide(scratch, sizes) else { return };
    for index in 0..config.heads {
        let start = index * head_dim;
        pack_keys(head.keys, keys.keys, start, head_dim);
        pack_values(head.values, keys.values, start, head_dim);
        for (tile, order) in order.chunks(ATTENTION_TILE).enumerate() {
            attend_tile(context, &mut head, keys, index, order, (rows, tile * ATTENTION_TILE));
        }
    }
}

/// One head of a tile of query rows.
fn attend_tile(
    context: &Context<'_>,
    head: &mut Head<'_>,
    keys: Keys<'_>,
    index: usize,
    order: &[u32],
    (rows, first): (&mut MatrixMut<'_>, usize),
) {
    let config = context.model.config();
    let (head_dim, key_rows) = (config.head_dim.max(1), keys.keys.rows().max(1));
    let columns = index * head_dim..(index + 1) * head_dim;
    let queries = head.queries.get_mut(..order.len() * head_dim).unwrap_or_default();
    for (offset, query) in queries.chunks_exact_mut(head_dim).enumerate() {
        let source = rows.row_mut(first + offset).get(columns.clone()).unwrap_or(&[]);
        query.iter_mut().zip(source).for_each(|(slot, x)| *slot = x * config.attention_scale);
    }
    let scores = head.scores.get_mut(..order.len() * key_rows).unwrap_or_default();
    let panels = Panels { values: &*head.keys, outputs: key_rows, inputs: head_dim };
    multiply(context, scores, queries, panels);
    for (row, position) in scores.chunks_exact_mut(key_rows).zip(order) {
        keys.add_bias(row, index, *position);
        (context.kernels.softmax)(row);
    }
    let mixed = head.context.get_mut(..order.len() * head_dim).unwrap_or_default();
    let panels = Panels { values: &*head.values, outputs: head_dim, inputs: key_rows };
    multiply(context, mixed, scores, panels);
    put_context(rows, first, columns, mixed);
}

/// `out = lhs panels`, f32.
fn multiply(context: &Context<'_>, out: &mut [f32], lhs: &[f32], panels: Panels<'_, f32>) {
    let mut out = MatrixMut::new(out, panels.outputs);
    let lhs = Matrix::new(lhs, panels.inputs);
    (context.kernels.gemm_f32_f32_f32w)(&mut out, lhs, panels, &Epilogue::overwrite(&[]));
}

/// One head's keys as panels of 8 keys: `[ceil(keys / 8), head_dim, 8]`, zero padded.
fn pack_keys(out: &mut [f32], keys: Matrix<'_>, start: usize, head_dim: usize) {
    for (panel, first) in out.chunks_exact_mut((head_dim * PANEL).max(1)).zip((0..).step_by(PANEL))
    {
        for lane in 0..PANEL {
            let key = keys.row(first + lane).get(start..start + head_dim).unwrap_or(&[]);
            let slots = panel.iter_mut().skip(lane).step_by(PANEL);
            slots.zip(key.iter().chain(core::iter::repeat(&0.0))).for_each(|(slot, x)| *slot = *x);
        }
    }
}

/// One head's values as panels of 8 columns: `[ceil(head_dim / 8), keys, 8]`, zero padded.
fn pack_values(out: &mut [f32], values: Matrix<'_>, start: usize, head_dim: usize) {
    let end = start + head_dim;
    let panels = out.chunks_exact_mut((values.rows() * PANEL).max(1)).zip((start..).step_by(PANEL));
    for (panel, column) in panels {
        for (slots, row) in panel.chunks_exact_mut(PANEL).zip(values.iter()) {
            let part = row.get(column..end.min(column + PANEL)).unwrap_or(&[]);
            slots.fill(0.0);
            slots.iter_mut().zip(part).for_each(|(slot, x)| *slot = *x);
        }
    }
}
