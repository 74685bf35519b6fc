//! Passes over rows.

use super::registers::{WIDE, first_lanes, load, polynomial};
use crate::kernels::portable::{self, Block, ROUNDER};
pub(super) use crate::kernels::portable::{add_f16, add_int8, dot, softmax};
use crate::kernels::scalar::{inverse_scale, scale_of_zeros};
use crate::kernels::{NormWeights, PANEL, WEIGHT_STEPS, WeightScale, fold, math};
use crate::tensor::{Matrix, MatrixMut};
use core::arch::x86_64::{
    __m256, __m512, __m512i, _CMP_NEQ_OQ, _mm_cvtss_f32, _mm_set_ss, _mm_sqrt_ss, _mm256_add_ps,
    _mm256_mask_add_ps, _mm256_maskz_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_sub_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8, _mm512_div_ps,
    _mm512_fpclass_ps_mask, _mm512_mask_div_ps, _mm512_mask_max_ps, _mm512_mask_storeu_ps,
    _mm512_maskz_mov_epi32, _mm512_maskz_mov_ps, _mm512_maskz_set1_epi32, _mm512_max_epu32,
    _mm512_max_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_permutex2var_epi32,
    _mm512_reduce_add_epi32, _mm512_reduce_max_epu32, _mm512_reduce_max_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi32,
    _mm512_shuffle_i64x2, _mm512_slli_epi32, _mm512_srai_epi32, _mm512_sub_epi32, _mm512_sub_ps,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use core::f32::consts::LOG2_E;

/// The larger magnitudes: they order as their bits do, NaN above all.
#[target_feature(enable = "avx512f")]
#[inline]
fn larger(largest: __m512i, values: __m512) -> __m512i {
    let magnitude = _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(i32::MAX));
    _mm512_max_epu32(largest, magnitude)
}

/// `round(x * inverse)` in the low bytes of 32-bit lanes.
#[target_feature(enable = "avx512f")]
#[inline]
fn rounded(values: __m512, inverse: __m512) -> __m512i {
    let rounder = _mm512_set1_ps(ROUNDER);
    _mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(values, inverse), rounder))
}

/// The largest magnitude of a row times its factors, if there are any.
#[target_feature(enable = "avx512f")]
#[inline]
fn largest_magnitude(row: &[f32], factors: &[f32]) -> f32 {
    let ((chunks, rest), (of_chunks, of_rest)) = (row.as_chunks::<WIDE>(), factors.as_chunks());
    let mut lanes = [_mm512_setzero_si512(); 2];
    if factors.is_empty() {
        let (pairs, last) = chunks.as_chunks::<2>();
        for pair in pairs {
            for (lanes, chunk) in lanes.iter_mut().zip(pair) {
                *lanes = larger(*lanes, bytemuck::must_cast(*chunk));
            }
        }
        last.iter().for_each(|chunk| lanes[0] = larger(lanes[0], bytemuck::must_cast(*chunk)));
        if !rest.is_empty() {
            lanes[1] = larger(lanes[1], load(rest));
        }
    } else {
        for (chunk, factors) in chunks.iter().zip(of_chunks) {
            lanes[0] = larger(lanes[0], product(chunk, factors));
        }
        if !rest.is_empty() {
            lanes[1] = larger(lanes[1], _mm512_mul_ps(load(rest), load(of_rest)));
        }
    }
    let [first, second] = lanes;
    f32::from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(first, second)))
}

/// Products of 16 values with their factors.
#[target_feature(enable = "avx512f")]
#[inline]
fn product(values: &[f32; WIDE], factors: &[f32; WIDE]) -> __m512 {
    _mm512_mul_ps(bytemuck::must_cast(*values), bytemuck::must_cast(*factors))
}

/// See [`crate::kernels::scalar::quantize_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) fn quantize_row(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    if out.len() < row.len() || !(factors.is_empty() || factors.len() == row.len()) {
        return portable::quantize_row(out, row, factors);
    }
    let largest = largest_magnitude(row, factors);
    let Some(inverse) = inverse_scale(largest) else {
        out.fill(0);
        return scale_of_zeros(largest);
    };
    let inverse = _mm512_set1_ps(inverse);
    let (slots, padding) = out.split_at_mut(row.len().min(out.len()));
    if !padding.is_empty() {
        padding.fill(0);
    }
    let ((slots, last), (chunks, rest)) = (slots.as_chunks_mut(), row.as_chunks());
    let (of_chunks, of_rest) = factors.as_chunks();
    let bytes = |values| bytemuck::must_cast(_mm512_cvtepi32_epi8(rounded(values, inverse)));
    if factors.is_empty() {
        let slots = slots.iter_mut().zip(chunks);
        slots.for_each(|(slots, chunk): (&mut [i8; WIDE], &[f32; WIDE])| {
            *slots = bytes(bytemuck::must_cast(*chunk));
        });
    } else {
        let slots = slots.iter_mut().zip(chunks).zip(of_chunks);
        slots.for_each(|((slots, chunk), factors)| *slots = bytes(product(chunk, factors)));
    }
    if !rest.is_empty() {
        let rest =
            if factors.is_empty() { load(rest) } else { _mm512_mul_ps(load(rest), load(of_rest)) };
        let bytes: [i8; WIDE] = bytes(rest);
        last.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    }
    largest / 127.0
}

/// The square root in its VEX form. That of the `libm` crate is not: between vector code it waits for
/// the upper halves of registers.
#[target_feature(enable = "avx")]
#[inline]
fn sqrt(x: f32) -> f32 {
    _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)))
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    portable::layer_norm_by(|x| sqrt(x), out, row, weights);
}

/// Rows whose sums are in registers together: the sum of one is a chain.
const NORM_ROWS: usize = 4;

/// LayerNorm of every row; nothing without a weight and a bias for each column.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
pub(super) fn layer_norm_rows(rows: &mut MatrixMut<'_>, weights: NormWeights<'_>) {
    let columns = rows.columns();
    if weights.weight.len() != columns || weights.bias.len() != columns {
        return;
    }
    let mut rows = rows.rows_from(0);
    loop {
        let four: [Option<&mut [f32]>; NORM_ROWS] = core::array::from_fn(|_| rows.next());
        match four {
            [Some(a), Some(b), Some(c), Some(d)] => norm_together([a, b, c, d], weights),
            some => {
                some.into_iter().flatten().for_each(|row| norm_together([row], weights));
                return;
            }
        }
    }
}

/// LayerNorm of some rows of one length; see [`crate::kernels::scalar::layer_norm`].
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn norm_together<const ROWS: usize>(mut rows: [&mut [f32]; ROWS], weights: NormWeights<'_>) {
    let columns = weights.weight.len() as f32;
    let mean = row_sums(&rows, |values, _| values).map(|sum| sum / columns);
    let variance = row_sums(&rows, |values, row| {
        let distance = _mm256_sub_ps(values, _mm256_set1_ps(mean[row]));
        _mm256_mul_ps(distance, distance)
    });
    let inverse = variance.map(|sum| 1.0 / sqrt(sum / columns + weights.eps));
    let (factors, last_factors) = weights.weight.as_chunks::<WIDE>();
    let (offsets, last_offsets) = weights.bias.as_chunks::<WIDE>();
    for (row, (mean, inverse)) in rows.iter_mut().zip(mean.into_iter().zip(inverse)) {
        let (mean, inverse) = (_mm512_set1_ps(mean), _mm512_set1_ps(inverse));
        let normed = |values, factors, offsets| {
            let scaled = _mm512_mul_ps(_mm512_sub_ps(values, mean), inverse);
            _mm512_add_ps(_mm512_mul_ps(scaled, factors), offsets)
        };
        let (chunks, rest) = row.as_chunks_mut::<WIDE>();
        for (chunk, (factors, offsets)) in chunks.iter_mut().zip(factors.iter().zip(offsets)) {
            let [values, factors, offsets] = [*chunk, *factors, *offsets].map(bytemuck::must_cast);
            *chunk = bytemuck::must_cast(normed(values, factors, offsets));
        }
        let values = normed(load(rest), load(last_factors), load(last_offsets));
        // SAFETY: it writes as many values as the rest has, fewer than 16.
        unsafe { _mm512_mask_storeu_ps(rest.as_mut_ptr(), first_lanes(rest.len()), values) };
    }
}

/// Sums of a term of each value in eight lanes, folded, for each row.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn row_sums<const ROWS: usize>(
    rows: &[&mut [f32]; ROWS],
    term: impl Fn(__m256, usize) -> __m256,
) -> [f32; ROWS] {
    let mut sums = [_mm256_setzero_ps(); ROWS];
    let blocks = rows.each_ref().map(|row| row.as_chunks::<PANEL>());
    for index in 0..blocks.iter().map(|(blocks, _)| blocks.len()).min().unwrap_or(0) {
        for (row, (sum, (blocks, _))) in sums.iter_mut().zip(&blocks).enumerate() {
            // SAFETY: no row has fewer blocks.
            let values = unsafe { *blocks.get_unchecked(index) };
            *sum = _mm256_add_ps(*sum, term(bytemuck::must_cast(values), row));
        }
    }
    for (row, (sum, (_, rest))) in sums.iter_mut().zip(&blocks).enumerate() {
        let lanes = first_lanes(rest.len()) as u8;
        // SAFETY: it reads as many values as the rest has, fewer than 8.
        let values = unsafe { _mm256_maskz_loadu_ps(lanes, rest.as_ptr()) };
        *sum = _mm256_mask_add_ps(*sum, lanes, *sum, term(values, row));
    }
    sums.map(|sum| fold(bytemuck::must_cast(sum)))
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    portable::rms_norm_by(|x| sqrt(x), out, row, weights);
}

/// See [`crate::kernels::scalar::softmax_int8`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) fn softmax_int8(out: &mut [i8], row: &[f32]) -> WeightScale {
    if out.len() < row.len() {
        return portable::softmax_int8(out, row);
    }
    let (slots, padding) = out.split_at_mut(row.len().min(out.len()));
    padding.fill(0);
    let (chunks, rest) = row.as_chunks::<WIDE>();
    let largest = largest_value(chunks, rest);
    let mut sums = WeightSums { fine: _mm512_setzero_si512(), coarse: _mm512_setzero_si512() };
    let (slots, last) = slots.as_chunks_mut::<WIDE>();
    let ((fours, chunks), (slots_of_fours, slots)) =
        (chunks.as_chunks::<4>(), slots.as_chunks_mut::<4>());
    for (slots, four) in slots_of_fours.iter_mut().zip(fours) {
        let weights = exp_steps::<4>(bytemuck::must_cast(*four), largest);
        slots.iter_mut().zip(weights).for_each(|(slots, weights)| *slots = sums.add(weights));
    }
    for (slots, chunk) in slots.iter_mut().zip(chunks) {
        let [weights] = exp_steps([bytemuck::must_cast(*chunk)], largest);
        *slots = sums.add(weights);
    }
    if !rest.is_empty() {
        let [weights] = exp_steps([load(rest)], largest);
        let bytes = sums.add(_mm512_maskz_mov_epi32(first_lanes(rest.len()), weights));
        last.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    }
    let [fine, coarse] = [sums.fine, sums.coarse].map(|sum| _mm512_reduce_add_epi32(sum));
    WeightScale::new(fine, coarse, row.len())
}

/// The largest value of a row, in every lane; NaN counts for nothing.
#[target_feature(enable = "avx512f")]
#[inline]
fn largest_value(chunks: &[[f32; WIDE]], rest: &[f32]) -> __m512 {
    // The maximum of a NaN and another number is the second one here.
    let mut largest = _mm512_set1_ps(f32::NEG_INFINITY);
    for chunk in chunks {
        largest = _mm512_max_ps(bytemuck::must_cast(*chunk), largest);
    }
    largest = _mm512_mask_max_ps(largest, first_lanes(rest.len()), load(rest), largest);
    _mm512_set1_ps(_mm512_reduce_max_ps(largest))
}

/// Sums of weights, and of those rounded to int8.
struct WeightSums {
    fine: __m512i,
    coarse: __m512i,
}

impl WeightSums {
    /// Adds sixteen weights; gives them rounded: `round(w / 128)`, ties up.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn add(&mut self, weights: __m512i) -> [i8; WIDE] {
        let rounded = _mm512_srai_epi32::<7>(_mm512_add_epi32(weights, _mm512_set1_epi32(64)));
        self.fine = _mm512_add_epi32(self.fine, weights);
        self.coarse = _mm512_add_epi32(self.coarse, rounded);
        bytemuck::must_cast(_mm512_cvtepi32_epi8(rounded))
    }
}

/// `round(127 * 128 exp_8bit(x - largest))` of `N` registers side by side; see [`math::exp_8bit`].
#[target_feature(enable = "avx512f")]
#[inline]
fn exp_steps<const N: usize>(x: [__m512; N], largest: __m512) -> [__m512i; N] {
    let all = _mm512_set1_ps;
    let (mut shifted, mut f) = (x, x);
    for (shifted, f) in shifted.iter_mut().zip(&mut f) {
        let t = _mm512_mul_ps(_mm512_sub_ps(*f, largest), all(LOG2_E));
        // Of a NaN it is the least.
        let t = _mm512_max_ps(t, all(math::EXP_8BIT_LEAST));
        *shifted = _mm512_add_ps(t, all(ROUNDER));
        *f = _mm512_sub_ps(t, _mm512_sub_ps(*shifted, all(ROUNDER)));
    }
    let power = polynomial(f, math::EXP_8BIT);
    let mut rounded = [_mm512_setzero_si512(); N];
    for (rounded, (power, shifted)) in rounded.iter_mut().zip(power.iter().zip(shifted)) {
        let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
        let power = _mm512_add_epi32(_mm512_castps_si512(*power), exponent);
        let product = _mm512_mul_ps(all(WEIGHT_STEPS), _mm512_castsi512_ps(power));
        let sum = _mm512_castps_si512(_mm512_add_ps(product, all(ROUNDER)));
        *rounded = _mm512_sub_epi32(sum, _mm512_castps_si512(all(ROUNDER)));
    }
    rounded
}

/// See [`crate::kernels::scalar::pack_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn pack_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.columns().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let largest = magnitudes(rows, index * PANEL);
        let (of_row, inverses) = scales_of(largest_of_each(largest));
        for (lane, scale) in scales.iter_mut().enumerate() {
            let row = rows.row(index * PANEL + lane);
            *scale = of_row[LANE_OF_ROW[lane]];
            let inverse = inverses[LANE_OF_ROW[lane]];
            if inverse == 0.0 {
                panel.iter_mut().for_each(|block| block[lane] = [0; PANEL]);
                continue;
            }
            let inverse = _mm512_set1_ps(inverse);
            let halves = |values| -> [[i8; PANEL]; 2] {
                bytemuck::must_cast(_mm512_cvtepi32_epi8(rounded(values, inverse)))
            };
            let (chunks, rest) = row.as_chunks::<WIDE>();
            let (pairs, last) = panel.as_chunks_mut::<2>();
            let (pairs, more) = pairs.split_at_mut(chunks.len().min(pairs.len()));
            for ([first, second], chunk) in pairs.iter_mut().zip(chunks) {
                [first[lane], second[lane]] = halves(bytemuck::must_cast(*chunk));
            }
            let last = more.as_flattened_mut().iter_mut().chain(last);
            last.zip(halves(load(rest))).for_each(|(block, half)| block[lane] = half);
        }
    }
}

/// The largest magnitudes of eight rows, each spread over a register.
#[target_feature(enable = "avx512f")]
#[inline]
fn magnitudes(rows: Matrix<'_>, first: usize) -> [__m512i; PANEL] {
    let mut largest = [_mm512_setzero_si512(); PANEL];
    for (lane, largest) in largest.iter_mut().enumerate() {
        let (chunks, rest) = rows.row(first + lane).as_chunks::<WIDE>();
        for chunk in chunks {
            *largest = larger(*largest, bytemuck::must_cast(*chunk));
        }
        if !rest.is_empty() {
            *largest = larger(*largest, load(rest));
        }
    }
    largest
}

/// Where [`largest_of_each`] puts the maximum of each row.
const LANE_OF_ROW: [usize; PANEL] = [0, 4, 8, 12, 2, 6, 10, 14];

/// The largest lane of each of eight registers, as unsigned numbers; each stands twice.
#[target_feature(enable = "avx512f")]
#[inline]
fn largest_of_each(rows: [__m512i; PANEL]) -> __m512i {
    // Two registers to the halves of one, four to its quarters, eight to its eighths.
    let halves = |a, b| {
        let low = _mm512_shuffle_i64x2::<0b01_00_01_00>(a, b);
        _mm512_max_epu32(low, _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b))
    };
    let quarters = |a, b| {
        let even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        _mm512_max_epu32(even, _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
    };
    let [a, b, c, d, e, f, g, h] = rows;
    let first = quarters(halves(a, b), halves(c, d));
    let second = quarters(halves(e, f), halves(g, h));
    let pairs = _mm512_unpacklo_epi64(first, second);
    let pairs = _mm512_max_epu32(pairs, _mm512_unpackhi_epi64(first, second));
    _mm512_max_epu32(pairs, _mm512_shuffle_epi32::<0b10_11_00_01>(pairs))
}

/// Scales and their inverses by the largest magnitudes; as [`scale_of_zeros`] and 0 where
/// [`inverse_scale`] gives none.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn scales_of(largest: __m512i) -> ([f32; WIDE], [f32; WIDE]) {
    /// NaN, zeros, infinities and subnormals.
    const NOT_NORMAL: i32 = 0b1011_1111;
    let (largest, all) = (_mm512_castsi512_ps(largest), _mm512_set1_ps(127.0));
    let inverse = _mm512_div_ps(all, largest);
    let bad = _mm512_fpclass_ps_mask::<NOT_NORMAL>(largest);
    let good = !(bad | _mm512_fpclass_ps_mask::<NOT_NORMAL>(inverse));
    let of_zeros = _mm512_mul_ps(largest, _mm512_setzero_ps());
    let scale = _mm512_mask_div_ps(of_zeros, good, largest, all);
    (bytemuck::must_cast(scale), bytemuck::must_cast(_mm512_maskz_mov_ps(good, inverse)))
}

/// See [`crate::kernels::scalar::pack_columns`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn pack_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    scales.fill(0.0);
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let of_panel = rows.rows().div_ceil(PANEL).max(1);
    let groups = blocks.chunks_mut(2 * of_panel).zip(scales.chunks_mut(WIDE));
    for (index, (blocks, scales)) in groups.enumerate() {
        let part = |row: usize| {
            let values = rows.row(row).get(index * WIDE..).unwrap_or(&[]);
            values
                .first_chunk::<WIDE>()
                .map_or_else(|| load(values), |all| bytemuck::must_cast(*all))
        };
        let mut largest = _mm512_setzero_si512();
        (0..rows.rows()).for_each(|row| largest = larger(largest, part(row)));
        let (of_column, inverses) = scales_of(largest);
        scales.iter_mut().zip(of_column).for_each(|(slot, scale)| *slot = scale);
        let inverses: __m512 = bytemuck::must_cast(inverses);
        // Without a scale a value may be NaN: nothing of it counts.
        let scaled = _mm512_cmp_ps_mask::<_CMP_NEQ_OQ>(inverses, _mm512_setzero_ps());
        let low_byte = _mm512_maskz_set1_epi32(scaled, 0xff);
        let (first, second) = blocks.split_at_mut(of_panel.min(blocks.len()));
        let mut second = second.iter_mut();
        for (number, block) in first.iter_mut().enumerate() {
            let mut bytes = [_mm512_setzero_si512(); PANEL];
            for (row, bytes) in bytes.iter_mut().enumerate() {
                let values = part(number * PANEL + row);
                *bytes = _mm512_and_si512(rounded(values, inverses), low_byte);
            }
            let [low, high] = two_blocks(bytes);
            *block = low;
            if let Some(block) = second.next() {
                *block = high;
            }
        }
    }
}

/// Blocks of sixteen columns, from the values of eight rows in the low bytes of lanes.
#[target_feature(enable = "avx512f")]
#[inline]
fn two_blocks([a, b, c, d, e, f, g, h]: [__m512i; PANEL]) -> [Block; 2] {
    const LOW: [i32; WIDE] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
    const HIGH: [i32; WIDE] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
    let word = |a, b, c, d| {
        let low = _mm512_or_si512(a, _mm512_slli_epi32::<8>(b));
        let high = _mm512_or_si512(c, _mm512_slli_epi32::<8>(d));
        _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
    };
    let (first, last) = (word(a, b, c, d), word(e, f, g, h));
    [LOW, HIGH].map(|order| {
        bytemuck::must_cast(_mm512_permutex2var_epi32(first, bytemuck::must_cast(order), last))
    })
}
