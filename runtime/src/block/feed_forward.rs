//! What follows attention in a layer, and the adapter beside it.

use super::context::Context;
use super::rows::{PreparedRows, Transform, apply, norm_rows, rows_of, stage_rows};
use crate::config::NormPlacement;
use crate::kernels::{Epilogue, NormWeights, Store};
use crate::memory::{Scratch, Tile, typed};
use crate::model::{Adapter, Attention, FeedForward};
use crate::tensor::{Matrix, MatrixMut};

/// `out += scale * (attended Wo + bo)`, then the norm of a post-norm layer.
pub(crate) fn project_attended(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    attention: &Attention<'_>,
    attended: Matrix<'_>,
    out: &mut MatrixMut<'_>,
) {
    let output = &attention.output;
    let rows = stage_rows(context, &mut scratch.tile, attended, output);
    let add = Epilogue::overwrite(output.bias).store(Store::Add { scale: attention.scale });
    apply(context.kernels, out, rows, output, &add);
    norm_after(context, out, scratch.tile.floats, attention.norm);
}

/// `out += scale * FFN(norm(out))`, then the norm of a post-norm layer.
pub(crate) fn feed_forward(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    maps: &FeedForward<'_>,
    out: &mut MatrixMut<'_>,
) {
    let Scratch { tile, stage, .. } = scratch;
    let transform = Transform { norm: context.norm_before(maps.norm), scale: maps.input_scale };
    let rows = context.load(tile, out.as_matrix().iter(), transform, &maps.expand);
    let mut wide = rows_of(typed(stage), 0..out.rows(), maps.expand.outputs);
    expand(context, &mut wide, rows, maps);
    let rows = stage_rows(context, tile, wide.as_matrix(), &maps.contract);
    let add = Epilogue::overwrite(maps.contract.bias).store(Store::Add { scale: maps.scale });
    apply(context.kernels, out, rows, &maps.contract, &add);
    norm_after(context, out, tile.floats, maps.norm);
}

/// `act(rows Wi + bi)`, or `act(rows Wg + bg) * (rows Wi + bi)` where the layer is gated.
fn expand(
    context: &Context<'_>,
    wide: &mut MatrixMut<'_>,
    rows: PreparedRows<'_>,
    maps: &FeedForward<'_>,
) {
    let (kernels, activation) = (context.kernels, context.config.activation);
    let expand = Epilogue::overwrite(maps.expand.bias);
    let Some(gate) = &maps.gate else {
        return apply(kernels, wide, rows, &maps.expand, &expand.activation(activation));
    };
    let gated = Epilogue::overwrite(gate.bias).activation(activation);
    apply(kernels, wide, rows, gate, &gated);
    apply(kernels, wide, rows, &maps.expand, &expand.store(Store::Multiply));
}

/// The norm after a residual sum, in a post-norm layer.
fn norm_after(
    context: &Context<'_>,
    rows: &mut MatrixMut<'_>,
    scratch: &mut [f32],
    weights: NormWeights<'_>,
) {
    if context.config.placement == NormPlacement::Post {
        norm_rows(context, rows, scratch, weights);
    }
}

/// `low = act(down(u))`, u being the rows `x` transformed.
pub(crate) fn adapter_down(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    adapter: &Adapter<'_>,
    x: Matrix<'_>,
    transform: Transform<'_>,
    low: &mut MatrixMut<'_>,
) {
    let down = &adapter.down;
    let rows = match transform.is_nothing() {
        true => stage_rows(context, tile, x, down),
        false => context.load(tile, x.iter(), transform, down),
    };
    let activation = context.adapter_activation;
    let epilogue = Epilogue { activation, ..Epilogue::overwrite(down.bias) };
    apply(context.kernels, low, rows, down, &epilogue);
}

/// `x += up(low)`.
pub(crate) fn adapter_up(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    adapter: &Adapter<'_>,
    low: Matrix<'_>,
    x: &mut MatrixMut<'_>,
) {
    let up = &adapter.up;
    let rows = stage_rows(context, tile, low, up);
    let add = Epilogue::overwrite(up.bias).store(Store::Add { scale: &[] });
    apply(context.kernels, x, rows, up, &add);
}
