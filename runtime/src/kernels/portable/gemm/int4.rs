//! int4 weights, int8 rows, by the sums of an instruction set; see
//! [`scalar::gemm_f32_qd8_qc4w`](crate::kernels::scalar::gemm_f32_qd8_qc4w).
//!
//! ```text
//! for each chunk of rows, for each panel:
//!     totals = 0
//!     for each group of 32 inputs of the panel:
//!         widen its weights to four int8 blocks, once for all rows of the chunk
//!         for each tile of rows: totals += sums of int8 products * group scale of the channel
//!     out = epilogue(totals * row scale)
//! ```

use super::float::widen;
use super::tile::PlainRows;
use super::{Block, BlockSums, Lanes, LoadedEpilogue, RowChunk, RowTile, TileSums, for_row_tiles};
use crate::kernels::{Epilogue, Int4Group, PANEL, PanelsInt4, Precision, ROW_TILE, RowsInt8};
use crate::panel::INT4_GROUP;
use crate::tensor::MatrixMut;
use half::f16;

/// Blocks of an int4 group.
pub(in crate::kernels) const GROUP_BLOCKS: usize = INT4_GROUP / PANEL;

/// The GEMM of an instruction set that brings sums alone, `TILE` rows at a time.
#[inline(always)]
pub(in crate::kernels) fn gemm_int4<const TILE: usize, S: BlockSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    for rows in RowChunk::split(lhs, ROW_TILE) {
        multiply_int4::<TILE>(out, rows, &PlainRows::<S>::new(rows), rhs, epilogue);
    }
}

/// Some rows times every panel.
#[inline(always)]
pub(in crate::kernels) fn multiply_int4<const TILE: usize>(
    out: &mut MatrixMut<'_>,
    rows: RowChunk<'_>,
    ready: &impl TileSums,
    rhs: PanelsInt4<'_>,
    epilogue: &Epilogue<'_>,
) {
    let blocks = rhs.inputs.div_ceil(PANEL);
    let panels = rhs.groups.chunks_exact(rhs.inputs.div_ceil(INT4_GROUP).max(1));
    for (index, panel) in panels.enumerate() {
        let epilogue = LoadedEpilogue::new(epilogue, Precision::Int8, index * PANEL);
        let mut totals = [[0.0; PANEL]; ROW_TILE];
        for (number, group) in panel.iter().enumerate() {
            let (weights, scales) = (widen_group(group), group_scales(group));
            let start = number * GROUP_BLOCKS;
            let weights = &weights[..GROUP_BLOCKS.min(blocks.saturating_sub(start))];
            let mut tile = Int4Tile { ready, start, weights, scales, totals: &mut totals };
            for_row_tiles::<TILE>(rows.scales.len(), &mut tile);
        }
        for (row, (totals, row_scale)) in totals.iter_mut().zip(rows.scales).enumerate() {
            totals.iter_mut().for_each(|total| *total *= row_scale);
            epilogue.store(out, rows.first + row, [[*totals]]);
        }
    }
}

/// Rows times one group, added to their totals.
struct Int4Tile<'t, R> {
    ready: &'t R,
    /// First block of the group.
    start: usize,
    weights: &'t [Block],
    scales: Lanes,
    totals: &'t mut [Lanes; ROW_TILE],
}

impl<R: TileSums> RowTile for Int4Tile<'_, R> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let tile = self.ready.tile::<ROWS>(first, self.start, self.weights.len());
        let Some(tile) = tile else { return };
        let sums = R::sums::<ROWS>(&tile, self.weights);
        for (totals, sums) in self.totals.iter_mut().skip(first).zip(&sums) {
            for (total, (sum, scale)) in totals.iter_mut().zip(sums.iter().zip(self.scales)) {
                *total += *sum as f32 * scale;
            }
        }
    }
}

/// The scales of a group.
#[inline(always)]
pub(in crate::kernels) fn group_scales(group: &Int4Group) -> Lanes {
    let mut scales = [0.0; PANEL];
    for (scale, bytes) in scales.iter_mut().zip(group.as_chunks::<2>().0) {
        *scale = widen(f16::from_le_bytes(*bytes));
    }
    scales
}

/// The values of a group as int8 blocks.
#[inline(always)]
pub(in crate::kernels) fn widen_group(group: &Int4Group) -> [Block; GROUP_BLOCKS] {
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
