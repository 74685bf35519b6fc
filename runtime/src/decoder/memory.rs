//! Keys and values of the encoder's states, of every decoder layer.

use crate::block::{CachedKeys, Context, Transform, apply, rows_of};
use crate::kernels::{Epilogue, ROW_TILE};
use crate::memory::{KeyExtent, MemoryBuffers, Tile};
use crate::model::{Attention, Decoder, Linear};
use crate::tensor::{Matrix, MatrixMut, Part};

/// The memory of every layer, while it is filled.
pub(super) struct Memory<'f, 'b> {
    context: &'f Context<'f>,
    decoder: &'f Decoder<'f>,
    /// From states to what cross attention reads.
    map: Option<Linear<'f>>,
    extent: KeyExtent,
    bytes: &'b mut [u8],
    mapped: &'b mut [f32],
    keys: &'b mut [f32],
    values: &'b mut [f32],
    tile: Tile<'b>,
}

impl<'f, 'b> Memory<'f, 'b> {
    pub(super) fn new(
        context: &'f Context<'f>,
        decoder: &'f Decoder<'f>,
        buffers: MemoryBuffers<'b>,
        extent: KeyExtent,
    ) -> Self {
        let MemoryBuffers { memory, mapped, keys, values, tile_floats, tile_int8, tile_scales } =
            buffers;
        let tile = Tile { floats: tile_floats, int8: tile_int8, scales: tile_scales };
        let map = decoder.globals().memory;
        Self { context, decoder, map, extent, bytes: memory, mapped, keys, values, tile }
    }

    /// From the encoder's states, `[n, d of the encoder]`, and the rows behind them, which are looked up in
    /// the place of the states.
    pub(super) fn fill(&mut self, states: &mut [f32], d: usize) {
        let appended = self.decoder.globals().appended;
        let rows = states.len() / d.max(1);
        let own = Matrix::new(states, d);
        for first in (0..rows).step_by(ROW_TILE) {
            self.put_rows(own.row_range(first..rows.min(first + ROW_TILE)), first);
        }
        let tile = rows.min(ROW_TILE);
        for first in (0..appended.rows).step_by(tile.max(1)) {
            let count = tile.min(appended.rows - first);
            let mut out = rows_of(states, 0..count, d);
            for (index, row) in out.rows_from(0).enumerate() {
                row.fill(0.0);
                appended.table.add_row(self.context.kernels, first + index, row);
            }
            self.put_rows(out.as_matrix(), rows + first);
        }
    }

    /// Keys and values of some states, from position `first` on, of every layer.
    fn put_rows(&mut self, states: Matrix<'_>, first: usize) {
        let count = states.rows();
        let states = match &self.map {
            Some(map) => {
                let mut out = rows_of(self.mapped, 0..count, map.outputs);
                linear(self.context, &mut self.tile, states, map, &mut out);
                Matrix::new(self.mapped.part(0..count * map.outputs), map.outputs)
            }
            None => states,
        };
        let extent = self.extent;
        let layers = self.bytes.chunks_exact_mut(extent.bytes().max(1));
        for (index, bytes) in layers.enumerate().take(self.decoder.config().layers) {
            let cross = self.decoder.layer(index).cross;
            let rows = [&mut *self.keys, &mut *self.values];
            let cached = CachedKeys { bytes, extent };
            put(self.context, &mut self.tile, rows, states, &cross, cached, first);
        }
    }
}

/// Keys and values of some states, from position `first` on, of one layer.
fn put(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    [keys, values]: [&mut [f32]; 2],
    states: Matrix<'_>,
    cross: &Attention<'_>,
    mut cached: CachedKeys<'_>,
    first: usize,
) {
    let mut keys = rows_of(keys, 0..states.rows(), cross.key.outputs);
    linear(context, tile, states, &cross.key, &mut keys);
    let mut values = rows_of(values, 0..states.rows(), cross.value.outputs);
    linear(context, tile, states, &cross.value, &mut values);
    let pairs = keys.as_matrix().iter().zip(values.as_matrix().iter());
    pairs.enumerate().for_each(|(row, (key, value))| cached.put(first + row, key, value));
}

/// `out = rows W^T + b`.
fn linear(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    rows: Matrix<'_>,
    map: &Linear<'_>,
    out: &mut MatrixMut<'_>,
) {
    let rows = context.load(tile, rows.iter(), Transform::default(), map);
    apply(context.kernels, out, rows, map, &Epilogue::overwrite(map.bias));
}
