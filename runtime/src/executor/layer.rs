//! One encoder layer: route, project, attend, feed forward, update (`coda.md`, "One layer").

use super::embed::norm_in_place;
use super::gemm::{Form, Prepare, Rows, apply};
use super::{Context, Observer, attention};
use crate::kernels::math::sqrt;
use crate::kernels::{Epilogue, NormWeights, ROW_TILE, Store};
use crate::memory::{Buffers, Tile, typed};
use crate::model::config::{AttentionMode, NormPlacement, RouterInput, TaskConfig};
use crate::model::{Adapter, Layer, LightKeys, Model};
use crate::routing::{Budget, RouteScratch, Selection};
use crate::tensor::{Matrix, MatrixMut};

/// Added to the mean square of the router's rms input.
const ROUTER_RMS_EPS: f32 = 1e-6;

/// The first `tokens` hidden states.
pub(super) fn hidden<'b>(buffers: &'b Buffers<'_>, tokens: usize, d: usize) -> Matrix<'b> {
    Matrix::new(buffers.hidden, d).first_rows(tokens)
}

/// What the layer selected, for an observer.
pub(super) fn selection<'b>(
    buffers: &'b Buffers<'_>,
    layer: &Layer<'_>,
    tokens: usize,
    k: usize,
) -> Selection<'b> {
    let of_routed = if layer.routing.is_some() { tokens } else { 0 };
    Selection {
        selected: buffers.order.get(..k).unwrap_or(&[]),
        scores: buffers.scores.get(..of_routed).unwrap_or(&[]),
        gates: buffers.gates.get(..of_routed).unwrap_or(&[]),
    }
}

/// k of layer `index`, pinned tokens counted; `None` if the layer is dense.
pub(super) fn tokens_of_layer(
    model: &Model<'_>,
    index: usize,
    tokens: usize,
    budget: &Budget<'_>,
) -> Option<usize> {
    let routing = model.layer_plans().nth(index)?.routing?;
    let pinned = model.pinned().filter(|position| *position < tokens).count();
    let k = budget.selected(tokens, index, &routing, model.task_config()?);
    Some(k.max(pinned))
}

/// Scores the tokens and selects those that pass the layer; returns their number.
pub(super) fn route(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    (index, tokens): (usize, usize),
    budget: &Budget<'_>,
    observer: &mut impl Observer,
) -> usize {
    let task = context.model.task_config();
    let k = tokens_of_layer(context.model, index, tokens, budget);
    let (Some(task), Some(k)) = (task, k) else {
        buffers.order.iter_mut().zip(0..).for_each(|(slot, token)| *slot = token);
        return tokens;
    };
    score(context, buffers, layer, tokens, task);
    observer.scored(index, buffers.scores.get_mut(..tokens).unwrap_or_default());
    let (keys, rest) = buffers.stage.split_at_mut_checked(tokens * 8).unwrap_or_default();
    let mut scratch = RouteScratch { keys: typed(keys), tails: typed(rest) };
    crate::routing::route(
        buffers.scores.get(..tokens).unwrap_or(&[]),
        k,
        context.model.pinned(),
        task.gate,
        buffers.order.get_mut(..tokens).unwrap_or_default(),
        buffers.gates.get_mut(..tokens).unwrap_or_default(),
        &mut scratch,
    )
}

/// `s = R w` for every token; R as the task says.
fn score(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    tokens: usize,
    task: &TaskConfig,
) {
    let (dot, d) = (context.kernels.dot, context.model.config().hidden);
    let norm = layer_norm(context, layer).filter(|_| task.router_input == RouterInput::Norm);
    let rows = buffers.hidden.chunks_exact(d).take(tokens);
    for (row, slot) in rows.zip(buffers.scores.iter_mut()) {
        *slot = match (norm, buffers.tile.floats.get_mut(..d)) {
            (Some(weights), Some(scratch)) => {
                context.norm(scratch, row, weights);
                dot(scratch, layer.router)
            }
            _ if task.router_input == RouterInput::Rms => {
                let mean_square = dot(row, row) / d as f32;
                dot(row, layer.router) / sqrt(mean_square + ROUTER_RMS_EPS)
            }
            _ => dot(row, layer.router),
        };
    }
}

/// The norm before the layer; `None` in a post-norm layer, which reads X itself.
fn layer_norm<'a>(context: &Context<'_>, layer: &Layer<'a>) -> Option<NormWeights<'a>> {
    match context.model.config().placement {
        NormPlacement::Pre => Some(layer.attention_norm),
        NormPlacement::Post => None,
    }
}

/// How rows enter the query, key and value projections.
fn attention_input<'a>(context: &Context<'_>, layer: &Layer<'a>) -> Prepare<'a> {
    Prepare { norm: layer_norm(context, layer), scale: layer.attention.input_scale }
}

/// Normalised rows, or rows as they are.
const fn normalized(norm: Option<NormWeights<'_>>) -> Prepare<'_> {
    Prepare { norm, scale: &[] }
}

/// Runs the layer for the first `k` tokens of the order, and the adapter for all.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    tokens: usize,
    k: usize,
) {
    let mode = layer.routing.map(|routing| routing.attention).filter(|_| k < tokens);
    let selected_keys = matches!(mode, None | Some(AttentionMode::KToK));
    match (mode, &layer.light) {
        (Some(AttentionMode::KToAll), _) => {
            project_keys_of_all(context, buffers, layer, tokens);
            project_selected(context, buffers, layer, k, Targets::Queries);
        }
        (Some(AttentionMode::KToLight), Some(light)) => {
            project_selected(context, buffers, layer, k, Targets::QueriesAndScatteredKeys);
            project_light_keys(context, buffers, layer, light, (k, tokens));
        }
        _ => project_selected(context, buffers, layer, k, Targets::QueriesAndKeys),
    }
    let key_rows = if selected_keys { k } else { tokens };
    attention::forward(context, buffers, k, key_rows, selected_keys);
    project_context(context, buffers, layer, k);
    feed_forward(context, buffers, layer, k);
    update(context, buffers, layer, tokens, k);
}

/// What the selected rows are projected to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Targets {
    Queries,
    QueriesAndKeys,
    QueriesAndScatteredKeys,
}

/// A tile of `count` rows from `start` of a row-major buffer.
fn tile_of(buffer: &mut [f32], start: usize, count: usize, columns: usize) -> MatrixMut<'_> {
    let range = start * columns..(start + count) * columns;
    MatrixMut::new(buffer.get_mut(range).unwrap_or_default(), columns)
}

/// Queries of the selected tokens, and their keys and values as `targets` says.
fn project_selected(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    k: usize,
    targets: Targets,
) {
    let (kernels, form) = (context.kernels, context.form(layer));
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let x = Matrix::new(buffers.hidden, d);
    let selected = buffers.order.get(..k).unwrap_or(&[]);
    for (index, chunk) in selected.chunks(ROW_TILE).enumerate() {
        let gathered = chunk.iter().map(|token| x.row(*token as usize));
        let prepare = attention_input(context, layer);
        let rows = context.load(&mut buffers.tile, d, gathered, prepare, form);
        let (start, count) = (index * ROW_TILE, chunk.len());
        let mut queries = tile_of(buffers.queries, start, count, width);
        let query = &layer.attention.query;
        apply(kernels, &mut queries, rows, query, &Epilogue::overwrite(query.bias));
        for (linear, out) in [
            (&layer.attention.key, &mut *buffers.keys),
            (&layer.attention.value, &mut *buffers.values),
        ] {
            let epilogue = Epilogue::overwrite(linear.bias);
            match targets {
                Targets::Queries => {}
                Targets::QueriesAndKeys => {
                    let mut out = tile_of(out, start, count, width);
                    apply(kernels, &mut out, rows, linear, &epilogue);
                }
                Targets::QueriesAndScatteredKeys => {
                    let mut out = MatrixMut::new(out, width);
                    let epilogue = epilogue.store(Store::Scatter(chunk));
                    apply(kernels, &mut out, rows, linear, &epilogue);
                }
            }
        }
    }
}

/// Exact keys and values of every token.
fn project_keys_of_all(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    tokens: usize,
) {
    let (kernels, form) = (context.kernels, context.form(layer));
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let x = Matrix::new(buffers.hidden, d);
    for start in (0..tokens).step_by(ROW_TILE) {
        let count = ROW_TILE.min(tokens - start);
        let source = (start..start + count).map(|token| x.row(token));
        let prepare = attention_input(context, layer);
        let rows = context.load(&mut buffers.tile, d, source, prepare, form);
        let (key, value) = (&layer.attention.key, &layer.attention.value);
        let mut keys = tile_of(buffers.keys, start, count, width);
        apply(kernels, &mut keys, rows, key, &Epilogue::overwrite(key.bias));
        let mut values = tile_of(buffers.values, start, count, width);
        apply(kernels, &mut values, rows, value, &Epilogue::overwrite(value.bias));
    }
}

/// Low-rank keys and values of the tokens that are not selected (ours).
fn project_light_keys(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    light: &LightKeys<'_>,
    (k, tokens): (usize, usize),
) {
    let kernels = context.kernels;
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let x = Matrix::new(buffers.hidden, d);
    let rank = light.down.outputs;
    for chunk in buffers.order.get(k..tokens).unwrap_or(&[]).chunks(ROW_TILE) {
        let gathered = chunk.iter().map(|token| x.row(*token as usize));
        let prepare = normalized(layer_norm(context, layer));
        let rows = context.load(&mut buffers.tile, d, gathered, prepare, Form::Float);
        let mut low = tile_of(typed(buffers.stage), 0, chunk.len(), rank);
        apply(kernels, &mut low, rows, &light.down, &Epilogue::overwrite(&[]));
        let low = Rows::Float(low.as_matrix());
        let scatter = |bias| Epilogue::overwrite(bias).store(Store::Scatter(chunk));
        let mut keys = MatrixMut::new(buffers.keys, width);
        apply(kernels, &mut keys, low, &light.key, &scatter(light.key.bias));
        let mut values = MatrixMut::new(buffers.values, width);
        apply(kernels, &mut values, low, &light.value, &scatter(light.value.bias));
    }
}

/// `update = X[S] + scale * (context Wo + bo)`, then the norm of a post-norm layer.
fn project_context(context: &Context<'_>, buffers: &mut Buffers<'_>, layer: &Layer<'_>, k: usize) {
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let output = &layer.attention.output;
    let add = Store::Add { scale: layer.attention_scale };
    let epilogue = Epilogue::overwrite(output.bias).store(add);
    let x = Matrix::new(buffers.hidden, d);
    for start in (0..k).step_by(ROW_TILE) {
        let count = ROW_TILE.min(k - start);
        let mut out = tile_of(buffers.update, start, count, d);
        for (row, token) in buffers.order.iter().skip(start).take(count).enumerate() {
            out.row_mut(row).copy_from_slice(x.row(*token as usize));
        }
        let source = tile_of(buffers.queries, start, count, width);
        let rows = stage_rows(context, layer, &mut buffers.tile, source.as_matrix());
        apply(context.kernels, &mut out, rows, output, &epilogue);
        norm_after(context, &mut out, buffers.tile.floats, layer.attention_norm);
    }
}

/// Rows of an intermediate result in the form that the layer's weights read.
fn stage_rows<'t>(
    context: &Context<'_>,
    layer: &Layer<'_>,
    tile: &'t mut Tile<'_>,
    source: Matrix<'t>,
) -> Rows<'t> {
    match context.form(layer) {
        Form::Float => Rows::Float(source),
        Form::Int8 => {
            context.load(tile, source.columns(), source.iter(), Prepare::default(), Form::Int8)
        }
    }
}

/// The norm after a residual sum, in a post-norm layer.
fn norm_after(
    context: &Context<'_>,
    rows: &mut MatrixMut<'_>,
    scratch: &mut [f32],
    weights: NormWeights<'_>,
) {
    if context.model.config().placement == NormPlacement::Post {
        for row in 0..rows.rows() {
            norm_in_place(context, rows.row_mut(row), scratch, weights);
        }
    }
}

/// `update += scale * FFN(norm(update))`, then the norm of a post-norm layer.
fn feed_forward(context: &Context<'_>, buffers: &mut Buffers<'_>, layer: &Layer<'_>, k: usize) {
    let (kernels, config) = (context.kernels, context.model.config());
    let (d, width) = (config.hidden, config.feed_forward);
    let maps = &layer.feed_forward;
    let norm = match config.placement {
        NormPlacement::Pre => Some(layer.feed_forward_norm),
        NormPlacement::Post => None,
    };
    for start in (0..k).step_by(ROW_TILE) {
        let count = ROW_TILE.min(k - start);
        let mut out = tile_of(buffers.update, start, count, d);
        let form = context.form(layer);
        let rows =
            context.load(&mut buffers.tile, d, out.as_matrix().iter(), normalized(norm), form);
        let mut wide = tile_of(typed(buffers.stage), 0, count, width);
        let expand = Epilogue::overwrite(maps.expand.bias);
        match &maps.gate {
            None => {
                let expand = expand.activation(config.activation);
                apply(kernels, &mut wide, rows, &maps.expand, &expand);
            }
            Some(gate) => {
                let gated = Epilogue::overwrite(gate.bias).activation(config.activation);
                apply(kernels, &mut wide, rows, gate, &gated);
                apply(kernels, &mut wide, rows, &maps.expand, &expand.store(Store::Multiply));
            }
        }
        let rows = stage_rows(context, layer, &mut buffers.tile, wide.as_matrix());
        let add = Store::Add { scale: layer.feed_forward_scale };
        let contract = Epilogue::overwrite(maps.contract.bias).store(add);
        apply(kernels, &mut out, rows, &maps.contract, &contract);
        norm_after(context, &mut out, buffers.tile.floats, layer.feed_forward_norm);
    }
}

/// `Y = X + adapter(u) + m * scatter(L - X[S])`, in place, one tile of rows at a time.
///
/// L is the layer's output for the selected tokens. The sum `X + m (L - X)` is written
/// `(1 - m) X + m L`, which is L itself where m = 1: the parity law holds to the bit.
fn update(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    tokens: usize,
    k: usize,
) {
    let d = context.model.config().hidden;
    let routed = layer.routing.is_some();
    let selected = buffers.order.get(..k).unwrap_or(&[]);
    let outputs = Matrix::new(buffers.update, d);
    let mut next = selected.iter().zip(outputs.iter()).peekable();
    for start in (0..tokens).step_by(ROW_TILE) {
        let count = ROW_TILE.min(tokens - start);
        let mut x = tile_of(buffers.hidden, start, count, d);
        let mut low: &mut [f32] = typed(buffers.stage);
        if let Some(adapter) = &layer.adapter {
            let norm = layer_norm(context, layer);
            let rows = match norm {
                None => Rows::Float(x.as_matrix()),
                norm => context.load(
                    &mut buffers.tile,
                    d,
                    x.as_matrix().iter(),
                    normalized(norm),
                    Form::Float,
                ),
            };
            low = adapter_down(context, adapter, rows, low, count);
        }
        while let Some((token, output)) =
            next.next_if(|(token, _)| **token < (start + count) as u32)
        {
            let gate = if routed { buffers.gates.get(*token as usize).copied() } else { None };
            blend(x.row_mut(*token as usize - start), output, gate.unwrap_or(1.0));
        }
        if let Some(Adapter { up, .. }) = &layer.adapter {
            let rows = Rows::Float(Matrix::new(low, up.inputs));
            let epilogue = Epilogue::overwrite(up.bias).store(Store::Add { scale: &[] });
            apply(context.kernels, &mut x, rows, up, &epilogue);
        }
    }
}

/// `act(down(u))` for a tile of rows, in the stage buffer.
fn adapter_down<'s>(
    context: &Context<'_>,
    adapter: &Adapter<'_>,
    rows: Rows<'_>,
    stage: &'s mut [f32],
    count: usize,
) -> &'s mut [f32] {
    let h = adapter.down.outputs;
    let low = stage.get_mut(..count * h).unwrap_or_default();
    let activation = context.model.task_config().map(|task| task.adapter_activation);
    let epilogue = Epilogue { activation, ..Epilogue::overwrite(adapter.down.bias) };
    apply(context.kernels, &mut MatrixMut::new(low, h), rows, &adapter.down, &epilogue);
    low
}

/// `x = (1 - m) x + m y`; exactly y where m is 1.
fn blend(x: &mut [f32], y: &[f32], m: f32) {
    if m == 1.0 {
        return x.copy_from_slice(y);
    }
    for (slot, y) in x.iter_mut().zip(y) {
        *slot = (1.0 - m) * *slot + m * y;
    }
}
