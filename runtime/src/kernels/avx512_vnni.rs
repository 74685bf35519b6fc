//! x86-64 with AVX-512 and its VNNI (Intel since Ice Lake, AMD since Zen 4).
//!
//! int8 products: `vpdpbusd` sums four products of an unsigned left with a signed right side, without
//! saturation. Weights enter as w + 128, which makes each sum 128 times the sum of its row too large,
//! for every channel alike: the excess of a row is found once for all panels and taken off at the end.
//! Both wrap around in i32 without harm: the difference fits.

use super::math;
use super::portable::{
    Block, BlockSums, Finish, FinishStore, FloatSums, Lanes, ROUNDER, Scaling, Sums, activate_all,
    same_length,
};
use super::scalar::inverse_scale;
use super::{PANEL, Precision, WEIGHT_STEPS, WeightScale, fold as fold_lanes};
use crate::config::Activation;
use core::arch::x86_64::{
    __m256, __m512, __m512i, _CMP_LT_OQ, _CMP_NEQ_OQ, _CMP_NLT_UQ, _MM_HINT_T0, _mm_cvtss_f32,
    _mm_prefetch, _mm_set_ss, _mm_sqrt_ss, _mm256_add_ps, _mm256_mask_add_ps,
    _mm256_maskz_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_sub_ps,
    _mm512_abs_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps,
    _mm512_cvtepi64_epi32, _mm512_cvtph_ps, _mm512_div_ps, _mm512_dpbusd_epi32, _mm512_fnmadd_ps,
    _mm512_fpclass_ps_mask, _mm512_mask_add_epi32, _mm512_mask_cmp_ps_mask, _mm512_mask_max_ps,
    _mm512_mask_mul_ps, _mm512_mask_storeu_ps, _mm512_maskz_add_epi32, _mm512_maskz_div_ps,
    _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps, _mm512_maskz_mul_ps, _mm512_maskz_set1_epi32,
    _mm512_max_epu32, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_or_si512,
    _mm512_permutex2var_epi32, _mm512_reduce_add_epi32, _mm512_reduce_max_epu32,
    _mm512_reduce_max_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi32, _mm512_shuffle_i64x2,
    _mm512_slli_epi32, _mm512_srai_epi32, _mm512_srli_epi64, _mm512_sub_epi32, _mm512_sub_ps,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use core::f32::consts::{FRAC_1_SQRT_2, LOG2_E};
use half::f16;

recompiled_table!(
    "avx512_vnni",
    "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    rows: 8,
    Avx512Vnni,
    float_rows: 8,
    Avx512Vnni
);

/// The table, if this CPU and its operating system have AVX-512 with VNNI.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni")
        .then_some(&TABLE)
}

/// The recompiled table with its passes over rows by hand: compilers make little of rows as short as a
/// head.
pub(super) static TABLE: Kernels = Kernels {
    quantize_row: quantize_row_safely,
    layer_norm: layer_norm_safely,
    layer_norm_rows: Some(layer_norm_rows_safely),
    rms_norm: rms_norm_safely,
    softmax_int8: softmax_int8_safely,
    pack_rows: pack_rows_safely,
    pack_columns: pack_columns_safely,
    ..KERNELS
};

struct Avx512Vnni;

impl BlockSums for Avx512Vnni {
    type Examined = ();

    const PAIRS: bool = true;

    #[inline(always)]
    fn excess<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS]) -> [i32; ROWS] {
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512 and VNNI.
        unsafe { excess(rows) }
    }

    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: rows and panel have one length. Only functions of this file's table come here;
        // `detect` found AVX-512 and VNNI.
        let sums = unsafe { block_sums::<ROWS, 1, false>(rows, [panel]) };
        *sums.as_flattened().as_array().unwrap_or(&[[0; PANEL]; ROWS])
    }

    #[inline(always)]
    fn pair_values<const ROWS: usize>(
        rows: [&[[i8; PANEL]]; ROWS],
        panels: [&[Block]; 2],
        scaling: &Scaling<'_, ROWS, 2>,
    ) -> [[Lanes; 2]; ROWS] {
        if !same_length(&rows, &panels) {
            return [[[0.0; PANEL]; 2]; ROWS];
        }
        // SAFETY: rows and panels have one length. Only functions of this file's table come here;
        // `detect` found AVX-512 and VNNI.
        unsafe { pair_values(rows, panels, scaling) }
    }

    #[inline(always)]
    fn finish_pair<const ROWS: usize>(
        finish: &Finish<2>,
        out: &mut MatrixMut<'_>,
        first: usize,
        values: [[Lanes; 2]; ROWS],
    ) {
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
        unsafe { finish_pair(finish, out, first, values) }
    }

    #[inline(always)]
    fn exact_sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: rows and panel have one length. Only functions of this file's table come here;
        // `detect` found AVX-512 and VNNI.
        let sums = unsafe { block_sums::<ROWS, 1, true>(rows, [panel]) };
        *sums.as_flattened().as_array().unwrap_or(&[[0; PANEL]; ROWS])
    }
}

/// 128 times the sum of each row; none is longer than the first.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn excess<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS]) -> [i32; ROWS] {
    let mut sums = [_mm512_setzero_si512(); ROWS];
    let mut add = |groups: [&[[i8; PANEL]; PANEL]; ROWS]| {
        for (sum, group) in sums.iter_mut().zip(groups) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi8(-128), bytemuck::must_cast(*group));
        }
    };
    let blocks = rows.first().map_or(0, |row| row.len());
    let whole = blocks - blocks % PANEL;
    for start in (0..whole).step_by(PANEL) {
        add(rows.map(|row| row.get(start..).and_then(|row| row.first_chunk()).unwrap_or(&EMPTY)));
    }
    if whole < blocks {
        let mut last = [[[0; PANEL]; PANEL]; ROWS];
        for (last, row) in last.iter_mut().zip(rows) {
            let rest = row.get(whole..).unwrap_or_default();
            last.iter_mut().zip(rest).for_each(|(slot, values)| *slot = *values);
        }
        add(last.each_ref());
    }
    sums.map(|sum| _mm512_reduce_add_epi32(sum))
}

/// Values of rows that are not there.
const EMPTY: [[i8; PANEL]; PANEL] = [[0; PANEL]; PANEL];

/// Eight sums from their halves.
#[target_feature(enable = "avx512f")]
#[inline]
fn fold(sums: __m512i) -> [i32; PANEL] {
    let pairs = _mm512_add_epi32(sums, _mm512_srli_epi64::<32>(sums));
    bytemuck::must_cast(_mm512_cvtepi64_epi32(pairs))
}

/// Sixteen sums from their halves.
#[target_feature(enable = "avx512f")]
#[inline]
fn fold_pair(first: __m512i, second: __m512i) -> [[i32; PANEL]; 2] {
    const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
    const ODD: [i32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
    let even = _mm512_permutex2var_epi32(first, bytemuck::must_cast(EVEN), second);
    let odd = _mm512_permutex2var_epi32(first, bytemuck::must_cast(ODD), second);
    bytemuck::must_cast(_mm512_add_epi32(even, odd))
}

/// Sums of rows and panels, with the excess of each row taken off if `EXACT`.
///
/// # Safety
/// Every row and every panel is as long as the first panel.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn block_sums<const ROWS: usize, const PANELS: usize, const EXACT: bool>(
    rows: [&[[i8; PANEL]]; ROWS],
    panels: [&[Block]; PANELS],
) -> [[[i32; PANEL]; PANELS]; ROWS] {
    // Flips the sign bit: w + 128. As unsigned numbers, 128.
    let offset = _mm512_set1_epi8(-128);
    let mut excess = [_mm512_setzero_si512(); ROWS];
    // Channel c has the partial sums 2 c and 2 c + 1.
    let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
    let blocks = panels.first().map_or(0, |panel| panel.len());
    for index in 0..blocks {
        let mut weights = [_mm512_setzero_si512(); PANELS];
        for (weights, panel) in weights.iter_mut().zip(&panels) {
            let ahead = panel.as_ptr().wrapping_add(PANELS * blocks + index);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            // SAFETY: the panel has so many blocks.
            let block = bytemuck::must_cast(unsafe { *panel.get_unchecked(index) });
            *weights = _mm512_xor_si512(block, offset);
        }
        for ((sums, excess), row) in sums.iter_mut().zip(&mut excess).zip(&rows) {
            // SAFETY: the row has so many blocks.
            let row = _mm512_set1_epi64(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            for (sum, weights) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_dpbusd_epi32(*sum, *weights, row);
            }
            if EXACT {
                *excess = _mm512_dpbusd_epi32(*excess, offset, row);
            }
        }
    }
    let mut folded = [[[0; PANEL]; PANELS]; ROWS];
    for (folded, (sums, excess)) in folded.iter_mut().zip(sums.iter_mut().zip(&excess)) {
        if EXACT {
            sums.iter_mut().for_each(|sum| *sum = _mm512_sub_epi32(*sum, *excess));
        }
        match (folded.as_mut_slice(), sums.as_slice()) {
            ([first, second], [sums, more]) => [*first, *second] = fold_pair(*sums, *more),
            (folded, sums) => {
                for (slot, sums) in folded.iter_mut().zip(sums) {
                    *slot = fold(*sums);
                }
            }
        }
    }
    folded
}

/// # Safety
/// Every row and every panel is as long as the first panel.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn pair_values<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panels: [&[Block]; 2],
    scaling: &Scaling<'_, ROWS, 2>,
) -> [[Lanes; 2]; ROWS] {
    // SAFETY: as this function's.
    let sums = unsafe { block_sums::<ROWS, 2, false>(rows, panels) };
    let channels: __m512 = bytemuck::must_cast(*scaling.channels);
    let mut values = [[[0.0; PANEL]; 2]; ROWS];
    let of_rows = sums.iter().zip(scaling.rows.iter().zip(scaling.excess));
    for (values, (sums, (row_scale, excess))) in values.iter_mut().zip(of_rows) {
        let sums = _mm512_sub_epi32(bytemuck::must_cast(*sums), _mm512_set1_epi32(*excess));
        *values = bytemuck::must_cast(scaled(sums, *row_scale, channels));
    }
    values
}

/// `sum * (row scale * channel scale)`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn scaled(sums: __m512i, row_scale: f32, channels: __m512) -> __m512 {
    let scales = _mm512_mul_ps(_mm512_set1_ps(row_scale), channels);
    _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales)
}

/// Finishes the values of some rows with two panels; see [`Finish::store`].
#[target_feature(enable = "avx512f")]
#[inline]
fn finish_pair<const ROWS: usize>(
    finish: &Finish<2>,
    out: &mut MatrixMut<'_>,
    first: usize,
    values: [[Lanes; 2]; ROWS],
) {
    let values = finished(finish, values.map(bytemuck::must_cast));
    let Some((block, stride)) = out.block((ROWS, WIDE), (first, finish.column)) else {
        put(finish, &mut slots(out, first, finish.column, WIDE), values);
        return;
    };
    if block.len() < ROWS.saturating_sub(1) * stride + WIDE {
        return;
    }
    let start = block.as_mut_ptr();
    for (row, values) in values.into_iter().enumerate() {
        let slots = start.wrapping_add(row * stride).cast::<[f32; WIDE]>();
        // SAFETY: the last row's 16 slots end within the block (above), which nothing else refers to.
        let slots = unsafe { &mut *slots };
        let own = bytemuck::must_cast(*slots);
        *slots = bytemuck::must_cast(match finish.store {
            FinishStore::Overwrite => values,
            FinishStore::Add(_) => _mm512_add_ps(own, values),
            FinishStore::Multiply => _mm512_mul_ps(own, values),
        });
    }
}

/// At most `count` columns from `column` on, of the rows from `first` on. Its closure is of no
/// instruction set: one of AVX-512 would be called for every row.
#[inline(always)]
pub(super) fn slots<'o>(
    out: &'o mut MatrixMut<'_>,
    first: usize,
    column: usize,
    count: usize,
) -> impl Iterator<Item = &'o mut [f32]> {
    out.rows_from(first).map(move |row| {
        let slots = row.get_mut(column..).unwrap_or_default();
        let count = slots.len().min(count);
        slots.get_mut(..count).unwrap_or_default()
    })
}

/// Finishes the values of the next `N` rows with two panels.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn finish_registers<'o, const N: usize>(
    finish: &Finish<2>,
    slots: &mut impl Iterator<Item = &'o mut [f32]>,
    values: [__m512; N],
) {
    put(finish, slots, finished(finish, values));
}

/// Bias, activation and scale.
#[target_feature(enable = "avx512f")]
#[inline]
fn finished<const N: usize>(finish: &Finish<2>, mut values: [__m512; N]) -> [__m512; N] {
    if let Some(bias) = finish.bias {
        let bias = bytemuck::must_cast(bias);
        for values in &mut values {
            *values = _mm512_add_ps(*values, bias);
        }
    }
    match finish.activation {
        None => {}
        Some(Activation::GeluErf) if finish.precision == Precision::Int8 => {
            values = gelu_erf_8bit(values);
        }
        Some(Activation::GeluErf) => {
            let (fours, rest) = values.as_chunks_mut::<4>();
            for values in fours {
                *values = gelu_erf(*values);
            }
            for values in rest {
                [*values] = gelu_erf([*values]);
            }
        }
        Some(activation) => {
            // A copy: the loop is not unrolled, and what it goes over stays in memory.
            let mut all: [[f32; WIDE]; N] = values.map(bytemuck::must_cast);
            for lanes in &mut all {
                match activation {
                    Activation::Relu => activate_all(lanes, Activation::Relu, Precision::Int8),
                    _ => activate_all(lanes, Activation::GeluTanh, Precision::Int8),
                }
            }
            values = all.map(bytemuck::must_cast);
        }
    }
    if let FinishStore::Add(Some(scale)) = finish.store {
        let scale = bytemuck::must_cast(scale);
        for values in &mut values {
            *values = _mm512_mul_ps(*values, scale);
        }
    }
    values
}

/// Puts the values of the next `N` rows where they go.
#[target_feature(enable = "avx512f")]
#[inline]
fn put<'o, const N: usize>(
    finish: &Finish<2>,
    slots: &mut impl Iterator<Item = &'o mut [f32]>,
    values: [__m512; N],
) {
    for values in values {
        let Some(slots) = slots.next() else { return };
        let values = match finish.store {
            FinishStore::Overwrite => values,
            FinishStore::Add(_) => _mm512_add_ps(load(slots), values),
            FinishStore::Multiply => _mm512_mul_ps(load(slots), values),
        };
        store(slots, values);
    }
}

/// [`math::gelu_erf`] of `N` registers side by side: one alone waits for each step of a long chain. Where
/// a product is exact, its sum is fused: the bits are the same.
#[target_feature(enable = "avx512f")]
#[inline]
fn gelu_erf<const N: usize>(x: [__m512; N]) -> [__m512; N] {
    let all = _mm512_set1_ps;
    let (one, half) = (all(1.0), all(0.5));
    // t = 1 / (1 + |x| / sqrt 8), and P(1 - 2 t)
    let mut t = x;
    for t in &mut t {
        let z = _mm512_mul_ps(_mm512_abs_ps(*t), all(FRAC_1_SQRT_2 / 2.0));
        *t = _mm512_div_ps(one, _mm512_add_ps(one, z));
    }
    // e^-s with s = x^2 / 2: the sum with ROUNDER, and r
    let (mut shifted, mut r, mut normal) = (x, x, [0; N]);
    for ((shifted, r), normal) in shifted.iter_mut().zip(&mut r).zip(&mut normal) {
        let s = _mm512_mul_ps(_mm512_mul_ps(*r, all(-0.5)), *r);
        *normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(s, all(math::EXP_LOWEST));
        *shifted = _mm512_add_ps(_mm512_mul_ps(s, all(LOG2_E)), all(ROUNDER));
        let n = _mm512_sub_ps(*shifted, all(ROUNDER));
        let high = _mm512_fnmadd_ps(n, all(math::LN_2_HIGH), s);
        *r = _mm512_sub_ps(high, _mm512_mul_ps(n, all(math::LN_2_LOW)));
    }
    let mut power = polynomial(r, math::EXP);
    for ((power, r), (shifted, normal)) in power.iter_mut().zip(&r).zip(shifted.iter().zip(normal))
    {
        let rest = _mm512_add_ps(*r, _mm512_mul_ps(_mm512_mul_ps(*r, *r), *power));
        let mantissa = _mm512_castps_si512(_mm512_add_ps(one, rest));
        let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(*shifted));
        *power = _mm512_castsi512_ps(_mm512_maskz_add_epi32(normal, mantissa, exponent));
    }
    let mut from_one = t;
    from_one.iter_mut().for_each(|t| *t = _mm512_fnmadd_ps(all(2.0), *t, one));
    let mut y = polynomial(from_one, math::ERFC);
    for ((y, x), (t, power)) in y.iter_mut().zip(x).zip(t.iter().zip(power)) {
        let erfc = _mm512_mul_ps(power, _mm512_mul_ps(*t, *y));
        let above = _mm512_fnmadd_ps(half, erfc, one);
        let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
        let factor = _mm512_mask_mul_ps(above, negative, half, erfc);
        let some = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, all(math::GELU_ERF_LOWEST));
        let some = _mm512_mask_cmp_ps_mask::<_CMP_NLT_UQ>(some, _mm512_abs_ps(x), all(math::TINY));
        *y = _mm512_maskz_mul_ps(some, x, factor);
    }
    y
}

/// [`math::gelu_erf_8bit`] of `N` registers side by side.
#[target_feature(enable = "avx512f")]
#[inline]
fn gelu_erf_8bit<const N: usize>(x: [__m512; N]) -> [__m512; N] {
    let all = _mm512_set1_ps;
    let end = math::PHI_8BIT_END;
    let near = x.map(|x| _mm512_max_ps(_mm512_min_ps(x, all(end)), all(-end)));
    let mut y = polynomial(near.map(|near| _mm512_mul_ps(near, near)), math::PHI_8BIT);
    for ((y, x), near) in y.iter_mut().zip(x).zip(near) {
        let phi = _mm512_add_ps(all(0.5), _mm512_mul_ps(near, *y));
        let some = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_setzero_ps(), phi);
        let some = _mm512_mask_cmp_ps_mask::<_CMP_NLT_UQ>(some, _mm512_abs_ps(x), all(math::TINY));
        *y = _mm512_maskz_mul_ps(some, x, phi);
    }
    y
}

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule, of `N` registers.
#[target_feature(enable = "avx512f")]
#[inline]
fn polynomial<const N: usize, const TERMS: usize>(x: [__m512; N], c: [f32; TERMS]) -> [__m512; N] {
    let mut terms = c.into_iter().rev();
    let mut sums = [_mm512_set1_ps(terms.next().unwrap_or(0.0)); N];
    for term in terms {
        for (sum, x) in sums.iter_mut().zip(&x) {
            *sum = _mm512_add_ps(_mm512_mul_ps(*sum, *x), _mm512_set1_ps(term));
        }
    }
    sums
}

/// Stores as many values as there are slots, 16 at most.
#[target_feature(enable = "avx512f")]
#[inline]
fn store(slots: &mut [f32], values: __m512) {
    // SAFETY: it writes as many values as the slice has slots, 16 at most.
    unsafe { _mm512_mask_storeu_ps(slots.as_mut_ptr(), first_lanes(slots.len()), values) }
}

/// The first `count` of 16 lanes.
const fn first_lanes(count: usize) -> u16 {
    if count < WIDE { (1 << count) - 1 } else { u16::MAX }
}

/// The weights of one input for 16 channels.
trait Weight: Copy {
    fn join(first: &[Self; PANEL], second: &[Self; PANEL]) -> __m512;
}

impl Weight for f32 {
    #[inline(always)]
    fn join(first: &[Self; PANEL], second: &[Self; PANEL]) -> __m512 {
        bytemuck::must_cast([*first, *second])
    }
}

impl Weight for f16 {
    #[inline(always)]
    fn join(first: &[Self; PANEL], second: &[Self; PANEL]) -> __m512 {
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
        unsafe { _mm512_cvtph_ps(bytemuck::must_cast([*first, *second])) }
    }
}

impl<W: Weight> FloatSums<W> for Avx512Vnni {
    const PAIRS: bool = true;

    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[W; PANEL]]) -> [Lanes; ROWS] {
        <Self as FloatSums<W>>::pair_sums(rows, [panel, panel]).map(|[sums, _]| sums)
    }

    #[inline(always)]
    fn pair_sums<const ROWS: usize>(
        rows: [&[f32]; ROWS],
        panels: [&[[W; PANEL]]; 2],
    ) -> [[Lanes; 2]; ROWS] {
        let inputs = panels[0].len();
        if panels[1].len() != inputs || rows.iter().any(|row| row.len() != inputs) {
            return [[[0.0; PANEL]; 2]; ROWS];
        }
        // SAFETY: rows and panels have one length. Only functions of this file's table come here;
        // `detect` found AVX-512.
        unsafe { float_sums(rows, panels) }
    }
}

/// # Safety
/// Every row and both panels have the same length.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn float_sums<W: Weight, const ROWS: usize>(
    rows: [&[f32]; ROWS],
    [first, second]: [&[[W; PANEL]]; 2],
) -> [[Lanes; 2]; ROWS] {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (index, (first, second)) in first.iter().zip(second).enumerate() {
        let weights = W::join(first, second);
        for (sum, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panels.
            let x = _mm512_set1_ps(unsafe { *row.get_unchecked(index) });
            *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, weights));
        }
    }
    let mut lanes = [[[0.0; PANEL]; 2]; ROWS];
    for (lanes, sum) in lanes.iter_mut().zip(&sums) {
        *lanes = bytemuck::must_cast(*sum);
    }
    lanes
}

/// Lanes of a register.
const WIDE: usize = 16;

fn quantize_row_safely(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    if out.len() < row.len() || !(factors.is_empty() || factors.len() == row.len()) {
        return quantize_row(out, row, factors);
    }
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { quantize(out, row, factors) }
}

fn layer_norm_safely(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { layer_norm_by_vex(out, row, weights) }
}

fn layer_norm_rows_safely(rows: &mut MatrixMut<'_>, weights: NormWeights<'_>) {
    let columns = rows.columns();
    if weights.weight.len() != columns || weights.bias.len() != columns {
        return;
    }
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { layer_norm_rows(rows, weights) }
}

fn rms_norm_safely(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { rms_norm_by_vex(out, row, weights) }
}

fn softmax_int8_safely(out: &mut [i8], row: &[f32]) -> WeightScale {
    if out.len() < row.len() {
        return softmax_int8(out, row);
    }
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { softmax_to_int8(out, row) }
}

fn pack_rows_safely(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { pack_by_rows(out, scales, rows) }
}

fn pack_columns_safely(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    // SAFETY: the table that holds this function is handed out only by `detect`, which found AVX-512.
    unsafe { pack_by_columns(out, scales, rows) }
}

/// The first 16 values of a slice, zeros behind its end.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(values: &[f32]) -> __m512 {
    // SAFETY: it reads as many values as the slice has, 16 at most.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()) }
}

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

/// See [`super::scalar::quantize_row`]. The output is not shorter than the row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn quantize(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    let largest = largest_magnitude(row, factors);
    let Some(inverse) = inverse_scale(largest) else {
        out.fill(0);
        return 0.0;
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
fn layer_norm_by_vex(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    portable::layer_norm_by(|x| sqrt(x), out, row, weights);
}

/// Rows whose sums are in registers together: the sum of one is a chain.
const NORM_ROWS: usize = 4;

/// Weight and bias have a value for each column.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn layer_norm_rows(rows: &mut MatrixMut<'_>, weights: NormWeights<'_>) {
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

/// LayerNorm of some rows of one length; see [`super::scalar::layer_norm`].
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
    sums.map(|sum| fold_lanes(bytemuck::must_cast(sum)))
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn rms_norm_by_vex(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    portable::rms_norm_by(|x| sqrt(x), out, row, weights);
}

/// See [`super::scalar::softmax_int8`]. The output is not shorter than the row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn softmax_to_int8(out: &mut [i8], row: &[f32]) -> WeightScale {
    let (slots, padding) = out.split_at_mut(row.len().min(out.len()));
    padding.fill(0);
    let (chunks, rest) = row.as_chunks::<WIDE>();
    let rest_lanes = first_lanes(rest.len());
    // The maximum of a NaN and another number is the second one here.
    let mut largest = _mm512_set1_ps(f32::NEG_INFINITY);
    for chunk in chunks {
        largest = _mm512_max_ps(bytemuck::must_cast(*chunk), largest);
    }
    largest = _mm512_mask_max_ps(largest, rest_lanes, load(rest), largest);
    let largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
    let (mut fine, mut coarse) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let (slots, last) = slots.as_chunks_mut::<WIDE>();
    let ((fours, chunks), (slots_of_fours, slots)) =
        (chunks.as_chunks::<4>(), slots.as_chunks_mut::<4>());
    for (slots, four) in slots_of_fours.iter_mut().zip(fours) {
        let weights = exp_steps::<4>(bytemuck::must_cast(*four), largest);
        for (slots, weights) in slots.iter_mut().zip(weights) {
            let rounded = seven_bits(weights);
            (fine, coarse) = (_mm512_add_epi32(fine, weights), _mm512_add_epi32(coarse, rounded));
            *slots = bytemuck::must_cast(_mm512_cvtepi32_epi8(rounded));
        }
    }
    for (slots, chunk) in slots.iter_mut().zip(chunks) {
        let [weights] = exp_steps([bytemuck::must_cast(*chunk)], largest);
        let rounded = seven_bits(weights);
        (fine, coarse) = (_mm512_add_epi32(fine, weights), _mm512_add_epi32(coarse, rounded));
        *slots = bytemuck::must_cast(_mm512_cvtepi32_epi8(rounded));
    }
    if !rest.is_empty() {
        let [weights] = exp_steps([load(rest)], largest);
        let rounded = seven_bits(weights);
        fine = _mm512_mask_add_epi32(fine, rest_lanes, fine, weights);
        coarse = _mm512_mask_add_epi32(coarse, rest_lanes, coarse, rounded);
        let bytes: [i8; WIDE] = bytemuck::must_cast(_mm512_cvtepi32_epi8(rounded));
        last.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    }
    let [fine, coarse] = [fine, coarse].map(|sum| _mm512_reduce_add_epi32(sum));
    WeightScale::new(fine, coarse, row.len())
}

/// `round(w / 128)`, ties up.
#[target_feature(enable = "avx512f")]
#[inline]
fn seven_bits(weights: __m512i) -> __m512i {
    _mm512_srai_epi32::<7>(_mm512_add_epi32(weights, _mm512_set1_epi32(64)))
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

/// See [`super::scalar::pack_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn pack_by_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.columns().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let mut largest = [_mm512_setzero_si512(); PANEL];
        for (lane, largest) in largest.iter_mut().enumerate() {
            let (chunks, rest) = rows.row(index * PANEL + lane).as_chunks::<WIDE>();
            for chunk in chunks {
                *largest = larger(*largest, bytemuck::must_cast(*chunk));
            }
            if !rest.is_empty() {
                *largest = larger(*largest, load(rest));
            }
        }
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

/// Scales and their inverses by the largest magnitudes; both 0 where [`inverse_scale`] gives none.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn scales_of(largest: __m512i) -> ([f32; WIDE], [f32; WIDE]) {
    /// NaN, zeros, infinities and subnormals.
    const NOT_NORMAL: i32 = 0b1011_1111;
    let (largest, all) = (_mm512_castsi512_ps(largest), _mm512_set1_ps(127.0));
    let inverse = _mm512_div_ps(all, largest);
    let bad = _mm512_fpclass_ps_mask::<NOT_NORMAL>(largest);
    let good = !(bad | _mm512_fpclass_ps_mask::<NOT_NORMAL>(inverse));
    let scale = _mm512_maskz_div_ps(good, largest, all);
    (bytemuck::must_cast(scale), bytemuck::must_cast(_mm512_maskz_mov_ps(good, inverse)))
}

/// See [`super::scalar::pack_columns`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn pack_by_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    const LOW: [i32; WIDE] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
    const HIGH: [i32; WIDE] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
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
            let mut words = [_mm512_setzero_si512(); 2];
            for (half, word) in words.iter_mut().enumerate() {
                let byte = |byte: usize| {
                    let row = number * PANEL + half * PANEL / 2 + byte;
                    _mm512_and_si512(rounded(part(row), inverses), low_byte)
                };
                let low = _mm512_or_si512(byte(0), _mm512_slli_epi32::<8>(byte(1)));
                let high = _mm512_or_si512(byte(2), _mm512_slli_epi32::<8>(byte(3)));
                *word = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            }
            let [low, high] = words;
            let of = |order| _mm512_permutex2var_epi32(low, bytemuck::must_cast(order), high);
            *block = bytemuck::must_cast(of(LOW));
            if let Some(block) = second.next() {
                *block = bytemuck::must_cast(of(HIGH));
            }
        }
    }
}
