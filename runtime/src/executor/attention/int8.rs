//! Products of int8 values (ours): queries and keys with a scale for each row of a head, values with
//! one for each column, softmax weights in 1/127 of the largest and a share for all alike.

use super::super::Context;
use super::low_rank::{Packed, Space};
use super::{Keys, add_rows, put_context};
use crate::kernels::{Epilogue, PANEL, PanelsInt8, RowsInt8, Store, WeightScale};
use crate::memory::{ATTENTION_TILE, Int8AttentionScratch, Scratch, typed};
use crate::tensor::MatrixMut;

/// One head's scratch.
struct Head<'s> {
    key_scales: &'s mut [f32],
    value_scales: &'s mut [f32],
    /// Sums of the values' columns.
    value_sums: &'s mut [f32],
    row_scales: &'s mut [f32],
    /// What is added to each softmax weight of a row.
    row_rests: &'s mut [f32],
    scores: &'s mut [f32],
    context: &'s mut [f32],
    keys: &'s mut [i8],
    values: &'s mut [i8],
    /// Queries, then the softmax weights of the same tile.
    rows: &'s mut [i8],
    low: &'s mut [f32],
    low_rows: &'s mut [i8],
}

impl<'s> Head<'s> {
    fn divide(scratch: &'s mut Scratch<'_>, sizes: Int8AttentionScratch) -> Option<Self> {
        let (floats, bytes) = scratch.stage.split_at_mut_checked(sizes.floats() * 4)?;
        let floats: &mut [f32] = typed(floats);
        let (key_scales, floats) = floats.split_at_mut_checked(sizes.key_scales)?;
        let (value_scales, floats) = floats.split_at_mut_checked(sizes.value_scales)?;
        let (value_sums, floats) = floats.split_at_mut_checked(sizes.value_sums)?;
        let (row_scales, floats) = floats.split_at_mut_checked(sizes.row_scales)?;
        let (row_rests, floats) = floats.split_at_mut_checked(sizes.row_rests)?;
        let (scores, floats) = floats.split_at_mut_checked(sizes.scores)?;
        let (context, floats) = floats.split_at_mut_checked(sizes.context)?;
        let low = floats.get_mut(..sizes.low)?;
        let bytes: &mut [i8] = typed(bytes);
        let (keys, bytes) = bytes.split_at_mut_checked(sizes.keys)?;
        let (values, bytes) = bytes.split_at_mut_checked(sizes.values)?;
        let (rows, bytes) = bytes.split_at_mut_checked(sizes.rows)?;
        let low_rows = bytes.get_mut(..sizes.low_rows)?;
        Some(Self {
            key_scales,
            value_scales,
            value_sums,
            row_scales,
            row_rests,
            scores,
            context,
            keys,
            values,
            rows,
            low,
            low_rows,
        })
    }
}

/// All heads of some query rows. Low-rank keys stand behind the others.
pub(super) fn attend(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    (keys, low_rank): (Keys<'_>, Option<&Packed<'_>>),
    order: &[u32],
    rows: &mut MatrixMut<'_>,
) {
    let (config, kernels) = (context.model.config(), context.kernels);
    let head_dim = config.head_dim;
    let (low_rows, rank) =
        low_rank.map_or((0, 0), |low_rank| (low_rank.low_rank.rows, low_rank.low_rank.key.rank));
    let key_rows = keys.keys.rows() + low_rows;
    let sizes = Int8AttentionScratch::new(head_dim, order.len(), key_rows, rank);
    let Some(mut head) = Head::divide(scratch, sizes) else { return };
    let exact = keys.keys.rows().next_multiple_of(PANEL);
    let wide = head_dim.next_multiple_of(PANEL);
    head.keys = core::mem::take(&mut head.keys).get_mut(..exact * wide).unwrap_or_default();
    head.key_scales = core::mem::take(&mut head.key_scales).get_mut(..exact).unwrap_or_default();
    head.values = core::mem::take(&mut head.values).get_mut(..exact * wide).unwrap_or_default();
    for index in 0..config.heads {
        let columns = index * head_dim;
        let (of_keys, of_values) = (
            keys.keys.column_range(columns, head_dim),
            keys.values.column_range(columns, head_dim),
        );
        (kernels.pack_rows)(head.keys, head.key_scales, of_keys);
        (kernels.pack_columns)(head.values, head.value_scales, of_values);
        add_rows(head.value_sums, of_values);
        for (tile, order) in order.chunks(ATTENTION_TILE).enumerate() {
            let rows = (&mut *rows, tile * ATTENTION_TILE);
            attend_tile(context, &mut head, (keys, low_rank), index, order, rows);
        }
    }
}

/// One head of a tile of query rows.
fn attend_tile(
    context: &Context<'_>,
    head: &mut Head<'_>,
    (keys, low_rank): (Keys<'_>, Option<&Packed<'_>>),
    index: usize,
    order: &[u32],
    (rows, first): (&mut MatrixMut<'_>, usize),
) {
    let (config, kernels) = (context.model.config(), context.kernels);
    let (head_dim, exact) = (config.head_dim.max(1), keys.keys.rows());
    let (low_rows, rank) =
        low_rank.map_or((0, 0), |low_rank| (low_rank.low_rank.rows, low_rank.low_rank.key.rank));
    let key_rows = (exact + low_rows).max(1);
    let columns = index * head_dim..(index + 1) * head_dim;
    let queries = rows.as_matrix().column_range(columns.start, head_dim);
    let queries = (first..first + order.len()).map(|row| queries.row(row));
    let mut space = Space {
        floats: head.low.get_mut(..order.len() * rank).unwrap_or_default(),
        int8: head.low_rows,
        scales: head.row_scales.get_mut(..order.len()).unwrap_or_default(),
        rests: head.row_rests.get_mut(..order.len()).unwrap_or_default(),
    };
    let stride = head_dim.next_multiple_of(PANEL).max(PANEL);
    let slots = head.rows.chunks_exact_mut(stride).zip(space.scales.iter_mut());
    for ((slot, scale), query) in slots.zip(queries.clone()) {
        *scale = (kernels.quantize_row)(slot, query, &[]) * config.attention_scale;
    }
    let scores = head.scores.get_mut(..order.len() * key_rows).unwrap_or_default();
    let values = head.rows.get(..order.len() * stride).unwrap_or(&[]);
    let lhs = RowsInt8 { values, scales: space.scales, stride };
    let (values, scales) = (&*head.keys, &*head.key_scales);
    let panels = PanelsInt8 { values, scales, outputs: exact, inputs: head_dim };
    let overwrite = Epilogue::overwrite(&[]);
    let mut of_exact = MatrixMut::new(scores, key_rows).first_columns(exact);
    (kernels.gemm_f32_qd8_qc8w)(&mut of_exact, lhs, panels, &overwrite);
    if let Some(low_rank) = low_rank {
        let mut of_low = MatrixMut::new(scores, key_rows).columns_from(exact);
        low_rank.score(context, &mut of_low, queries, &columns, (head.rows, &mut space));
    }
    let stride = key_rows.next_multiple_of(PANEL).max(PANEL);
    let mixed = head.context.get_mut(..order.len() * head_dim).unwrap_or_default();
    let weights = space.scales.iter_mut().zip(space.rests.iter_mut());
    let slots = head.rows.chunks_exact_mut(stride).zip(weights);
    let slots = slots.zip(mixed.chunks_exact_mut(head_dim));
    for ((row, position), ((slot, (scale, rest)), mixed)) in
        scores.chunks_exact_mut(key_rows).zip(order).zip(slots)
    {
        keys.add_bias(row, index, *position);
        WeightScale { scale: *scale, rest: *rest } = (kernels.softmax_int8)(slot, row);
        mixed.iter_mut().zip(&*head.value_sums).for_each(|(slot, sum)| *slot = *rest * *sum);
    }
    let lhs = RowsInt8 { values: head.rows, scales: space.scales, stride };
    let (values, scales) = (&*head.values, &*head.value_scales);
    let panels = PanelsInt8 { values, scales, outputs: head_dim, inputs: exact };
    let add = overwrite.store(Store::Add { scale: &[] });
    (kernels.gemm_f32_qd8_qc8w)(&mut MatrixMut::new(mixed, head_dim), lhs, panels, &add);
    if let Some(low_rank) = low_rank {
        let weights = head.rows.get(exact..).unwrap_or(&[]);
        let mut mixed = MatrixMut::new(mixed, head_dim);
        low_rank.mix(context, &mut mixed, (weights, stride), &columns, &mut space);
    }
    put_context(rows, first, columns, mixed);
}
