//! x86-64 with AVX2 and F16C (Intel since 2013, AMD since 2015).
//!
//! int8 products: `vpmaddubsw` adds two products of an unsigned left with a signed right side in an
//! i16. Exact sums, by the kind of each block of four rows:
//! - signed: |w| times the row with the signs of w (`vpsignb`). Two products are at most
//!   2 * 128 * 127 = 32,512, which fits whatever the values are.
//! - single: w + 128 times the row. It fits if the positive ones of two adjacent values have a sum of at
//!   most [`LARGEST`], and the negative ones. Most do: a row's scale is that of its largest value. The
//!   sums are 128 times the sum of the row's values too large, which is taken off at the end.
//! - pair: the same for two adjacent blocks, whose sums are added as i16, if both together fit.
//!
//! ```text
//! for each chunk of ROW_TILE rows:
//!     for each four rows: classify their blocks, sum up zero points       // once for all panels
//!     for each group of panels that the second-level cache holds:
//!         for each four rows, for each panel of the group:
//!             for each pair, single and signed block: sums += products of its kind
//!             out = epilogue((sums - zero points) * (row scale * channel scale))
//! ```
//!
//! So the time depends on the values, here alone of all tables, and the sums do not: of the rows of 384
//! values of a MiniLM that reads a text 37 % of the blocks are in pairs and 14 % take signs, of those of
//! 1,536 after its GELU 96 % and 1 %. Of rows whose values are spread evenly nearly all take signs, and
//! their products take up to a third longer.

use super::portable::{
    self, Block, BlockSums, FloatSums, Lanes, RowChunk, Sums, TileSums, same_length,
};
use super::{PANEL, ROW_TILE};
use core::arch::x86_64::{
    __m256, __m256i, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_cmpgt_epi16, _mm256_cvtph_ps, _mm256_hadd_epi32, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_max_epi8, _mm256_max_epi16, _mm256_movemask_epi8, _mm256_mul_ps,
    _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi64x,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_sub_epi8,
    _mm256_sub_epi16, _mm256_xor_si256,
};

use half::f16;

recompiled_table! {
    "avx2", "avx2,f16c", rows: portable,
    f32: portable::gemm_float::<8, f32, Avx2>,
    f16: portable::gemm_float::<8, f16, Avx2>,
    int8: gemm_int8,
    int4: portable::gemm_int4::<TILE, Avx2>,
}

/// Rows whose sums are in registers together, and that are classified together.
const TILE: usize = 4;

/// The table, if this CPU and its operating system have AVX2 and F16C.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c").then_some(&KERNELS)
}

/// int8 weights, int8 rows; see [`super::scalar::gemm_f32_qd8_qc8w`].
#[inline(always)]
fn gemm_int8(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let blocks = rhs.inputs.div_ceil(PANEL);
    for rows in RowChunk::split(lhs, ROW_TILE) {
        let mut ready = ClassifiedRows::new(rows);
        if blocks >= FEWEST_BLOCKS && rhs.scales.len() >= FEWEST_PANELS * PANEL {
            ready.classify(blocks);
        }
        portable::multiply_int8::<TILE>(out, rows, &ready, rhs, panel_group(blocks), epilogue);
    }
}

/// How many panels meet one tile of rows before the next tile does: as many as a small second-level
/// cache holds. The loops over the blocks of a tile then end where they did with the panel before,
/// which the CPU foresees.
fn panel_group(blocks: usize) -> usize {
    const BYTES: usize = 192 << 10;
    BYTES / (blocks * size_of::<Block>()).max(1)
}

/// Rows, the kinds of the blocks of each four of them, and by how much the sums of each are too large.
struct ClassifiedRows<'a> {
    rows: RowChunk<'a>,
    kinds: [BlockKinds; ROW_TILE / TILE],
    zero_points: [i32; ROW_TILE],
}

impl<'a> ClassifiedRows<'a> {
    /// Rows of which nothing is known: every block takes the signs of the weights.
    #[inline(always)]
    fn new(rows: RowChunk<'a>) -> Self {
        let kinds = [BlockKinds::default(); ROW_TILE / TILE];
        Self { rows, kinds, zero_points: [0; ROW_TILE] }
    }

    /// Classifies the blocks of each four rows.
    #[inline(always)]
    fn classify(&mut self, blocks: usize) {
        let (zero_points, _) = self.zero_points.as_chunks_mut::<TILE>();
        let whole = self.rows.scales.len() / TILE;
        let tiles = zero_points.iter_mut().zip(&mut self.kinds).take(whole).enumerate();
        for (tile, (zero_points, kinds)) in tiles {
            let Some(rows) = self.rows.blocks(tile * TILE, 0, blocks) else { break };
            // SAFETY: the rows have one length. Only functions of this file's table come here; `detect`
            // found AVX2.
            *zero_points = unsafe { classify(rows, kinds) };
        }
    }
}

/// Adjacent rows, and what is known of them.
struct ClassifiedTile<'t, 'a, const ROWS: usize> {
    rows: [&'a [[i8; PANEL]]; ROWS],
    /// The kinds of their blocks, if the lists are of use.
    kinds: Option<&'t BlockKinds>,
    zero_points: &'t [i32; ROWS],
}

impl<'a> TileSums for ClassifiedRows<'a> {
    type Tile<'t, const ROWS: usize>
        = ClassifiedTile<'t, 'a, ROWS>
    where
        Self: 't;

    #[inline(always)]
    fn tile<const ROWS: usize>(
        &self,
        first: usize,
        start: usize,
        count: usize,
    ) -> Option<ClassifiedTile<'_, 'a, ROWS>> {
        let kinds = if ROWS == TILE { self.kinds.get(first / TILE) } else { None };
        Some(ClassifiedTile {
            rows: self.rows.blocks(first, start, count)?,
            kinds: kinds.filter(|kinds| kinds.blocks == count && kinds.blocks != 0),
            zero_points: self.zero_points.get(first..)?.first_chunk()?,
        })
    }

    #[inline(always)]
    fn sums<const ROWS: usize>(tile: &ClassifiedTile<'_, 'a, ROWS>, panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&tile.rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        let Some(kinds) = tile.kinds else {
            // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
            // `detect` found AVX2.
            return unsafe { block_sums(tile.rows, panel) };
        };
        // SAFETY: the rows are as long as the panel, and as those that were classified. Only functions of
        // this file's table come here; `detect` found AVX2.
        let mut sums = unsafe { sums_by_kind(tile.rows, kinds, panel) };
        for (sums, zero_point) in sums.iter_mut().zip(tile.zero_points) {
            sums.iter_mut().for_each(|sum| *sum = sum.wrapping_sub(*zero_point));
        }
        sums
    }
}

block_sums!(Avx2, block_sums);

/// Sum of the positive values of two products, or of the four of a pair, that fits: 255 * 128 = 32,640.
/// Of the negative ones it is at least -32,640.
const LARGEST: i16 = 128;

/// Shorter rows are not classified, nor rows that meet fewer panels: it takes the time of a few panels.
const FEWEST_BLOCKS: usize = 16;
const FEWEST_PANELS: usize = 6;

/// Most blocks in the lists of [`BlockKinds`]: 2,048 values of a row.
const LISTED: usize = 256;

/// In which way each block of some rows is multiplied: every block of their length once.
#[derive(Clone, Copy)]
struct BlockKinds {
    /// Blocks of a row; 0 if all take the signs of the weights, whatever the lists have.
    blocks: usize,
    /// Pairs of adjacent blocks, by the first one.
    pairs: List<{ LISTED / 2 }>,
    singles: List<LISTED>,
    /// Blocks that take the signs of the weights. So do those after the first [`LISTED`] of a row.
    signed: List<LISTED>,
}

impl Default for BlockKinds {
    #[inline(always)]
    fn default() -> Self {
        Self { blocks: 0, pairs: List::EMPTY, singles: List::EMPTY, signed: List::EMPTY }
    }
}

/// Some of `MOST` blocks.
#[derive(Clone, Copy)]
struct List<const MOST: usize> {
    blocks: [u8; MOST],
    count: usize,
}

impl<const MOST: usize> List<MOST> {
    const EMPTY: Self = Self { blocks: [0; MOST], count: 0 };

    /// Adds a block if it is one of the list, without a branch, which no CPU would foresee. It is written
    /// in any case: the list has room for one more.
    #[inline(always)]
    fn add(&mut self, block: usize, listed: bool) {
        if let Some(slot) = self.blocks.get_mut(self.count % MOST) {
            *slot = block as u8;
        }
        self.count += usize::from(listed);
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = usize> {
        let listed = self.blocks.get(..self.count).unwrap_or_default();
        listed.iter().map(|index| usize::from(*index))
    }
}

/// The values of one block of four rows.
///
/// # Safety
/// Every row has the block.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn block_of_rows(rows: [&[[i8; PANEL]]; TILE], index: usize) -> __m256i {
    // Not `map`: its closure has AVX2, and is called wherever `map` itself is not inlined.
    let mut values = [[0; PANEL]; TILE];
    for (slot, row) in values.iter_mut().zip(rows) {
        // SAFETY: every row has the block.
        *slot = unsafe { *row.get_unchecked(index) };
    }
    bytemuck::must_cast(values)
}

/// The sums of the positive values of each two inputs of one block of four rows, and of the negative ones
/// without their signs.
///
/// # Safety
/// Every row has the block.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn signed_sums(rows: [&[[i8; PANEL]]; TILE], index: usize) -> [__m256i; 2] {
    let (zero, ones) = (_mm256_setzero_si256(), _mm256_set1_epi8(1));
    // SAFETY: every row has the block.
    let values = unsafe { block_of_rows(rows, index) };
    let negative = _mm256_max_epi8(_mm256_sub_epi8(zero, values), zero);
    let positive = _mm256_max_epi8(values, zero);
    [_mm256_maddubs_epi16(positive, ones), _mm256_maddubs_epi16(negative, ones)]
}

/// Whether sums of products are exact in an i16 if the values have these sums.
#[target_feature(enable = "avx2")]
#[inline]
fn fits([positive, negative]: [__m256i; 2]) -> bool {
    let sums = _mm256_max_epi16(positive, negative);
    _mm256_movemask_epi8(_mm256_cmpgt_epi16(sums, _mm256_set1_epi16(LARGEST))) == 0
}

/// 128 times the sums of the values of a block, if it takes weights plus 128.
#[target_feature(enable = "avx2")]
#[inline]
fn zero_point_sums([positive, negative]: [__m256i; 2], unsigned: bool) -> __m256i {
    let factor = _mm256_set1_epi16(i16::from(unsigned) * 128);
    _mm256_madd_epi16(_mm256_sub_epi16(positive, negative), factor)
}

/// Finds the kinds of the blocks of rows, and the zero points of each row.
///
/// # Safety
/// The rows have one length.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn classify(rows: [&[[i8; PANEL]]; TILE], kinds: &mut BlockKinds) -> [i32; TILE] {
    let blocks = rows[0].len();
    let listed = blocks.min(LISTED);
    (kinds.blocks, kinds.pairs.count, kinds.singles.count, kinds.signed.count) = (0, 0, 0, 0);
    let mut zero_points = _mm256_setzero_si256();
    for first in (0..listed & !1).step_by(2) {
        // SAFETY: the rows have so many blocks.
        let sums = unsafe { signed_sums(rows, first) };
        // SAFETY: the same.
        let next = unsafe { signed_sums(rows, first + 1) };
        let fit = [fits(sums), fits(next)];
        let both = fits([_mm256_add_epi16(sums[0], next[0]), _mm256_add_epi16(sums[1], next[1])]);
        kinds.pairs.add(first, both);
        for (block, fit) in (first..).zip(fit) {
            kinds.singles.add(block, fit & !both);
            kinds.signed.add(block, !fit);
        }
        for (sums, fit) in [sums, next].into_iter().zip(fit) {
            zero_points = _mm256_add_epi32(zero_points, zero_point_sums(sums, fit));
        }
    }
    if listed % 2 == 1 {
        kinds.signed.add(listed - 1, true);
    }
    // The loop over whole rows is a little faster than the one over a list.
    if 2 * kinds.pairs.count + kinds.singles.count < listed / 4 {
        return [0; TILE];
    }
    kinds.blocks = blocks;
    let halves: [[i32; 2]; TILE] = bytemuck::must_cast(zero_points);
    halves.map(|[low, high]| low.wrapping_add(high))
}

/// Partial sums of rows with the channels 0 to 3 and 4 to 7 of a panel, two of each.
type Partial<const ROWS: usize> = [[__m256i; 2]; ROWS];

/// The sums by the kinds of blocks. In functions of their own, its loops take a third longer.
///
/// # Safety
/// Every row is as long as the panel, and so are the rows that have these kinds.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn sums_by_kind<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    kinds: &BlockKinds,
    panel: &[Block],
) -> Sums<ROWS> {
    let (ones, offset) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
    let unsigned = |index: usize| {
        // SAFETY: the panel has the block.
        let weights: [__m256i; 2] = bytemuck::must_cast(unsafe { *panel.get_unchecked(index) });
        [_mm256_xor_si256(weights[0], offset), _mm256_xor_si256(weights[1], offset)]
    };
    let value = |row: &[[i8; PANEL]], index: usize| {
        // SAFETY: the row has the block.
        _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }))
    };
    let mut sums: Partial<ROWS> = [[_mm256_setzero_si256(); 2]; ROWS];
    for index in kinds.pairs.iter() {
        let (weights, next) = (unsigned(index), unsigned(index + 1));
        for (sums, row) in sums.iter_mut().zip(rows) {
            let (row, row_next) = (value(row, index), value(row, index + 1));
            for (sum, (weights, next)) in sums.iter_mut().zip(weights.into_iter().zip(next)) {
                let pairs = _mm256_add_epi16(
                    _mm256_maddubs_epi16(weights, row),
                    _mm256_maddubs_epi16(next, row_next),
                );
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    for index in kinds.singles.iter() {
        let weights = unsigned(index);
        for (sums, row) in sums.iter_mut().zip(rows) {
            let row = value(row, index);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                let pairs = _mm256_maddubs_epi16(weights, row);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    for index in kinds.signed.iter() {
        // SAFETY: the rows and the panel have the block.
        unsafe { add_signed(&mut sums, rows, panel, index) };
    }
    for index in LISTED..panel.len() {
        // SAFETY: the rows and the panel have the block.
        unsafe { add_signed(&mut sums, rows, panel, index) };
    }
    fold(&sums)
}

/// Adds the sums of one block, whatever its values are.
///
/// # Safety
/// Every row and the panel have the block.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_signed<const ROWS: usize>(
    sums: &mut Partial<ROWS>,
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
    index: usize,
) {
    let ones = _mm256_set1_epi16(1);
    // SAFETY: the panel has the block.
    let weights: [__m256i; 2] = bytemuck::must_cast(unsafe { *panel.get_unchecked(index) });
    let magnitudes = [_mm256_abs_epi8(weights[0]), _mm256_abs_epi8(weights[1])];
    for (sums, row) in sums.iter_mut().zip(&rows) {
        // SAFETY: the row has the block.
        let row = _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
        for ((sum, weights), magnitudes) in sums.iter_mut().zip(weights).zip(magnitudes) {
            let signed = _mm256_sign_epi8(row, weights);
            let pairs = _mm256_maddubs_epi16(magnitudes, signed);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
}

/// Eight sums of each row from their halves.
#[target_feature(enable = "avx2")]
#[inline]
fn fold<const ROWS: usize>(sums: &Partial<ROWS>) -> Sums<ROWS> {
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, [low, high]) in folded.iter_mut().zip(sums) {
        let pairs = _mm256_hadd_epi32(*low, *high);
        *slot = bytemuck::must_cast(_mm256_permute4x64_epi64(pairs, 0b11_01_10_00));
    }
    folded
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    let mut sums: Partial<ROWS> = [[_mm256_setzero_si256(); 2]; ROWS];
    for index in 0..panel.len() {
        // SAFETY: the rows are as long as the panel.
        unsafe { add_signed(&mut sums, rows, panel, index) };
    }
    fold(&sums)
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
    for index in 0..panel.len() {
        // SAFETY: it is an index of the panel.
        let weights = W::widen(unsafe { panel.get_unchecked(index) });
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
