//! Keys and values of the encoder's states, of every decoder layer.

use crate::block::{CachedKeys, Context, Transform, apply, rows_of};
use crate::kernels::{Epilogue, ROW_TILE};
use crate::memory::{KeyExtent, MemoryBuffers, Tile};
use crate::model::{Attention, Decoder, Linear};
use crate::tensor::{Matrix, MatrixMut, Part};

/// Fills the memory of every layer from the encoder's states, `[n, d of the encoder]`.
pub(super) fn fill(
    context: &Context<'_>,
    decoder: &Decoder<'_>,
    buffers: MemoryBuffers<'_>,
    states: Matrix<'_>,
    extent: KeyExtent,
) {
    let MemoryBuffers { memory, mapped, keys, values, tile_floats, tile_int8, tile_scales } =
        buffers;
    let mut tile = Tile { floats: tile_floats, int8: tile_int8, scales: tile_scales };
    let map = decoder.globals().memory;
    for first in (0..states.rows()).step_by(ROW_TILE) {
        let states = states.row_range(first..states.rows().min(first + ROW_TILE));
        let count = states.rows();
        let states = match &map {
            Some(map) => {
                let mut out = rows_of(mapped, 0..count, map.outputs);
                linear(context, &mut tile, states, map, &mut out);
                Matrix::new(mapped.part(0..count * map.outputs), map.outputs)
            }
            None => states,
        };
        let layers = memory.chunks_exact_mut(extent.bytes().max(1));
        for (index, bytes) in layers.enumerate().take(decoder.config().layers) {
            let cached = CachedKeys { bytes, extent };
            let cross = decoder.layer(index).cross;
            put(context, &mut tile, [&mut *keys, &mut *values], states, &cross, cached, first);
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
