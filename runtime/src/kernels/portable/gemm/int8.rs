//! int8 weights, int8 rows, by the sums of an instruction set; see
//! [`scalar::gemm_f32_qd8_qc8w`](crate::kernels::scalar::gemm_f32_qd8_qc8w).

use super::for_row_tiles;
use super::tile::PlainRows;
use super::{Block, BlockSums, Lanes, LoadedEpilogue, RowChunk, RowTile, Sums, TileSums};
use crate::kernels::{Epilogue, PANEL, PanelsInt8, Precision, ROW_TILE, RowsInt8};
use crate::tensor::MatrixMut;

/// The GEMM of an instruction set that brings sums alone, `TILE` rows at a time.
#[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "drivers of its own"))]
#[inline(always)]
pub(in crate::kernels) fn gemm_int8<const TILE: usize, S: BlockSums>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    for rows in RowChunk::split(lhs, ROW_TILE) {
        let ready = PlainRows::<S>::new(rows);
        multiply_int8::<TILE>(out, rows, &ready, rhs, 1, epilogue);
    }
}

/// Some rows times every panel. `panel_group` panels meet one tile of rows before the next tile does.
#[inline(always)]
pub(in crate::kernels) fn multiply_int8<const TILE: usize>(
    out: &mut MatrixMut<'_>,
    rows: RowChunk<'_>,
    ready: &impl TileSums,
    rhs: PanelsInt8<'_>,
    panel_group: usize,
    epilogue: &Epilogue<'_>,
) {
    let (count, blocks) = (rows.scales.len(), rhs.inputs.div_ceil(PANEL).max(1));
    let (values, scales) = int8_blocks(rhs);
    let scales = scales.get(..values.len() / blocks).unwrap_or(scales);
    let panel_group = panel_group.max(1);
    let values = values.chunks(panel_group.saturating_mul(blocks).max(1));
    for (index, (values, scales)) in values.zip(scales.chunks(panel_group)).enumerate() {
        let column = index * panel_group * PANEL;
        let mut tile = Int8Tile { out, rows, ready, values, blocks, scales, column, epilogue };
        for_row_tiles::<TILE>(count, &mut tile);
    }
}

/// Rows times some panels, one after the other.
struct Int8Tile<'t, 'o, 'a, R> {
    out: &'t mut MatrixMut<'o>,
    rows: RowChunk<'a>,
    ready: &'t R,
    values: &'a [Block],
    /// Blocks of a panel, not 0.
    blocks: usize,
    scales: &'a [Lanes],
    /// First output channel.
    column: usize,
    epilogue: &'a Epilogue<'a>,
}

impl<R: TileSums> RowTile for Int8Tile<'_, '_, '_, R> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let row_scales = self.rows.scales.get(first..).and_then(<[f32]>::first_chunk::<ROWS>);
        let tile = self.ready.tile::<ROWS>(first, 0, self.blocks);
        let (Some(row_scales), Some(tile)) = (row_scales, tile) else { return };
        let panels = self.values.chunks_exact(self.blocks.max(1)).zip(self.scales);
        for (index, (panel, channel_scales)) in panels.enumerate() {
            let values = scaled(&R::sums::<ROWS>(&tile, panel), row_scales, channel_scales);
            let column = self.column + index * PANEL;
            let epilogue = LoadedEpilogue::new(self.epilogue, Precision::Int8, column);
            epilogue.store(self.out, self.rows.first + first, values);
        }
    }
}

/// `sum * (row scale * channel scale)`.
#[inline(always)]
fn scaled<const ROWS: usize>(
    sums: &Sums<ROWS>,
    row_scales: &[f32; ROWS],
    channel_scales: &Lanes,
) -> [[Lanes; 1]; ROWS] {
    let mut values = [[[0.0; PANEL]; 1]; ROWS];
    for (([values], sums), row_scale) in values.iter_mut().zip(sums).zip(row_scales) {
        for (value, (sum, scale)) in values.iter_mut().zip(sums.iter().zip(channel_scales)) {
            *value = *sum as f32 * (row_scale * scale);
        }
    }
    values
}

/// The blocks of all panels, one panel after the other, and for each panel the scales of its channels.
#[inline(always)]
fn int8_blocks(rhs: PanelsInt8<'_>) -> (&[Block], &[Lanes]) {
    let (channels, _) = rhs.values.as_chunks::<PANEL>();
    (channels.as_chunks().0, rhs.scales.as_chunks().0)
}

/// The panels with the scales of their channels.
#[inline(always)]
pub(in crate::kernels) fn int8_panels(
    rhs: PanelsInt8<'_>,
) -> impl Iterator<Item = (&[Block], &Lanes)> + Clone {
    let (blocks, scales) = int8_blocks(rhs);
    blocks.chunks_exact(rhs.inputs.div_ceil(PANEL).max(1)).zip(scales)
}
