//! One encoder layer (`docs/method.md`, "One layer"), for the rows, keys and updates it is handed.

use super::keys::LayerKeys;
use super::pass::{Pass, task_input};
use crate::block::{
    Queries, RelativeBias, adapter_down, adapter_up, attend, feed_forward, for_row_tiles,
    project_attended, rows_of,
};
#[cfg(feature = "pruning")]
use crate::config::AttentionMode;
#[cfg(feature = "more-families")]
use crate::image::PatchGrid;
use crate::memory::{Buffers, Scratch, typed};
use crate::model::Layer;
use crate::routing::Selected;
use crate::tensor::{Matrix, Part};

/// ```text
/// u    = norm(X)                               X itself in a post-norm layer
/// Zt   = Wo attention(q: u[S], kv: keys)       project, attend
/// Zf   = FFN(norm(X[S] + Zt))                  transform
/// Z_ad = adapter(u)
/// Y    = X + Z_ad + m * scatter(Zt + Zf)       update
/// ```
/// A layer that prunes keeps the rows of S alone before the update.
pub(super) fn forward(pass: &mut Pass<'_, '_>, layer: &Layer<'_>, selected: Selected<'_>) {
    let keys = pass.project(layer, selected);
    pass.attend(layer, selected, keys);
    pass.transform(layer, selected);
    #[cfg(feature = "pruning")]
    let selected = pass.prune(layer, selected);
    pass.update(layer, selected);
}

impl Pass<'_, '_> {
    /// Queries to their context, in place.
    fn attend(&mut self, layer: &Layer<'_>, selected: Selected<'_>, keys: LayerKeys<'_>) {
        let (config, width) = (self.context.config, self.context.config.attention_width());
        let table = relative_bias(self.globals.relative_bias, layer);
        let bias = RelativeBias {
            table,
            distance: config.relative_distance,
            #[cfg(feature = "more-families")]
            grid_columns: match PatchGrid::of(&config.embedding) {
                Some(grid) if config.grid_bias => grid.columns,
                _ => 0,
            },
        };
        let bias = Some(bias).filter(|_| !table.is_empty());
        let Buffers { keys: key_rows, values, queries, .. } = &mut self.buffers;
        let keys = keys.lay_out(&self.context, selected, key_rows, values, bias);
        #[cfg(feature = "more-families")]
        let keys = crate::block::Keys { distance: layer.block.attention.places.distance, ..keys };
        let rows = rows_of(queries, 0..selected.count, width);
        let queries = Queries { positions: selected.computed(), rows };
        attend(&self.context, self.scratch.reborrow(), queries, &keys);
    }

    /// The layer after its attention: the output projection and the feed-forward layer, each added to
    /// the residual, for the rows that are computed.
    fn transform(&mut self, layer: &Layer<'_>, selected: Selected<'_>) {
        let (context, block) = (self.context, &layer.block);
        let (d, width) = (context.config.hidden, context.config.attention_width());
        let x = Matrix::new(self.buffers.hidden, d);
        let attended = rows_of(self.buffers.queries, 0..selected.count, width);
        let out = rows_of(self.buffers.update, 0..selected.count, d);
        let rows = (selected.computed(), (attended, out));
        let scratch = self.scratch.reborrow();
        for_row_tiles(context.workers, scratch, rows, |scratch, (tokens, (attended, mut out))| {
            for (out, token) in out.rows_from(0).zip(tokens) {
                out.fill_from(x.row(*token as usize));
            }
            project_attended(&context, scratch, &block.attention, attended.as_matrix(), &mut out);
            feed_forward(&context, scratch, &block.feed_forward, &mut out);
        });
    }

    /// Moves the rows of the selected tokens to the front if the layer prunes the others.
    #[cfg(feature = "pruning")]
    fn prune<'s>(&mut self, layer: &Layer<'_>, selected: Selected<'s>) -> Selected<'s> {
        let mode = layer.routing.map(|routing| routing.attention);
        if mode != Some(AttentionMode::Prune) || selected.count == self.tokens {
            return selected;
        }
        let d = self.context.config.hidden;
        for (row, token) in selected.computed().iter().enumerate() {
            let token = *token as usize;
            if row < token {
                let (before, own) = self.buffers.hidden.parts_mut(token * d);
                before.part_mut(row * d..(row + 1) * d).fill_from(own.part(0..d));
            }
        }
        self.tokens = selected.count;
        Selected { pruned: true, ..selected }
    }

    /// `Y = X + adapter(u) + m * scatter(L - X[S])`, in place, one tile of rows at a time.
    ///
    /// L is the layer's output for the rows that are computed. The sum `X + m (L - X)` is written
    /// `(1 - m) X + m L`, which is L itself where m = 1: the parity law holds to the bit.
    fn update(&mut self, layer: &Layer<'_>, selected: Selected<'_>) {
        let (context, d) = (self.context, self.context.config.hidden);
        let outputs = Matrix::new(self.buffers.update, d);
        let rows = (0..self.tokens, rows_of(self.buffers.hidden, 0..self.tokens, d));
        let scratch = self.scratch.reborrow();
        for_row_tiles(context.workers, scratch, rows, |scratch, (tokens, mut x)| {
            let Scratch { tile, stage, .. } = scratch;
            let adapter = layer.block.adapter.as_ref();
            let width = adapter.map_or(0, |adapter| adapter.down.outputs);
            let mut low = rows_of(typed(stage), 0..tokens.len(), width);
            if let Some(adapter) = adapter {
                let input = task_input(&context, layer, &adapter.down);
                adapter_down(&context, tile, adapter, x.as_matrix(), input, &mut low);
            }
            let first = tokens.start;
            for update in selected.updates(tokens) {
                blend(x.row_mut(update.token - first), outputs.row(update.row), update.gate);
            }
            if let Some(adapter) = adapter {
                adapter_up(&context, tile, adapter, low.as_matrix(), &mut x);
            }
        });
    }
}

/// The table of relative positions: the layer's own, or that of all.
#[cfg_attr(not(feature = "more-families"), expect(unused_variables, reason = "left out"))]
const fn relative_bias<'a>(of_all: &'a [f32], layer: &Layer<'a>) -> &'a [f32] {
    #[cfg(feature = "more-families")]
    if !layer.block.attention.relative_bias.is_empty() {
        return layer.block.attention.relative_bias;
    }
    of_all
}

/// `x = (1 - m) x + m y`; exactly y where m is 1.
fn blend(x: &mut [f32], y: &[f32], m: f32) {
    if m == 1.0 {
        return x.fill_from(y);
    }
    for (slot, y) in x.iter_mut().zip(y) {
        *slot = (1.0 - m) * *slot + m * y;
    }
}
