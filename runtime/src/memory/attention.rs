//! Scratch of the attention stage: the keys of one head, and a tile of its queries.

use super::buffers::{Cutter, buffers, typed};
use super::size::{largest, panels, product, sum};
use crate::panel::PANEL;

/// Queries whose scores are in memory together.
pub(crate) const ATTENTION_TILE: usize = 32;

/// What the sizes of this scratch depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadExtent {
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Queries; at most [`ATTENTION_TILE`] are at hand together.
    pub(crate) queries: usize,
    /// Key rows that are packed here.
    pub(crate) packed: usize,
    /// All key rows, low-rank ones included.
    pub(crate) key_rows: usize,
    /// Rank of low-rank keys; 0 for none.
    pub(crate) rank: usize,
}

buffers! {
    /// One head's keys and values as f32 panels.
    pub(crate) struct FloatKeys for of: HeadExtent {
        /// `[ceil(keys / 8), head, 8]`, zero padded.
        keys: f32 = product(&[panels(of.packed), PANEL, of.head_dim]);
        /// `[ceil(head / 8), keys, 8]`, zero padded.
        values: f32 = product(&[panels(of.head_dim), PANEL, of.packed]);
    }
}

buffers! {
    /// A tile of queries in f32.
    pub(crate) struct FloatTile for of: HeadExtent {
        /// `[tile, head]`.
        queries: f32 = product(&[of.tile(), of.head_dim]);
        /// `[tile, keys]`.
        scores: f32 = product(&[of.tile(), of.key_rows]);
        /// `[tile, head]`.
        context: f32 = product(&[of.tile(), of.head_dim]);
    }
}

buffers! {
    /// One head's keys and values as int8 panels.
    pub(crate) struct Int8Keys for of: HeadExtent {
        /// A scale for each key.
        key_scales: f32 = product(&[panels(of.packed), PANEL]);
        /// A scale for each column of the values.
        value_scales: f32 = product(&[panels(of.head_dim), PANEL]);
        /// Sums of the values' columns.
        value_sums: f32 = of.head_dim;
        /// A key is an output channel.
        keys: i8 = of.panel_bytes();
        /// A column is an output channel.
        values: i8 = of.panel_bytes();
    }
}

buffers! {
    /// Scores and context of a tile of queries.
    pub(crate) struct Int8Tile for of: HeadExtent {
        /// `[tile, keys]`.
        scores: f32 = product(&[of.tile(), of.key_rows]);
        /// `[tile, head]`.
        context: f32 = product(&[of.tile(), of.head_dim]);
    }
}

buffers! {
    /// A tile of rows as int8: queries, then their softmax weights; either by way of the rank of
    /// low-rank keys as well.
    pub(crate) struct Int8Rows for of: HeadExtent {
        /// `[tile]`.
        scales: f32 = of.tile();
        /// What is added to each softmax weight of a row, `[tile]`.
        offsets: f32 = of.tile();
        /// `[tile, rank]`.
        low: f32 = product(&[of.tile(), of.rank]);
        /// `[tile, stride]`.
        rows: i8 = of.row_bytes();
        /// `[tile, rank]`, rows a multiple of 8.
        low_rows: i8 = product(&[of.tile(), panels(of.rank), PANEL]);
    }
}

impl HeadExtent {
    const fn tile(&self) -> usize {
        if self.queries < ATTENTION_TILE { self.queries } else { ATTENTION_TILE }
    }

    const fn panel_bytes(&self) -> usize {
        product(&[panels(self.packed), panels(self.head_dim), PANEL, PANEL])
    }

    /// Rows of low-rank keys start anywhere in a row, so that the last may end past it.
    const fn row_bytes(&self) -> usize {
        let panels = largest(&[panels(self.key_rows), panels(self.head_dim)]);
        let more = if self.rank == 0 { 0 } else { PANEL };
        product(&[self.tile(), panels, PANEL]).saturating_add(more)
    }

    /// Bytes of attention in f32.
    pub(super) const fn float_bytes(&self) -> usize {
        sum(&[sum(&FloatKeys::bytes(self)), sum(&FloatTile::bytes(self))])
    }

    /// Bytes of attention in int8.
    pub(super) const fn int8_bytes(&self) -> usize {
        let (keys, tile) = (Int8Keys::bytes(self), Int8Tile::bytes(self));
        sum(&[sum(&keys), sum(&tile), sum(&Int8Rows::bytes(self))])
    }
}

/// Divides a stage buffer for attention in f32.
pub(crate) fn divide_float<'a>(
    stage: &'a mut [u8],
    of: &HeadExtent,
) -> (FloatKeys<'a>, FloatTile<'a>) {
    let mut cutter = Cutter::new(stage, 1);
    let keys = FloatKeys::cut(&mut cutter, FloatKeys::bytes(of));
    (keys, FloatTile::cut(&mut cutter, FloatTile::bytes(of)))
}

/// Divides a stage buffer for attention in int8.
pub(crate) fn divide_int8<'a>(
    stage: &'a mut [u8],
    of: &HeadExtent,
) -> (Int8Keys<'a>, Int8Tile<'a>, Int8Rows<'a>) {
    let mut cutter = Cutter::new(stage, 1);
    let keys = Int8Keys::cut(&mut cutter, Int8Keys::bytes(of));
    let tile = Int8Tile::cut(&mut cutter, Int8Tile::bytes(of));
    (keys, tile, Int8Rows::cut(&mut cutter, Int8Rows::bytes(of)))
}
