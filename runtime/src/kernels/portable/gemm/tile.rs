//! Rows in chunks and tiles.

use super::{Block, PortableSums, Sums};
use crate::kernels::{PANEL, RowsInt8};
use core::marker::PhantomData;

/// Work on some adjacent rows.
pub(in crate::kernels) trait RowTile {
    /// Rows `first` to `first + ROWS`.
    fn run<const ROWS: usize>(&mut self, first: usize);
}

/// Covers all rows: whole tiles, then 4, 2 and 1 rows.
#[inline(always)]
pub(in crate::kernels) fn for_row_tiles<const TILE: usize>(rows: usize, tile: &mut impl RowTile) {
    let mut first = 0;
    while first + TILE <= rows {
        tile.run::<TILE>(first);
        first += TILE;
    }
    while TILE > 4 && first + 4 <= rows {
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

/// Adjacent int8 rows that meet every panel together.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct RowChunk<'a> {
    /// Place of the first row in the output.
    pub(in crate::kernels) first: usize,
    /// Scale of each row.
    pub(in crate::kernels) scales: &'a [f32],
    values: &'a [[i8; PANEL]],
    /// Blocks from one row to the next.
    stride: usize,
}

impl<'a> RowChunk<'a> {
    /// All rows, at most `most` at a time.
    #[inline(always)]
    pub(in crate::kernels) fn split(
        lhs: RowsInt8<'a>,
        most: usize,
    ) -> impl Iterator<Item = RowChunk<'a>> {
        let ((values, _), stride) = (lhs.values.as_chunks::<PANEL>(), lhs.stride / PANEL);
        lhs.scales.chunks(most).enumerate().map(move |(index, scales)| {
            let first = index * most;
            let values = values.get(first * stride..).unwrap_or(&[]);
            RowChunk { first, scales, values, stride }
        })
    }

    /// `count` blocks from `start` on of rows `first` to `first + ROWS`; `None` if one of them is
    /// shorter.
    #[inline(always)]
    pub(in crate::kernels) fn blocks<const ROWS: usize>(
        &self,
        first: usize,
        start: usize,
        count: usize,
    ) -> Option<[&'a [[i8; PANEL]]; ROWS]> {
        let mut found: [&[[i8; PANEL]]; ROWS] = [&[]; ROWS];
        for (offset, row) in found.iter_mut().enumerate() {
            let at = (first + offset) * self.stride + start;
            *row = self.values.get(at..at + count)?;
        }
        Some(found)
    }
}

/// The rows of a chunk, ready to be multiplied.
pub(in crate::kernels) trait TileSums {
    /// Some of the rows, looked up once for all panels.
    type Tile<'t, const ROWS: usize>
    where
        Self: 't;

    /// `count` blocks from `start` on of rows `first` to `first + ROWS`; `None` if they are not there.
    fn tile<const ROWS: usize>(
        &self,
        first: usize,
        start: usize,
        count: usize,
    ) -> Option<Self::Tile<'_, ROWS>>;

    /// The exact sums of the rows with a panel of their length.
    fn sums<const ROWS: usize>(tile: &Self::Tile<'_, ROWS>, panel: &[Block]) -> Sums<ROWS>;
}

/// What an instruction set brings to the integer GEMMs.
pub(in crate::kernels) trait BlockSums {
    /// The exact sums of `ROWS` rows with the 8 channels of a panel. Every row has a block of 8 values
    /// for each block of the panel. Row values are in -127..=127, weights any int8: the sum of two
    /// products fits an i16.
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS>;
}

/// Rows that are multiplied as they lie.
pub(super) struct PlainRows<'a, S> {
    rows: RowChunk<'a>,
    by: PhantomData<S>,
}

impl<'a, S> PlainRows<'a, S> {
    #[inline(always)]
    pub(super) const fn new(rows: RowChunk<'a>) -> Self {
        Self { rows, by: PhantomData }
    }
}

impl<'a, S: BlockSums> TileSums for PlainRows<'a, S> {
    type Tile<'t, const ROWS: usize>
        = [&'a [[i8; PANEL]]; ROWS]
    where
        Self: 't;

    #[inline(always)]
    fn tile<const ROWS: usize>(
        &self,
        first: usize,
        start: usize,
        count: usize,
    ) -> Option<[&'a [[i8; PANEL]]; ROWS]> {
        self.rows.blocks(first, start, count)
    }

    #[inline(always)]
    fn sums<const ROWS: usize>(rows: &[&'a [[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        S::sums(*rows, panel)
    }
}

impl BlockSums for PortableSums {
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

/// Whether every row and every panel has as many blocks as the first panel.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "wasm32"))]
#[inline(always)]
pub(in crate::kernels) fn same_length(rows: &[&[[i8; PANEL]]], panels: &[&[Block]]) -> bool {
    let blocks = panels.first().map_or(0, |panel| panel.len());
    rows.iter().all(|row| row.len() == blocks) && panels.iter().all(|panel| panel.len() == blocks)
}
