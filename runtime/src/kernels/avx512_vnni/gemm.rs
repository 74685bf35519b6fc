//! Matrix products with two panels at a time.
//!
//! int8 products: `vpdpbusd` sums four products of an unsigned left with a signed right side, without
//! saturation. Weights enter as w + 128, which makes each sum 128 times the sum of its row too large,
//! for every channel alike: the zero point's sum of a row is found once for all panels and taken off
//! at the end. Both wrap around in i32 without harm: the difference fits.
//!
//! ```text
//! for each chunk of ROW_TILE rows:
//!     zero point's sums of its rows; the last row again up to a multiple of eight
//!     for each two panels, for each tile of 8, 4, 2 or 1 rows:
//!         for each block: for both panels: sum += (weights + 128) * row       // 16 channels
//!         out = epilogue((sums - zero point's sums) * (row scale * channel scale))
//!     the last of an odd number of panels alone
//! ```

use super::epilogue::{scaled, store_pair};
use crate::kernels::portable::{
    self, Block, BlockSums, Lanes, LoadedEpilogue, RowChunk, RowTile, Sums, float_rows,
    for_row_tiles, int8_panels, same_length,
};
use crate::kernels::{
    Epilogue, PANEL, Panels, PanelsInt4, PanelsInt8, Precision, ROW_TILE, RowsInt8,
};
use crate::tensor::{Matrix, MatrixMut};
use core::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_add_ps,
    _mm512_cvtepi64_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_mul_ps,
    _mm512_permutex2var_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi64,
    _mm512_sub_epi32, _mm512_xor_si512,
};
use half::f16;

/// Rows whose sums are in registers together.
const TILE: usize = 8;

/// int8 weights, int8 rows; see [`scalar::gemm_f32_qd8_qc8w`](crate::kernels::scalar::gemm_f32_qd8_qc8w).
#[inline(always)]
pub(super) fn gemm_int8(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    for chunk in RowChunk::split(lhs, ROW_TILE) {
        let rows = PaddedRows::new(chunk, rhs.inputs.div_ceil(PANEL));
        let mut panels = int8_panels(rhs).enumerate();
        while let Some((index, (first, scales))) = panels.next() {
            let column = index * PANEL;
            if let Some((_, (second, more))) = panels.next() {
                let epilogue = LoadedEpilogue::new(epilogue, Precision::Int8, column);
                let (panels, scales) = ([first, second], [*scales, *more]);
                let mut tile = PairTile { out, rows: &rows, panels, scales, epilogue };
                for_row_tiles::<TILE>(rows.tiled(), &mut tile);
            } else {
                let epilogue = LoadedEpilogue::new(epilogue, Precision::Int8, column);
                let mut tile = LastTile { out, rows: &rows, panel: first, scales, epilogue };
                for_row_tiles::<TILE>(rows.count, &mut tile);
            }
        }
    }
}

/// int4 weights, int8 rows; see [`scalar::gemm_f32_qd8_qc4w`](crate::kernels::scalar::gemm_f32_qd8_qc4w).
#[inline(always)]
pub(super) fn gemm_int4(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    portable::gemm_int4::<TILE, ExactSums>(out, lhs, rhs, epilogue);
}

/// Rows of a chunk, and after them the last one up to a multiple of eight.
struct PaddedRows<'a> {
    /// Place of the first in the output.
    first: usize,
    count: usize,
    lines: [&'a [[i8; PANEL]]; ROW_TILE],
    scales: [f32; ROW_TILE],
    /// By how much the sums of each row are too large.
    zero_points: [i32; ROW_TILE],
}

impl<'a> PaddedRows<'a> {
    #[inline(always)]
    fn new(rows: RowChunk<'a>, blocks: usize) -> Self {
        /// Rows whose zero points are found together: the sum of one is a chain.
        const TOGETHER: usize = 4;
        let (mut lines, mut scales) = ([&[][..]; ROW_TILE], [0.0; ROW_TILE]);
        let mut zero_points = [0; ROW_TILE];
        let count = rows.scales.len();
        let slots = lines.iter_mut().zip(&mut scales).zip(rows.scales);
        for (index, ((line, slot), scale)) in slots.enumerate() {
            [*line] = rows.blocks(index, 0, blocks).unwrap_or_default();
            *slot = *scale;
        }
        let tiles = lines.as_chunks::<TOGETHER>().0.iter().zip(zero_points.as_chunks_mut().0);
        for (lines, zero_points) in tiles.take(count.div_ceil(TOGETHER)) {
            // SAFETY: only functions of this file's table come here; `detect` found AVX-512 and VNNI.
            *zero_points = unsafe { zero_point_sums(*lines) };
        }
        repeat_last(&mut lines, count);
        repeat_last(&mut scales, count);
        repeat_last(&mut zero_points, count);
        Self { first: rows.first, count, lines, scales, zero_points }
    }

    /// Rows that are multiplied: more than 4 of a tile, or 3, are fewer passes over the panels if they
    /// are padded.
    const fn tiled(&self) -> usize {
        match self.count % TILE {
            3 => self.count + 1,
            5.. => self.count.next_multiple_of(TILE),
            _ => self.count,
        }
    }

    /// Rows `first` to `first + ROWS`, their scales and zero points.
    #[inline(always)]
    fn tile<const ROWS: usize>(&self, first: usize) -> Option<TileRows<'_, 'a, ROWS>> {
        Some(TileRows {
            lines: self.lines.get(first..)?.first_chunk()?,
            scales: self.scales.get(first..)?.first_chunk()?,
            zero_points: self.zero_points.get(first..)?.first_chunk()?,
        })
    }
}

/// Instead of rows that are not there, the last one again.
#[inline(always)]
fn repeat_last<T: Copy>(values: &mut [T; ROW_TILE], count: usize) {
    let padded = values.get_mut(count.saturating_sub(1)..count.next_multiple_of(PANEL));
    if let Some((last, missing)) = padded.and_then(<[T]>::split_first_mut) {
        missing.fill(*last);
    }
}

/// Adjacent rows.
struct TileRows<'t, 'a, const ROWS: usize> {
    lines: &'t [&'a [[i8; PANEL]]; ROWS],
    scales: &'t [f32; ROWS],
    zero_points: &'t [i32; ROWS],
}

/// Rows times two panels.
struct PairTile<'t, 'o, 'a> {
    out: &'t mut MatrixMut<'o>,
    rows: &'t PaddedRows<'a>,
    panels: [&'t [Block]; 2],
    scales: [Lanes; 2],
    epilogue: LoadedEpilogue<2>,
}

impl RowTile for PairTile<'_, '_, '_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let Some(rows) = self.rows.tile::<ROWS>(first) else { return };
        if !same_length(rows.lines, &self.panels) {
            return;
        }
        // SAFETY: rows and panels have one length. Only functions of this file's table come here;
        // `detect` found AVX-512 and VNNI.
        let values = unsafe { pair_values(&rows, self.panels, &self.scales) };
        let mut out = self.out.first_rows(self.rows.first + self.rows.count);
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
        unsafe { store_pair(&self.epilogue, &mut out, self.rows.first + first, values) };
    }
}

/// Rows times the last of an odd number of panels.
struct LastTile<'t, 'o, 'a> {
    out: &'t mut MatrixMut<'o>,
    rows: &'t PaddedRows<'a>,
    panel: &'t [Block],
    scales: &'t Lanes,
    epilogue: LoadedEpilogue<1>,
}

impl RowTile for LastTile<'_, '_, '_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let Some(rows) = self.rows.tile::<ROWS>(first) else { return };
        if !same_length(rows.lines, &[self.panel]) {
            return;
        }
        // SAFETY: rows and panel have one length. Only functions of this file's table come here;
        // `detect` found AVX-512 and VNNI.
        let sums = unsafe { block_sums::<ROWS, 1, false>(*rows.lines, [self.panel]) };
        let mut values = [[[0.0; PANEL]; 1]; ROWS];
        let of_rows = sums.iter().zip(rows.scales.iter().zip(rows.zero_points));
        for ([values], ([sums], (row_scale, zero_point))) in values.iter_mut().zip(of_rows) {
            for (value, (sum, scale)) in values.iter_mut().zip(sums.iter().zip(self.scales)) {
                *value = sum.wrapping_sub(*zero_point) as f32 * (row_scale * scale);
            }
        }
        self.epilogue.store(self.out, self.rows.first + first, values);
    }
}

/// Sums without the zero points': of an int4 group, which has no more than four blocks.
struct ExactSums;

impl BlockSums for ExactSums {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
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
fn zero_point_sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS]) -> [i32; ROWS] {
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

/// Sums of rows and panels, with the zero point's sum of each row taken off if `EXACT`.
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
    let mut zero_points = [_mm512_setzero_si512(); ROWS];
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
        for ((sums, zero_point), row) in sums.iter_mut().zip(&mut zero_points).zip(&rows) {
            // SAFETY: the row has so many blocks.
            let row = _mm512_set1_epi64(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            for (sum, weights) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_dpbusd_epi32(*sum, *weights, row);
            }
            if EXACT {
                *zero_point = _mm512_dpbusd_epi32(*zero_point, offset, row);
            }
        }
    }
    if EXACT {
        for (sums, zero_point) in sums.iter_mut().zip(zero_points) {
            sums.iter_mut().for_each(|sum| *sum = _mm512_sub_epi32(*sum, zero_point));
        }
    }
    fold_all(&sums)
}

/// The sums of each row and panel.
#[target_feature(enable = "avx512f")]
#[inline]
fn fold_all<const ROWS: usize, const PANELS: usize>(
    sums: &[[__m512i; PANELS]; ROWS],
) -> [[[i32; PANEL]; PANELS]; ROWS] {
    let mut folded = [[[0; PANEL]; PANELS]; ROWS];
    for (folded, sums) in folded.iter_mut().zip(sums) {
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
    rows: &TileRows<'_, '_, ROWS>,
    panels: [&[Block]; 2],
    scales: &[Lanes; 2],
) -> [[Lanes; 2]; ROWS] {
    // SAFETY: as this function's.
    let sums = unsafe { block_sums::<ROWS, 2, false>(*rows.lines, panels) };
    let channels: __m512 = bytemuck::must_cast(*scales);
    let mut values = [[[0.0; PANEL]; 2]; ROWS];
    let of_rows = sums.iter().zip(rows.scales.iter().zip(rows.zero_points));
    for (values, (sums, (row_scale, zero_point))) in values.iter_mut().zip(of_rows) {
        let sums = _mm512_sub_epi32(bytemuck::must_cast(*sums), _mm512_set1_epi32(*zero_point));
        *values = bytemuck::must_cast(scaled(sums, *row_scale, channels));
    }
    values
}

/// Float weights, float rows, two panels at a time; see
/// [`Kernels::gemm_f32_f32_f32w`](crate::kernels::Kernels::gemm_f32_f32_f32w).
#[inline(always)]
pub(super) fn gemm_float<W: Weight>(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, W>,
    epilogue: &Epilogue<'_>,
) {
    let (steps, _) = rhs.values.as_chunks::<PANEL>();
    let mut panels = steps.chunks_exact(rhs.inputs.max(1)).enumerate();
    while let Some((index, first)) = panels.next() {
        let column = index * PANEL;
        if let Some((_, second)) = panels.next() {
            let epilogue = LoadedEpilogue::<2>::new(epilogue, Precision::F32, column);
            let mut tile = FloatTile { out, lhs, panels: [first, second], epilogue };
            for_row_tiles::<TILE>(lhs.rows(), &mut tile);
        } else {
            let epilogue = LoadedEpilogue::<1>::new(epilogue, Precision::F32, column);
            let mut tile = FloatTile { out, lhs, panels: [first, first], epilogue };
            for_row_tiles::<TILE>(lhs.rows(), &mut tile);
        }
    }
}

/// Rows times two panels, of which the first `PANELS` count.
struct FloatTile<'t, 'o, 'a, W, const PANELS: usize> {
    out: &'t mut MatrixMut<'o>,
    lhs: Matrix<'a>,
    panels: [&'a [[W; PANEL]]; 2],
    epilogue: LoadedEpilogue<PANELS>,
}

impl<W: Weight, const PANELS: usize> RowTile for FloatTile<'_, '_, '_, W, PANELS> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let [panel, second] = self.panels;
        let rows = float_rows::<ROWS>(&self.lhs, first, panel.len());
        let Some(rows) = rows.filter(|_| second.len() == panel.len()) else { return };
        // SAFETY: rows and panels have one length. Only functions of this file's table come here;
        // `detect` found AVX-512.
        let sums = unsafe { float_sums(rows, self.panels) };
        let sums = sums.map(|sums| *sums.first_chunk().unwrap_or(&[[0.0; PANEL]; PANELS]));
        self.epilogue.store(self.out, first, sums);
    }
}

/// The weights of one input for 16 channels.
pub(super) trait Weight: Copy {
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
