//! Passes over rows: norms, softmax, quantisation, embeddings.
//!
//! Softmax to int8, whose weights add up to 1, and panels of the rows (columns) of a matrix:
//!
//! ```text
//! for each x of a row:
//!     w = round(127 * 128 * exp(x - largest)); q = round(w / 128)
//!     fine += w; coarse += q
//! scale = 128 / fine; offset = (fine - 128 coarse) / (count fine)
//!
//! for each eight rows (columns):
//!     scale of each = its largest magnitude / 127
//!     for each eight columns (rows): block = round(the 8 x 8 values / scale)
//! ```
//!
//! Rounding is adding [`ROUNDER`].

use super::Lanes;
use super::gemm::{padded, widen};
use crate::kernels::{NormWeights, PANEL, WEIGHT_STEPS, WeightScale, fold, math, scalar};
use crate::tensor::Matrix;
use half::f16;

/// Sum of `term(x)` in eight partial sums.
#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += term(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += term(*x);
    }
    fold(lanes)
}

/// Dot product of two rows of one length; see [`scalar::dot`].
#[must_use]
#[inline(always)]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in left.iter().zip(right) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(left_rest.iter().zip(right_rest)) {
        *lane += a * b;
    }
    fold(lanes)
}

/// 1.5 * 2^23: added to a small number, it leaves the nearest integer in the low bits, ties to even.
pub(in crate::kernels) const ROUNDER: f32 = 12_582_912.0;
/// Values that a row of independent sums takes at a time.
const WIDE: usize = 16;

/// See [`scalar::add_f16`].
#[inline(always)]
pub fn add_f16(out: &mut [f32], row: &[f16]) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += widen(*x));
}

/// See [`scalar::add_int8`].
#[inline(always)]
pub fn add_int8(out: &mut [f32], row: &[i8], scale: f32) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += f32::from(*x) * scale);
}

/// Rounds |x| <= 127 to the nearest integer, ties to even.
#[inline(always)]
fn round_to_int8(x: f32) -> i8 {
    (x + ROUNDER).to_bits() as i8
}

/// The largest magnitude of some values. Magnitudes order as their bits do, NaN above all.
#[inline(always)]
fn largest_magnitude(values: impl Iterator<Item = f32>) -> f32 {
    let mut largest = 0;
    for x in values {
        largest = x.abs().to_bits().max(largest);
    }
    f32::from_bits(largest)
}

/// The scale of values of a largest magnitude, and what they are multiplied with: 0 where they become
/// zeros.
#[inline(always)]
fn scale_and_inverse(largest: f32) -> (f32, f32) {
    match scalar::inverse_scale(largest) {
        Some(inverse) => (largest / 127.0, inverse),
        None => (scalar::scale_of_zeros(largest), 0.0),
    }
}

/// What the channels of a panel are multiplied with, and which bits of the result count: none where a
/// channel has no scale, as a value may be NaN there. Replaces largest magnitudes by scales.
#[inline(always)]
fn inverses_and_masks(scales: &mut Lanes) -> (Lanes, [u32; PANEL]) {
    let (mut inverses, mut masks) = ([0.0; PANEL], [0; PANEL]);
    for ((scale, inverse), mask) in scales.iter_mut().zip(&mut inverses).zip(&mut masks) {
        (*scale, *inverse) = scale_and_inverse(*scale);
        *mask = if *inverse == 0.0 { 0 } else { 0xff };
    }
    (inverses, masks)
}

/// Values `8 block` to `8 block + 8` of a row, with zeros after its end.
#[inline(always)]
fn lanes_of(row: &[f32], block: usize) -> Lanes {
    let [lanes] = padded::<1>(row.get(block * PANEL..).unwrap_or(&[]));
    lanes
}

/// See [`scalar::pack_rows`].
#[inline(always)]
pub fn pack_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.columns().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let mut channels: [&[f32]; PANEL] = [&[]; PANEL];
        for (lane, (channel, scale)) in channels.iter_mut().zip(scales.iter_mut()).enumerate() {
            *channel = rows.row(index * PANEL + lane);
            let mut lanes = [0u32; PANEL];
            for block in 0..panel.len() {
                for (lane, x) in lanes.iter_mut().zip(lanes_of(channel, block)) {
                    *lane = (*lane).max(x.abs().to_bits());
                }
            }
            *scale = f32::from_bits(lanes.into_iter().fold(0, u32::max));
        }
        let (inverses, masks) = inverses_and_masks(scales);
        for (number, block) in panel.iter_mut().enumerate() {
            for (lane, line) in block.iter_mut().enumerate() {
                let values = lanes_of(channels[lane], number);
                for (slot, x) in line.iter_mut().zip(values) {
                    *slot = ((x * inverses[lane] + ROUNDER).to_bits() & masks[lane]) as i8;
                }
            }
        }
    }
}

/// See [`scalar::pack_columns`].
#[inline(always)]
pub fn pack_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    // First the largest magnitude of each column.
    scales.fill(0.0);
    for row in rows.iter() {
        for (largest, x) in scales.iter_mut().zip(row) {
            *largest = f32::from_bits(largest.to_bits().max(x.abs().to_bits()));
        }
    }
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.rows().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let (inverses, masks) = inverses_and_masks(scales);
        for (number, block) in panel.iter_mut().enumerate() {
            let mut halves = [[0u32; PANEL]; 2];
            for (half, word) in halves.iter_mut().enumerate() {
                for byte in 0..PANEL / 2 {
                    let row = rows.row(number * PANEL + half * PANEL / 2 + byte);
                    let values = lanes_of(row, index);
                    for (column, word) in word.iter_mut().enumerate() {
                        let shifted = values[column] * inverses[column] + ROUNDER;
                        *word |= (shifted.to_bits() & masks[column]) << (8 * byte);
                    }
                }
            }
            for (column, line) in block.iter_mut().enumerate() {
                let values = u64::from(halves[0][column]) | u64::from(halves[1][column]) << 32;
                *line = bytemuck::must_cast(values.to_le_bytes());
            }
        }
    }
}

/// See [`scalar::quantize_row`].
#[inline(always)]
pub fn quantize_row(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    if factors.is_empty() {
        quantize(out, row.iter().copied())
    } else if factors.len() == row.len() {
        quantize(out, row.iter().zip(factors).map(|(x, factor)| x * factor))
    } else {
        scalar::quantize_row(out, row, factors)
    }
}

/// Quantises some values; zeros after them.
#[inline(always)]
fn quantize(out: &mut [i8], values: impl ExactSizeIterator<Item = f32> + Clone) -> f32 {
    let (scale, inverse) = scale_and_inverse(largest_magnitude(values.clone()));
    let (slots, padding) = out.split_at_mut(values.len().min(out.len()));
    // Few rows have padding, and a call takes the time of many values.
    if !padding.is_empty() {
        padding.fill(0);
    }
    if inverse == 0.0 {
        slots.fill(0);
    } else {
        slots.iter_mut().zip(values).for_each(|(slot, x)| *slot = round_to_int8(x * inverse));
    }
    scale
}

/// See [`scalar::layer_norm`].
#[inline(always)]
pub fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    layer_norm_by(math::sqrt, out, row, weights);
}

/// The same by a table's own square root.
#[inline(always)]
pub(in crate::kernels) fn layer_norm_by(
    sqrt: impl Fn(f32) -> f32,
    out: &mut [f32],
    row: &[f32],
    weights: NormWeights<'_>,
) {
    if weights.weight.len() != row.len() || weights.bias.len() != row.len() {
        return scalar::layer_norm(out, row, weights);
    }
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / sqrt(variance + weights.eps);
    let columns = row.iter().zip(weights.weight).zip(weights.bias);
    for (slot, ((x, weight), bias)) in out.iter_mut().zip(columns) {
        *slot = (x - mean) * inverse * weight + bias;
    }
}

/// See [`scalar::rms_norm`].
#[inline(always)]
pub fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    rms_norm_by(math::sqrt, out, row, weights);
}

/// The same by a table's own square root.
#[inline(always)]
pub(in crate::kernels) fn rms_norm_by(
    sqrt: impl Fn(f32) -> f32,
    out: &mut [f32],
    row: &[f32],
    weights: NormWeights<'_>,
) {
    let mean_square = sum(row, |x| x * x) / row.len() as f32;
    let inverse = 1.0 / sqrt(mean_square + weights.eps);
    for (slot, (x, weight)) in out.iter_mut().zip(row.iter().zip(weights.weight)) {
        *slot = x * inverse * weight;
    }
}

/// The largest value of a row; NaN counts for nothing.
#[inline(always)]
fn largest_value(row: &[f32]) -> f32 {
    let larger = |a: f32, x: f32| if x > a { x } else { a };
    let (blocks, rest) = row.as_chunks::<PANEL>();
    let mut lanes = [f32::NEG_INFINITY; PANEL];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = larger(*lane, *x));
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// See [`scalar::softmax_int8`].
#[inline(always)]
pub fn softmax_int8(out: &mut [i8], row: &[f32]) -> WeightScale {
    let largest = largest_value(row);
    let (values, padding) = out.split_at_mut(row.len().min(out.len()));
    padding.fill(0);
    let weigh = |slots: &mut [i8], row: &[f32], sums: &mut [[i32; WIDE]; 2]| {
        let [fine, coarse] = sums;
        for ((slot, x), (fine, coarse)) in
            slots.iter_mut().zip(row).zip(fine.iter_mut().zip(coarse))
        {
            let shifted = WEIGHT_STEPS * math::exp_8bit(*x - largest) + ROUNDER;
            let weight = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
            let rounded = (weight + 64) >> 7;
            *slot = rounded as i8;
            *fine += weight;
            *coarse += rounded;
        }
    };
    let mut sums = [[0; WIDE]; 2];
    let (blocks, rest) = values.as_chunks_mut::<WIDE>();
    let (inputs, rest_inputs) = row.as_chunks::<WIDE>();
    for (slots, row) in blocks.iter_mut().zip(inputs) {
        weigh(slots, row, &mut sums);
    }
    weigh(rest, rest_inputs, &mut sums);
    let [fine, coarse] = sums.map(|sums| sums.into_iter().sum::<i32>());
    WeightScale::new(fine, coarse, row.len())
}

/// See [`scalar::softmax`].
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let largest = largest_value(row);
    for x in row.iter_mut() {
        *x = math::exp(*x - largest);
    }
    let inverse = 1.0 / sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= inverse;
    }
}
