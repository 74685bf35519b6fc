//! x86-64 with AVX-VNNI (Intel since Alder Lake, AMD since Zen 5): `avx512_vnni` in 256 bits, a panel
//! at a time.
//!
//! ```text
//! for each chunk of ROW_TILE rows:
//!     zero point of each row = 128 times the sum of its values        // once for all panels
//!     for each panel, for each tile of 4, 2 or 1 rows:
//!         sums = (weights + 128) * row, by vpdpbusd
//!         out = epilogue((sums - zero point) * (row scale * channel scale))
//! ```

use super::portable::{
    self, Block, BlockSums, PortableSums, RowChunk, Sums, TileSums, same_length,
};
use super::{PANEL, ROW_TILE};
use core::arch::x86_64::{
    __m256i, _mm256_dpbusd_avx_epi32, _mm256_hadd_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi8, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_sub_epi32, _mm256_xor_si256,
};
use half::f16;

recompiled_table! {
    "avx_vnni", "avx2,f16c,avxvnni", rows: portable,
    f32: portable::gemm_float::<8, f32, PortableSums>,
    f16: portable::gemm_float::<8, f16, PortableSums>,
    int8: gemm_int8,
    int4: portable::gemm_int4::<TILE, AvxVnni>,
}

/// Rows whose sums are in registers together.
const TILE: usize = 4;

/// The table, if this CPU and its operating system have AVX-VNNI.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c", "avxvnni").then_some(&KERNELS)
}

/// int8 weights, int8 rows; see [`super::scalar::gemm_f32_qd8_qc8w`].
#[inline(always)]
fn gemm_int8(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    for rows in RowChunk::split(lhs, ROW_TILE) {
        let mut ready = UnsignedSums { rows, zero_points: [0; ROW_TILE] };
        for (row, zero_point) in ready.zero_points.iter_mut().enumerate().take(rows.scales.len()) {
            let Some([row]) = rows.blocks(row, 0, rhs.inputs.div_ceil(PANEL)) else { break };
            // SAFETY: only functions of this file's table come here; `detect` found AVX-VNNI.
            *zero_point = unsafe { zero_point_sum(row) };
        }
        portable::multiply_int8::<TILE>(out, rows, &ready, rhs, 1, epilogue);
    }
}

/// Rows, and by how much the sums of each are too large.
struct UnsignedSums<'a> {
    rows: RowChunk<'a>,
    zero_points: [i32; ROW_TILE],
}

/// Adjacent rows and their zero points.
struct UnsignedTile<'t, 'a, const ROWS: usize> {
    rows: [&'a [[i8; PANEL]]; ROWS],
    zero_points: &'t [i32; ROWS],
}

impl<'a> TileSums for UnsignedSums<'a> {
    type Tile<'t, const ROWS: usize>
        = UnsignedTile<'t, 'a, ROWS>
    where
        Self: 't;

    #[inline(always)]
    fn tile<const ROWS: usize>(
        &self,
        first: usize,
        start: usize,
        count: usize,
    ) -> Option<UnsignedTile<'_, 'a, ROWS>> {
        let zero_points = self.zero_points.get(first..)?.first_chunk()?;
        Some(UnsignedTile { rows: self.rows.blocks(first, start, count)?, zero_points })
    }

    #[inline(always)]
    fn sums<const ROWS: usize>(tile: &UnsignedTile<'_, 'a, ROWS>, panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&tile.rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found AVX-VNNI.
        let mut sums = unsafe { block_sums::<ROWS, false>(tile.rows, panel) };
        for (sums, zero_point) in sums.iter_mut().zip(tile.zero_points) {
            sums.iter_mut().for_each(|sum| *sum = sum.wrapping_sub(*zero_point));
        }
        sums
    }
}

block_sums!(AvxVnni, block_sums::<ROWS, true>);

/// 128 times the sum of a row.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn zero_point_sum(row: &[[i8; PANEL]]) -> i32 {
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

/// Sums of rows and a panel, with the zero point's sum of each row taken off if `EXACT`.
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
    let mut zero_points = [_mm256_setzero_si256(); ROWS];
    // Channels 0 to 3 and 4 to 7, two partial sums each.
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [__m256i; 2] = bytemuck::must_cast(*block);
        let weights = [_mm256_xor_si256(weights[0], offset), _mm256_xor_si256(weights[1], offset)];
        for ((sums, zero_point), row) in sums.iter_mut().zip(&mut zero_points).zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let row = _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            for (sum, weights) in sums.iter_mut().zip(&weights) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, *weights, row);
            }
            if EXACT {
                *zero_point = _mm256_dpbusd_avx_epi32(*zero_point, offset, row);
            }
        }
    }
    fold(&sums, &zero_points)
}

/// Eight sums of each row from their halves, without the zero point's.
#[target_feature(enable = "avx2")]
#[inline]
fn fold<const ROWS: usize>(
    sums: &[[__m256i; 2]; ROWS],
    zero_points: &[__m256i; ROWS],
) -> Sums<ROWS> {
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, ([low, high], zero_point)) in folded.iter_mut().zip(sums.iter().zip(zero_points)) {
        let (low, high) =
            (_mm256_sub_epi32(*low, *zero_point), _mm256_sub_epi32(*high, *zero_point));
        let pairs = _mm256_hadd_epi32(low, high);
        *slot = bytemuck::must_cast(_mm256_permute4x64_epi64(pairs, 0b11_01_10_00));
    }
    folded
}
