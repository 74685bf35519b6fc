//! The scalar kernels in the shape a compiler turns into vector code: eight lanes, panels, tiles of
//! rows. No intrinsics, so every instruction set's table can be these bodies, compiled for it.

use super::{
    Epilogue, Int4Group, Kernels, NormWeights, PANEL, Panels, PanelsInt4, PanelsInt8, Precision,
    ROW_TILE, RowsInt8, Store, WEIGHT_STEPS, WeightScale, activate, fold, math, scalar,
};
use crate::config::Activation;
use crate::panel::INT4_GROUP;
use crate::tensor::{Matrix, MatrixMut};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use half::f16;

/// The table.
pub static KERNELS: Kernels = Kernels {
    name: "portable",
    gemm_f32_f32_f32w: gemm_float::<4, f32, PortableSums>,
    gemm_f32_f32_f16w: gemm_float::<4, f16, PortableSums>,
    gemm_f32_qd8_qc8w,
    gemm_f32_qd8_qc4w: gemm_int4::<TILE, PortableSums>,
    quantize_row,
    layer_norm,
    layer_norm_rows: None,
    rms_norm,
    softmax,
    softmax_int8,
    pack_rows,
    pack_columns,
    add_f16,
    add_int8,
    dot,
};

/// Rows of the portable int8 GEMM whose sums are in registers together.
const TILE: usize = 4;
/// Values of the eight output channels of a panel.
pub(super) type Lanes = [f32; PANEL];
/// One block of `Panel8x8`: 8 output channels by 8 consecutive inputs.
pub(super) type Block = [[i8; PANEL]; PANEL];

/// Float weights of type `W`, `TILE` rows at a time, by the sums of an instruction set; see
/// [`Kernels::gemm_f32_f32_f32w`] and [`Kernels::gemm_f32_f32_f16w`].
#[inline(always)]
pub(super) fn gemm_float<const TILE: usize, W: Copy, S: FloatSums<W>>(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, W>,
    epilogue: &Epilogue<'_>,
) {
    let (steps, _) = rhs.values.as_chunks::<PANEL>();
    let mut panels = steps.chunks_exact(rhs.inputs.max(1)).enumerate();
    while let Some((index, panel)) = panels.next() {
        let (column, by) = (index * PANEL, PhantomData::<S>);
        let second = if S::PAIRS { panels.next() } else { None };
        if let Some((_, second)) = second {
            let finish = Finish::new(epilogue, Precision::F32, column);
            let mut tile = FloatPairTile { out, lhs, panels: [panel, second], finish, by };
            for_row_tiles::<TILE>(lhs.rows(), &mut tile);
        } else {
            let finish = Finish::new(epilogue, Precision::F32, column);
            let mut tile = FloatTile { out, lhs, panel, finish, by };
            for_row_tiles::<TILE>(lhs.rows(), &mut tile);
        }
    }
}

/// Work on some adjacent rows.
trait RowTile {
    /// [`run`](Self::run) takes fewer rows at the end, in the time of `ROWS`.
    const PADS: bool = false;

    /// Rows `first` to `first + ROWS`.
    fn run<const ROWS: usize>(&mut self, first: usize);
}

/// Covers all rows: whole tiles, then 4, 2 and 1 rows. More than 4, or 3, are fewer passes over the
/// panels if they are padded.
#[inline(always)]
fn for_row_tiles<const TILE: usize>(rows: usize, tile: &mut impl RowTile) {
    let mut first = 0;
    let padded = match rows % TILE {
        3 if pads(tile) && TILE > 4 => rows + 1,
        5.. if pads(tile) => rows.next_multiple_of(TILE),
        _ => rows,
    };
    while first + TILE <= padded {
        tile.run::<TILE>(first);
        first += TILE;
    }
    while TILE > 4 && first + 4 <= padded {
        tile.run::<4>(first);
        first += 4;
    }
    if TILE > 2 && first + 2 <= rows {
        tile.run::<2>(first);
        first += 2;
    }
    if TILE > 1 && first < rows {
        tile.run::<1>(first);
    }
}

const fn pads<T: RowTile>(_: &T) -> bool {
    T::PADS
}

/// What an instruction set brings to the float GEMM with weights of type `W`.
pub(super) trait FloatSums<W> {
    /// Whether [`pair_sums`](Self::pair_sums) is better than twice [`sums`](Self::sums).
    const PAIRS: bool = false;

    /// Sums of `ROWS` rows with the 8 channels of one panel, each in ascending order of the input;
    /// every row is as long as the panel.
    fn sums<const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[W; PANEL]]) -> [Lanes; ROWS];

    /// The sums with two panels of one length.
    #[inline(always)]
    fn pair_sums<const ROWS: usize>(
        rows: [&[f32]; ROWS],
        [first, second]: [&[[W; PANEL]]; 2],
    ) -> [[Lanes; 2]; ROWS] {
        let (first, second) = (Self::sums(rows, first), Self::sums(rows, second));
        core::array::from_fn(|row| [first[row], second[row]])
    }
}

/// A weight that widens to f32 exactly.
pub(super) trait FloatWeight: Copy {
    /// Its value.
    fn widen(self) -> f32;

    /// The values of eight.
    #[inline(always)]
    fn widen_all(weights: &[Self; PANEL]) -> Lanes {
        weights.map(Self::widen)
    }
}

impl FloatWeight for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl FloatWeight for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        widen(self)
    }

    #[cfg(all(cortex_m, target_abi = "eabihf"))]
    #[inline(always)]
    fn widen_all(weights: &[Self; PANEL]) -> Lanes {
        let [a, b, c, d, e, f, g, h] = *weights;
        let pair = |low: f16, high: f16| {
            let bits = u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
            super::cortex_m::widen_pair(bits)
        };
        let ([a, b], [c, d], [e, f], [g, h]) = (pair(a, b), pair(c, d), pair(e, f), pair(g, h));
        [a, b, c, d, e, f, g, h]
    }
}

/// Rows `first` to `first + ROWS`; `None` if one of them is not `inputs` long.
#[inline(always)]
fn float_rows<'a, const ROWS: usize>(
    lhs: &Matrix<'a>,
    first: usize,
    inputs: usize,
) -> Option<[&'a [f32]; ROWS]> {
    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
    for (offset, row) in rows.iter_mut().enumerate() {
        *row = lhs.row(first + offset).get(..inputs)?;
    }
    Some(rows)
}

/// Float rows times one panel.
struct FloatTile<'t, 'o, 'a, W, S> {
    out: &'t mut MatrixMut<'o>,
    lhs: Matrix<'a>,
    panel: &'a [[W; PANEL]],
    finish: Finish<1>,
    by: PhantomData<S>,
}

impl<W, S: FloatSums<W>> RowTile for FloatTile<'_, '_, '_, W, S> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let rows = float_rows::<ROWS>(&self.lhs, first, self.panel.len());
        let Some(rows) = rows else { return };
        self.finish.store(self.out, first, S::sums(rows, self.panel).map(|lanes| [lanes]));
    }
}

/// Float rows times two panels.
struct FloatPairTile<'t, 'o, 'a, W, S> {
    out: &'t mut MatrixMut<'o>,
    lhs: Matrix<'a>,
    panels: [&'a [[W; PANEL]]; 2],
    finish: Finish<2>,
    by: PhantomData<S>,
}

impl<W, S: FloatSums<W>> RowTile for FloatPairTile<'_, '_, '_, W, S> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let rows = float_rows::<ROWS>(&self.lhs, first, self.panels[0].len());
        let Some(rows) = rows else { return };
        self.finish.store(self.out, first, S::pair_sums(rows, self.panels));
    }
}

/// What an instruction set brings to the int8 GEMM.
pub(super) trait BlockSums {
    /// Whether [`pair_sums`](Self::pair_sums) is better than twice [`sums`](Self::sums).
    const PAIRS: bool = false;

    /// By how much [`sums`](Self::sums) are too large for each of these rows, with any channel: not 0
    /// where an instruction set multiplies weights of another range. Sums wrap around. The rows have
    /// one length; where there are fewer than `ROWS`, empty ones stand behind them.
    #[inline(always)]
    fn excess<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS]) -> [i32; ROWS] {
        let _ = rows;
        [0; ROWS]
    }

    /// How many panels of `blocks` blocks meet one tile of rows before the next tile does, if not
    /// [`PAIRS`](Self::PAIRS).
    #[inline(always)]
    fn together(blocks: usize) -> usize {
        let _ = blocks;
        1
    }

    /// What a table finds out about [`EXAMINED_ROWS`] rows once, to multiply them faster with every panel.
    type Examined: Copy + Default;

    /// Looks at rows that meet `panels` panels: gives by how much [`examined_sums`](Self::examined_sums) of
    /// these rows will be too large, and in `examined` what they want. The rows are as those of
    /// [`excess`](Self::excess); if an empty one is among them, [`sums`](Self::sums) are taken, and the
    /// excess is that of those.
    #[inline(always)]
    fn examine(
        rows: [&[[i8; PANEL]]; EXAMINED_ROWS],
        panels: usize,
        examined: &mut Self::Examined,
    ) -> [i32; EXAMINED_ROWS] {
        let _ = (panels, examined);
        Self::excess(rows)
    }

    /// The sums of rows of which `examined` is known, too large by the excess that came with it; without
    /// it [`sums`](Self::sums).
    #[inline(always)]
    fn examined_sums<const ROWS: usize>(
        rows: [&[[i8; PANEL]]; ROWS],
        examined: Option<&Self::Examined>,
        panel: &[Block],
    ) -> Sums<ROWS> {
        let _ = examined;
        Self::sums(rows, panel)
    }

    /// Sums of `ROWS` rows with the 8 channels of one panel, too large by the
    /// [`excess`](Self::excess) of their row. Every row has a block of 8 values for each block of the
    /// panel. Row values are in -127..=127, weights any int8: the sum of two products fits an i16.
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS>;

    /// The sums of each row with two panels of one length.
    #[inline(always)]
    fn pair_sums<const ROWS: usize>(
        rows: [&[[i8; PANEL]]; ROWS],
        [first, second]: [&[Block]; 2],
    ) -> [[[i32; PANEL]; 2]; ROWS] {
        let (first, second) = (Self::sums(rows, first), Self::sums(rows, second));
        core::array::from_fn(|row| [first[row], second[row]])
    }

    /// Values of each row with two panels of one length.
    #[inline(always)]
    fn pair_values<const ROWS: usize>(
        rows: [&[[i8; PANEL]]; ROWS],
        panels: [&[Block]; 2],
        scaling: &Scaling<'_, ROWS, 2>,
    ) -> [[Lanes; 2]; ROWS] {
        scaling.apply(&Self::pair_sums(rows, panels))
    }

    /// Finishes the values of some rows with two panels, from row `first` of the output on.
    #[inline(always)]
    fn finish_pair<const ROWS: usize>(
        finish: &Finish<2>,
        out: &mut MatrixMut<'_>,
        first: usize,
        values: [[Lanes; 2]; ROWS],
    ) {
        finish.store(out, first, values);
    }

    /// Whether a GEMM packs whole groups of [`PANEL`] rows once, for [`pack`](Self::pack) and
    /// [`packed_sums`](Self::packed_sums).
    const PACKS: bool = false;

    /// Puts a group of rows of one length into the order that [`packed_sums`](Self::packed_sums)
    /// reads, one block of the group for each of theirs; nothing if `packed` has another length.
    #[inline(always)]
    fn pack<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block] {
        let _ = (rows, packed);
        &[]
    }

    /// The exact sums of a packed group with a panel of its length.
    #[inline(always)]
    fn packed_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL> {
        let _ = (packed, panel);
        [[0; PANEL]; PANEL]
    }

    /// The sums without the excess.
    #[inline(always)]
    fn exact_sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        Self::sums(rows, panel)
    }
}

/// Whether every row and every panel has as many blocks as the first panel.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn same_length(rows: &[&[[i8; PANEL]]], panels: &[&[Block]]) -> bool {
    let blocks = panels.first().map_or(0, |panel| panel.len());
    rows.iter().all(|row| row.len() == blocks) && panels.iter().all(|panel| panel.len() == blocks)
}

/// As many rows as a panel has channels.
pub(super) type Group<'a> = [&'a [[i8; PANEL]]; PANEL];

/// Packed groups of at most [`ROW_TILE`] rows; those that are not packed are empty.
type PackedGroups<'a> = [&'a [Block]; ROW_TILE / PANEL];

/// Packs the whole groups of `count` rows for which `space` has room, if a table wants it.
#[inline(always)]
fn pack_groups<'p, S: BlockSums>(
    space: &'p mut [MaybeUninit<Block>],
    values: &[[i8; PANEL]],
    stride: usize,
    blocks: usize,
    count: usize,
) -> PackedGroups<'p> {
    let mut groups: PackedGroups<'p> = [&[]; ROW_TILE / PANEL];
    let spaces = space.chunks_exact_mut(blocks.max(1)).take(count / PANEL);
    for (index, (group, space)) in groups.iter_mut().zip(spaces).enumerate() {
        if let Some(rows) = block_rows(values, stride, index * PANEL, blocks) {
            *group = S::pack(rows, space);
        }
    }
    groups
}

/// Sums of rows with the 8 channels of a panel.
pub(super) type Sums<const ROWS: usize> = [[i32; PANEL]; ROWS];

/// int8 weights, int8 rows, by the block sums of an instruction set; see
/// [`scalar::gemm_f32_qd8_qc8w`].
#[inline(always)]
pub(super) fn gemm_int8<const TILE: usize, S: BlockSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let (rows, _) = lhs.values.as_chunks::<PANEL>();
    let (stride, blocks) = (lhs.stride / PANEL, rhs.inputs.div_ceil(PANEL));
    let mut first = 0;
    for scales in lhs.scales.chunks(packed_tile::<S>(blocks)) {
        let values = rows.get(first * stride..).unwrap_or(&[]);
        let mut excess = [0; ROW_TILE];
        let mut examined = [S::Examined::default(); ROW_TILE / EXAMINED_ROWS];
        // Not the rows behind: a table may find an excess for whole groups alone.
        let of_chunk = values.chunks(stride.max(1)).take(scales.len());
        let mut of_chunk = of_chunk.map(|row| row.get(..blocks).unwrap_or(&[]));
        let slots = excess.as_chunks_mut::<EXAMINED_ROWS>().0.iter_mut().zip(&mut examined);
        for (excess, examined) in slots.take(scales.len().div_ceil(EXAMINED_ROWS)) {
            let mut some = [&[][..]; EXAMINED_ROWS];
            some.iter_mut().zip(&mut of_chunk).for_each(|(slot, row)| *slot = row);
            *excess = S::examine(some, rhs.scales.len() / PANEL, examined);
        }
        let mut space = [const { MaybeUninit::uninit() }; PACKED_BLOCKS];
        let mut packed = PackedGroups::default();
        if S::PACKS && rhs.scales.len() > PANEL {
            packed = pack_groups::<S>(&mut space, values, stride, blocks, scales.len());
        }
        let (mut lines, mut line_scales) = ([&[][..]; ROW_TILE], [0.0; ROW_TILE]);
        if S::PAIRS {
            let padded = scales.len().next_multiple_of(PANEL);
            let slots = lines.iter_mut().zip(&mut line_scales).zip(&mut excess);
            let mut last = (&[][..], 0.0, 0);
            for (index, ((line, scale), excess)) in slots.take(padded).enumerate() {
                // Instead of rows that are not there, the last one again.
                if let Some(own) = scales.get(index) {
                    let row = values.get(index * stride..index * stride + blocks);
                    last = (row.unwrap_or(&[]), *own, *excess);
                }
                (*line, *scale, *excess) = last;
            }
        }
        let rows = Int8Rows {
            first,
            values,
            stride,
            scales,
            excess: &excess,
            lines: &lines,
            line_scales: &line_scales,
            packed: &packed,
        };
        int8_row_tile::<TILE, S>(out, rows, &examined, rhs, epilogue);
        first += scales.len();
    }
}

/// Rows that are examined together: the sum of one is a chain.
pub(super) const EXAMINED_ROWS: usize = 4;

/// Blocks of packed rows: those of [`ROW_TILE`] rows of 1,536 values.
const PACKED_BLOCKS: usize = 768;

/// Rows that are multiplied with every panel together: as many as there is room for packed.
#[inline(always)]
fn packed_tile<S: BlockSums>(blocks: usize) -> usize {
    if S::PACKS { (PACKED_BLOCKS / blocks.max(1) * PANEL).clamp(PANEL, ROW_TILE) } else { ROW_TILE }
}

/// At most [`ROW_TILE`] rows.
#[derive(Clone, Copy)]
struct Int8Rows<'a> {
    /// Place of the first in the output.
    first: usize,
    values: &'a [[i8; PANEL]],
    /// Blocks from one row to the next.
    stride: usize,
    scales: &'a [f32],
    /// Excess of each row.
    excess: &'a [i32; ROW_TILE],
    /// The rows, and behind them the last one up to a multiple of eight, for tables that take pairs of
    /// panels. Their excess goes on likewise.
    lines: &'a [&'a [[i8; PANEL]]; ROW_TILE],
    /// Their scales.
    line_scales: &'a [f32; ROW_TILE],
    packed: &'a PackedGroups<'a>,
}

/// Some rows times every panel.
#[inline(always)]
fn int8_row_tile<const TILE: usize, S: BlockSums>(
    out: &mut MatrixMut<'_>,
    rows: Int8Rows<'_>,
    examined: &[S::Examined],
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let (count, blocks) = (rows.scales.len(), rhs.inputs.div_ceil(PANEL).max(1));
    let together = if S::PAIRS { 2 } else { S::together(blocks).max(1) };
    let (values, scales) = int8_blocks(rhs);
    let scales = scales.get(..values.len() / blocks).unwrap_or(scales);
    let groups = values.chunks(together.saturating_mul(blocks).max(1)).zip(scales.chunks(together));
    for (index, (values, scales)) in groups.enumerate() {
        let (column, by) = (index * together * PANEL, PhantomData::<S>);
        if let (true, [first, second]) = (S::PAIRS, scales) {
            let Some(panels) = values.split_at_checked(blocks) else { return };
            let (panels, scales) = ([panels.0, panels.1], [*first, *second]);
            let finish = Finish::new(epilogue, Precision::Int8, column);
            let mut tile = Int8PairTile { out, rows, panels, scales, finish, by };
            for_row_tiles::<TILE>(count, &mut tile);
        } else {
            let mut tile =
                Int8Tile { out, rows, examined, values, blocks, scales, column, epilogue, by };
            for_row_tiles::<TILE>(count, &mut tile);
        }
    }
}

/// `COUNT` of the values from `first` on.
#[inline(always)]
fn some<T, const COUNT: usize>(values: &[T; ROW_TILE], first: usize) -> Option<&[T; COUNT]> {
    values.get(first..)?.first_chunk()
}

/// What makes values of the sums of some rows and adjacent panels.
pub(super) struct Scaling<'a, const ROWS: usize, const PANELS: usize> {
    /// Scale of each row.
    pub(super) rows: &'a [f32; ROWS],
    /// Excess of each row.
    pub(super) excess: &'a [i32; ROWS],
    /// Scale of each output channel.
    pub(super) channels: &'a [Lanes; PANELS],
}

impl<'a, const ROWS: usize, const PANELS: usize> Scaling<'a, ROWS, PANELS> {
    /// For rows `first` to `first + ROWS`; `None` if there are fewer.
    #[inline(always)]
    fn new(rows: &'a Int8Rows<'_>, first: usize, channels: &'a [Lanes; PANELS]) -> Option<Self> {
        let excess = rows.excess.get(first..)?.first_chunk()?;
        Some(Self { rows: rows.scales.get(first..)?.first_chunk()?, excess, channels })
    }

    /// `(sum - excess) * (row scale * channel scale)`.
    #[inline(always)]
    fn apply(&self, sums: &[[[i32; PANEL]; PANELS]; ROWS]) -> [[Lanes; PANELS]; ROWS] {
        let mut values = [[[0.0; PANEL]; PANELS]; ROWS];
        let of_rows = values.iter_mut().zip(sums).zip(self.rows.iter().zip(self.excess));
        for ((values, sums), (row_scale, excess)) in of_rows {
            for (values, (sums, scales)) in values.iter_mut().zip(sums.iter().zip(self.channels)) {
                for (value, (sum, scale)) in values.iter_mut().zip(sums.iter().zip(scales)) {
                    *value = sum.wrapping_sub(*excess) as f32 * (row_scale * scale);
                }
            }
        }
        values
    }
}

/// int8 rows times some panels, one after the other.
struct Int8Tile<'t, 'o, 'a, S: BlockSums> {
    out: &'t mut MatrixMut<'o>,
    rows: Int8Rows<'a>,
    /// Of each [`EXAMINED_ROWS`] rows.
    examined: &'a [S::Examined],
    values: &'a [Block],
    /// Blocks of a panel, not 0.
    blocks: usize,
    scales: &'a [Lanes],
    /// First output channel.
    column: usize,
    epilogue: &'a Epilogue<'a>,
    by: PhantomData<S>,
}

impl<S: BlockSums> RowTile for Int8Tile<'_, '_, '_, S> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let whole = ROWS == EXAMINED_ROWS && first.is_multiple_of(EXAMINED_ROWS);
        let examined = if whole { self.examined.get(first / EXAMINED_ROWS) } else { None };
        let packed = packed_rows::<ROWS, S>(self.rows.packed, first);
        let packed = packed.filter(|packed| packed.len() == self.blocks);
        let Some(lines) = self.rows.blocks::<ROWS>(first, self.blocks) else { return };
        let panels = self.values.chunks_exact(self.blocks.max(1)).zip(self.scales);
        for (index, (panel, scales)) in panels.enumerate() {
            let scales = [*scales];
            let Some(scaling) = Scaling::<ROWS, 1>::new(&self.rows, first, &scales) else {
                return;
            };
            let mut sums = [[[0; PANEL]; 1]; ROWS];
            if let Some(packed) = packed {
                let packed_sums = S::packed_sums(packed, panel);
                let slots = sums.as_flattened_mut().iter_mut();
                slots.zip(packed_sums).for_each(|(to, from)| *to = from);
            } else {
                sums.as_flattened_mut().copy_from_slice(&S::examined_sums(lines, examined, panel));
            }
            let finish = Finish::new(self.epilogue, Precision::Int8, self.column + index * PANEL);
            finish.store(self.out, self.rows.first + first, scaling.apply(&sums));
        }
    }
}

/// int8 rows times two panels.
struct Int8PairTile<'t, 'o, 'a, S> {
    out: &'t mut MatrixMut<'o>,
    rows: Int8Rows<'a>,
    panels: [&'a [Block]; 2],
    scales: [Lanes; 2],
    finish: Finish<2>,
    by: PhantomData<S>,
}

impl<S: BlockSums> RowTile for Int8PairTile<'_, '_, '_, S> {
    const PADS: bool = true;

    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let Int8Rows { lines, line_scales, excess, scales, .. } = self.rows;
        let rows = (some(lines, first), some(line_scales, first), some(excess, first));
        let (Some(lines), Some(rows), Some(excess)) = rows else { return };
        let scaling = Scaling::<ROWS, 2> { rows, excess, channels: &self.scales };
        let values = S::pair_values::<ROWS>(*lines, self.panels, &scaling);
        let mut out = self.out.first_rows(self.rows.first + scales.len());
        S::finish_pair(&self.finish, &mut out, self.rows.first + first, values);
    }
}

impl<'a> Int8Rows<'a> {
    /// The first `blocks` blocks of rows `first` to `first + ROWS`; `None` if one of them is shorter.
    #[inline(always)]
    fn blocks<const ROWS: usize>(
        &self,
        first: usize,
        blocks: usize,
    ) -> Option<[&'a [[i8; PANEL]]; ROWS]> {
        block_rows(self.values, self.stride, first, blocks)
    }
}

/// The first `blocks` blocks of rows `first` to `first + ROWS`; `None` if one of them is shorter.
#[inline(always)]
fn block_rows<const ROWS: usize>(
    values: &[[i8; PANEL]],
    stride: usize,
    first: usize,
    blocks: usize,
) -> Option<[&[[i8; PANEL]]; ROWS]> {
    let mut found: [&[[i8; PANEL]]; ROWS] = [&[]; ROWS];
    for (offset, row) in found.iter_mut().enumerate() {
        let start = (first + offset) * stride;
        *row = values.get(start..start + blocks)?;
    }
    Some(found)
}

/// The packed group that rows `first` to `first + ROWS` are, if they are one.
#[inline(always)]
fn packed_rows<'a, const ROWS: usize, S: BlockSums>(
    packed: &PackedGroups<'a>,
    first: usize,
) -> Option<&'a [Block]> {
    if !S::PACKS || ROWS != PANEL || !first.is_multiple_of(PANEL) {
        return None;
    }
    packed.get(first / PANEL).copied().filter(|packed| !packed.is_empty())
}

/// Sums by plain loops.
pub(super) struct PortableSums;

impl<W: FloatWeight> FloatSums<W> for PortableSums {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[W; PANEL]]) -> [Lanes; ROWS] {
        let mut sums = [[0.0; PANEL]; ROWS];
        for (index, weights) in panel.iter().enumerate() {
            let mut wide = [0.0; PANEL];
            wide.iter_mut().zip(weights).for_each(|(slot, weight)| *slot = weight.widen());
            for (sum, row) in sums.iter_mut().zip(&rows) {
                let x = row.get(index).copied().unwrap_or(0.0);
                sum.iter_mut().zip(wide).for_each(|(lane, weight)| *lane += x * weight);
            }
        }
        sums
    }
}

impl BlockSums for PortableSums {
    type Examined = ();

    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        let mut sums = [[0; PANEL]; ROWS];
        for (sums, row) in sums.iter_mut().zip(rows) {
            for (inputs, block) in row.iter().zip(panel) {
                for (sum, weights) in sums.iter_mut().zip(block) {
                    let products = inputs.iter().zip(weights);
                    *sum += products.map(|(x, w)| i32::from(*x) * i32::from(*w)).sum::<i32>();
                }
            }
        }
        sums
    }
}

/// Blocks of an int4 group.
pub(super) const GROUP_BLOCKS: usize = INT4_GROUP / PANEL;

/// int4 weights, int8 rows, by the block sums of an instruction set; see
/// [`scalar::gemm_f32_qd8_qc4w`]. A group is widened to int8 once for [`ROW_TILE`] rows.
#[inline(always)]
pub(super) fn gemm_int4<const TILE: usize, S: BlockSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    let (rows, _) = lhs.values.as_chunks::<PANEL>();
    let (stride, blocks) = (lhs.stride / PANEL, rhs.inputs.div_ceil(PANEL));
    let panel_groups = rhs.inputs.div_ceil(INT4_GROUP).max(1);
    let mut first = 0;
    for row_scales in lhs.scales.chunks(packed_tile::<S>(blocks)) {
        let values = rows.get(first * stride..).unwrap_or(&[]);
        let mut space = [const { MaybeUninit::uninit() }; PACKED_BLOCKS];
        let mut packed = PackedGroups::default();
        if S::PACKS && rhs.groups.len() > panel_groups {
            packed = pack_groups::<S>(&mut space, values, stride, blocks, row_scales.len());
        }
        for (index, panel) in rhs.groups.chunks_exact(panel_groups).enumerate() {
            let finish = Finish::new(epilogue, Precision::Int8, index * PANEL);
            let mut sums = [[0.0; PANEL]; ROW_TILE];
            for (number, group) in panel.iter().enumerate() {
                let (weights, scales) = (widen_group(group), group_scales(group));
                let start = number * GROUP_BLOCKS;
                let weights = &weights[..GROUP_BLOCKS.min(blocks.saturating_sub(start))];
                let mut tile = Int4Tile {
                    rows: values,
                    stride,
                    start,
                    weights,
                    scales,
                    packed: &packed,
                    sums: &mut sums,
                    by: PhantomData::<S>,
                };
                for_row_tiles::<TILE>(row_scales.len(), &mut tile);
            }
            for (row, (sums, row_scale)) in sums.iter_mut().zip(row_scales).enumerate() {
                sums.iter_mut().for_each(|sum| *sum *= row_scale);
                finish.store(out, first + row, [[*sums]]);
            }
        }
        first += row_scales.len();
    }
}

/// int8 rows times one int4 group, added to their sums.
struct Int4Tile<'t, S> {
    rows: &'t [[i8; PANEL]],
    /// Blocks from one row to the next.
    stride: usize,
    /// First block of the group.
    start: usize,
    weights: &'t [Block],
    scales: Lanes,
    packed: &'t PackedGroups<'t>,
    sums: &'t mut [Lanes; ROW_TILE],
    by: PhantomData<S>,
}

impl<S: BlockSums> RowTile for Int4Tile<'_, S> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let count = self.weights.len();
        let mut found = [[0; PANEL]; ROWS];
        let packed = packed_rows::<ROWS, S>(self.packed, first);
        if let Some(packed) = packed.and_then(|packed| packed.get(self.start..self.start + count)) {
            let packed_sums = S::packed_sums(packed, self.weights);
            found.iter_mut().zip(packed_sums).for_each(|(to, from)| *to = from);
        } else {
            let values = self.rows.get(self.start..).unwrap_or(&[]);
            let Some(rows) = block_rows(values, self.stride, first, count) else { return };
            found = S::exact_sums(rows, self.weights);
        }
        for (sums, found) in self.sums.iter_mut().skip(first).zip(&found) {
            for (sum, (found, scale)) in sums.iter_mut().zip(found.iter().zip(self.scales)) {
                *sum += *found as f32 * scale;
            }
        }
    }
}

/// The scales of a group.
#[inline(always)]
pub(super) fn group_scales(group: &Int4Group) -> Lanes {
    let mut scales = [0.0; PANEL];
    for (scale, bytes) in scales.iter_mut().zip(group.as_chunks::<2>().0) {
        *scale = widen(f16::from_le_bytes(*bytes));
    }
    scales
}

/// The values of a group as int8 blocks.
#[inline(always)]
pub(super) fn widen_group(group: &Int4Group) -> [Block; GROUP_BLOCKS] {
    let mut blocks = [[[0; PANEL]; PANEL]; GROUP_BLOCKS];
    let (pairs, _) = blocks.as_chunks_mut::<2>();
    let halves = group[PANEL * 2..].chunks_exact(PANEL * PANEL);
    for ([low, high], bytes) in pairs.iter_mut().zip(halves) {
        let values = low.as_flattened_mut().iter_mut().zip(high.as_flattened_mut());
        for ((low, high), byte) in values.zip(bytes) {
            (*low, *high) = ((byte << 4) as i8 >> 4, *byte as i8 >> 4);
        }
    }
    blocks
}

/// Blocks of an int8 panel that are widened to floats together.
const CHUNK: usize = 16;
/// Inputs of such a chunk. The sum of so many int8 products stays below 2^24, so it is exact in f32.
const CHUNK_INPUTS: usize = CHUNK * PANEL;

/// int8 weights, int8 rows; see [`scalar::gemm_f32_qd8_qc8w`].
///
/// A panel is widened to floats once for a tile of rows, and its sums are exact.
#[inline(always)]
pub fn gemm_f32_qd8_qc8w(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let stride = lhs.stride.max(1);
    for (index, (panel, scales)) in int8_panels(rhs).enumerate() {
        let finish = Finish::new(epilogue, Precision::Int8, index * PANEL);
        let tiles = lhs.values.chunks((ROW_TILE * stride).max(1)).zip(lhs.scales.chunks(ROW_TILE));
        for (tile, (rows, row_scales)) in tiles.enumerate() {
            let mut sums = [[0i32; PANEL]; ROW_TILE];
            for_chunks(panel, |start, weights| {
                let row_of = |row: usize| {
                    let at = row * stride + start;
                    rows.get(at..at + weights.len()).unwrap_or(&[])
                };
                let sums = sums.get_mut(..row_scales.len()).unwrap_or_default();
                add_exact_sums(sums, row_of, weights);
            });
            for (row, (sum, row_scale)) in sums.iter().zip(row_scales).enumerate() {
                let scaled = |lane: usize| sum[lane] as f32 * (row_scale * scales[lane]);
                let values = core::array::from_fn(scaled);
                finish.store(out, tile * ROW_TILE + row, [[values]]);
            }
        }
    }
}

/// The blocks of all panels, one panel after the other, and for each panel the scales of its channels.
#[inline(always)]
fn int8_blocks(rhs: PanelsInt8<'_>) -> (&[Block], &[Lanes]) {
    let (channels, _) = rhs.values.as_chunks::<PANEL>();
    (channels.as_chunks().0, rhs.scales.as_chunks().0)
}

/// The panels with the scales of their channels.
#[inline(always)]
pub(super) fn int8_panels(
    rhs: PanelsInt8<'_>,
) -> impl Iterator<Item = (&[[[i8; PANEL]; PANEL]], &[f32; PANEL])> + Clone {
    let (blocks, scales) = int8_blocks(rhs);
    blocks.chunks_exact(rhs.inputs.div_ceil(PANEL).max(1)).zip(scales)
}

/// Widens a panel chunk by chunk; `work` gets the first input of a chunk and, for each input, the
/// weights of the eight channels.
#[inline(always)]
fn for_chunks(panel: &[[[i8; PANEL]; PANEL]], mut work: impl FnMut(usize, &[Lanes])) {
    let mut weights = [[0.0; PANEL]; CHUNK_INPUTS];
    for (index, blocks) in panel.chunks(CHUNK).enumerate() {
        let (columns, _) = weights.as_chunks_mut::<PANEL>();
        for (columns, block) in columns.iter_mut().zip(blocks) {
            for (input, column) in columns.iter_mut().enumerate() {
                *column = core::array::from_fn(|channel| f32::from(block[channel][input]));
            }
        }
        work(index * CHUNK_INPUTS, &weights[..blocks.len() * PANEL]);
    }
}

/// Adds a chunk's exact sums for every row, [`TILE`] rows at a time.
#[inline(always)]
fn add_exact_sums<'r>(
    sums: &mut [[i32; PANEL]],
    row_of: impl Fn(usize) -> &'r [i8],
    weights: &[Lanes],
) {
    let (tiles, rest) = sums.as_chunks_mut::<TILE>();
    let tiled = tiles.len() * TILE;
    for (index, tile) in tiles.iter_mut().enumerate() {
        let rows = core::array::from_fn(|row| row_of(index * TILE + row));
        add_lanes(tile, chunk_sums::<TILE>(rows, weights));
    }
    for (index, sum) in rest.iter_mut().enumerate() {
        add_lanes(core::array::from_mut(sum), chunk_sums([row_of(tiled + index)], weights));
    }
}

/// Sums of a chunk for `ROWS` rows; below 2^24, hence exact.
#[inline(always)]
fn chunk_sums<const ROWS: usize>(rows: [&[i8]; ROWS], weights: &[Lanes]) -> [Lanes; ROWS] {
    let mut sums = [[0.0; PANEL]; ROWS];
    let inputs = rows.iter().map(|row| row.len()).min().unwrap_or(0).min(weights.len());
    let rows = rows.map(|row| &row[..inputs]);
    for (index, weights) in weights[..inputs].iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            let x = f32::from(row.get(index).copied().unwrap_or(0));
            for (lane, weight) in sum.iter_mut().zip(weights) {
                *lane += x * weight;
            }
        }
    }
    sums
}

/// Adds exact float sums to integer ones.
#[inline(always)]
fn add_lanes<const ROWS: usize>(sums: &mut [[i32; PANEL]; ROWS], chunk: [Lanes; ROWS]) {
    for (sum, chunk) in sums.iter_mut().flatten().zip(chunk.iter().flatten()) {
        *sum += *chunk as i32;
    }
}

/// The epilogue of some adjacent panels, its vectors loaded.
#[derive(Clone, Copy)]
pub(super) struct Finish<const PANELS: usize> {
    /// First output channel.
    pub(super) column: usize,
    pub(super) bias: Option<[Lanes; PANELS]>,
    pub(super) activation: Option<Activation>,
    pub(super) precision: Precision,
    pub(super) store: FinishStore<PANELS>,
}

/// [`Store`] of some adjacent panels.
#[derive(Clone, Copy)]
pub(super) enum FinishStore<const PANELS: usize> {
    Overwrite,
    Add(Option<[Lanes; PANELS]>),
    Multiply,
}

impl<const PANELS: usize> Finish<PANELS> {
    #[inline(always)]
    pub(super) fn new(epilogue: &Epilogue<'_>, precision: Precision, column: usize) -> Self {
        let lanes = |values: &[f32]| {
            let values = values.get(column..).filter(|values| !values.is_empty())?;
            Some(padded(values))
        };
        let store = match epilogue.store {
            Store::Overwrite => FinishStore::Overwrite,
            Store::Add { scale } => FinishStore::Add(lanes(scale)),
            Store::Multiply => FinishStore::Multiply,
        };
        let (bias, activation) = (lanes(epilogue.bias), epilogue.activation);
        Self { column, bias, activation, precision, store }
    }

    /// Finishes the values of some rows, all together: one after the other, each would wait for the
    /// long chain of an activation.
    #[inline(always)]
    pub(super) fn store<const ROWS: usize>(
        &self,
        out: &mut MatrixMut<'_>,
        first: usize,
        mut values: [[Lanes; PANELS]; ROWS],
    ) {
        if let Some(bias) = &self.bias {
            for values in &mut values {
                let lanes = values.as_flattened_mut().iter_mut().zip(bias.as_flattened());
                lanes.for_each(|(value, bias)| *value += bias);
            }
        }
        let all = values.as_flattened_mut().as_flattened_mut();
        if let Some(activation) = self.activation {
            activate_all(all, activation, self.precision);
        }
        for (row, values) in out.rows_from(first).zip(&values) {
            let slots = row.get_mut(self.column..).unwrap_or_default();
            match slots.as_chunks_mut::<PANEL>().0.first_chunk_mut::<PANELS>() {
                Some(slots) => self.put(slots, *values),
                None => self.put_some(slots, *values),
            }
        }
    }

    /// Puts the first values of a row, where the output ends within the panels. Not part of the loop,
    /// which would prepare for it with every row.
    #[cold]
    #[inline(never)]
    fn put_some(self, slots: &mut [f32], values: [Lanes; PANELS]) {
        let mut lanes = padded_tail(slots);
        self.put(&mut lanes, values);
        let lanes = lanes.as_flattened().iter();
        slots.iter_mut().zip(lanes).for_each(|(slot, lane)| *slot = *lane);
    }

    /// Puts the values of a row where they go.
    #[inline(always)]
    fn put(&self, slots: &mut [Lanes; PANELS], mut values: [Lanes; PANELS]) {
        match &self.store {
            FinishStore::Overwrite => *slots = values,
            FinishStore::Add(scale) => {
                let values = values.as_flattened_mut();
                if let Some(scale) = scale {
                    let lanes = values.iter_mut().zip(scale.as_flattened());
                    lanes.for_each(|(value, scale)| *value *= scale);
                }
                let lanes = slots.as_flattened_mut().iter_mut().zip(values);
                lanes.for_each(|(slot, value)| *slot += *value);
            }
            FinishStore::Multiply => {
                let lanes = slots.as_flattened_mut().iter_mut().zip(values.as_flattened());
                lanes.for_each(|(slot, value)| *slot *= value);
            }
        }
    }
}

/// The first values of some panels, with zeros where there are fewer.
#[inline(always)]
fn padded<const PANELS: usize>(values: &[f32]) -> [Lanes; PANELS] {
    match values.as_chunks::<PANEL>().0.first_chunk() {
        Some(lanes) => *lanes,
        None => padded_tail(values),
    }
}

/// Fewer values than those of the panels. Were it inlined, both ways would become one `memcpy`.
#[cold]
#[inline(never)]
fn padded_tail<const PANELS: usize>(values: &[f32]) -> [Lanes; PANELS] {
    let mut lanes = [[0.0; PANEL]; PANELS];
    let slots = lanes.as_flattened_mut().iter_mut().zip(values);
    slots.for_each(|(lane, value)| *lane = *value);
    lanes
}

/// One activation of many values: a loop for each, or it would be chosen anew for every value.
#[inline(always)]
pub(super) fn activate_all(values: &mut [f32], activation: Activation, precision: Precision) {
    let values = values.iter_mut();
    match (activation, precision) {
        (Activation::Relu, _) => values.for_each(|x| *x = math::relu(*x)),
        (Activation::GeluErf, Precision::F32) => values.for_each(|x| *x = math::gelu_erf(*x)),
        (Activation::GeluErf, Precision::Int8) => values.for_each(|x| *x = math::gelu_erf_8bit(*x)),
        (Activation::GeluTanh, _) => values.for_each(|x| *x = math::gelu_tanh(*x)),
    }
}

/// f16 to f32, exact, without branches on the value so that it vectorises.
#[inline(always)]
fn widen(value: f16) -> f32 {
    #[cfg(all(cortex_m, target_abi = "eabihf"))]
    return super::cortex_m::widen_pair(u32::from(value.to_bits()))[0];
    #[cfg(not(all(cortex_m, target_abi = "eabihf")))]
    widen_bits(u32::from(value.to_bits()))
}

#[cfg(not(all(cortex_m, target_abi = "eabihf")))]
#[inline(always)]
fn widen_bits(bits: u32) -> f32 {
    let sign = (bits & 0x8000) << 16;
    let rest = (bits & 0x7fff) << 13;
    // Adding 112 to the exponent of a normal number; a subnormal one is the difference of two
    // normal floats; infinities and NaNs get the largest exponent.
    let normal = f32::from_bits(rest + (112 << 23));
    let subnormal = f32::from_bits(rest + (113 << 23)) - f32::from_bits(113 << 23);
    let special = f32::from_bits(rest | 0x7f80_0000);
    let magnitude = if rest < (1 << 23) {
        subnormal
    } else if rest < (31 << 23) {
        normal
    } else {
        special
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// Sum of `term(x)` in eight partial sums.
#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += term(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += term(*x);
    }
    fold(lanes)
}

/// Dot product of two rows of one length; see [`scalar::dot`].
#[must_use]
#[inline(always)]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in left.iter().zip(right) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(left_rest.iter().zip(right_rest)) {
        *lane += a * b;
    }
    fold(lanes)
}

/// 1.5 * 2^23: added to a small number, it leaves the nearest integer in the low bits, ties to even.
pub(super) const ROUNDER: f32 = 12_582_912.0;
/// Values that a row of independent sums takes at a time.
const WIDE: usize = 16;

/// See [`scalar::add_f16`].
#[inline(always)]
pub fn add_f16(out: &mut [f32], row: &[f16]) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += widen(*x));
}

/// See [`scalar::add_int8`].
#[inline(always)]
pub fn add_int8(out: &mut [f32], row: &[i8], scale: f32) {
    out.iter_mut().zip(row).for_each(|(slot, x)| *slot += f32::from(*x) * scale);
}

/// Rounds |x| <= 127 to the nearest integer, ties to even.
#[inline(always)]
fn round_to_int8(x: f32) -> i8 {
    (x + ROUNDER).to_bits() as i8
}

/// The largest magnitude of some values. Magnitudes order as their bits do, NaN above all.
#[inline(always)]
fn largest_magnitude(values: impl Iterator<Item = f32>) -> f32 {
    let mut largest = 0;
    for x in values {
        largest = x.abs().to_bits().max(largest);
    }
    f32::from_bits(largest)
}

/// The scale of values of a largest magnitude, and what they are multiplied with: zeros for none.
#[inline(always)]
fn scale_and_inverse(largest: f32) -> (f32, f32) {
    match scalar::inverse_scale(largest) {
        Some(inverse) => (largest / 127.0, inverse),
        None => (0.0, 0.0),
    }
}

/// What the channels of a panel are multiplied with, and which bits of the result count: none where a
/// channel has no scale, as a value may be NaN there. Replaces largest magnitudes by scales.
#[inline(always)]
fn inverses_and_masks(scales: &mut Lanes) -> (Lanes, [u32; PANEL]) {
    let (mut inverses, mut masks) = ([0.0; PANEL], [0; PANEL]);
    for ((scale, inverse), mask) in scales.iter_mut().zip(&mut inverses).zip(&mut masks) {
        (*scale, *inverse) = scale_and_inverse(*scale);
        *mask = if *inverse == 0.0 { 0 } else { 0xff };
    }
    (inverses, masks)
}

/// Values `8 block` to `8 block + 8` of a row, with zeros behind its end.
#[inline(always)]
fn lanes_of(row: &[f32], block: usize) -> Lanes {
    let [lanes] = padded::<1>(row.get(block * PANEL..).unwrap_or(&[]));
    lanes
}

/// See [`scalar::pack_rows`].
#[inline(always)]
pub fn pack_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.columns().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let mut channels: [&[f32]; PANEL] = [&[]; PANEL];
        for (lane, (channel, scale)) in channels.iter_mut().zip(scales.iter_mut()).enumerate() {
            *channel = rows.row(index * PANEL + lane);
            let mut lanes = [0u32; PANEL];
            for block in 0..panel.len() {
                for (lane, x) in lanes.iter_mut().zip(lanes_of(channel, block)) {
                    *lane = (*lane).max(x.abs().to_bits());
                }
            }
            *scale = f32::from_bits(lanes.into_iter().fold(0, u32::max));
        }
        let (inverses, masks) = inverses_and_masks(scales);
        for (number, block) in panel.iter_mut().enumerate() {
            for (lane, line) in block.iter_mut().enumerate() {
                let values = lanes_of(channels[lane], number);
                for (slot, x) in line.iter_mut().zip(values) {
                    *slot = ((x * inverses[lane] + ROUNDER).to_bits() & masks[lane]) as i8;
                }
            }
        }
    }
}

/// See [`scalar::pack_columns`].
#[inline(always)]
pub fn pack_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) {
    // First the largest magnitude of each column.
    scales.fill(0.0);
    for row in rows.iter() {
        for (largest, x) in scales.iter_mut().zip(row) {
            *largest = f32::from_bits(largest.to_bits().max(x.abs().to_bits()));
        }
    }
    let (lines, _) = out.as_chunks_mut::<PANEL>();
    let (blocks, _) = lines.as_chunks_mut::<PANEL>();
    let panels = blocks.chunks_exact_mut(rows.rows().div_ceil(PANEL).max(1));
    for (index, (panel, scales)) in panels.zip(scales.as_chunks_mut::<PANEL>().0).enumerate() {
        let (inverses, masks) = inverses_and_masks(scales);
        for (number, block) in panel.iter_mut().enumerate() {
            let mut halves = [[0u32; PANEL]; 2];
            for (half, word) in halves.iter_mut().enumerate() {
                for byte in 0..PANEL / 2 {
                    let row = rows.row(number * PANEL + half * PANEL / 2 + byte);
                    let values = lanes_of(row, index);
                    for (column, word) in word.iter_mut().enumerate() {
                        let shifted = values[column] * inverses[column] + ROUNDER;
                        *word |= (shifted.to_bits() & masks[column]) << (8 * byte);
                    }
                }
            }
            for (column, line) in block.iter_mut().enumerate() {
                let values = u64::from(halves[0][column]) | u64::from(halves[1][column]) << 32;
                *line = bytemuck::must_cast(values.to_le_bytes());
            }
        }
    }
}

/// See [`scalar::quantize_row`].
#[inline(always)]
pub fn quantize_row(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 {
    if factors.is_empty() {
        quantize(out, row.iter().copied())
    } else if factors.len() == row.len() {
        quantize(out, row.iter().zip(factors).map(|(x, factor)| x * factor))
    } else {
        scalar::quantize_row(out, row, factors)
    }
}

/// Quantises some values; zeros behind them.
#[inline(always)]
fn quantize(out: &mut [i8], values: impl ExactSizeIterator<Item = f32> + Clone) -> f32 {
    let (scale, inverse) = scale_and_inverse(largest_magnitude(values.clone()));
    let (slots, padding) = out.split_at_mut(values.len().min(out.len()));
    // Few rows have padding, and a call takes the time of many values.
    if !padding.is_empty() {
        padding.fill(0);
    }
    if inverse == 0.0 {
        slots.fill(0);
    } else {
        slots.iter_mut().zip(values).for_each(|(slot, x)| *slot = round_to_int8(x * inverse));
    }
    scale
}

/// See [`scalar::layer_norm`].
#[inline(always)]
pub fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    layer_norm_by(math::sqrt, out, row, weights);
}

/// The same by a table's own square root.
#[inline(always)]
pub(super) fn layer_norm_by(
    sqrt: impl Fn(f32) -> f32,
    out: &mut [f32],
    row: &[f32],
    weights: NormWeights<'_>,
) {
    if weights.weight.len() != row.len() || weights.bias.len() != row.len() {
        return scalar::layer_norm(out, row, weights);
    }
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / sqrt(variance + weights.eps);
    let columns = row.iter().zip(weights.weight).zip(weights.bias);
    for (slot, ((x, weight), bias)) in out.iter_mut().zip(columns) {
        *slot = (x - mean) * inverse * weight + bias;
    }
}

/// See [`scalar::rms_norm`].
#[inline(always)]
pub fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
    rms_norm_by(math::sqrt, out, row, weights);
}

/// The same by a table's own square root.
#[inline(always)]
pub(super) fn rms_norm_by(
    sqrt: impl Fn(f32) -> f32,
    out: &mut [f32],
    row: &[f32],
    weights: NormWeights<'_>,
) {
    let mean_square = sum(row, |x| x * x) / row.len() as f32;
    let inverse = 1.0 / sqrt(mean_square + weights.eps);
    for (slot, (x, weight)) in out.iter_mut().zip(row.iter().zip(weights.weight)) {
        *slot = x * inverse * weight;
    }
}

/// The largest value of a row; NaN counts for nothing.
#[inline(always)]
fn largest_value(row: &[f32]) -> f32 {
    let larger = |a: f32, x: f32| if x > a { x } else { a };
    let (blocks, rest) = row.as_chunks::<PANEL>();
    let mut lanes = [f32::NEG_INFINITY; PANEL];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = larger(*lane, *x));
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// See [`scalar::softmax_int8`].
#[inline(always)]
pub fn softmax_int8(out: &mut [i8], row: &[f32]) -> WeightScale {
    let largest = largest_value(row);
    let (values, padding) = out.split_at_mut(row.len().min(out.len()));
    padding.fill(0);
    let weigh = |slots: &mut [i8], row: &[f32], sums: &mut [[i32; WIDE]; 2]| {
        let [fine, coarse] = sums;
        for ((slot, x), (fine, coarse)) in
            slots.iter_mut().zip(row).zip(fine.iter_mut().zip(coarse))
        {
            let shifted = WEIGHT_STEPS * math::exp_8bit(*x - largest) + ROUNDER;
            let weight = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
            let rounded = (weight + 64) >> 7;
            *slot = rounded as i8;
            *fine += weight;
            *coarse += rounded;
        }
    };
    let mut sums = [[0; WIDE]; 2];
    let (blocks, rest) = values.as_chunks_mut::<WIDE>();
    let (inputs, rest_inputs) = row.as_chunks::<WIDE>();
    for (slots, row) in blocks.iter_mut().zip(inputs) {
        weigh(slots, row, &mut sums);
    }
    weigh(rest, rest_inputs, &mut sums);
    let [fine, coarse] = sums.map(|sums| sums.into_iter().sum::<i32>());
    WeightScale::new(fine, coarse, row.len())
}

/// See [`scalar::softmax`].
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let largest = largest_value(row);
    for x in row.iter_mut() {
        *x = math::exp(*x - largest);
    }
    let inverse = 1.0 / sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= inverse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The portable sums by packed groups: the rows of a block side by side.
    struct PackedSums;

    impl BlockSums for PackedSums {
        type Examined = ();

        const PACKS: bool = true;

        fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
            <PortableSums as BlockSums>::sums(rows, panel)
        }

        fn pack<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block] {
            let blocks = (0..packed.len()).map(|index| rows.map(|row| row[index])).collect();
            Vec::leak(blocks)
        }

        fn packed_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL> {
            let rows: [Vec<_>; PANEL] =
                core::array::from_fn(|row| packed.iter().map(|block| block[row]).collect());
            <PortableSums as BlockSums>::sums(
                core::array::from_fn(|row| rows[row].as_slice()),
                panel,
            )
        }
    }

    /// Some value of each place.
    fn value(index: usize) -> i8 {
        (index * 89 % 255) as i8
    }

    #[test]
    fn packed_groups_of_long_and_short_rows_have_the_scalar_bits() {
        for (rows, inputs) in [(9_usize, 40_usize), (41, 384), (41, 1544), (18, 3080), (17, 6200)] {
            let (stride, outputs) = (inputs.next_multiple_of(PANEL) + PANEL, 16);
            let values: Vec<i8> = (0..rows * stride).map(|at| value(at).max(-127)).collect();
            let weights: Vec<i8> =
                (0..outputs * inputs.next_multiple_of(PANEL)).map(|at| value(at + 7)).collect();
            let groups: Vec<Int4Group> = (0..outputs / PANEL * inputs.div_ceil(INT4_GROUP))
                .map(|group| {
                    let mut bytes: Int4Group = core::array::from_fn(|at| value(group + at) as u8);
                    bytes[..2 * PANEL].as_chunks_mut().0.fill(f16::from_f32(0.25).to_le_bytes());
                    bytes
                })
                .collect();
            let scales: Vec<f32> = (0..rows).map(|row| row as f32 + 0.5).collect();
            let lhs = RowsInt8 { values: &values, scales: &scales, stride };
            let int8 = PanelsInt8 { values: &weights, scales: &[0.5; 16], outputs, inputs };
            let int4 = PanelsInt4 { groups: &groups, outputs, inputs };
            let epilogue = Epilogue { bias: &[], activation: None, store: Store::Overwrite };
            let mut found = std::vec![0.0; rows * outputs];
            let mut expected = found.clone();
            gemm_int8::<8, PackedSums>(
                &mut MatrixMut::new(&mut found, outputs),
                lhs,
                int8,
                &epilogue,
            );
            let out = &mut MatrixMut::new(&mut expected, outputs);
            (scalar::KERNELS.gemm_f32_qd8_qc8w)(out, lhs, int8, &epilogue);
            assert_eq!(found, expected, "int8, {rows} rows of {inputs}");
            gemm_int4::<8, PackedSums>(
                &mut MatrixMut::new(&mut found, outputs),
                lhs,
                int4,
                &epilogue,
            );
            let out = &mut MatrixMut::new(&mut expected, outputs);
            (scalar::KERNELS.gemm_f32_qd8_qc4w)(out, lhs, int4, &epilogue);
            assert_eq!(found, expected, "int4, {rows} rows of {inputs}");
        }
    }
}
