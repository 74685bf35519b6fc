//! What the selected tokens attend to (`docs/method.md`, "Attention modes").

use super::pass::{Pass, attention_input, task_input};
#[cfg(feature = "more-families")]
use crate::block::turn;
use crate::block::{
    Context, Keys, LowRank, PackedLowRank, RelativeBias, apply, for_row_tiles, rows_of, stage_rows,
};
use crate::config::AttentionMode;
use crate::kernels::Epilogue;
use crate::memory::{Scratch, Tile, typed};
use crate::model::{Layer, LowRankKeys};
use crate::routing::Selected;
use crate::tensor::{Matrix, MatrixMut, Part};

/// Whose keys and values the buffers hold.
#[derive(Clone, Copy)]
pub(super) enum LayerKeys<'a> {
    /// Of the selected tokens.
    OfSelected,
    /// Of the selected tokens and then of the rest.
    InOrder,
    /// Of all tokens, by position.
    ByPosition,
    /// Of the selected tokens; then, where keys are, what those of the rest are made of,
    /// `[n - k, rank]`.
    LowRank(LowRank<'a>),
}

impl<'a> LayerKeys<'a> {
    /// What a layer needs for a selection: with all tokens selected, every mode is the same.
    fn of(context: &Context<'_>, layer: &Layer<'a>, selected: Selected<'_>) -> Self {
        let (count, rest) = (selected.count, selected.rest().len());
        let mode = layer.routing.map(|routing| routing.attention).filter(|_| rest > 0);
        match (mode, &layer.low_rank) {
            (Some(AttentionMode::KToAll), _) => Self::ByPosition,
            (Some(AttentionMode::KToLowRank), Some(maps)) => {
                LowRank::new(context, maps, count, rest).map_or(Self::InOrder, Self::LowRank)
            }
            _ => Self::OfSelected,
        }
    }

    /// The keys and values that the buffers hold, as attention reads them.
    pub(super) fn lay_out<'k>(
        self,
        context: &Context<'_>,
        selected: Selected<'k>,
        keys: &'k mut [f32],
        values: &'k mut [f32],
        bias: Option<RelativeBias<'k>>,
    ) -> Keys<'k>
    where
        'a: 'k,
    {
        let width = context.config.attention_width();
        let (exact, positions) = match self {
            Self::OfSelected => (selected.count, Some(selected.computed())),
            Self::InOrder => (selected.tokens(), Some(selected.order)),
            Self::ByPosition => (selected.tokens(), None),
            Self::LowRank(_) => (selected.count, Some(selected.order)),
        };
        let (keys, low) = keys.parts_mut(exact * width);
        let (values, space) = values.parts_mut(exact * width);
        let low_rank = match self {
            Self::LowRank(maps) if cfg!(feature = "low-rank") => {
                PackedLowRank::new(context, maps, low, space)
            }
            _ => None,
        };
        let (keys, values) = (Matrix::new(keys, width), Matrix::new(values, width));
        Keys {
            keys,
            values,
            low_rank,
            positions,
            bias,
            #[cfg(feature = "more-families")]
            distance: None,
        }
    }
}

impl Pass<'_, '_> {
    /// Queries of the selected tokens, and the keys and values that they attend to.
    pub(super) fn project<'a>(
        &mut self,
        layer: &Layer<'a>,
        selected: Selected<'_>,
    ) -> LayerKeys<'a> {
        let keys = LayerKeys::of(&self.context, layer, selected);
        if let LayerKeys::ByPosition = keys {
            self.project_keys_of_all(layer);
        }
        self.project_selected(layer, selected, !matches!(keys, LayerKeys::ByPosition));
        match keys {
            LayerKeys::InOrder => self.expand_low_rank(layer, selected),
            LayerKeys::LowRank(_) if cfg!(feature = "low-rank") => {
                self.project_low_rank(layer, selected);
            }
            _ => {}
        }
        keys
    }

    /// Queries of the selected tokens, and their keys and values if `with_keys`, in that order.
    fn project_selected(&mut self, layer: &Layer<'_>, selected: Selected<'_>, with_keys: bool) {
        let (context, maps) = (self.context, &layer.block.attention);
        let (width, rows) = (context.config.attention_width(), 0..selected.count);
        let x = Matrix::new(self.buffers.hidden, context.config.hidden);
        let queries = rows_of(self.buffers.queries, rows.clone(), width);
        let keys = with_keys.then(|| {
            let keys = rows_of(self.buffers.keys, rows.clone(), width);
            (keys, rows_of(self.buffers.values, rows, width))
        });
        let rows = (selected.computed(), (queries, keys));
        let scratch = self.scratch.reborrow();
        for_row_tiles(context.workers, scratch, rows, |scratch, (tokens, (mut queries, keys))| {
            let source = tokens.iter().map(|token| x.row(*token as usize));
            let input = attention_input(&context, layer);
            let rows = context.load(&mut scratch.tile, source, input, &maps.query);
            let query = Epilogue::overwrite(maps.query.bias);
            apply(context.kernels, &mut queries, rows, &maps.query, &query);
            #[cfg(feature = "more-families")]
            let positions = || tokens.iter().map(|token| *token as usize);
            #[cfg(feature = "more-families")]
            turn(&context, &mut queries, maps.places, positions());
            if let Some((mut keys, mut values)) = keys {
                let key = Epilogue::overwrite(maps.key.bias);
                apply(context.kernels, &mut keys, rows, &maps.key, &key);
                #[cfg(feature = "more-families")]
                turn(&context, &mut keys, maps.places, positions());
                let value = Epilogue::overwrite(maps.value.bias);
                apply(context.kernels, &mut values, rows, &maps.value, &value);
            }
        });
    }

    /// Exact keys and values of every token, by position.
    fn project_keys_of_all(&mut self, layer: &Layer<'_>) {
        let (context, maps) = (self.context, &layer.block.attention);
        let width = context.config.attention_width();
        let x = Matrix::new(self.buffers.hidden, context.config.hidden);
        let keys = rows_of(self.buffers.keys, 0..self.tokens, width);
        let values = rows_of(self.buffers.values, 0..self.tokens, width);
        let rows = (0..self.tokens, (keys, values));
        let scratch = self.scratch.reborrow();
        for_row_tiles(
            context.workers,
            scratch,
            rows,
            |scratch, (tokens, (mut keys, mut values))| {
                let source = tokens.clone().map(|token| x.row(token));
                let input = attention_input(&context, layer);
                let rows = context.load(&mut scratch.tile, source, input, &maps.key);
                let (key, value) = (Epilogue::overwrite(maps.key.bias), maps.value.bias);
                apply(context.kernels, &mut keys, rows, &maps.key, &key);
                #[cfg(feature = "more-families")]
                turn(&context, &mut keys, maps.places, tokens);
                apply(context.kernels, &mut values, rows, &maps.value, &Epilogue::overwrite(value));
            },
        );
    }

    /// What the keys and values of the tokens that are not selected are made of, `[n - k, rank]`,
    /// after the exact keys.
    fn project_low_rank(&mut self, layer: &Layer<'_>, selected: Selected<'_>) {
        let (context, Some(maps)) = (self.context, &layer.low_rank) else { return };
        let x = Matrix::new(self.buffers.hidden, context.config.hidden);
        let first = selected.count * context.config.attention_width();
        let low = self.buffers.keys.part_mut(first..self.buffers.keys.len());
        let rest = selected.rest();
        let rows = (rest, rows_of(low, 0..rest.len(), maps.down.outputs));
        let scratch = self.scratch.reborrow();
        for_row_tiles(context.workers, scratch, rows, |scratch, (tokens, mut low)| {
            let source = tokens.iter().map(|token| x.row(*token as usize));
            project_down(&context, &mut scratch.tile, layer, maps, source, &mut low);
        });
    }

    /// Keys and values of the tokens that are not selected, through the rank, after the exact ones.
    fn expand_low_rank(&mut self, layer: &Layer<'_>, selected: Selected<'_>) {
        let (context, Some(maps)) = (self.context, &layer.low_rank) else { return };
        let x = Matrix::new(self.buffers.hidden, context.config.hidden);
        let (after, width) = (selected.count..self.tokens, context.config.attention_width());
        let keys = rows_of(self.buffers.keys, after.clone(), width);
        let values = rows_of(self.buffers.values, after, width);
        let rows = (selected.rest(), (keys, values));
        let scratch = self.scratch.reborrow();
        for_row_tiles(
            context.workers,
            scratch,
            rows,
            |scratch, (tokens, (mut keys, mut values))| {
                let Scratch { tile, stage, .. } = scratch;
                let mut low = rows_of(typed(stage), 0..tokens.len(), maps.down.outputs);
                let source = tokens.iter().map(|token| x.row(*token as usize));
                project_down(&context, tile, layer, maps, source, &mut low);
                let low = stage_rows(&context, tile, low.as_matrix(), &maps.key);
                let (key, value) = (Epilogue::overwrite(maps.key.bias), maps.value.bias);
                apply(context.kernels, &mut keys, low, &maps.key, &key);
                apply(context.kernels, &mut values, low, &maps.value, &Epilogue::overwrite(value));
            },
        );
    }
}

/// What the low-rank keys and values of some tokens are made of.
fn project_down<'x>(
    context: &Context<'_>,
    tile: &mut Tile<'_>,
    layer: &Layer<'_>,
    maps: &LowRankKeys<'_>,
    source: impl Iterator<Item = &'x [f32]>,
    low: &mut MatrixMut<'_>,
) {
    let input = task_input(context, layer, &maps.down);
    let rows = context.load(tile, source, input, &maps.down);
    apply(context.kernels, low, rows, &maps.down, &Epilogue::overwrite(&[]));
}
