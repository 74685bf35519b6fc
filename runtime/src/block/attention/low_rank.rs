//! Products of int8 values with the low-rank keys and values of k-to-low-rank (ours).
//!
//! The key of an unselected token is `U c + b`, and its score with a query `q . (U c + b) =
//! (U^T q) . c + q . b`: the query goes to the rank, not the key to the head. So c is quantised and packed
//! once for all heads, as keys by its rows and as values by its columns. The mix of values is
//! `V (sum of w c) + b (sum of w)` likewise. With few queries that is less work than expanding every key;
//! [`LowRank::new`] decides by counts alone, so that every CPU decides alike.

use super::super::context::Context;
use super::head::HeadColumns;
use super::sums::add_rows;
use crate::kernels::{Epilogue, Kernels, Store};
use crate::memory::{Int8Rows, bytes_of, typed};
use crate::model::{LOW_RANK_WIDTH, Linear, LowRankKeys, Weights};
use crate::panel::{PANEL, PanelsInt8, RowsInt8};
use crate::tensor::{Matrix, MatrixMut, Part};

/// Products by way of the rank cost more than those of expanded keys: they must be fewer by one in this.
const MARGIN: u64 = 4;

/// Low-rank keys and values of a layer whose heads fall on whole panels.
#[derive(Clone, Copy)]
pub(crate) struct LowRank<'a> {
    key: Map<'a>,
    value: Map<'a>,
    /// Tokens.
    rows: usize,
}

/// A map from the rank to the attention width.
#[derive(Clone, Copy)]
struct Map<'a> {
    values: &'a [i8],
    scales: &'a [f32],
    bias: &'a [f32],
    rank: usize,
}

/// Low-rank keys and values, packed.
#[derive(Clone, Copy)]
pub(crate) struct PackedLowRank<'p> {
    /// Rows of c, an output channel each.
    keys: PanelsInt8<'p>,
    /// Columns of c, an output channel each.
    values: PanelsInt8<'p>,
    /// Sums of the columns of c.
    sums: &'p [f32],
    /// `U^T` of every head, scales of one: those of U are factors of the query.
    to_rank: &'p [i8],
    ones: &'p [f32],
    maps: LowRank<'p>,
}

impl<'a> LowRank<'a> {
    /// For `rows` tokens that are not selected and `queries` that are; `None` where keys are expanded:
    /// with so many queries that it is less work, another type of weights, heads that are not whole
    /// panels, or so few rows that what is packed does not fit where values are.
    pub(crate) fn new(
        context: &Context<'_>,
        maps: &LowRankKeys<'a>,
        queries: usize,
        rows: usize,
    ) -> Option<Self> {
        let config = context.config;
        let maps = Self { key: Map::new(&maps.key)?, value: Map::new(&maps.value)?, rows };
        let width = config.attention_width();
        let whole = config.head_dim.is_multiple_of(PANEL) && maps.key.rank <= width;
        let whole = whole && width >= LOW_RANK_WIDTH;
        let [queries, rows, rank, width, heads] =
            [queries, rows, maps.key.rank, width, config.heads].map(|count| count as u64);
        let counts = Counts { queries, rows, rank, width, heads };
        let here = cfg!(feature = "low-rank") && config.int8_attention;
        (here && whole && counts.fit() && counts.are_fewer()).then_some(maps)
    }
}

/// What the choice depends on: in u64, whose products are the same on every CPU. Widths and key rows
/// are at most 2^17.
struct Counts {
    queries: u64,
    rows: u64,
    rank: u64,
    width: u64,
    heads: u64,
}

impl Counts {
    /// What [`PackedLowRank::new`] makes fits where values are.
    const fn fit(&self) -> bool {
        let rows = self.rows.next_multiple_of(PANEL as u64);
        let rank = self.rank.next_multiple_of(PANEL as u64);
        let floats = (rows + 3 * rank) * size_of::<f32>() as u64;
        floats + rank * (2 * rows + self.width) <= self.rows * self.width * size_of::<f32>() as u64
    }

    /// Products by way of the rank are fewer than those of expanded keys. They stop at the largest
    /// number, which are never fewer.
    const fn are_fewer(&self) -> bool {
        let Self { queries, rows, rank, width, heads } = *self;
        let products = (queries * rank).saturating_mul(width + heads * rows);
        let expanded = rows * width * (rank + queries);
        products.saturating_mul(MARGIN) <= expanded * (MARGIN - 1)
    }
}

impl<'a> Map<'a> {
    /// A map of int8 weights; no other multiplies int8 rows of low rank.
    const fn new(linear: &Linear<'a>) -> Option<Self> {
        match linear.weights {
            Weights::Int8 { values, scales } => {
                Some(Self { values, scales, bias: linear.bias, rank: linear.inputs })
            }
            _ => None,
        }
    }

    /// The panels of one head.
    fn panels(&self, head: &HeadColumns) -> PanelsInt8<'a> {
        let rank = self.rank.next_multiple_of(PANEL);
        let columns = &head.columns;
        PanelsInt8 {
            values: self.values.part(columns.start * rank..columns.end * rank),
            scales: self.scales.part(columns.clone()),
            outputs: columns.len(),
            inputs: self.rank,
        }
    }

    /// The bias of one head; empty for none.
    fn bias_of(&self, head: &HeadColumns) -> &'a [f32] {
        self.bias.get(head.columns.clone()).unwrap_or_default()
    }
}

impl<'p> PackedLowRank<'p> {
    /// Packs c, `[rows, rank]`, into `space`; `None` if it is too small, which [`LowRank::new`] rules out.
    pub(crate) fn new(
        context: &Context<'_>,
        maps: LowRank<'p>,
        low: &[f32],
        space: &'p mut [f32],
    ) -> Option<Self> {
        let (kernels, rank) = (context.kernels, maps.key.rank);
        let (rows, wide_rank) = (maps.rows.next_multiple_of(PANEL), rank.next_multiple_of(PANEL));
        let low = Matrix::new(low, rank).first_rows(maps.rows);
        let (key_scales, space) = space.split_at_mut_checked(rows)?;
        let (value_scales, space) = space.split_at_mut_checked(wide_rank)?;
        let (ones, space) = space.split_at_mut_checked(wide_rank)?;
        let (sums, space) = space.split_at_mut_checked(wide_rank)?;
        let space: &mut [i8] = typed(bytes_of(space));
        let (keys, space) = space.split_at_mut_checked(rows * wide_rank)?;
        let (values, space) = space.split_at_mut_checked(rows * wide_rank)?;
        let to_rank = space.get_mut(..maps.key.values.len())?;
        (kernels.pack_rows)(keys, key_scales, low);
        (kernels.pack_columns)(values, value_scales, low);
        add_rows(sums, low);
        transpose_heads(to_rank, maps.key.values, context.config.head_dim, wide_rank);
        ones.fill(1.0);
        let panels =
            |values, scales, outputs, inputs| PanelsInt8 { values, scales, outputs, inputs };
        let keys = panels(keys, key_scales, maps.rows, rank);
        let values = panels(values, value_scales, rank, maps.rows);
        Some(Self { keys, values, sums, to_rank, ones, maps })
    }

    /// Tokens.
    pub(super) const fn rows(&self) -> usize {
        self.maps.rows
    }

    /// Columns of c.
    pub(super) const fn rank(&self) -> usize {
        self.maps.key.rank
    }

    /// `U^T` of one head.
    fn transposed(&self, head: &HeadColumns) -> PanelsInt8<'_> {
        let (columns, wide_rank) = (&head.columns, self.rank().next_multiple_of(PANEL));
        PanelsInt8 {
            values: self.to_rank.part(columns.start * wide_rank..columns.end * wide_rank),
            scales: self.ones,
            outputs: self.rank(),
            inputs: columns.len(),
        }
    }
}

/// Transposes the panels of every head: `[head, rank]` to `[rank, head]`.
fn transpose_heads(out: &mut [i8], values: &[i8], head_dim: usize, wide_rank: usize) {
    const BLOCK: usize = PANEL * PANEL;
    let of_head = (head_dim * wide_rank).max(BLOCK);
    let (across, down) = (wide_rank / PANEL, head_dim / PANEL);
    for (out, values) in out.chunks_exact_mut(of_head).zip(values.chunks_exact(of_head)) {
        for (index, slot) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let (panel, block) = (index / down.max(1), index % down.max(1));
            let source = values.as_chunks::<BLOCK>().0.get(block * across + panel);
            if let Some(source) = source {
                transpose(slot, source);
            }
        }
    }
}

/// Swaps lines and columns of a block, by halves, quarters and eighths of it.
fn transpose(out: &mut [i8; PANEL * PANEL], block: &[i8; PANEL * PANEL]) {
    let mut lines = [0; PANEL];
    for (number, line) in lines.iter_mut().zip(block.as_chunks::<PANEL>().0) {
        *number = u64::from_le_bytes(bytemuck::must_cast(*line));
    }
    let steps =
        [(4, 0x0000_0000_ffff_ffff), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)];
    for (distance, mask) in steps {
        let shift = 8 * distance as u32;
        for upper in (0..PANEL).filter(|line| line & distance == 0) {
            let pair = lines.get_disjoint_mut([upper, upper + distance]);
            let Ok([upper, lower]) = pair else { continue };
            let swapped = (*upper >> shift ^ *lower) & mask;
            *lower ^= swapped;
            *upper ^= swapped << shift;
        }
    }
    for (line, number) in out.as_chunks_mut::<PANEL>().0.iter_mut().zip(lines) {
        *line = bytemuck::must_cast(number.to_le_bytes());
    }
}

impl Int8Rows<'_> {
    /// Quantises the first `count` rows of low rank, and multiplies each scale by `factor`.
    fn quantize_low(
        &mut self,
        kernels: &Kernels,
        count: usize,
        rank: usize,
        factor: f32,
    ) -> RowsInt8<'_> {
        let stride = rank.next_multiple_of(PANEL);
        let slots = self.low_rows.chunks_exact_mut(stride.max(PANEL)).zip(self.scales.iter_mut());
        for ((slot, scale), row) in slots.zip(self.low.chunks_exact(rank.max(1))).take(count) {
            *scale = (kernels.quantize_row)(slot, row, &[]) * factor;
        }
        RowsInt8 { values: self.low_rows, scales: self.scales.part(0..count), stride }
    }
}

impl PackedLowRank<'_> {
    /// Scores of some queries with every low-rank key of one head.
    pub(super) fn score(
        &self,
        context: &Context<'_>,
        head: &HeadColumns,
        mut scores: MatrixMut<'_>,
        queries: Matrix<'_>,
        rows: &mut Int8Rows<'_>,
    ) {
        let (kernels, key, count) = (context.kernels, &self.maps.key, queries.rows());
        let (scale, stride) = (context.config.attention_scale, head.columns.len());
        let factors = key.scales.part(head.columns.clone());
        let slots = rows.rows.chunks_exact_mut(stride.max(PANEL)).zip(rows.scales.iter_mut());
        for ((slot, scale), query) in slots.zip(queries.iter()) {
            *scale = (kernels.quantize_row)(slot, query, factors);
        }
        let overwrite = Epilogue::overwrite(&[]);
        let lhs = RowsInt8 { values: rows.rows, scales: rows.scales.part(0..count), stride };
        let mut low = MatrixMut::new(rows.low.part_mut(0..count * key.rank), key.rank);
        (kernels.gemm_f32_qd8_qc8w)(&mut low, lhs, self.transposed(head), &overwrite);
        let lhs = rows.quantize_low(kernels, count, key.rank, scale);
        (kernels.gemm_f32_qd8_qc8w)(&mut scores, lhs, self.keys, &overwrite);
        let bias = key.bias_of(head);
        if !bias.is_empty() {
            for (scores, query) in scores.rows_from(0).zip(queries.iter()) {
                let constant = (kernels.dot)(query, bias) * scale;
                scores.iter_mut().for_each(|score| *score += constant);
            }
        }
    }

    /// Adds to `mixed`, `[tile, head]`, the values of one head weighted by `rows`, whose weights of
    /// low-rank keys begin at column `first`.
    pub(super) fn mix(
        &self,
        context: &Context<'_>,
        head: &HeadColumns,
        mut mixed: MatrixMut<'_>,
        first: usize,
        rows: &mut Int8Rows<'_>,
    ) {
        let (kernels, value, count) = (context.kernels, &self.maps.value, mixed.rows());
        let stride = (first + self.rows()).next_multiple_of(PANEL).max(PANEL);
        let weights = rows.rows.part(first..rows.rows.len());
        let lhs = RowsInt8 { values: weights, scales: rows.scales.part(0..count), stride };
        let mut low = MatrixMut::new(rows.low.part_mut(0..count * value.rank), value.rank);
        for (low, offset) in low.rows_from(0).zip(rows.offsets.iter()) {
            low.iter_mut().zip(self.sums).for_each(|(slot, sum)| *slot = offset * sum);
        }
        let add = Epilogue::overwrite(&[]).store(Store::Add { scale: &[] });
        (kernels.gemm_f32_qd8_qc8w)(&mut low, lhs, self.values, &add);
        self.add_bias(head, &mut mixed, lhs, rows.offsets);
        let lhs = rows.quantize_low(kernels, count, value.rank, 1.0);
        (kernels.gemm_f32_qd8_qc8w)(&mut mixed, lhs, value.panels(head), &add);
    }

    /// Adds the bias of the values of one head, times the sum of each row's `weights`.
    fn add_bias(
        &self,
        head: &HeadColumns,
        mixed: &mut MatrixMut<'_>,
        weights: RowsInt8<'_>,
        offsets: &[f32],
    ) {
        let bias = self.maps.value.bias_of(head);
        if bias.is_empty() {
            return;
        }
        let rows = weights.values.chunks(weights.stride.max(1));
        let rows = rows.zip(weights.scales.iter().zip(offsets));
        for (mixed, (row, (scale, offset))) in mixed.rows_from(0).zip(rows) {
            let row = row.iter().take(self.rows());
            let sum = row.map(|weight| i32::from(*weight)).sum::<i32>() as f32 * scale;
            let sum = sum + offset * self.rows() as f32;
            mixed.iter_mut().zip(bias).for_each(|(slot, bias)| *slot += bias * sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The choice in numbers that never end.
    fn exact(counts: &Counts) -> bool {
        let Counts { queries, rows, rank, width, heads } = *counts;
        let [queries, rows, rank, width, heads] =
            [queries, rows, rank, width, heads].map(u128::from);
        4 * queries * rank * (width + heads * rows) <= 3 * rows * width * (rank + queries)
    }

    #[test]
    fn long_inputs_and_large_shapes_choose_as_exact_numbers_do() {
        let mut wrapped = 0;
        for rows in [1, 100, 1_744, 1_920, 2_048, 8_192, 131_072] {
            for queries in [1, 16, 256, 304, 1_024, 131_072] {
                for (width, heads) in [(128, 2), (768, 12), (4_096, 32), (131_072, 16_384)] {
                    for rank in [1, 8, 96, width] {
                        let counts = Counts { queries, rows, rank, width, heads };
                        assert_eq!(counts.are_fewer(), exact(&counts), "{rows} {queries} {rank}");
                        // What a CPU of 32 bits would have come to.
                        let sum = (width as u32).wrapping_add((heads * rows) as u32);
                        let products = (queries * rank) as u32;
                        let products = products.wrapping_mul(sum).wrapping_mul(4);
                        let expanded = (rows * width) as u32;
                        let expanded = expanded.wrapping_mul((rank + queries) as u32 * 3);
                        wrapped += u32::from((products <= expanded) != exact(&counts));
                    }
                }
            }
        }
        assert!(wrapped > 0, "no shape that needs more than 32 bits");
    }
}
