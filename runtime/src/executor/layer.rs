//! One encoder layer: route, project, attend, feed forward, update (`coda.md`, "One layer").

use super::attention::{self, KeyRows, LowRank};
use super::embed::norm_rows;
use super::gemm::{Form, Prepare, Rows, apply};
use super::workers::for_row_tiles;
use super::{Context, Observer};
use crate::config::{AttentionMode, NormPlacement, RouterInput, TaskConfig};
use crate::kernels::math::sqrt;
use crate::kernels::{Epilogue, NormWeights, Store};
use crate::memory::{Buffers, Scratch, Tile, typed};
use crate::model::{Adapter, Layer, Linear, LowRankKeys, Model};
use crate::routing::{Budget, RouteScratch, Selection};
use crate::tensor::{Matrix, MatrixMut};
use core::ops::Range;

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
    let routing = model.routing(index)?;
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
    let (keys, rest) = buffers.scratch.stage.split_at_mut_checked(tokens * 8).unwrap_or_default();
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
    let x = Matrix::new(buffers.hidden, d);
    let rows = (0..tokens, rows_of(buffers.scores, 0..tokens, 1));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (tokens, mut scores)| {
        for (index, token) in tokens.enumerate() {
            let row = x.row(token);
            let score = match (norm, scratch.tile.floats.get_mut(..d)) {
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
            scores.row_mut(index).fill(score);
        }
    });
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

/// How rows enter a map of the task: as they enter the projections if its weights are integers,
/// which were divided by the same scale.
fn task_input<'a>(context: &Context<'_>, layer: &Layer<'a>, map: &Linear<'_>) -> Prepare<'a> {
    let prepare = attention_input(context, layer);
    if map.is_integer() { prepare } else { Prepare { scale: &[], ..prepare } }
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
    let key_rows = match (mode, &layer.low_rank) {
        (Some(AttentionMode::KToAll), _) => KeyRows::ByPosition(tokens),
        (Some(AttentionMode::KToLowRank), Some(low_rank)) => {
            let low_rank = LowRank::new(context, low_rank, (k, tokens - k));
            low_rank.map_or(KeyRows::InOrder(tokens), KeyRows::LowRank)
        }
        _ => KeyRows::InOrder(k),
    };
    let with_keys = !matches!(key_rows, KeyRows::ByPosition(_));
    if !with_keys {
        project_keys_of_all(context, buffers, layer, tokens);
    }
    project_selected(context, buffers, layer, k, with_keys);
    if let (Some(AttentionMode::KToLowRank), Some(low_rank)) = (mode, &layer.low_rank) {
        let expanded = !matches!(key_rows, KeyRows::LowRank(_));
        project_low_rank_keys(context, buffers, layer, low_rank, (k, tokens), expanded);
    }
    attention::forward(context, buffers, k, key_rows);
    transform_selected(context, buffers, layer, k);
    update(context, buffers, layer, tokens, k);
}

/// Rows `range` of a row-major buffer.
pub(super) fn rows_of(buffer: &mut [f32], range: Range<usize>, columns: usize) -> MatrixMut<'_> {
    let range = range.start * columns..range.end * columns;
    MatrixMut::new(buffer.get_mut(range).unwrap_or_default(), columns)
}

/// Queries of the selected tokens, and their keys and values if `with_keys`, in that order.
fn project_selected(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    k: usize,
    with_keys: bool,
) {
    let (kernels, form) = (context.kernels, context.form(layer));
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let (x, maps) = (Matrix::new(buffers.hidden, d), &layer.attention);
    let selected = buffers.order.get(..k).unwrap_or(&[]);
    let queries = rows_of(buffers.queries, 0..k, width);
    let keys = with_keys
        .then(|| (rows_of(buffers.keys, 0..k, width), rows_of(buffers.values, 0..k, width)));
    let rows = (selected, (queries, keys));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (chunk, (mut queries, keys))| {
        let gathered = chunk.iter().map(|token| x.row(*token as usize));
        let rows =
            context.load(&mut scratch.tile, d, gathered, attention_input(context, layer), form);
        let (query, key, value) = (&maps.query, &maps.key, &maps.value);
        apply(kernels, &mut queries, rows, query, &Epilogue::overwrite(query.bias));
        if let Some((mut keys, mut values)) = keys {
            apply(kernels, &mut keys, rows, key, &Epilogue::overwrite(key.bias));
            apply(kernels, &mut values, rows, value, &Epilogue::overwrite(value.bias));
        }
    });
}

/// Exact keys and values of every token, by position.
fn project_keys_of_all(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    tokens: usize,
) {
    let (kernels, form) = (context.kernels, context.form(layer));
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let (x, maps) = (Matrix::new(buffers.hidden, d), &layer.attention);
    let keys = rows_of(buffers.keys, 0..tokens, width);
    let values = rows_of(buffers.values, 0..tokens, width);
    let rows = (0..tokens, (keys, values));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (tile, (mut keys, mut values))| {
        let source = tile.map(|token| x.row(token));
        let rows =
            context.load(&mut scratch.tile, d, source, attention_input(context, layer), form);
        apply(kernels, &mut keys, rows, &maps.key, &Epilogue::overwrite(maps.key.bias));
        apply(kernels, &mut values, rows, &maps.value, &Epilogue::overwrite(maps.value.bias));
    });
}

/// Low-rank keys and values of the tokens that are not selected, behind the exact ones (ours); if not
/// `expanded`, only what both are made of, `[n - k, rank]`, behind the exact keys.
fn project_low_rank_keys(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    low_rank: &LowRankKeys<'_>,
    (k, tokens): (usize, usize),
    expanded: bool,
) {
    let kernels = context.kernels;
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let x = Matrix::new(buffers.hidden, d);
    let rest = buffers.order.get(k..tokens).unwrap_or(&[]);
    if cfg!(feature = "low-rank") && !expanded {
        let low = buffers.keys.get_mut(k * width..).unwrap_or_default();
        let rows = (rest, rows_of(low, 0..rest.len(), low_rank.down.outputs));
        let scratch = buffers.scratch.reborrow();
        return for_row_tiles(context.workers, scratch, rows, |scratch, (chunk, mut low)| {
            project_down(context, &mut scratch.tile, layer, low_rank, (x, chunk), &mut low);
        });
    }
    let keys = rows_of(buffers.keys, k..tokens, width);
    let values = rows_of(buffers.values, k..tokens, width);
    let rows = (rest, (keys, values));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (chunk, (mut keys, mut values))| {
        let Scratch { tile, stage, .. } = scratch;
        let mut low = rows_of(typed(stage), 0..chunk.len(), low_rank.down.outputs);
        project_down(context, tile, layer, low_rank, (x, chunk), &mut low);
        let low = stage_rows(context, Form::of(&low_rank.key), tile, low.as_matrix());
        apply(kernels, &mut keys, low, &low_rank.key, &Epilogue::overwrite(low_rank.key.bias));
        apply(
            kernels,
            &mut values,
            low,
            &low_rank.value,
            &Epilogue::overwrite(low_rank.value.bias),
        );
    });
}

/// What the low-rank keys and values of some tokens are made of.
fn project_down(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    layer: &Layer<'_>,
    low_rank: &LowRankKeys<'_>,
    (x, tokens): (Matrix<'_>, &[u32]),
    low: &mut MatrixMut<'_>,
) {
    let gathered = tokens.iter().map(|token| x.row(*token as usize));
    let prepare = task_input(context, layer, &low_rank.down);
    let rows = context.load(tile, x.columns(), gathered, prepare, Form::of(&low_rank.down));
    apply(context.kernels, low, rows, &low_rank.down, &Epilogue::overwrite(&[]));
}

/// The layer behind its attention, for the selected tokens: the output projection and the
/// feed-forward layer, each added to the residual.
fn transform_selected(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    layer: &Layer<'_>,
    k: usize,
) {
    let (d, width) = (context.model.config().hidden, context.model.config().attention_width());
    let x = Matrix::new(buffers.hidden, d);
    let selected = buffers.order.get(..k).unwrap_or(&[]);
    let attended = rows_of(buffers.queries, 0..k, width);
    let out = rows_of(buffers.update, 0..k, d);
    let rows = (selected, (attended, out));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (chunk, (attended, mut out))| {
        for (row, token) in chunk.iter().enumerate() {
            out.row_mut(row).copy_from_slice(x.row(*token as usize));
        }
        project_context(context, scratch, layer, attended.as_matrix(), &mut out);
        feed_forward(context, scratch, layer, &mut out);
    });
}

/// `out += scale * (context Wo + bo)`, then the norm of a post-norm layer.
fn project_context(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    layer: &Layer<'_>,
    attended: Matrix<'_>,
    out: &mut MatrixMut<'_>,
) {
    let output = &layer.attention.output;
    let add = Store::Add { scale: layer.attention_scale };
    let rows = stage_rows(context, context.form(layer), &mut scratch.tile, attended);
    apply(context.kernels, out, rows, output, &Epilogue::overwrite(output.bias).store(add));
    norm_after(context, out, scratch.tile.floats, layer.attention_norm);
}

/// Rows of an intermediate result in the form that the next weights read.
fn stage_rows<'t>(
    context: &Context<'_>,
    form: Form,
    tile: &'t mut Tile<'_>,
    source: Matrix<'t>,
) -> Rows<'t> {
    match form {
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
        norm_rows(context, rows, scratch, weights);
    }
}

/// `out += scale * FFN(norm(out))`, then the norm of a post-norm layer.
fn feed_forward(
    context: &Context<'_>,
    scratch: &mut Scratch<'_>,
    layer: &Layer<'_>,
    out: &mut MatrixMut<'_>,
) {
    let (kernels, config) = (context.kernels, context.model.config());
    let (maps, form) = (&layer.feed_forward, context.form(layer));
    let norm = match config.placement {
        NormPlacement::Pre => Some(layer.feed_forward_norm),
        NormPlacement::Post => None,
    };
    let Scratch { tile, stage, .. } = scratch;
    let prepare = Prepare { norm, scale: maps.input_scale };
    let rows = context.load(tile, config.hidden, out.as_matrix().iter(), prepare, form);
    let mut wide = rows_of(typed(stage), 0..out.rows(), config.feed_forward);
    let expand = Epilogue::overwrite(maps.expand.bias);
    match &maps.gate {
        None => {
            let expand = expand.activation(config.activation.into());
            apply(kernels, &mut wide, rows, &maps.expand, &expand);
        }
        Some(gate) => {
            let gated = Epilogue::overwrite(gate.bias).activation(config.activation.into());
            apply(kernels, &mut wide, rows, gate, &gated);
            apply(kernels, &mut wide, rows, &maps.expand, &expand.store(Store::Multiply));
        }
    }
    let rows = stage_rows(context, form, tile, wide.as_matrix());
    let add = Store::Add { scale: layer.feed_forward_scale };
    let contract = Epilogue::overwrite(maps.contract.bias).store(add);
    apply(kernels, out, rows, &maps.contract, &contract);
    norm_after(context, out, tile.floats, layer.feed_forward_norm);
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
    let selected = buffers.order.get(..k).unwrap_or(&[]);
    let outputs = Matrix::new(buffers.update, d);
    let gates: &[f32] = if layer.routing.is_some() { buffers.gates } else { &[] };
    let rows = (0..tokens, rows_of(buffers.hidden, 0..tokens, d));
    let scratch = buffers.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |scratch, (tile, mut x)| {
        let Scratch { tile: scratch, stage, .. } = scratch;
        let mut low: &mut [f32] = typed(stage);
        if let Some(adapter) = &layer.adapter {
            let prepare = task_input(context, layer, &adapter.down);
            let (form, source) = (Form::of(&adapter.down), x.as_matrix());
            let rows = match form {
                Form::Float if prepare.is_nothing() => Rows::Float(source),
                _ => context.load(scratch, d, source.iter(), prepare, form),
            };
            low = adapter_down(context, adapter, rows, low, tile.len());
        }
        let first = selected.partition_point(|token| (*token as usize) < tile.start);
        let passed = selected.iter().zip(outputs.iter()).skip(first);
        for (token, output) in passed.take_while(|(token, _)| tile.contains(&(**token as usize))) {
            let gate = gates.get(*token as usize).copied().unwrap_or(1.0);
            blend(x.row_mut(*token as usize - tile.start), output, gate);
        }
        if let Some(Adapter { up, .. }) = &layer.adapter {
            let form = Form::of(up);
            let rows = stage_rows(context, form, scratch, Matrix::new(low, up.inputs));
            let epilogue = Epilogue::overwrite(up.bias).store(Store::Add { scale: &[] });
            apply(context.kernels, &mut x, rows, up, &epilogue);
        }
    });
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
    let activation = context.model.task_config().map(|task| task.adapter_activation.into());
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
