//! The scalar kernels in the shape a compiler turns into vector code: eight lanes, panels, tiles of
//! rows. No intrinsics, so every instruction set's table can be these bodies, compiled for it.

use super::{
    Epilogue, HeadRows, Kernels, NormWeights, PANEL, Panels, PanelsInt8, RowsInt8, Store, activate,
    fold, math, scalar,
};
use crate::model::config::Activation;
use crate::tensor::{Matrix, MatrixMut};
use half::f16;

/// The table.
pub static KERNELS: Kernels = Kernels {
    name: "portable",
    gemm_f32_f32_f32w,
    gemm_f32_f32_f16w,
    gemm_f32_f32_qc8w,
    gemm_f32_qd8_qc8w,
    quantize_row,
    layer_norm,
    rms_norm,
    softmax,
    dot,
    attention_scores,
    attention_mix,
};

/// Rows whose sums are in registers together.
const TILE: usize = 4;
/// Values of the eight output channels of a panel.
type Lanes = [f32; PANEL];

/// f32 weights; see [`Kernels::gemm_f32_f32_f32w`].
pub fn gemm_f32_f32_f32w(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, f32>,
    epilogue: &Epilogue<'_>,
) {
    gemm_float(out, lhs, rhs, epilogue, |weights| *weights);
}

/// f16 weights; see [`Kernels::gemm_f32_f32_f16w`].
pub fn gemm_f32_f32_f16w(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, f16>,
    epilogue: &Epilogue<'_>,
) {
    gemm_float(out, lhs, rhs, epilogue, |weights| weights.map(widen));
}

#[inline(always)]
fn gemm_float<W: Copy>(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, W>,
    epilogue: &Epilogue<'_>,
    widen: impl Fn(&[W; PANEL]) -> Lanes + Copy,
) {
    let (steps, _) = rhs.values.as_chunks::<PANEL>();
    for (index, panel) in steps.chunks_exact(rhs.inputs.max(1)).enumerate() {
        for_row_tiles(
            lhs.rows(),
            |row| float_tile::<TILE, W>(lhs, row, panel, widen),
            |row| float_tile::<1, W>(lhs, row, panel, widen),
            |row, sums| store(out, row, index * PANEL, sums, epilogue),
        );
    }
}

/// Computes tiles of [`TILE`] rows, then single rows, and hands each row's sums on.
#[inline(always)]
fn for_row_tiles(
    rows: usize,
    tile: impl Fn(usize) -> [Lanes; TILE],
    single: impl Fn(usize) -> [Lanes; 1],
    mut finish: impl FnMut(usize, Lanes),
) {
    let tiled = rows / TILE * TILE;
    for first in (0..tiled).step_by(TILE) {
        for (offset, sums) in tile(first).into_iter().enumerate() {
            finish(first + offset, sums);
        }
    }
    for row in tiled..rows {
        let [sums] = single(row);
        finish(row, sums);
    }
}

/// Sums of `ROWS` rows from `first` with one panel.
#[inline(always)]
fn float_tile<const ROWS: usize, W>(
    lhs: Matrix<'_>,
    first: usize,
    panel: &[[W; PANEL]],
    widen: impl Fn(&[W; PANEL]) -> Lanes,
) -> [Lanes; ROWS] {
    let mut sums = [[0.0; PANEL]; ROWS];
    let rows: [&[f32]; ROWS] = core::array::from_fn(|row| lhs.row(first + row));
    let inputs = rows.iter().map(|row| row.len()).min().unwrap_or(0).min(panel.len());
    let rows = rows.map(|row| &row[..inputs]);
    for (index, weights) in panel[..inputs].iter().enumerate() {
        let weights = widen(weights);
        for (sum, row) in sums.iter_mut().zip(rows) {
            for (lane, weight) in sum.iter_mut().zip(weights) {
                *lane += row[index] * weight;
            }
        }
    }
    sums
}

/// int8 weights, f32 rows; see [`scalar::gemm_f32_f32_qc8w`].
pub fn gemm_f32_f32_qc8w(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    for (index, (panel, scales)) in int8_panels(rhs).enumerate() {
        for_row_tiles(
            lhs.rows(),
            |row| mixed_tile::<TILE>(lhs, row, panel),
            |row| mixed_tile::<1>(lhs, row, panel),
            |row, mut sums| {
                for (sum, scale) in sums.iter_mut().zip(scales) {
                    *sum *= scale;
                }
                store(out, row, index * PANEL, sums, epilogue);
            },
        );
    }
}

/// The panels with the scales of their channels.
fn int8_panels(
    rhs: PanelsInt8<'_>,
) -> impl Iterator<Item = (&[[[i8; PANEL]; PANEL]], &[f32; PANEL])> {
    let (channels, _) = rhs.values.as_chunks::<PANEL>();
    let (blocks, _) = channels.as_chunks::<PANEL>();
    let (scales, _) = rhs.scales.as_chunks::<PANEL>();
    blocks.chunks_exact(rhs.inputs.div_ceil(PANEL).max(1)).zip(scales)
}

#[inline(always)]
fn mixed_tile<const ROWS: usize>(
    lhs: Matrix<'_>,
    first: usize,
    panel: &[[[i8; PANEL]; PANEL]],
) -> [Lanes; ROWS] {
    let mut sums = [[0.0; PANEL]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let columns = transpose(block);
        for (row, sum) in sums.iter_mut().enumerate() {
            let inputs = lhs.row(first + row);
            let inputs = inputs.get(index * PANEL..).unwrap_or(&[]);
            for (x, weights) in inputs.iter().zip(columns) {
                for (lane, weight) in sum.iter_mut().zip(weights) {
                    *lane += x * weight;
                }
            }
        }
    }
    sums
}

/// A block as floats, input by input.
#[inline(always)]
fn transpose(block: &[[i8; PANEL]; PANEL]) -> [Lanes; PANEL] {
    core::array::from_fn(|input| core::array::from_fn(|channel| f32::from(block[channel][input])))
}

/// int8 weights, int8 rows; see [`scalar::gemm_f32_qd8_qc8w`].
pub fn gemm_f32_qd8_qc8w(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let (inputs, _) = lhs.values.as_chunks::<PANEL>();
    let blocks = lhs.stride / PANEL;
    for (index, (panel, scales)) in int8_panels(rhs).enumerate() {
        let rows = inputs.chunks_exact(blocks.max(1)).zip(lhs.scales).enumerate();
        for (row, (blocks, row_scale)) in rows {
            let sums = int8_row(blocks, panel);
            let values =
                core::array::from_fn(|lane| sums[lane] as f32 * (row_scale * scales[lane]));
            store(out, row, index * PANEL, values, epilogue);
        }
    }
}

/// Exact sums of one row with one panel.
#[inline(always)]
fn int8_row(row: &[[i8; PANEL]], panel: &[[[i8; PANEL]; PANEL]]) -> [i32; PANEL] {
    let mut sums = [0i32; PANEL];
    for (inputs, block) in row.iter().zip(panel) {
        for (sum, weights) in sums.iter_mut().zip(block) {
            // Two products at most 2 * 127 * 127 fit an i32 of any grouping; the order is free.
            let mut products = 0;
            for (x, weight) in inputs.iter().zip(weights) {
                products += i32::from(i16::from(*x) * i16::from(*weight));
            }
            *sum += products;
        }
    }
    sums
}

/// Finishes the eight values of a panel for one row.
#[inline(always)]
fn store(out: &mut MatrixMut<'_>, row: usize, column: usize, sums: Lanes, epilogue: &Epilogue<'_>) {
    let mut values = sums;
    for (value, bias) in values.iter_mut().zip(epilogue.bias.get(column..).unwrap_or(&[])) {
        *value += bias;
    }
    match epilogue.activation {
        None => {}
        Some(Activation::Relu) => values = values.map(|x| activate(Activation::Relu, x)),
        Some(Activation::GeluErf) => values = values.map(|x| activate(Activation::GeluErf, x)),
        Some(Activation::GeluTanh) => values = values.map(|x| activate(Activation::GeluTanh, x)),
    }
    let target = match epilogue.store {
        Store::Scatter(rows) => rows.get(row).map_or(usize::MAX, |target| *target as usize),
        _ => row,
    };
    let Some(slots) = out.row_mut(target).get_mut(column..) else { return };
    let slots = slots.iter_mut().zip(values);
    match epilogue.store {
        Store::Overwrite | Store::Scatter(_) => slots.for_each(|(slot, value)| *slot = value),
        Store::Add { scale: [] } => slots.for_each(|(slot, value)| *slot += value),
        Store::Add { scale } => {
            let scales = scale.get(column..).unwrap_or(&[]);
            slots.zip(scales).for_each(|((slot, value), scale)| *slot += scale * value);
        }
        Store::Multiply => slots.for_each(|(slot, value)| *slot *= value),
    }
}

/// f16 to f32, exact, without branches on the value so that it vectorises.
#[inline(always)]
fn widen(value: f16) -> f32 {
    let bits = u32::from(value.to_bits());
    let sign = (bits & 0x8000) << 16;
    let rest = (bits & 0x7fff) << 13;
    // Adding 112 to the exponent of a normal number; a subnormal one is the difference of two
    // normal floats; infinities and NaNs get the largest exponent.
    let normal = f32::from_bits(rest + (112 << 23));
    let subnormal = f32::from_bits(rest + (113 << 23)) - f32::from_bits(113 << 23);
    let special = f32::from_bits(rest | 0x7f80_0000);
    let magnitude = if rest < (1 << 23) {
        subnormal
    } else if rest < (31 << 23) {
        normal
    } else {
        special
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

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

/// Rounds |x| <= 127 to the nearest integer, ties to even: the low bits of `x + 1.5 * 2^23`.
#[inline(always)]
fn round_to_int8(x: f32) -> i8 {
    (x + 12_582_912.0).to_bits() as i8
}

/// See [`scalar::quantize_row`].
pub fn quantize_row(out: &mut [i8], row: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<8>();
    let mut lanes = [0u32; 8];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = (*lane).max(x.abs().to_bits());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = (*lane).max(x.abs().to_bits());
    }
    let largest = f32::from_bits(lanes.into_iter().fold(0, u32::max));
    let Some(inverse) = scalar::inverse_scale(largest) else {
        out.fill(0);
        return 0.0;
    };
    let (values, padding) = out.split_at_mut(row.len().min(out.len()));
    for (slot, x) in values.iter_mut().zip(row) {
        *slot = round_to_int8(x * inverse);
    }
    padding.fill(0);
    largest / 127.0
}

/// See [`scalar::layer_norm`].
pub fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    if weights.weight.len() != row.len() || weights.bias.len() != row.len() {
        return scalar::layer_norm(out, row, weights);
    }
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / math::sqrt(variance + weights.eps);
    let columns = row.iter().zip(weights.weight).zip(weights.bias);
    for (slot, ((x, weight), bias)) in out.iter_mut().zip(columns) {
        *slot = (x - mean) * inverse * weight + bias;
    }
}

/// See [`scalar::rms_norm`].
pub fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    let mean_square = sum(row, |x| x * x) / row.len() as f32;
    let inverse = 1.0 / math::sqrt(mean_square + weights.eps);
    for (slot, (x, weight)) in out.iter_mut().zip(row.iter().zip(weights.weight)) {
        *slot = x * inverse * weight;
    }
}

/// See [`scalar::softmax`].
pub fn softmax(row: &mut [f32]) {
    let (blocks, rest) = row.as_chunks::<8>();
    let mut lanes = [f32::NEG_INFINITY; 8];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = if *x > *lane { *x } else { *lane };
    }
    let largest = lanes.into_iter().fold(f32::NEG_INFINITY, |a, x| if x > a { x } else { a });
    for x in row.iter_mut() {
        *x = math::exp(*x - largest);
    }
    let inverse = 1.0 / sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= inverse;
    }
}

/// See [`scalar::attention_scores`].
pub fn attention_scores(scores: &mut [f32], query: &[f32], keys: HeadRows<'_>, scale: f32) {
    for (score, key) in scores.iter_mut().zip(keys.iter(query.len())) {
        *score = dot(query, key) * scale;
    }
}

/// See [`scalar::attention_mix`].
pub fn attention_mix(out: &mut [f32], weights: &[f32], values: HeadRows<'_>) {
    let width = out.len();
    let (blocks, rest) = out.as_chunks_mut::<8>();
    for (index, block) in blocks.iter_mut().enumerate() {
        let columns = HeadRows { start: values.start + index * 8, ..values };
        let mut sums = [0.0; 8];
        for (weight, value) in weights.iter().zip(columns.iter(8)) {
            for (sum, x) in sums.iter_mut().zip(value) {
                *sum += weight * x;
            }
        }
        *block = sums;
    }
    let columns = HeadRows { start: values.start + width / 8 * 8, ..values };
    scalar::attention_mix(rest, weights, columns);
}
