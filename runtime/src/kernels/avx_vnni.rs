//! x86-64 with AVX-VNNI (Intel since Alder Lake, AMD since Zen 5): `avx512_vnni` in 256 bits.

use super::PANEL;
use super::portable::{Block, BlockSums, Sums};
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
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if rows.iter().any(|row| row.len() != panel.len()) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found AVX-VNNI.
        unsafe { block_sums(rows, panel) }
    }
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    // Flips the sign bit: x + 128. As numbers of its own, 128.
    let offset = _mm256_set1_epi8(-128);
    // Channels 0 to 3 and 4 to 7, two partial sums each.
    let mut excess = [_mm256_setzero_si256(); 2];
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [__m256i; 2] = bytemuck::must_cast(*block);
        for (excess, weights) in excess.iter_mut().zip(weights) {
            *excess = _mm256_dpbusd_avx_epi32(*excess, offset, weights);
        }
        for (sums, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let row = _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            let row = _mm256_xor_si256(row, offset);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, row, weights);
            }
        }
    }
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, [low, high]) in folded.iter_mut().zip(&sums) {
        let low = _mm256_sub_epi32(*low, excess[0]);
        let high = _mm256_sub_epi32(*high, excess[1]);
        let pairs = _mm256_hadd_epi32(low, high);
        *slot = bytemuck::must_cast(_mm256_permute4x64_epi64(pairs, 0b11_01_10_00));
    }
    folded
}
