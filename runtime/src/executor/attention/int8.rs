//! Products of int8 values (ours): queries and keys with a scale for each row of a head, values with
//! one for each column, softmax weights in 1/127 of the largest.

use super::super::Context;
use super::{Keys, put_context};
use crate::kernels::{Epilogue, PANEL, PanelsInt8, RowsInt8};
use crate::memory::{ATTENTION_TILE, Int8AttentionScratch, Scratch, typed};
use crate::tensor::MatrixMut;

/// One head's scratch.
struct Head<'s> {
    key_scales: &'s mut [f32],
    value_scales: &'s mut [f32],
    row_scales: &'s mut [f32],
    scores: &'s mut [f32],
    context: &'s mut [f32],
    keys: &'s mut [i8],
    values: &'s mut [i8],
    /// Queries, then the softmax weights of the same tile.
    rows: &'s mut [i8],
}

impl<'s> Head<'s> {
    fn divide(scratch: &'s mut Scratch<'_>, sizes: Int8AttentionScratch) -> Option<Self> {
        let (floats, bytes) = scratch.stage.split_at_mut_checked(sizes.floats() * 4)?;
        let floats: &mut [f32] = typed(floats);
        let (key_scales, floats) = floats.split_at_mut_checked(sizes.key_scales)?;
        let (value_scales, floats) = floats.split_at_mut_checked(sizes.value_scales)?;
        let (row_scales, floats) = floats.split_at_mut_checked(sizes.row_scales)?;
        let (scores, floats) = floats.split_at_mut_checked(sizes.scores)?;
        let context = floats.get_mut(..sizes.context)?;
        let bytes: &mut [i8] = typed(bytes);
        let (keys, bytes) = bytes.split_at_mut_checked(sizes.keys)?;
        let (values, bytes) = bytes.split_at_mut_checked(sizes.values)?;
        let rows = bytes.get_mut(..sizes.rows)?;
        Some(Self { key_scales, value_scales, row_scales, scores, context, keys, values, rows })
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
    let (config, kernels) = (context.model.config(), context.kernels);
    let head_dim = config.head_dim;
    let sizes = Int8AttentionScratch::new(head_dim, order.len(), keys.keys.rows());
    let Some(mut head) = Head::divide(scratch, sizes) else { return };
    for index in 0..config.heads {
        let columns = index * head_dim;
        let (of_keys, of_values) = (
            keys.keys.column_range(columns, head_dim),
            keys.values.column_range(columns, head_dim),
        );
        (kernels.pack_rows)(head.keys, head.key_scales, of_keys);
        (kernels.pack_columns)(head.values, head.value_scales, of_values);
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
    let (config, kernels) = (context.model.config(), context.kernels);
    let (head_dim, key_rows) = (config.head_dim.max(1), keys.keys.rows().max(1));
    let columns = index * head_dim..(index + 1) * head_dim;
    let stride = head_dim.next_multiple_of(PANEL).max(PANEL);
    let scales = head.row_scales.get_mut(..order.len()).unwrap_or_default();
    for (offset, (slot, scale)) in
        head.rows.chunks_exact_mut(stride).zip(scales.iter_mut()).enumerate()
    {
        let query = rows.row_mut(first + offset).get(columns.clone()).unwrap_or(&[]);
        *scale = (kernels.quantize_row)(slot, query, &[]) * config.attention_scale;
    }
    let scores = head.scores.get_mut(..order.len() * key_rows).unwrap_or_default();
    let values = head.rows.get(..order.len() * stride).unwrap_or(&[]);
    let panels = PanelsInt8 {
        values: head.keys,
        scales: head.key_scales,
        outputs: key_rows,
        inputs: head_dim,
    };
    multiply(context, scores, RowsInt8 { values, scales, stride }, panels);
    let stride = key_rows.next_multiple_of(PANEL).max(PANEL);
    let weights = head.rows.chunks_exact_mut(stride).zip(scales.iter_mut());
    for ((row, position), (slot, scale)) in
        scores.chunks_exact_mut(key_rows).zip(order).zip(weights)
    {
        keys.add_bias(row, index, *position);
        *scale = (kernels.softmax_int8)(slot, row);
    }
    let mixed = head.context.get_mut(..order.len() * head_dim).unwrap_or_default();
    let values = head.rows.get(..order.len() * stride).unwrap_or(&[]);
    let panels = PanelsInt8 {
        values: head.values,
        scales: head.value_scales,
        outputs: head_dim,
        inputs: key_rows,
    };
    multiply(context, mixed, RowsInt8 { values, scales, stride }, panels);
    put_context(rows, first, columns, mixed);
}

/// `out = lhs panels`, int8.
fn multiply(context: &Context<'_>, out: &mut [f32], lhs: RowsInt8<'_>, panels: PanelsInt8<'_>) {
    let mut out = MatrixMut::new(out, panels.outputs);
    (context.kernels.gemm_f32_qd8_qc8w)(&mut out, lhs, panels, &Epilogue::overwrite(&[]));
}
