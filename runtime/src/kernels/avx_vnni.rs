//! x86-64 with AVX-VNNI (Intel since Alder Lake, AMD since Zen 5): `avx512_vnni` in 256 bits.

use super::PANEL;
use super::portable::{Block, BlockSums, Sums, same_length};
use core::arch::x86_64::{
    __m256i, _mm256_dpbusd_avx_epi32, _mm256_hadd_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi8, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_sub_epi32, _mm256_xor_si256,
};

recompiled_table!("avx_vnni", "avx2,f16c,avxvnni", rows: 4, float_rows: 8, AvxVnni);

/// The table, if this CPU and its operating system have AVX-VNNI.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c", "avxvnni").then_some(&KERNELS)
}

struct AvxVnni;

impl BlockSums for AvxVnni {
    type Examined = ();

    #[inline(always)]
    fn excess<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS]) -> [i32; ROWS] {
        let mut found = [0; ROWS];
        for (slot, row) in found.iter_mut().zip(rows) {
            // SAFETY: only functions of this file's table come here; `detect` found AVX-VNNI.
            *slot = unsafe { excess(row) };
        }
        found
    }

    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: rows and panel have one length. Only functions of this file's table come here;
        // `detect` found AVX-VNNI.
        unsafe { block_sums::<ROWS, false>(rows, panel) }
    }

    #[inline(always)]
    fn exact_sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: rows and panel have one length. Only functions of this file's table come here;
        // `detect` found AVX-VNNI.
        unsafe { block_sums::<ROWS, true>(rows, panel) }
    }
}

/// 128 times the sum of a row.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn excess(row: &[[i8; PANEL]]) -> i32 {
    let (blocks, rest) = row.as_chunks::<4>();
    let mut last = [[0; PANEL]; 4];
    last.iter_mut().zip(rest).for_each(|(slot, values)| *slot = *values);
    let mut sum = _mm256_setzero_si256();
    for block in blocks.iter().chain(core::iter::once(&last)) {
        sum = _mm256_dpbusd_avx_epi32(sum, _mm256_set1_epi8(-128), bytemuck::must_cast(*block));
    }
    let lanes: [i32; 8] = bytemuck::must_cast(sum);
    lanes.into_iter().fold(0, i32::wrapping_add)
}

/// Sums of rows and a panel, with the excess of each row taken off if `EXACT`.
///
/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn block_sums<const ROWS: usize, const EXACT: bool>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    // Flips the sign bit: w + 128. As unsigned numbers, 128.
    let offset = _mm256_set1_epi8(-128);
    let mut excess = [_mm256_setzero_si256(); ROWS];
    // Channels 0 to 3 and 4 to 7, two partial sums each.
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [__m256i; 2] = bytemuck::must_cast(*block);
        let weights = [_mm256_xor_si256(weights[0], offset), _mm256_xor_si256(weights[1], offset)];
        for ((sums, excess), row) in sums.iter_mut().zip(&mut excess).zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let row = _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            for (sum, weights) in sums.iter_mut().zip(&weights) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, *weights, row);
            }
            if EXACT {
                *excess = _mm256_dpbusd_avx_epi32(*excess, offset, row);
            }
        }
    }
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, ([low, high], excess)) in folded.iter_mut().zip(sums.iter().zip(&excess)) {
        let (low, high) = (_mm256_sub_epi32(*low, *excess), _mm256_sub_epi32(*high, *excess));
        let pairs = _mm256_hadd_epi32(low, high);
        *slot = bytemuck::must_cast(_mm256_permute4x64_epi64(pairs, 0b11_01_10_00));
    }
    folded
}
