//! The specification: plain loops, one element after the other. Every other table gives these bits.

use super::{
    Epilogue, Int4Group, Kernels, NormWeights, PANEL, Panels, PanelsInt4, PanelsInt8, Precision,
    RowsInt8, Store, WEIGHT_STEPS, WeightScale, activate, fold, math,
};
use crate::panel::INT4_GROUP;
use crate::tensor::{Matrix, MatrixMut};
use half::f16;

/// The table.
pub static KERNELS: Kernels = Kernels {
    name: "scalar",
    gemm_f32_f32_f32w,
    gemm_f32_f32_f16w,
    gemm_f32_qd8_qc8w,
    gemm_f32_qd8_qc4w,
    quantize_row,
    layer_norm,
    layer_norm_rows: None,
    rms_norm,
    softmax,
    softmax_int8,
    pack_rows,
    pack_columns,
    add_f16,
    add_int8,
    dot,
};

/// f32 weights; see [`Kernels::gemm_f32_f32_f32w`].
pub fn gemm_f32_f32_f32w(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, f32>,
    epilogue: &Epilogue<'_>,
) {
    gemm_float(out, lhs, rhs, epilogue, |weight| weight);
}

/// f16 weights; see [`Kernels::gemm_f32_f32_f16w`].
pub fn gemm_f32_f32_f16w(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, f16>,
    epilogue: &Epilogue<'_>,
) {
    gemm_float(out, lhs, rhs, epilogue, f16::to_f32_const);
}

fn gemm_float<W: Copy>(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, W>,
    epilogue: &Epilogue<'_>,
    widen: impl Fn(W) -> f32,
) {
    for row in 0..lhs.rows() {
        let inputs = lhs.row(row);
        for column in 0..rhs.outputs {
            let panel = column / PANEL * rhs.inputs * PANEL;
            let mut sum = 0.0;
            for (index, x) in inputs.iter().enumerate() {
                let at = panel + index * PANEL + column % PANEL;
                sum += x * rhs.values.get(at).map_or(0.0, |weight| widen(*weight));
            }
            store(out, row, column, sum, epilogue, Precision::F32);
        }
    }
}

/// int8 weights, int8 rows: exact i32 sums, then one scale.
pub fn gemm_f32_qd8_qc8w(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    for (row, row_scale) in lhs.scales.iter().enumerate() {
        let start = row * lhs.stride;
        let inputs = lhs.values.get(start..start + rhs.inputs).unwrap_or(&[]);
        for column in 0..rhs.outputs {
            let mut sum = 0i32;
            for (index, x) in inputs.iter().enumerate().take(rhs.inputs) {
                sum += i32::from(*x) * i32::from(weight_at(&rhs, column, index));
            }
            let scale = rhs.scales.get(column).copied().unwrap_or(0.0);
            store(out, row, column, sum as f32 * (row_scale * scale), epilogue, Precision::Int8);
        }
    }
}

/// int4 weights, int8 rows: an exact i32 sum for each group, scaled and summed in order.
pub fn gemm_f32_qd8_qc4w(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    for (row, row_scale) in lhs.scales.iter().enumerate() {
        let start = row * lhs.stride;
        let inputs = lhs.values.get(start..start + rhs.inputs).unwrap_or(&[]);
        for column in 0..rhs.outputs {
            let mut sum = 0.0;
            for (number, inputs) in inputs.chunks(INT4_GROUP).enumerate() {
                let group = group_at(&rhs, column, number * INT4_GROUP);
                let products = inputs.iter().enumerate();
                let products = products
                    .map(|(index, x)| i32::from(*x) * i32::from(int4_at(group, column, index)));
                sum += products.sum::<i32>() as f32 * scale_at(group, column);
            }
            store(out, row, column, sum * row_scale, epilogue, Precision::Int8);
        }
    }
}

/// The group of output `column` and input `index`.
fn group_at<'a>(rhs: &PanelsInt4<'a>, column: usize, index: usize) -> Option<&'a Int4Group> {
    rhs.groups.get(column / PANEL * rhs.inputs.div_ceil(INT4_GROUP) + index / INT4_GROUP)
}

/// The scale of a channel in a group.
fn scale_at(group: Option<&Int4Group>, column: usize) -> f32 {
    let at = column % PANEL * 2;
    group.map_or(0.0, |group| f16::from_le_bytes([group[at], group[at + 1]]).to_f32_const())
}

/// The weight of a channel and input in a group.
fn int4_at(group: Option<&Int4Group>, column: usize, index: usize) -> i8 {
    let (block, lane) = (index % INT4_GROUP / PANEL, index % PANEL);
    let at = PANEL * 2 + block / 2 * PANEL * PANEL + column % PANEL * PANEL + lane;
    let byte = group.and_then(|group| group.get(at)).copied().unwrap_or(0);
    let low = if block.is_multiple_of(2) { byte << 4 } else { byte };
    low as i8 >> 4
}

/// The weight of output `column` and input `index` in `Panel8x8`.
fn weight_at(rhs: &PanelsInt8<'_>, column: usize, index: usize) -> i8 {
    let blocks = rhs.inputs.div_ceil(PANEL);
    let block = column / PANEL * blocks + index / PANEL;
    let at = block * PANEL * PANEL + column % PANEL * PANEL + index % PANEL;
    rhs.values.get(at).copied().unwrap_or(0)
}

/// Applies the epilogue to one value, and stores it.
fn store(
    out: &mut MatrixMut<'_>,
    row: usize,
    column: usize,
    sum: f32,
    epilogue: &Epilogue<'_>,
    precision: Precision,
) {
    let mut value = sum;
    if let Some(bias) = epilogue.bias.get(column) {
        value += bias;
    }
    if let Some(activation) = epilogue.activation {
        value = activate(activation, precision, value);
    }
    let Some(slot) = out.row_mut(row).get_mut(column) else { return };
    match epilogue.store {
        Store::Overwrite => *slot = value,
        Store::Add { scale } => *slot += scale.get(column).map_or(value, |scale| scale * value),
        Store::Multiply => *slot *= value,
    }
}

/// Quantises a row: `scale = max|x| / 127`, `q = round(x * (127 / max|x|))`, ties to even, where x is
/// the value times its factor; no factors are ones.
///
/// `out` may be longer than the row; its rest is set to zero. Returns the scale; 0 for a row of
/// zeros. A row whose largest magnitude is subnormal becomes zeros with scale 0; one with an infinity
/// or a NaN becomes zeros with scale NaN, so that all that is made of it is NaN too.
pub fn quantize_row(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    let factored = |index, x: f32| factors.get(index).map_or(x, |factor| x * factor);
    // Magnitudes order as their bits do, NaN above all.
    let mut largest = 0;
    for (index, x) in row.iter().enumerate() {
        largest = largest.max(factored(index, *x).abs().to_bits());
    }
    let largest = f32::from_bits(largest);
    let Some(inverse) = inverse_scale(largest) else {
        out.fill(0);
        return scale_of_zeros(largest);
    };
    for (index, slot) in out.iter_mut().enumerate() {
        let x = row.get(index).map_or(0.0, |x| factored(index, *x));
        *slot = math::round_ties_even(x * inverse) as i8;
    }
    largest / 127.0
}

/// `127 / largest`, unless that or `largest` is no normal number.
pub(super) fn inverse_scale(largest: f32) -> Option<f32> {
    let inverse = 127.0 / largest;
    (largest.is_normal() && inverse.is_normal()).then_some(inverse)
}

/// The scale of what becomes zeros: 0, or NaN if its largest magnitude is infinite or NaN.
pub(super) fn scale_of_zeros(largest: f32) -> f32 {
    largest * 0.0
}

/// Quantises each row of a matrix as an output channel of `Panel8x8`, as [`quantize_row`] does.
///
/// `out` is `[ceil(rows / 8), ceil(columns / 8), 8, 8]`, `scales` `[rows]` rounded up to a multiple of
/// 8; what no row fills is zero.
pub fn pack_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    pack(out, scales, rows.columns(), |channel, input| rows.row(channel).get(input));
}

/// Quantises each column of a matrix as an output channel of `Panel8x8`, as [`quantize_row`] does.
///
/// `out` is `[ceil(columns / 8), ceil(rows / 8), 8, 8]`, `scales` `[columns]` rounded up to a multiple
/// of 8; what no column fills is zero.
pub fn pack_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    pack(out, scales, rows.rows(), |channel, input| rows.row(input).get(channel));
}

/// Quantises the channels that `at` gives input by input.
fn pack<'m>(
    out: &mut [i8],
    scales: &mut [f32],
    inputs: usize,
    at: impl Fn(usize, usize) -> Option<&'m f32>,
) {
    let blocks = inputs.div_ceil(PANEL);
    for (channel, scale) in scales.iter_mut().enumerate() {
        let value = |input| at(channel, input).copied().unwrap_or(0.0);
        let largest = (0..inputs).map(|input| value(input).abs().to_bits()).fold(0, u32::max);
        let largest = f32::from_bits(largest);
        let inverse = inverse_scale(largest);
        *scale = if inverse.is_some() { largest / 127.0 } else { scale_of_zeros(largest) };
        for input in 0..blocks * PANEL {
            let block = channel / PANEL * blocks + input / PANEL;
            let place = block * PANEL * PANEL + channel % PANEL * PANEL + input % PANEL;
            let quantized = |inverse| math::round_ties_even(value(input) * inverse) as i8;
            if let Some(slot) = out.get_mut(place) {
                *slot = inverse.map_or(0, quantized);
            }
        }
    }
}

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias`, biased variance, two passes.
pub fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / math::sqrt(variance + weights.eps);
    for (index, (slot, x)) in out.iter_mut().zip(row).enumerate() {
        let weight = weights.weight.get(index).copied().unwrap_or(0.0);
        let bias = weights.bias.get(index).copied().unwrap_or(0.0);
        *slot = (x - mean) * inverse * weight + bias;
    }
}

/// `out = x / sqrt(mean(x^2) + eps) * weight`.
pub fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    let mean_square = sum(row, |x| x * x) / row.len() as f32;
    let inverse = 1.0 / math::sqrt(mean_square + weights.eps);
    for (index, (slot, x)) in out.iter_mut().zip(row).enumerate() {
        *slot = x * inverse * weights.weight.get(index).copied().unwrap_or(0.0);
    }
}

/// `x = exp(x - max) / sum`, in place.
pub fn softmax(row: &mut [f32]) {
    let mut largest = f32::NEG_INFINITY;
    for x in row.iter() {
        if *x > largest {
            largest = *x;
        }
    }
    for x in row.iter_mut() {
        *x = math::exp(*x - largest);
    }
    let inverse = 1.0 / sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= inverse;
    }
}

/// Softmax of a row as int8: `w = round(127 * 128 exp(x - max))`, ties to even, by [`math::exp_8bit`], and
/// `q = round(w / 128)`, ties up.
///
/// `out` may be longer than the row; its rest is set to zero. The weight of a NaN is zero.
pub fn softmax_int8(out: &mut [i8], row: &[f32]) -> WeightScale {
    let mut largest = f32::NEG_INFINITY;
    for x in row {
        if *x > largest {
            largest = *x;
        }
    }
    let (mut fine, mut coarse) = (0i32, 0i32);
    for (index, slot) in out.iter_mut().enumerate() {
        let weight = row.get(index).map_or(0.0, |x| math::exp_8bit(*x - largest));
        let weight = math::round_ties_even(WEIGHT_STEPS * weight) as i32;
        *slot = ((weight + 64) >> 7) as i8;
        fine += weight;
        coarse += i32::from(*slot);
    }
    WeightScale::new(fine, coarse, row.len())
}

/// Adds a row of a table, widened exactly.
pub fn add_f16(out: &mut [f32], row: &[f16]) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += x.to_f32_const());
}

/// Adds a row of a table, each value times the scale of the row.
pub fn add_int8(out: &mut [f32], row: &[i8], scale: f32) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += f32::from(*x) * scale);
}

/// Dot product of two rows of one length, eight partial sums.
#[must_use]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    for (index, (a, b)) in left.iter().zip(right).enumerate() {
        lanes[index % 8] += a * b;
    }
    fold(lanes)
}

/// Sum of `term(x)` in eight partial sums.
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    for (index, x) in row.iter().enumerate() {
        lanes[index % 8] += term(*x);
    }
    fold(lanes)
}
