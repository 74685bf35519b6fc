//! The kernels for cores with little flash and no float vectors: one body for every number of rows,
//! one epilogue for all of them, and inner loops that are written out, so that the compiler may be
//! told to optimise for size. No intrinsics: `dsp` and `mve` bring their own int8 products and take
//! the rest from here.
//!
//! ```text
//! for each panel, for each two rows (int4: for each 32 rows, for each group of 32 inputs):
//!     sums = rows * panel                  // RowSums: plain code, or the assembly of dsp and mve
//!     out = epilogue(sums * (row scale * channel scale))
//! ```

use super::portable::{self, Block, FloatWeight, GROUP_BLOCKS, Lanes};
use super::{
    Epilogue, Kernels, NormWeights, PANEL, Panels, PanelsInt4, PanelsInt8, Precision, ROW_TILE,
    RowsInt8, Store, WEIGHT_STEPS, WeightScale, activate, fold, math, scalar,
};
use crate::panel::INT4_GROUP;
use crate::tensor::{Matrix, MatrixMut};
use half::f16;

/// The table.
pub static KERNELS: Kernels = Kernels {
    name: "compact",
    gemm_f32_f32_f32w: if cfg!(feature = "float") { gemm_float::<f32> } else { |_, _, _, _| {} },
    gemm_f32_f32_f16w: gemm_float::<f16>,
    gemm_f32_qd8_qc8w: gemm_int8::<CompactSums>,
    gemm_f32_qd8_qc4w: if cfg!(feature = "int4") {
        gemm_int4::<CompactSums>
    } else {
        |_, _, _, _| {}
    },
    quantize_row,
    layer_norm,
    layer_norm_rows: None,
    rms_norm,
    softmax: if cfg!(feature = "float") { softmax } else { |_| {} },
    softmax_int8,
    pack_rows,
    pack_columns,
    add_f16,
    add_int8: scalar::add_int8,
    dot,
};

/// The same statement for 0 to 7.
macro_rules! eight {
    (|$i:ident| $body:expr) => {
        eight!(@ $i, $body, 0, 1, 2, 3, 4, 5, 6, 7)
    };
    (@ $i:ident, $body:expr, $($number:literal),*) => {{
        $({ const $i: usize = $number; $body; })*
    }};
}

/// Float weights, row by row; see [`Kernels::gemm_f32_f32_f32w`].
fn gemm_float<W: FloatWeight>(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, W>,
    epilogue: &Epilogue<'_>,
) {
    let (steps, _) = rhs.values.as_chunks::<PANEL>();
    for (index, panel) in steps.chunks_exact(rhs.inputs.max(1)).enumerate() {
        for row in 0..lhs.rows() {
            let mut sums = [0.0; PANEL];
            for (x, weights) in lhs.row(row).iter().zip(panel) {
                let weights = W::widen_all(weights);
                eight!(|I| sums[I] += x * weights[I]);
            }
            store(out, row, index * PANEL, &mut sums, epilogue, Precision::F32);
        }
    }
}

/// What an instruction set brings to the compact int8 GEMM: exact sums with the 8 channels of a panel.
/// A row has a block of 8 values for each block of the panel.
pub(super) trait RowSums {
    /// Sums of one row.
    fn one(row: &[[i8; PANEL]], panel: &[Block], sums: &mut [i32; PANEL]);

    /// Sums of two rows.
    #[inline(always)]
    fn two(rows: [&[[i8; PANEL]]; 2], panel: &[Block], sums: &mut [[i32; PANEL]; 2]) {
        for (row, sums) in rows.iter().zip(sums) {
            Self::one(row, panel, sums);
        }
    }
}

/// int8 weights, int8 rows, two rows at a time; see [`scalar::gemm_f32_qd8_qc8w`].
pub(super) fn gemm_int8<S: RowSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let (rows, _) = lhs.values.as_chunks::<PANEL>();
    let stride = (lhs.stride / PANEL).max(1);
    let mut sums = [[0; PANEL]; 2];
    for (index, (panel, scales)) in portable::int8_panels(rhs).enumerate() {
        let pairs = rows.chunks(2 * stride).zip(lhs.scales.chunks(2));
        for (pair, (rows, row_scales)) in pairs.enumerate() {
            let own = |row: usize| rows.get(row * stride..row * stride + panel.len());
            match (own(0), own(1).filter(|_| row_scales.len() > 1)) {
                (Some(first), None) => S::one(first, panel, &mut sums[0]),
                (Some(first), Some(second)) => S::two([first, second], panel, &mut sums),
                (None, _) => return,
            }
            for ((row, row_scale), sums) in row_scales.iter().enumerate().zip(&sums) {
                let mut values = [0.0; PANEL];
                eight!(|I| values[I] = sums[I] as f32 * (row_scale * scales[I]));
                store(out, 2 * pair + row, index * PANEL, &mut values, epilogue, Precision::Int8);
            }
        }
    }
}

/// int4 weights, int8 rows; see [`scalar::gemm_f32_qd8_qc4w`]. A group is widened to int8 once for
/// [`ROW_TILE`] rows.
pub(super) fn gemm_int4<S: RowSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    let (rows, _) = lhs.values.as_chunks::<PANEL>();
    let (stride, blocks) = ((lhs.stride / PANEL).max(1), rhs.inputs.div_ceil(PANEL));
    let panels = rhs.groups.chunks_exact(rhs.inputs.div_ceil(INT4_GROUP).max(1));
    for (index, panel) in panels.enumerate() {
        for (tile, row_scales) in lhs.scales.chunks(ROW_TILE).enumerate() {
            let first = tile * ROW_TILE;
            let rows = rows.get(first * stride..).unwrap_or(&[]);
            let mut sums = [[0.0; PANEL]; ROW_TILE];
            for (number, group) in panel.iter().enumerate() {
                let (weights, scales) =
                    (portable::widen_group(group), portable::group_scales(group));
                let start = number * GROUP_BLOCKS;
                let weights = weights.get(..GROUP_BLOCKS.min(blocks.saturating_sub(start)));
                let weights = weights.unwrap_or(&[]);
                let of_rows = rows.chunks(stride).zip(&mut sums[..row_scales.len()]);
                for (row, sums) in of_rows {
                    let mut found = [0; PANEL];
                    S::one(row.get(start..).unwrap_or(&[]), weights, &mut found);
                    eight!(|I| sums[I] += found[I] as f32 * scales[I]);
                }
            }
            for (row, (sums, row_scale)) in sums.iter_mut().zip(row_scales).enumerate() {
                eight!(|I| sums[I] *= row_scale);
                store(out, first + row, index * PANEL, sums, epilogue, Precision::Int8);
            }
        }
    }
}

/// int8 products by plain code.
struct CompactSums;

impl RowSums for CompactSums {
    fn one(row: &[[i8; PANEL]], panel: &[Block], sums: &mut [i32; PANEL]) {
        *sums = [0; PANEL];
        for (inputs, block) in row.iter().zip(panel) {
            let mut wide = [0; PANEL];
            eight!(|I| wide[I] = i32::from(inputs[I]));
            for (sum, weights) in sums.iter_mut().zip(block) {
                eight!(|I| *sum += wide[I] * i32::from(weights[I]));
            }
        }
    }
}

/// Applies the epilogue to the values of a row and panel, and stores them.
#[inline(never)]
fn store(
    out: &mut MatrixMut<'_>,
    row: usize,
    column: usize,
    values: &mut Lanes,
    epilogue: &Epilogue<'_>,
    precision: Precision,
) {
    let bias = epilogue.bias.get(column..).unwrap_or(&[]);
    match bias.first_chunk::<PANEL>() {
        Some(bias) => eight!(|I| values[I] += bias[I]),
        None => values.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias),
    }
    if let Some(activation) = epilogue.activation {
        values.iter_mut().for_each(|value| *value = activate(activation, precision, *value));
    }
    if let Store::Add { scale } = epilogue.store {
        let scale = scale.get(column..).unwrap_or(&[]);
        values.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
    }
    let slots = out.row_mut(row).get_mut(column..).unwrap_or_default();
    match (slots.first_chunk_mut::<PANEL>(), epilogue.store) {
        (Some(slots), Store::Overwrite) => eight!(|I| slots[I] = values[I]),
        (Some(slots), Store::Add { .. }) => eight!(|I| slots[I] += values[I]),
        _ => store_tail(slots, values, epilogue.store),
    }
}

/// Stores fewer than eight values, or in the rarer ways.
#[inline(never)]
fn store_tail(slots: &mut [f32], values: &Lanes, store: Store<'_>) {
    let slots = slots.iter_mut().zip(values);
    match store {
        Store::Overwrite => slots.for_each(|(slot, value)| *slot = *value),
        Store::Add { .. } => slots.for_each(|(slot, value)| *slot += *value),
        Store::Multiply => slots.for_each(|(slot, value)| *slot *= *value),
    }
}

/// The largest magnitude, as bits: they order as magnitudes do, NaN above all.
#[inline(never)]
fn largest_magnitude(row: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<PANEL>();
    let mut largest = 0;
    for block in blocks {
        eight!(|I| largest = largest.max(block[I].abs().to_bits()));
    }
    f32::from_bits(rest.iter().fold(largest, |largest, x| largest.max(x.abs().to_bits())))
}

/// The value with the larger magnitude, NaN above all.
fn larger_magnitude(x: f32, y: f32) -> f32 {
    f32::from_bits(x.abs().to_bits().max(y.abs().to_bits()))
}

/// The scale of a row and its inverse, which is 0 where the row must become zeros.
fn scale_of(largest: f32) -> (f32, f32) {
    let of_zeros = (scalar::scale_of_zeros(largest), 0.0);
    scalar::inverse_scale(largest).map_or(of_zeros, |inverse| (largest / 127.0, inverse))
}

/// Adding it rounds to an integer in the low bits, ties to even, as [`math::round_ties_even`] does.
const ROUNDER: f32 = 12_582_912.0;

/// Quantises the first values of a row.
#[inline(never)]
fn quantize_block(out: &mut [i8; PANEL], row: &[f32], inverse: f32) {
    let round = |x: f32| (x * inverse + ROUNDER).to_bits() as i8;
    match row.first_chunk::<PANEL>() {
        // Without a scale a value may be NaN.
        _ if inverse == 0.0 => *out = [0; PANEL],
        Some(row) => eight!(|I| out[I] = round(row[I])),
        None => {
            *out = [0; PANEL];
            out.iter_mut().zip(row).for_each(|(slot, x)| *slot = round(*x));
        }
    }
}

/// Values from `start` on times their factors, zeros after the last; a missing factor is one.
#[inline(never)]
fn factored(row: &[f32], factors: &[f32], start: usize) -> Lanes {
    let mut values = [0.0; PANEL];
    let from = |values| <[f32]>::get(values, start..).unwrap_or(&[]);
    let (row, factors) = (from(row), from(factors));
    match (row.first_chunk::<PANEL>(), factors.first_chunk::<PANEL>()) {
        (Some(row), Some(factors)) => eight!(|I| values[I] = row[I] * factors[I]),
        _ => {
            values.iter_mut().zip(row).for_each(|(slot, x)| *slot = *x);
            values.iter_mut().zip(factors).for_each(|(slot, factor)| *slot *= factor);
        }
    }
    values
}

/// See [`scalar::quantize_row`].
pub fn quantize_row(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    let largest = if factors.is_empty() {
        largest_magnitude(row)
    } else {
        let blocks = (0..row.len()).step_by(PANEL);
        largest_magnitude(&blocks.fold([0.0; PANEL], |largest, start| {
            let mut values = factored(row, factors, start);
            eight!(|I| values[I] = larger_magnitude(values[I], largest[I]));
            values
        }))
    };
    let (scale, inverse) = scale_of(largest);
    let quantize = |slots: &mut [i8; PANEL], start: usize| match row.get(start..) {
        Some(row) if factors.is_empty() => quantize_block(slots, row, inverse),
        _ => quantize_block(slots, &factored(row, factors, start), inverse),
    };
    let (blocks, rest) = out.as_chunks_mut::<PANEL>();
    let start = blocks.len() * PANEL;
    blocks.iter_mut().enumerate().for_each(|(index, slots)| quantize(slots, index * PANEL));
    if !rest.is_empty() {
        let mut found = [0; PANEL];
        quantize(&mut found, start);
        rest.iter_mut().zip(found).for_each(|(slot, x)| *slot = x);
    }
    scale
}

/// See [`scalar::pack_rows`].
pub fn pack_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    scales.fill(0.0);
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.columns().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        for (lane, scale) in scales.iter_mut().enumerate() {
            let row = rows.row(index * PANEL + lane);
            let (found, inverse) = scale_of(largest_magnitude(row));
            *scale = found;
            for (number, block) in panel.iter_mut().enumerate() {
                let row = row.get(number * PANEL..).unwrap_or(&[]);
                quantize_block(&mut block[lane], row, inverse);
            }
        }
    }
}

/// See [`scalar::pack_columns`].
pub fn pack_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    scales.fill(0.0);
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.rows().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let part = |row: usize| rows.row(row).get(index * PANEL..).unwrap_or(&[]);
        let mut lanes = [0; PANEL];
        for row in 0..rows.rows() {
            raise(&mut lanes, part(row));
        }
        let mut inverses = [0.0; PANEL];
        for ((scale, inverse), lane) in scales.iter_mut().zip(&mut inverses).zip(lanes) {
            (*scale, *inverse) = scale_of(f32::from_bits(lane));
        }
        // Without a scale a value may be NaN.
        let all_scaled = inverses.iter().all(|inverse| *inverse != 0.0);
        for (number, block) in panel.iter_mut().enumerate() {
            *block = [[0; PANEL]; PANEL];
            for input in 0..PANEL {
                let values = part(number * PANEL + input);
                quantize_lanes(block, input, values, &inverses, all_scaled);
            }
        }
    }
}

/// Quantises an input of eight channels.
#[inline(always)]
fn quantize_lanes(
    block: &mut Block,
    input: usize,
    values: &[f32],
    inverses: &Lanes,
    all_scaled: bool,
) {
    let round = |x: f32, inverse: f32| (x * inverse + ROUNDER).to_bits() as i8;
    match values.first_chunk::<PANEL>() {
        Some(x) if all_scaled => eight!(|I| block[I][input] = round(x[I], inverses[I])),
        _ => {
            for (line, (x, inverse)) in block.iter_mut().zip(values.iter().zip(inverses)) {
                if *inverse != 0.0 {
                    line[input] = round(*x, *inverse);
                }
            }
        }
    }
}

/// Raises each lane to the magnitude of its value, as bits.
fn raise(lanes: &mut [u32; PANEL], values: &[f32]) {
    match values.first_chunk::<PANEL>() {
        Some(values) => eight!(|I| lanes[I] = lanes[I].max(values[I].abs().to_bits())),
        None => {
            let lanes = lanes.iter_mut().zip(values);
            lanes.for_each(|(lane, x)| *lane = (*lane).max(x.abs().to_bits()));
        }
    }
}

/// The largest value of a row; NaN counts for nothing.
#[inline(never)]
fn largest_value(row: &[f32]) -> f32 {
    row.iter().fold(f32::NEG_INFINITY, |largest, x| if *x > largest { *x } else { largest })
}

/// See [`scalar::softmax_int8`].
pub fn softmax_int8(out: &mut [i8], row: &[f32]) -> WeightScale {
    let largest = largest_value(row);
    let (values, padding) = out.split_at_mut(row.len().min(out.len()));
    padding.fill(0);
    let (mut fine, mut coarse) = (0i32, 0i32);
    for (slot, x) in values.iter_mut().zip(row) {
        let shifted = WEIGHT_STEPS * math::exp_8bit(*x - largest) + ROUNDER;
        let weight = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
        let rounded = (weight + 64) >> 7;
        *slot = rounded as i8;
        fine += weight;
        coarse += rounded;
    }
    WeightScale::new(fine, coarse, row.len())
}

/// See [`scalar::softmax`].
pub fn softmax(row: &mut [f32]) {
    let largest = largest_value(row);
    row.iter_mut().for_each(|x| *x = math::exp(*x - largest));
    let inverse = 1.0 / sum(row);
    row.iter_mut().for_each(|x| *x *= inverse);
}

/// Sum of a row in eight partial sums.
#[inline(never)]
fn sum(row: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<PANEL>();
    let mut lanes = [0.0; PANEL];
    for block in blocks {
        eight!(|I| lanes[I] += block[I]);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += *x);
    fold(lanes)
}

/// Sum of the squares of `x - center` in eight partial sums.
#[inline(never)]
fn sum_of_squares(row: &[f32], center: f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<PANEL>();
    let mut lanes = [0.0; PANEL];
    for block in blocks {
        eight!(|I| lanes[I] += (block[I] - center) * (block[I] - center));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += (x - center) * (x - center));
    fold(lanes)
}

/// See [`scalar::layer_norm`].
pub fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    let count = row.len() as f32;
    let mean = sum(row) / count;
    let variance = sum_of_squares(row, mean) / count;
    let inverse = 1.0 / math::sqrt(variance + weights.eps);
    if weights.weight.len() != row.len() || weights.bias.len() != row.len() {
        return scalar::layer_norm(out, row, weights);
    }
    let columns = row.iter().zip(weights.weight).zip(weights.bias);
    for (slot, ((x, weight), bias)) in out.iter_mut().zip(columns) {
        *slot = (x - mean) * inverse * weight + bias;
    }
}

/// See [`scalar::rms_norm`].
pub fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    let mean_square = sum_of_squares(row, 0.0) / row.len() as f32;
    let inverse = 1.0 / math::sqrt(mean_square + weights.eps);
    for (slot, (x, weight)) in out.iter_mut().zip(row.iter().zip(weights.weight)) {
        *slot = x * inverse * weight;
    }
}

/// See [`scalar::add_f16`].
pub fn add_f16(out: &mut [f32], row: &[f16]) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += x.widen());
}

/// See [`scalar::dot`].
#[must_use]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) =
        (left.as_chunks::<PANEL>(), right.as_chunks::<PANEL>());
    let mut lanes = [0.0; PANEL];
    for (a, b) in left.iter().zip(right) {
        eight!(|I| lanes[I] += a[I] * b[I]);
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(left_rest.iter().zip(right_rest)) {
        *lane += a * b;
    }
    fold(lanes)
}
