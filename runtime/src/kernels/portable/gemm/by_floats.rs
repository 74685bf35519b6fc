//! The int8 GEMM of the portable table, for CPUs that compilers multiply floats best for.
//!
//! ```text
//! for each panel, for each chunk of ROW_TILE rows:
//!     for each 128 inputs of the panel:
//!         widen the weights to floats, once for all rows of the chunk
//!         for each tile of rows: sums += int(float products)   // below 2^24, hence exact
//!     out = epilogue(sums * (row scale * channel scale))
//! ```

use super::{Block, Lanes, LoadedEpilogue, int8_panels};
use crate::kernels::{Epilogue, PANEL, PanelsInt8, Precision, ROW_TILE, RowsInt8};
use crate::tensor::MatrixMut;

/// Rows whose sums are in registers together.
const TILE: usize = 4;
/// Blocks of an int8 panel that are widened to floats together.
const CHUNK: usize = 16;
/// Inputs of such a chunk. The sum of so many int8 products stays below 2^24, so it is exact in f32.
const CHUNK_INPUTS: usize = CHUNK * PANEL;

/// int8 weights, int8 rows; see [`scalar::gemm_f32_qd8_qc8w`](crate::kernels::scalar::gemm_f32_qd8_qc8w).
///
/// A panel is widened to floats once for a tile of rows, and its sums are exact.
#[inline(always)]
pub(in crate::kernels::portable) fn gemm_int8_by_floats(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let stride = lhs.stride.max(1);
    for (index, (panel, scales)) in int8_panels(rhs).enumerate() {
        let epilogue = LoadedEpilogue::new(epilogue, Precision::Int8, index * PANEL);
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
                epilogue.store(out, tile * ROW_TILE + row, [[values]]);
            }
        }
    }
}

/// Widens a panel chunk by chunk; `work` gets the first input of a chunk and, for each input, the
/// weights of the eight channels.
#[inline(always)]
fn for_chunks(panel: &[Block], mut work: impl FnMut(usize, &[Lanes])) {
    let mut weights = [[0.0; PANEL]; CHUNK_INPUTS];
    for (index, blocks) in panel.chunks(CHUNK).enumerate() {
        let (columns, _) = weights.as_chunks_mut::<PANEL>();
        for (columns, block) in columns.iter_mut().zip(blocks) {
            for (input, column) in columns.iter_mut().enumerate() {
                *column = core::array::from_fn(|channel| f32::from(block[channel][input]));
            }
        }
        let inputs = weights.get(..blocks.len() * PANEL).unwrap_or_default();
        work(index * CHUNK_INPUTS, inputs);
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
    let rows = rows.map(|row| row.get(..inputs).unwrap_or_default());
    let weights = weights.get(..inputs).unwrap_or_default();
    for (index, weights) in weights.iter().enumerate() {
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
