//! x86-64 with AVX-512 and its VNNI (Intel since Ice Lake, AMD since Zen 4).
//!
//! int8 products: `vpdpbusd` sums four products of an unsigned left with a signed right side, without
//! saturation. Weights enter as w + 128, which makes each sum 128 times the sum of its row too large,
//! for every channel alike: the excess of a row is found once for all panels and taken off at the end.
//! Both wrap around in i32 without harm: the difference fits.

use super::PANEL;
use super::portable::{Block, BlockSums, FloatSums, Lanes, Scaling, Sums, same_length};
use core::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_add_ps,
    _mm512_cvtepi32_ps, _mm512_cvtepi64_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_mul_ps,
    _mm512_permutex2var_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi64,
    _mm512_sub_epi32, _mm512_xor_si512,
};
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
        .then_some(&KERNELS)
}

struct Avx512Vnni;

impl BlockSums for Avx512Vnni {
    const PAIRS: bool = true;

    #[inline(always)]
    fn excess(row: &[[i8; PANEL]]) -> i32 {
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512 and VNNI.
        unsafe { excess(row) }
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

/// 128 times the sum of a row.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn excess(row: &[[i8; PANEL]]) -> i32 {
    let (blocks, rest) = row.as_chunks::<PANEL>();
    let mut last = [[0; PANEL]; PANEL];
    last.iter_mut().zip(rest).for_each(|(slot, values)| *slot = *values);
    let mut sum = _mm512_setzero_si512();
    for block in blocks.iter().chain(core::iter::once(&last)) {
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), bytemuck::must_cast(*block));
    }
    _mm512_reduce_add_epi32(sum)
}

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
    for (values, (sums, (scale, excess))) in values.iter_mut().zip(of_rows) {
        let sums = _mm512_sub_epi32(bytemuck::must_cast(*sums), _mm512_set1_epi32(*excess));
        let scales = _mm512_mul_ps(_mm512_set1_ps(*scale), channels);
        *values = bytemuck::must_cast(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales));
    }
    values
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
