//! Rows through the decoder's layers: one row for each hypothesis.

use super::observer::StepObserver;
use crate::block::{
    CachedKeys, Context, RelativeBias, Transform, adapter_down, adapter_up, apply, attend_cached,
    feed_forward, norm_rows, project_attended, rows_of,
};
use crate::kernels::Epilogue;
use crate::memory::{KeyExtent, Scratch, StepBuffers};
use crate::model::{Adapter, Attention, Decoder, DecoderGlobals, DecoderLayer, Linear};
use crate::tensor::{Matrix, Part};
use core::mem::take;

/// What a step reads and writes.
pub(super) struct Step<'p, 'b> {
    pub(super) context: Context<'p>,
    pub(super) decoder: &'p Decoder<'p>,
    pub(super) globals: DecoderGlobals<'p>,
    pub(super) scratch: Scratch<'b>,
    pub(super) rows: Rows<'b>,
    /// Keys and values of what stands before, `[layers, beams]`.
    pub(super) cache: &'b mut [u8],
    pub(super) cache_extent: KeyExtent,
    /// Hypotheses of the cache.
    pub(super) beams: usize,
    /// Keys and values of the encoder's states, of every layer.
    pub(super) memory: &'b mut [u8],
    pub(super) memory_extent: KeyExtent,
}

/// Rows of a step, as the plan has them.
pub(super) struct Rows<'b> {
    /// X.
    pub(super) hidden: &'b mut [f32],
    pub(super) queries: &'b mut [f32],
    pub(super) keys: &'b mut [f32],
    pub(super) values: &'b mut [f32],
    pub(super) low: &'b mut [f32],
    pub(super) scores: &'b mut [f32],
}

impl<'b> Rows<'b> {
    /// Takes them out of the buffers of a step.
    pub(super) fn take(buffers: &mut StepBuffers<'b>) -> Self {
        Self {
            hidden: take(&mut buffers.rows),
            queries: take(&mut buffers.queries),
            keys: take(&mut buffers.keys),
            values: take(&mut buffers.values),
            low: take(&mut buffers.low),
            scores: take(&mut buffers.scores),
        }
    }
}

/// One row: the hypothesis whose cache it uses, and the id that enters.
#[derive(Clone, Copy)]
pub(super) struct Entering {
    pub(super) slot: usize,
    pub(super) id: u32,
}

impl Step<'_, '_> {
    /// X of some ids at a position, through every layer; the final norm is left to the logits.
    pub(super) fn forward(
        &mut self,
        entering: &[Entering],
        position: usize,
        observer: &mut impl StepObserver,
    ) {
        self.embed(entering, position);
        observer.embedded(position, self.hidden(entering.len()));
        for index in 0..self.context.config.layers {
            let layer = self.decoder.layer(index);
            self.layer(&layer, index, entering, position);
            observer.layer(position, index, self.hidden(entering.len()));
        }
    }

    /// X of the first rows.
    fn hidden(&self, count: usize) -> Matrix<'_> {
        Matrix::new(self.rows.hidden, self.context.config.hidden).first_rows(count)
    }

    /// ```text
    /// u = norm(X)                            X itself in a post-norm layer
    /// h = X + Wo attention(q: u, kv: cache)
    /// c = h + Wo' attention(q': norm(h), kv: memory)
    /// Y = c + FFN(norm(c)) + adapter(u)
    /// ```
    fn layer(
        &mut self,
        layer: &DecoderLayer<'_>,
        index: usize,
        entering: &[Entering],
        position: usize,
    ) {
        let count = entering.len();
        self.adapt_down(layer, count);
        self.project(&layer.block.attention, count);
        self.attend_before(index, entering, position);
        self.add_attended(&layer.block.attention, count);
        self.ask(&layer.cross, count);
        self.attend_memory(index, count);
        self.add_attended(&layer.cross, count);
        let d = self.context.config.hidden;
        let mut x = rows_of(self.rows.hidden, 0..count, d);
        feed_forward(&self.context, &mut self.scratch, &layer.block.feed_forward, &mut x);
        if let Some(adapter) = &layer.block.adapter {
            let low = Matrix::new(self.rows.low, adapter.down.outputs).first_rows(count);
            adapter_up(&self.context, &mut self.scratch.tile, adapter, low, &mut x);
        }
    }

    /// `norm(scale * word + position)`.
    fn embed(&mut self, entering: &[Entering], position: usize) {
        let (context, tokens) = (&self.context, &self.globals.tokens);
        let scale = self.decoder.rules().embedding_scale;
        let mut x = rows_of(self.rows.hidden, 0..entering.len(), context.config.hidden);
        for (row, entering) in x.rows_from(0).zip(entering) {
            row.fill(0.0);
            tokens.words.add_row(context.kernels, entering.id as usize, row);
            row.iter_mut().for_each(|x| *x *= scale);
            if let Some(table) = tokens.positions {
                table.add_row(context.kernels, position, row);
            }
        }
        if let Some(weights) = tokens.norm {
            norm_rows(context, &mut x, self.scratch.tile.floats, weights);
        }
    }

    /// The adapter's rows, of u: it is added when the layer has overwritten X.
    fn adapt_down(&mut self, layer: &DecoderLayer<'_>, count: usize) {
        let Some(adapter) = &layer.block.adapter else { return };
        let x = Matrix::new(self.rows.hidden, self.context.config.hidden).first_rows(count);
        let mut low = rows_of(self.rows.low, 0..count, adapter.down.outputs);
        let input = adapter_input(&self.context, &layer.block.attention, adapter);
        let tile = &mut self.scratch.tile;
        adapter_down(&self.context, tile, adapter, x, input, &mut low);
    }

    /// Queries, keys and values of u.
    fn project(&mut self, maps: &Attention<'_>, count: usize) {
        let (context, width) = (&self.context, self.context.config.attention_width());
        let x = Matrix::new(self.rows.hidden, context.config.hidden).first_rows(count);
        let rows =
            context.load(&mut self.scratch.tile, x.iter(), input(context, maps), &maps.query);
        let outs = [&mut self.rows.queries, &mut self.rows.keys, &mut self.rows.values];
        for (out, map) in outs.into_iter().zip([&maps.query, &maps.key, &maps.value]) {
            let mut out = rows_of(out, 0..count, width);
            apply(context.kernels, &mut out, rows, map, &Epilogue::overwrite(map.bias));
        }
    }

    /// Queries of what cross attention asks.
    fn ask(&mut self, maps: &Attention<'_>, count: usize) {
        let (context, map): (_, &Linear<'_>) = (&self.context, &maps.query);
        let x = Matrix::new(self.rows.hidden, context.config.hidden).first_rows(count);
        let rows = context.load(&mut self.scratch.tile, x.iter(), input(context, maps), map);
        let mut out = rows_of(self.rows.queries, 0..count, map.outputs);
        apply(context.kernels, &mut out, rows, map, &Epilogue::overwrite(map.bias));
    }

    /// Appends keys and values of every row to its cache, and attends to it.
    fn attend_before(&mut self, index: usize, entering: &[Entering], position: usize) {
        let (context, width) = (&self.context, self.context.config.attention_width());
        let table = self.globals.relative_bias;
        let bias = RelativeBias {
            table,
            distance: context.config.relative_distance,
            #[cfg(feature = "more-families")]
            grid_columns: 0,
        };
        let bias = Some(bias).filter(|_| !table.is_empty());
        let bytes = self.cache_extent.bytes();
        let scores = self.rows.scores.part_mut(0..position + 1);
        for (row, entering) in entering.iter().enumerate() {
            let columns = row * width..(row + 1) * width;
            let first = (index * self.beams + entering.slot) * bytes;
            let own = self.cache.part_mut(first..first + bytes);
            let mut cached = CachedKeys { bytes: own, extent: self.cache_extent };
            let values = self.rows.values.part(columns.clone());
            cached.put(position, self.rows.keys.part(columns.clone()), values);
            let queries = self.rows.queries.part_mut(columns);
            attend_cached(context, queries, &cached, bias, scores);
        }
    }

    fn attend_memory(&mut self, index: usize, count: usize) {
        let (context, width) = (&self.context, self.context.config.attention_width());
        let bytes = self.memory_extent.bytes();
        let own = self.memory.part_mut(index * bytes..(index + 1) * bytes);
        let cached = CachedKeys { bytes: own, extent: self.memory_extent };
        let scores = self.rows.scores.part_mut(0..self.memory_extent.capacity);
        for row in 0..count {
            let queries = self.rows.queries.part_mut(row * width..(row + 1) * width);
            attend_cached(context, queries, &cached, None, scores);
        }
    }

    /// `X += Wo context`, and the norm of a post-norm layer.
    fn add_attended(&mut self, maps: &Attention<'_>, count: usize) {
        let (context, width) = (&self.context, self.context.config.attention_width());
        let attended = Matrix::new(self.rows.queries, width).first_rows(count);
        let mut x = rows_of(self.rows.hidden, 0..count, context.config.hidden);
        project_attended(context, &mut self.scratch, maps, attended, &mut x);
    }

    /// Copies the cache of a hypothesis to that of another.
    pub(super) fn fork(&mut self, from: usize, to: usize) {
        let bytes = self.cache_extent.bytes();
        let layers = self.cache.chunks_exact_mut((bytes * self.beams).max(1));
        for layer in layers.take(self.context.config.layers) {
            layer.copy_within(from * bytes..(from + 1) * bytes, to * bytes);
        }
    }
}

/// How rows enter the projections of an attention.
fn input<'a>(context: &Context<'_>, maps: &Attention<'a>) -> Transform<'a> {
    Transform { norm: context.norm_before(maps.norm), scale: maps.input_scale }
}

/// How rows enter the adapter: as they enter the projections if its weights are integers, which were divided
/// by the same scale.
fn adapter_input<'a>(
    context: &Context<'_>,
    maps: &Attention<'a>,
    adapter: &Adapter<'_>,
) -> Transform<'a> {
    let input = input(context, maps);
    if adapter.down.is_integer() { input } else { Transform { scale: &[], ..input } }
}
