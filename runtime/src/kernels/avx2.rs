//! x86-64 with AVX2 and F16C (Intel since 2013, AMD since 2015).
//!
//! int8 products: `vpmaddubsw` adds two products of an unsigned left with a signed right side in an
//! i16. Exact sums, in one of three ways for each block of four rows:
//! - |w| times the row with the signs of w (`vpsignb`): two products are at most 2 * 128 * 127 =
//!   32,512. Fits whatever the values are.
//! - w + 128 times the row: fits if the positive ones of two adjacent values have a sum of at most
//!   [`LARGEST`], and the negative ones. Most do: a row's scale is that of its largest value. The sums
//!   are 128 times the sum of the row's values too large, which is taken off at the end.
//! - The same for two adjacent blocks, whose sums are added as i16, if both together fit.
//!
//! Which one is found once for all panels. So the time depends on the values, and the sums do not: on the
//! rows of 384 values of a MiniLM 40 % of the blocks are in pairs and 14 % take signs, of uniform ones
//! nearly all do.

use super::PANEL;
use super::portable::{Block, BlockSums, EXAMINED_ROWS, FloatSums, Lanes, Sums, same_length};
use core::arch::x86_64::{
    __m256, __m256i, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_cmpgt_epi16, _mm256_cvtph_ps, _mm256_hadd_epi32, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_max_epi8, _mm256_max_epi16, _mm256_movemask_epi8, _mm256_mul_ps,
    _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi64x,
    _mm256_set1_ps, _mm256_setr_epi64x, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_sub_epi8, _mm256_sub_epi16, _mm256_xor_si256,
};

use half::f16;

recompiled_table!("avx2", "avx2,f16c", rows: 4, Avx2, float_rows: 8, Avx2);

/// The table, if this CPU and its operating system have AVX2 and F16C.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c").then_some(&KERNELS)
}

struct Avx2;

impl BlockSums for Avx2 {
    type Examined = Ways;

    /// As many as a small second-level cache holds. The loops over the ways of a tile then end where
    /// they did with the panel before, which the CPU foresees.
    #[inline(always)]
    fn together(blocks: usize) -> usize {
        const BYTES: usize = 192 << 10;
        BYTES / (blocks * size_of::<Block>()).max(1)
    }

    #[inline(always)]
    fn examine(
        rows: [&[[i8; PANEL]]; EXAMINED_ROWS],
        panels: usize,
    ) -> (Self::Examined, [i32; EXAMINED_ROWS]) {
        let [first, others @ ..] = &rows;
        let blocks = first.len();
        let whole = others.iter().all(|row| row.len() == blocks);
        if !whole || blocks < EXAMINED_BLOCKS || panels < EXAMINED_PANELS {
            return (Ways::default(), [0; EXAMINED_ROWS]);
        }
        // SAFETY: the rows have one length. Only functions of this file's table come here; `detect`
        // found AVX2.
        unsafe { examine(rows) }
    }

    #[inline(always)]
    fn examined_sums<const ROWS: usize>(
        rows: [&[[i8; PANEL]]; ROWS],
        examined: Option<&Self::Examined>,
        panel: &[Block],
    ) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        match examined {
            // SAFETY: the rows are as long as the panel, and as the rows that were examined. Only
            // functions of this file's table come here; `detect` found AVX2.
            Some(ways) if ways.blocks == panel.len() => unsafe { sums_by(rows, ways, panel) },
            _ => <Self as BlockSums>::sums(rows, panel),
        }
    }

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

/// Sum of the positive values of two products, or of the four of a pair, that fits: 255 * 128 = 32,640.
/// Of the negative ones it is at least -32,640.
const LARGEST: i16 = 128;

/// Shorter rows are not examined, nor rows that meet fewer panels: it takes the time of a few panels.
const EXAMINED_BLOCKS: usize = 16;
const EXAMINED_PANELS: usize = 6;

/// In which way each block of some rows is multiplied: every block of their length once.
#[derive(Clone, Copy)]
struct Ways {
    /// Blocks of a row; none if all take the signs of the weights.
    blocks: usize,
    /// Pairs of adjacent blocks, by the first one.
    pairs: [u8; Self::LISTED / 2],
    pair_count: usize,
    /// At the beginning single blocks, at the end those that take the signs of the weights. So do the
    /// blocks behind the first [`Self::LISTED`] of a row.
    others: [u8; Self::LISTED],
    single_count: usize,
    signed_count: usize,
}

impl Ways {
    /// Most blocks in the lists: 2,048 values of a row.
    const LISTED: usize = 256;

    #[inline(always)]
    fn pairs(&self) -> impl Iterator<Item = usize> {
        blocks_of(self.pairs.get(..self.pair_count))
    }

    #[inline(always)]
    fn singles(&self) -> impl Iterator<Item = usize> {
        blocks_of(self.others.get(..self.single_count))
    }

    #[inline(always)]
    fn signed(&self) -> impl Iterator<Item = usize> {
        blocks_of(self.others.get(Self::LISTED.wrapping_sub(self.signed_count)..))
    }

    #[inline(always)]
    fn add_pair(&mut self, block: usize) {
        if let Some(slot) = self.pairs.get_mut(self.pair_count) {
            *slot = block as u8;
            self.pair_count += 1;
        }
    }

    #[inline(always)]
    fn add(&mut self, block: usize, single: bool) {
        let last = Self::LISTED - 1;
        let place = if single { self.single_count } else { last.wrapping_sub(self.signed_count) };
        if let Some(slot) = self.others.get_mut(place) {
            *slot = block as u8;
            self.single_count += usize::from(single);
            self.signed_count += usize::from(!single);
        }
    }
}

impl Default for Ways {
    #[inline(always)]
    fn default() -> Self {
        let (pairs, others) = ([0; Self::LISTED / 2], [0; Self::LISTED]);
        Self { blocks: 0, pairs, pair_count: 0, others, single_count: 0, signed_count: 0 }
    }
}

#[inline(always)]
fn blocks_of(list: Option<&[u8]>) -> impl Iterator<Item = usize> {
    list.unwrap_or_default().iter().map(|index| usize::from(*index))
}

/// The values of one block of four rows.
///
/// # Safety
/// Every row has the block.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn block_of_rows(rows: [&[[i8; PANEL]]; EXAMINED_ROWS], index: usize) -> __m256i {
    // SAFETY: every row has the block.
    let [a, b, c, d] =
        rows.map(|row| bytemuck::must_cast::<_, i64>(unsafe { *row.get_unchecked(index) }));
    _mm256_setr_epi64x(a, b, c, d)
}

/// The ways of the blocks of rows, and the excess of each row.
///
/// # Safety
/// The rows have one length.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn examine(rows: [&[[i8; PANEL]]; EXAMINED_ROWS]) -> (Ways, [i32; EXAMINED_ROWS]) {
    let blocks = rows[0].len();
    let mut ways = Ways { blocks, ..Ways::default() };
    let (zero, ones) = (_mm256_setzero_si256(), _mm256_set1_epi8(1));
    let largest = _mm256_set1_epi16(LARGEST);
    let fits = |positive, negative| {
        let sums = _mm256_max_epi16(positive, negative);
        _mm256_movemask_epi8(_mm256_cmpgt_epi16(sums, largest)) == 0
    };
    let mut excess = zero;
    let listed = blocks.min(Ways::LISTED);
    for first in (0..listed).step_by(2) {
        let mut sums = [[zero; 2]; 2];
        let mut fit = [false; 2];
        for (index, (sums, fit)) in (first..listed).zip(sums.iter_mut().zip(&mut fit)) {
            // SAFETY: the rows have so many blocks.
            let values = unsafe { block_of_rows(rows, index) };
            let positive = _mm256_maddubs_epi16(_mm256_max_epi8(values, zero), ones);
            let negated = _mm256_sub_epi8(zero, values);
            let negative = _mm256_maddubs_epi16(_mm256_max_epi8(negated, zero), ones);
            *sums = [positive, negative];
            *fit = fits(positive, negative);
        }
        let [[positive, negative], [more_positive, more_negative]] = sums;
        let both = fit == [true; 2]
            && fits(
                _mm256_add_epi16(positive, more_positive),
                _mm256_add_epi16(negative, more_negative),
            );
        if both {
            ways.add_pair(first);
        } else {
            for (index, fit) in (first..listed).zip(fit) {
                ways.add(index, fit);
            }
        }
        for ([positive, negative], fit) in sums.into_iter().zip(fit) {
            let total = if fit { _mm256_sub_epi16(positive, negative) } else { zero };
            excess = _mm256_add_epi32(excess, _mm256_madd_epi16(total, _mm256_set1_epi16(128)));
        }
    }
    // The loop over whole rows is a little faster than the one over a list.
    if 2 * ways.pair_count + ways.single_count < listed / 4 {
        return (Ways::default(), [0; EXAMINED_ROWS]);
    }
    let halves: [[i32; 2]; EXAMINED_ROWS] = bytemuck::must_cast(excess);
    (ways, halves.map(|[low, high]| low.wrapping_add(high)))
}

/// Partial sums of rows with the channels 0 to 3 and 4 to 7 of a panel, two of each.
type Partial<const ROWS: usize> = [[__m256i; 2]; ROWS];

/// # Safety
/// Every row is as long as the panel, and so are the rows that have these ways.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn sums_by<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    ways: &Ways,
    panel: &[Block],
) -> Sums<ROWS> {
    let (ones, offset) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
    let unsigned = |index: usize| {
        // SAFETY: the panel has the block.
        let weights: [__m256i; 2] = bytemuck::must_cast(unsafe { *panel.get_unchecked(index) });
        weights.map(|weights| _mm256_xor_si256(weights, offset))
    };
    let value = |row: &[[i8; PANEL]], index: usize| {
        // SAFETY: the row has the block.
        _mm256_set1_epi64x(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }))
    };
    let mut sums: Partial<ROWS> = [[_mm256_setzero_si256(); 2]; ROWS];
    for index in ways.pairs() {
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
    for index in ways.singles() {
        let weights = unsigned(index);
        for (sums, row) in sums.iter_mut().zip(rows) {
            let row = value(row, index);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                let pairs = _mm256_maddubs_epi16(weights, row);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    for index in ways.signed() {
        // SAFETY: the rows and the panel have the block.
        unsafe { add_signed(&mut sums, rows, panel, index) };
    }
    for index in Ways::LISTED..panel.len() {
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
