//! What becomes of the sums with two panels: scale, bias, activation, destination.

use super::registers::{WIDE, load, polynomial, store};
use crate::config::Activation;
use crate::kernels::Precision;
use crate::kernels::math;
use crate::kernels::portable::{Lanes, LoadedEpilogue, LoadedStore, ROUNDER, activate_all};
use crate::tensor::MatrixMut;
use core::arch::x86_64::{
    __m512, __m512i, _CMP_LT_OQ, _CMP_NLT_UQ, _mm512_abs_ps, _mm512_add_ps, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_div_ps, _mm512_fnmadd_ps,
    _mm512_mask_cmp_ps_mask, _mm512_mask_mul_ps, _mm512_maskz_add_epi32, _mm512_maskz_mul_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_sub_ps,
};
use core::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// `sum * (row scale * channel scale)`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(in crate::kernels) fn scaled(sums: __m512i, row_scale: f32, channels: __m512) -> __m512 {
    let scales = _mm512_mul_ps(_mm512_set1_ps(row_scale), channels);
    _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales)
}

/// Finishes the values of some rows with two panels; see [`LoadedEpilogue::store`].
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store_pair<const ROWS: usize>(
    epilogue: &LoadedEpilogue<2>,
    out: &mut MatrixMut<'_>,
    first: usize,
    values: [[Lanes; 2]; ROWS],
) {
    let values = activated(epilogue, values.map(bytemuck::must_cast));
    let Some((block, stride)) = out.block(first, epilogue.column, ROWS, WIDE) else {
        store_rows(epilogue, &mut slots(out, first, epilogue.column, WIDE), values);
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
        *slots = bytemuck::must_cast(match epilogue.store {
            LoadedStore::Overwrite => values,
            LoadedStore::Add(_) => _mm512_add_ps(own, values),
            LoadedStore::Multiply => _mm512_mul_ps(own, values),
        });
    }
}

/// At most `count` columns from `column` on, of the rows from `first` on. Its closure is of no
/// instruction set: one of AVX-512 would be called for every row.
#[inline(always)]
pub(in crate::kernels) fn slots<'o>(
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
pub(in crate::kernels) fn store_registers<'o, const N: usize>(
    epilogue: &LoadedEpilogue<2>,
    slots: &mut impl Iterator<Item = &'o mut [f32]>,
    values: [__m512; N],
) {
    store_rows(epilogue, slots, activated(epilogue, values));
}

/// Bias, activation and scale.
#[target_feature(enable = "avx512f")]
#[inline]
fn activated<const N: usize>(epilogue: &LoadedEpilogue<2>, mut values: [__m512; N]) -> [__m512; N] {
    if let Some(bias) = epilogue.bias {
        let bias = bytemuck::must_cast(bias);
        for values in &mut values {
            *values = _mm512_add_ps(*values, bias);
        }
    }
    match epilogue.activation {
        None => {}
        Some(Activation::GeluErf) if epilogue.precision == Precision::Int8 => {
            values = gelu_erf_8bit(values);
        }
        Some(Activation::GeluErf) => values = gelu_erf_in_fours(values),
        // One call: a function with one caller is inlined.
        Some(activation) => values = by_lanes(values, activation),
    }
    if let LoadedStore::Add(Some(scale)) = epilogue.store {
        let scale = bytemuck::must_cast(scale);
        for values in &mut values {
            *values = _mm512_mul_ps(*values, scale);
        }
    }
    values
}

/// ReLU, the GELU of tanh and what is like it, which compilers turn into vector code.
#[target_feature(enable = "avx512f")]
#[inline]
fn by_lanes<const N: usize>(values: [__m512; N], activation: Activation) -> [__m512; N] {
    // A copy: the loop is not unrolled, and what it goes over stays in memory.
    let mut all: [[f32; WIDE]; N] = values.map(bytemuck::must_cast);
    for lanes in &mut all {
        match activation {
            Activation::Relu => activate_all(lanes, Activation::Relu, Precision::Int8),
            #[cfg(feature = "more-families")]
            Activation::Silu => activate_all(lanes, Activation::Silu, Precision::Int8),
            #[cfg(feature = "more-families")]
            Activation::GeluQuick => activate_all(lanes, Activation::GeluQuick, Precision::Int8),
            _ => activate_all(lanes, Activation::GeluTanh, Precision::Int8),
        }
    }
    all.map(bytemuck::must_cast)
}

/// [`gelu_erf`] of four registers at a time.
#[target_feature(enable = "avx512f")]
#[inline]
fn gelu_erf_in_fours<const N: usize>(mut values: [__m512; N]) -> [__m512; N] {
    let (fours, rest) = values.as_chunks_mut::<4>();
    for values in fours {
        *values = gelu_erf(*values);
    }
    for values in rest {
        [*values] = gelu_erf([*values]);
    }
    values
}

/// Stores the values of the next `N` rows where they go.
#[target_feature(enable = "avx512f")]
#[inline]
fn store_rows<'o, const N: usize>(
    epilogue: &LoadedEpilogue<2>,
    slots: &mut impl Iterator<Item = &'o mut [f32]>,
    values: [__m512; N],
) {
    for values in values {
        let Some(slots) = slots.next() else { return };
        let values = match epilogue.store {
            LoadedStore::Overwrite => values,
            LoadedStore::Add(_) => _mm512_add_ps(load(slots), values),
            LoadedStore::Multiply => _mm512_mul_ps(load(slots), values),
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
    let power = exp_of_minus_half_square(x);
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

/// e^(-x^2 / 2) of `N` registers.
#[target_feature(enable = "avx512f")]
#[inline]
fn exp_of_minus_half_square<const N: usize>(x: [__m512; N]) -> [__m512; N] {
    let all = _mm512_set1_ps;
    // The sum with ROUNDER, and r.
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
        let mantissa = _mm512_castps_si512(_mm512_add_ps(all(1.0), rest));
        let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(*shifted));
        *power = _mm512_castsi512_ps(_mm512_maskz_add_epi32(normal, mantissa, exponent));
    }
    power
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
