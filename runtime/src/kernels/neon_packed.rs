//! The integer GEMMs of 64-bit Arm tables that like eight rows side by side.
//!
//! ```text
//! for each chunk of rows, as many as there is room for packed:
//!     pack each whole group of eight rows, once for all panels
//!     for each panel, for each eight rows:
//!         sums = the packed group times the panel
//!     for each panel, for the rows that are left, 4, 2 or 1 at a time:
//!         sums = the rows as they lie times the panel
//! ```
//!
//! One panel does not repay packing.

use super::portable::{self, Block, BlockSums, RowChunk, Sums, TileSums};
use super::{Epilogue, PANEL, PanelsInt4, PanelsInt8, ROW_TILE, RowsInt8};
use crate::panel::INT4_GROUP;
use crate::tensor::MatrixMut;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// As many rows as a panel has channels.
pub(super) type Group<'a> = [&'a [[i8; PANEL]]; PANEL];

/// What an instruction set brings besides the sums of rows as they lie.
pub(super) trait GroupSums: BlockSums {
    /// Puts a group of rows of one length into the order that [`packed_sums`](Self::packed_sums)
    /// reads, one block of the group for each of theirs; nothing if `packed` has another length.
    fn pack<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block];

    /// The exact sums of a packed group with a panel of its length.
    fn packed_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL>;
}

/// int8 weights, int8 rows; see [`super::scalar::gemm_f32_qd8_qc8w`].
#[inline(always)]
pub(super) fn gemm_int8<S: GroupSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let blocks = rhs.inputs.div_ceil(PANEL);
    for rows in RowChunk::split(lhs, rows_packed(blocks)) {
        let mut space = [const { MaybeUninit::uninit() }; PACKED_BLOCKS];
        let mut ready = PackedRows::<S>::new(rows);
        if rhs.scales.len() > PANEL {
            ready.pack(&mut space, blocks);
        }
        portable::multiply_int8::<PANEL>(out, rows, &ready, rhs, 1, epilogue);
    }
}

/// int4 weights, int8 rows; see [`super::scalar::gemm_f32_qd8_qc4w`].
#[inline(always)]
pub(super) fn gemm_int4<S: GroupSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    let blocks = rhs.inputs.div_ceil(PANEL);
    for rows in RowChunk::split(lhs, rows_packed(blocks)) {
        let mut space = [const { MaybeUninit::uninit() }; PACKED_BLOCKS];
        let mut ready = PackedRows::<S>::new(rows);
        if rhs.groups.len() > rhs.inputs.div_ceil(INT4_GROUP) {
            ready.pack(&mut space, blocks);
        }
        portable::multiply_int4::<PANEL>(out, rows, &ready, rhs, epilogue);
    }
}

/// Blocks of packed rows: those of [`ROW_TILE`] rows of 1,536 values.
const PACKED_BLOCKS: usize = 768;

/// Rows that are multiplied with every panel together: as many as there is room for packed.
fn rows_packed(blocks: usize) -> usize {
    (PACKED_BLOCKS / blocks.max(1) * PANEL).clamp(PANEL, ROW_TILE)
}

/// Rows as they lie, and packed groups of them; those that are not packed are empty.
struct PackedRows<'a, S> {
    rows: RowChunk<'a>,
    groups: [&'a [Block]; ROW_TILE / PANEL],
    by: PhantomData<S>,
}

impl<'a, S: GroupSums> PackedRows<'a, S> {
    #[inline(always)]
    fn new(rows: RowChunk<'a>) -> Self {
        Self { rows, groups: [&[]; ROW_TILE / PANEL], by: PhantomData }
    }

    /// Packs the whole groups for which `space` has room.
    #[inline(always)]
    fn pack(&mut self, space: &'a mut [MaybeUninit<Block>], blocks: usize) {
        let spaces = space.chunks_exact_mut(blocks.max(1)).take(self.rows.scales.len() / PANEL);
        for (index, (group, space)) in self.groups.iter_mut().zip(spaces).enumerate() {
            if let Some(rows) = self.rows.blocks(index * PANEL, 0, blocks) {
                *group = S::pack(rows, space);
            }
        }
    }
}

/// A packed group, or rows as they lie.
enum PackedTile<'a, const ROWS: usize> {
    Packed(&'a [Block]),
    Plain([&'a [[i8; PANEL]]; ROWS]),
}

impl<'a, S: GroupSums> TileSums for PackedRows<'a, S> {
    type Tile<'t, const ROWS: usize>
        = PackedTile<'a, ROWS>
    where
        Self: 't;

    #[inline(always)]
    fn tile<const ROWS: usize>(
        &self,
        first: usize,
        start: usize,
        count: usize,
    ) -> Option<PackedTile<'a, ROWS>> {
        let group = if ROWS == PANEL { self.groups.get(first / PANEL) } else { None };
        match group.and_then(|group| group.get(start..start + count)) {
            Some(packed) => Some(PackedTile::Packed(packed)),
            None => self.rows.blocks(first, start, count).map(PackedTile::Plain),
        }
    }

    #[inline(always)]
    fn sums<const ROWS: usize>(tile: &PackedTile<'a, ROWS>, panel: &[Block]) -> Sums<ROWS> {
        match tile {
            PackedTile::Packed(packed) => {
                let mut sums = [[0; PANEL]; ROWS];
                let packed_sums = S::packed_sums(packed, panel);
                sums.iter_mut().zip(packed_sums).for_each(|(to, from)| *to = from);
                sums
            }
            PackedTile::Plain(rows) => S::sums(*rows, panel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::portable::PortableSums;
    use crate::kernels::{Int4Group, scalar};
    use half::f16;
    use std::vec::Vec;

    /// The portable sums by packed groups: the rows of a block side by side.
    struct PackedSums;

    impl BlockSums for PackedSums {
        fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
            PortableSums::sums(rows, panel)
        }
    }

    impl GroupSums for PackedSums {
        fn pack<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block] {
            let blocks = (0..packed.len()).map(|index| rows.map(|row| row[index])).collect();
            Vec::leak(blocks)
        }

        fn packed_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL> {
            let rows: [Vec<_>; PANEL] =
                core::array::from_fn(|row| packed.iter().map(|block| block[row]).collect());
            PortableSums::sums(core::array::from_fn(|row| rows[row].as_slice()), panel)
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
            let epilogue = Epilogue::overwrite(&[]);
            let mut found = std::vec![0.0; rows * outputs];
            let mut expected = found.clone();
            gemm_int8::<PackedSums>(&mut MatrixMut::new(&mut found, outputs), lhs, int8, &epilogue);
            let out = &mut MatrixMut::new(&mut expected, outputs);
            (scalar::KERNELS.gemm_f32_qd8_qc8w)(out, lhs, int8, &epilogue);
            assert_eq!(found, expected, "int8, {rows} rows of {inputs}");
            gemm_int4::<PackedSums>(&mut MatrixMut::new(&mut found, outputs), lhs, int4, &epilogue);
            let out = &mut MatrixMut::new(&mut expected, outputs);
            (scalar::KERNELS.gemm_f32_qd8_qc4w)(out, lhs, int4, &epilogue);
            assert_eq!(found, expected, "int4, {rows} rows of {inputs}");
        }
    }
}
