//! Products of int8 values with the low-rank keys and values of k-to-low-rank (ours).
//!
//! The key of an unselected token is `U c + b`, and its score with a query `q . (U c + b) =
//! (U^T q) . c + q . b`: the query goes to the rank, not the key to the head. So c is quantised and packed
//! once for all heads, as keys by its rows and as values by its columns. The mix of values is
//! `V (sum of w c) + b (sum of w)` likewise. With few queries that is less work than expanding every key;
//! [`LowRank::new`] decides by counts alone, so that every CPU decides alike.

use super::super::Context;
use super::super::gemm::Form;
use super::add_rows;
use crate::kernels::{Epilogue, Kernels, PANEL, PanelsInt8, RowsInt8, Store};
use crate::memory::{bytes_of, typed};
use crate::model::{LOW_RANK_WIDTH, Linear, LowRankKeys, Weights};
use crate::tensor::{Matrix, MatrixMut};
use core::ops::Range;

/// Products by way of the rank cost more than those of expanded keys: they must be fewer by one in this.
const MARGIN: usize = 4;

/// Low-rank keys and values of a layer whose heads fall on whole panels.
#[derive(Clone, Copy)]
pub(in crate::executor) struct LowRank<'a> {
    pub(super) key: Map<'a>,
    value: Map<'a>,
    /// Tokens.
    pub(super) rows: usize,
}

/// A map from the rank to the attention width.
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    values: &'a [i8],
    scales: &'a [f32],
    bias: &'a [f32],
    pub(super) rank: usize,
}

/// Low-rank keys and values, packed.
#[derive(Clone, Copy)]
pub(super) struct Packed<'p> {
    /// Rows of c, an output channel each.
    keys: PanelsInt8<'p>,
    /// Columns of c, an output channel each.
    values: PanelsInt8<'p>,
    /// Sums of the columns of c.
    sums: &'p [f32],
    /// `U^T` of every head, scales of one: those of U are factors of the query.
    to_rank: &'p [i8],
    ones: &'p [f32],
    pub(super) low_rank: LowRank<'p>,
}

impl<'a> LowRank<'a> {
    /// For `rows` tokens that are not selected and `queries` that are; `None` where keys are expanded:
    /// with so many queries that it is less work, another type of weights, heads
    /// that are not whole panels, or so few rows that what is packed does not fit where values are.
    pub(in crate::executor) fn new(
        context: &Context<'_>,
        low_rank: &LowRankKeys<'a>,
        (queries, rows): (usize, usize),
    ) -> Option<Self> {
        let config = context.model.config();
        let map = |linear: &Linear<'a>| match (linear.weights, Form::of(linear)) {
            (Weights::Int8 { values, scales }, Form::Int8) => {
                Some(Map { values, scales, bias: linear.bias, rank: linear.inputs })
            }
            _ => None,
        };
        let low_rank = Self { key: map(&low_rank.key)?, value: map(&low_rank.value)?, rows };
        let width = config.attention_width();
        let whole = config.head_dim.is_multiple_of(PANEL) && low_rank.key.rank <= width;
        let whole = whole && width >= LOW_RANK_WIDTH;
        let fits = low_rank.packed_bytes(width) <= rows * width * size_of::<f32>();
        let products = queries * low_rank.key.rank * (width + config.heads * rows);
        let expanded = rows * width * (low_rank.key.rank + queries);
        let fewer = products * MARGIN <= expanded * (MARGIN - 1);
        let here = cfg!(feature = "low-rank") && config.int8_attention;
        (here && whole && fits && fewer).then_some(low_rank)
    }

    /// Bytes of what [`Packed::new`] makes.
    const fn packed_bytes(&self, width: usize) -> usize {
        let rows = self.rows.next_multiple_of(PANEL);
        let rank = self.key.rank.next_multiple_of(PANEL);
        (rows + 3 * rank) * size_of::<f32>() + rank * (2 * rows + width)
    }
}

/// Columns of one head of a vector of the attention width.
fn of_head<'v>(vector: &'v [f32], columns: &Range<usize>) -> &'v [f32] {
    vector.get(columns.clone()).unwrap_or(&[])
}

impl Map<'_> {
    /// The panels of one head.
    fn panels(&self, columns: &Range<usize>) -> PanelsInt8<'_> {
        let rank = self.rank.next_multiple_of(PANEL);
        PanelsInt8 {
            values: self.values.get(columns.start * rank..columns.end * rank).unwrap_or(&[]),
            scales: of_head(self.scales, columns),
            outputs: columns.len(),
            inputs: self.rank,
        }
    }
}

impl<'p> Packed<'p> {
    /// Packs c, `[rows, rank]`, into `space`; `None` if it is too small.
    pub(super) fn new(
        kernels: &Kernels,
        low_rank: LowRank<'p>,
        low: &[f32],
        space: &'p mut [f32],
        head_dim: usize,
    ) -> Option<Self> {
        let rank = low_rank.key.rank;
        let (rows, wide_rank) =
            (low_rank.rows.next_multiple_of(PANEL), rank.next_multiple_of(PANEL));
        let low = Matrix::new(low, rank).first_rows(low_rank.rows);
        let (key_scales, space) = space.split_at_mut_checked(rows)?;
        let (value_scales, space) = space.split_at_mut_checked(wide_rank)?;
        let (ones, space) = space.split_at_mut_checked(wide_rank)?;
        let (sums, space) = space.split_at_mut_checked(wide_rank)?;
        let space: &mut [i8] = typed(bytes_of(space));
        let (keys, space) = space.split_at_mut_checked(rows * wide_rank)?;
        let (values, space) = space.split_at_mut_checked(rows * wide_rank)?;
        let to_rank = space.get_mut(..low_rank.key.values.len())?;
        (kernels.pack_rows)(keys, key_scales, low);
        (kernels.pack_columns)(values, value_scales, low);
        add_rows(sums, low);
        transpose_heads(to_rank, low_rank.key.values, head_dim, wide_rank);
        ones.fill(1.0);
        let panels =
            |values, scales, outputs, inputs| PanelsInt8 { values, scales, outputs, inputs };
        Some(Self {
            keys: panels(keys, key_scales, low_rank.rows, rank),
            values: panels(values, value_scales, rank, low_rank.rows),
            sums,
            to_rank,
            ones,
            low_rank,
        })
    }

    /// `U^T` of one head.
    fn transposed(&self, columns: &Range<usize>) -> PanelsInt8<'_> {
        let rank = self.low_rank.key.rank;
        let wide_rank = rank.next_multiple_of(PANEL);
        PanelsInt8 {
            values: self
                .to_rank
                .get(columns.start * wide_rank..columns.end * wide_rank)
                .unwrap_or(&[]),
            scales: self.ones,
            outputs: rank,
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
            let lower = upper + distance;
            let swapped = (lines[upper] >> shift ^ lines[lower]) & mask;
            lines[lower] ^= swapped;
            lines[upper] ^= swapped << shift;
        }
    }
    for (line, number) in out.as_chunks_mut::<PANEL>().0.iter_mut().zip(lines) {
        *line = bytemuck::must_cast(number.to_le_bytes());
    }
}

/// Space for one tile of rows on their way to the rank and back.
pub(super) struct Space<'s> {
    /// `[tile, rank]`.
    pub(super) floats: &'s mut [f32],
    /// `[tile, rank]`, rows a multiple of 8.
    pub(super) int8: &'s mut [i8],
    /// `[tile]`.
    pub(super) scales: &'s mut [f32],
    /// What is added to each softmax weight of a row, `[tile]`.
    pub(super) rests: &'s mut [f32],
}

impl Space<'_> {
    /// Quantises the float rows, and multiplies each scale by `factor`.
    fn quantize(&mut self, kernels: &Kernels, rank: usize, factor: f32) -> RowsInt8<'_> {
        let stride = rank.next_multiple_of(PANEL);
        let slots = self.int8.chunks_exact_mut(stride.max(PANEL)).zip(self.scales.iter_mut());
        for ((slot, scale), row) in slots.zip(self.floats.chunks_exact(rank.max(1))) {
            *scale = (kernels.quantize_row)(slot, row, &[]) * factor;
        }
        RowsInt8 { values: self.int8, scales: self.scales, stride }
    }
}

impl Packed<'_> {
    /// Scores of some queries with every low-rank key of one head; `rows` is space for int8 queries.
    pub(super) fn score<'q>(
        &self,
        context: &Context<'_>,
        out: &mut MatrixMut<'_>,
        queries: impl Iterator<Item = &'q [f32]> + Clone,
        columns: &Range<usize>,
        (rows, space): (&mut [i8], &mut Space<'_>),
    ) {
        let (kernels, key) = (context.kernels, &self.low_rank.key);
        let (scale, stride) = (context.model.config().attention_scale, columns.len());
        let slots = rows.chunks_exact_mut(stride.max(PANEL)).zip(space.scales.iter_mut());
        for ((slot, scale), query) in slots.zip(queries.clone()) {
            *scale = (kernels.quantize_row)(slot, query, of_head(key.scales, columns));
        }
        let overwrite = Epilogue::overwrite(&[]);
        let lhs = RowsInt8 { values: rows, scales: space.scales, stride };
        let mut low = MatrixMut::new(space.floats, key.rank);
        (kernels.gemm_f32_qd8_qc8w)(&mut low, lhs, self.transposed(columns), &overwrite);
        let lhs = space.quantize(kernels, key.rank, scale);
        (kernels.gemm_f32_qd8_qc8w)(out, lhs, self.keys, &overwrite);
        let bias = of_head(key.bias, columns);
        if !bias.is_empty() {
            for (scores, query) in out.rows_from(0).zip(queries) {
                let constant = (kernels.dot)(query, bias) * scale;
                scores.iter_mut().for_each(|score| *score += constant);
            }
        }
    }

    /// Adds to `out`, `[tile, head]`, the values of one head mixed by weights: int8 in `weights`, each
    /// row times its scale in `space`.
    pub(super) fn mix(
        &self,
        context: &Context<'_>,
        out: &mut MatrixMut<'_>,
        (weights, stride): (&[i8], usize),
        columns: &Range<usize>,
        space: &mut Space<'_>,
    ) {
        let (kernels, value) = (context.kernels, &self.low_rank.value);
        let lhs = RowsInt8 { values: weights, scales: space.scales, stride };
        let mut low = MatrixMut::new(space.floats, value.rank);
        for (low, rest) in low.rows_from(0).zip(space.rests.iter()) {
            low.iter_mut().zip(self.sums).for_each(|(slot, sum)| *slot = rest * sum);
        }
        let add = Epilogue::overwrite(&[]).store(Store::Add { scale: &[] });
        (kernels.gemm_f32_qd8_qc8w)(&mut low, lhs, self.values, &add);
        let bias = of_head(value.bias, columns);
        if !bias.is_empty() {
            let scales = space.scales.iter().zip(space.rests.iter());
            let weights = weights.chunks(stride.max(1)).zip(scales);
            for (mixed, (weights, (scale, rest))) in out.rows_from(0).zip(weights) {
                let weights = weights.iter().take(self.low_rank.rows);
                let sum = weights.map(|weight| i32::from(*weight)).sum::<i32>() as f32 * scale;
                let sum = sum + rest * self.low_rank.rows as f32;
                mixed.iter_mut().zip(bias).for_each(|(slot, bias)| *slot += bias * sum);
            }
        }
        let lhs = space.quantize(kernels, value.rank, 1.0);
        (kernels.gemm_f32_qd8_qc8w)(out, lhs, value.panels(columns), &add);
    }
}
