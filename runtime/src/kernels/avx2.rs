//! x86-64 with AVX2 and F16C (Intel since 2013, AMD since 2015).
//!
//! int8 products: `vpmaddubsw` wants an unsigned left side, so it takes |w| and the row with the
//! signs of w (`vpsignb`). Two products are at most 2 * 127 * 127 = 32,258: they fit its i16.

use super::PANEL;
use super::portable::{Block, BlockSums, FloatSums, Lanes, Sums, same_length};
use core::arch::x86_64::{
    __m256, __m256i, _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtph_ps,
    _mm256_hadd_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
};

use half::f16;

recompiled_table!("avx2", "avx2,f16c", rows: 4, Avx2, float_rows: 8, Avx2);

/// The table, if this CPU and its operating system have AVX2 and F16C.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c").then_some(&KERNELS)
}

struct Avx2;

impl BlockSums for Avx2 {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found AVX2.
        unsafe { block_sums(rows, panel) }
    }
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    let ones = _mm256_set1_epi16(1);
    // Channels 0 to 3 and 4 to 7, two partial sums each.
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [__m256i; 2] = bytemuck::must_cast(*block);
        let magnitudes = [_mm256_abs_epi8(weights[0]), _mm256_abs_epi8(weights[1])];
        for (sums, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let row = _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            for ((sum, weights), magnitudes) in sums.iter_mut().zip(weights).zip(magnitudes) {
                let signed = _mm256_sign_epi8(row, weights);
                let pairs = _mm256_maddubs_epi16(magnitudes, signed);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, [low, high]) in folded.iter_mut().zip(&sums) {
        let pairs = _mm256_hadd_epi32(*low, *high);
        *slot = bytemuck::must_cast(_mm256_permute4x64_epi64(pairs, 0b11_01_10_00));
    }
    folded
}

/// The weights of one input.
trait Weight: Copy {
    fn widen(weights: &[Self; PANEL]) -> __m256;
}

impl Weight for f32 {
    #[inline(always)]
    fn widen(weights: &[Self; PANEL]) -> __m256 {
        bytemuck::must_cast(*weights)
    }
}

impl Weight for f16 {
    #[inline(always)]
    fn widen(weights: &[Self; PANEL]) -> __m256 {
        // SAFETY: only functions of this file's table come here; `detect` found F16C.
        unsafe { _mm256_cvtph_ps(bytemuck::must_cast(*weights)) }
    }
}

impl<W: Weight> FloatSums<W> for Avx2 {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[W; PANEL]]) -> [Lanes; ROWS] {
        if rows.iter().any(|row| row.len() != panel.len()) {
            return [[0.0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found AVX2.
        unsafe { float_sums(rows, panel) }
    }
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn float_sums<W: Weight, const ROWS: usize>(
    rows: [&[f32]; ROWS],
    panel: &[[W; PANEL]],
) -> [Lanes; ROWS] {
    let mut sums = [_mm256_setzero_ps(); ROWS];
    for (index, weights) in panel.iter().enumerate() {
        let weights = W::widen(weights);
        for (sum, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let x = _mm256_set1_ps(unsafe { *row.get_unchecked(index) });
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(x, weights));
        }
    }
    let mut lanes = [[0.0; PANEL]; ROWS];
    for (lanes, sum) in lanes.iter_mut().zip(&sums) {
        *lanes = bytemuck::must_cast(*sum);
    }
    lanes
}
