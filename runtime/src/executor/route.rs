//! Scores and selection of one layer (`docs/method.md`, "One layer").

use super::pass::Pass;
use crate::block::{for_row_tiles, rows_of};
use crate::config::{AttentionMode, RouterInput, Routing, TaskConfig};
use crate::executor::Observer;
use crate::kernels::math::sqrt;
use crate::memory::{Buffers, typed};
use crate::model::{Layer, Model};
#[cfg(feature = "pruning")]
use crate::routing::grid;
use crate::routing::{Budget, RouteScratch, Selected, Selection};
use crate::tensor::{Matrix, Part};
use core::mem::take;

/// Added to the mean square of the router's rms input.
const ROUTER_RMS_EPS: f32 = 1e-6;

/// Chooses the tokens that pass each layer.
pub(super) struct Router<'r, 'b> {
    model: &'r Model<'r>,
    budget: Budget<'r>,
    scores: &'b mut [f32],
    gates: &'b mut [f32],
    order: &'b mut [u32],
}

impl<'r, 'b> Router<'r, 'b> {
    /// Takes its buffers out of those of an inference.
    pub(super) fn new(model: &'r Model<'r>, budget: Budget<'r>, buffers: &mut Buffers<'b>) -> Self {
        Self {
            model,
            budget,
            scores: take(&mut buffers.scores),
            gates: take(&mut buffers.gates),
            order: take(&mut buffers.order),
        }
    }

    /// Scores the tokens and selects those that pass layer `index`.
    pub(super) fn route(
        &mut self,
        pass: &mut Pass<'_, '_>,
        layer: &Layer<'_>,
        index: usize,
        observer: &mut impl Observer,
    ) -> Selected<'_> {
        let tokens = pass.tokens;
        let order = self.order.part_mut(0..tokens);
        let k = tokens_of_layer(self.model, index, tokens, &self.budget);
        let (Some(task), Some(k)) = (self.model.task_config(), k) else {
            order.iter_mut().zip(0..).for_each(|(slot, token)| *slot = token);
            observer.selected(index, &Selection { selected: order, scores: &[], gates: &[] });
            return selected(order, tokens, &[]);
        };
        let (scores, gates) = (self.scores.part_mut(0..tokens), self.gates.part_mut(0..tokens));
        let pinned = self.model.pinned();
        #[cfg(feature = "pruning")]
        if task.router_input == RouterInput::Grid {
            let count = grid(k, pinned, order, gates);
            let selected = selected(order, count, gates);
            let computed = selected.computed();
            observer.selected(index, &Selection { selected: computed, scores: &[], gates });
            return selected;
        }
        score(pass, layer, task, scores);
        observer.scored(index, scores);
        let (keys, rest) = pass.scratch.stage.parts_mut(tokens * 8);
        let mut scratch = RouteScratch { keys: typed(keys), tails: typed(rest) };
        let count = crate::routing::route(scores, k, pinned, task.gate, order, gates, &mut scratch);
        let selected = selected(order, count, gates);
        observer.selected(index, &Selection { selected: selected.computed(), scores, gates });
        selected
    }
}

/// A selection before anything is pruned.
const fn selected<'s>(order: &'s [u32], count: usize, gates: &'s [f32]) -> Selected<'s> {
    Selected {
        order,
        count,
        gates,
        #[cfg(feature = "pruning")]
        pruned: false,
    }
}

/// Tokens that are left behind layer `index`, of `tokens` that enter it.
pub(super) fn tokens_behind(
    model: &Model<'_>,
    index: usize,
    tokens: usize,
    budget: &Budget<'_>,
) -> usize {
    let prunes = |routing: Routing| routing.attention == AttentionMode::Prune;
    if !cfg!(feature = "pruning") || !model.routing(index).is_some_and(prunes) {
        return tokens;
    }
    tokens_of_layer(model, index, tokens, budget).map_or(tokens, |k| k.min(tokens))
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

/// `s = R w` for every token; R as the task says.
fn score(pass: &mut Pass<'_, '_>, layer: &Layer<'_>, task: &TaskConfig, scores: &mut [f32]) {
    let context = pass.context;
    let (dot, d) = (context.kernels.dot, context.config.hidden);
    let norm = context.norm_before(layer.block.attention.norm);
    let norm = norm.filter(|_| task.router_input == RouterInput::Norm);
    let x = Matrix::new(pass.buffers.hidden, d);
    let rows = (0..scores.len(), rows_of(scores, 0..scores.len(), 1));
    for_row_tiles(
        context.workers,
        pass.scratch.reborrow(),
        rows,
        |scratch, (tokens, mut scores)| {
            for (token, score) in tokens.zip(scores.rows_from(0)) {
                let row = x.row(token);
                let value = match (norm, scratch.tile.floats.get_mut(..d)) {
                    (Some(weights), Some(normed)) => {
                        context.norm(normed, row, weights);
                        dot(normed, layer.router)
                    }
                    _ if task.router_input == RouterInput::Rms => {
                        let mean_square = dot(row, row) / d as f32;
                        dot(row, layer.router) / sqrt(mean_square + ROUTER_RMS_EPS)
                    }
                    _ => dot(row, layer.router),
                };
                score.fill(value);
            }
        },
    );
}
