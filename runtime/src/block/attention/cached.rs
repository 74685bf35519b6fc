//! Keys and values that are packed once, row by row, and read by many queries: those of what stands
//! before in an answer, and those of the encoder's states.
//!
//! ```text
//! keys    of each head  [ceil(capacity / 8), head, 8]     a position is a lane
//! values  of each head  [ceil(head / 8), capacity, 8]     a position is 8 values that lie together
//! ```
//!
//! So a new position changes nothing that was there, and both are panels that every table multiplies.

use super::super::context::Context;
use super::head::HeadColumns;
use super::keys::RelativeBias;
use crate::kernels::{Epilogue, GemmF32, Kernels};
use crate::memory::{KeyExtent, typed};
use crate::panel::{PANEL, Panels};
use crate::tensor::{Matrix, MatrixMut, Part};
use bytemuck::{AnyBitPattern, NoUninit};
use half::f16;

/// Keys and values of one layer, in the arena.
pub(crate) struct CachedKeys<'c> {
    pub(crate) bytes: &'c mut [u8],
    pub(crate) extent: KeyExtent,
}

/// How a key is kept.
trait Stored: AnyBitPattern + NoUninit {
    const ZERO: Self;
    fn round(x: f32) -> Self;
    fn gemm(kernels: &Kernels) -> GemmF32<Self>;
}

impl Stored for f32 {
    const ZERO: Self = 0.0;

    fn round(x: f32) -> Self {
        x
    }

    fn gemm(kernels: &Kernels) -> GemmF32<Self> {
        kernels.gemm_f32_f32_f32w
    }
}

impl Stored for f16 {
    const ZERO: Self = Self::ZERO;

    /// To the nearest, ties to even.
    fn round(x: f32) -> Self {
        Self::from_f32(x)
    }

    fn gemm(kernels: &Kernels) -> GemmF32<Self> {
        kernels.gemm_f32_f32_f16w
    }
}

impl CachedKeys<'_> {
    /// Puts a row of keys and one of values, `[attention width]`, at a position. The first position of
    /// eight clears the lanes of the other seven.
    pub(crate) fn put(&mut self, position: usize, key: &[f32], value: &[f32]) {
        if self.extent.half {
            put::<f16>(typed(self.bytes), self.extent, position, key, value);
        } else {
            put::<f32>(typed(self.bytes), self.extent, position, key, value);
        }
    }
}

fn put<T: Stored>(cache: &mut [T], extent: KeyExtent, position: usize, key: &[f32], value: &[f32]) {
    let KeyExtent { head_dim, capacity, .. } = extent;
    let (width, size) = (head_dim.max(1), extent.keys() + extent.values());
    let heads = key.chunks_exact(width).zip(value.chunks_exact(width));
    for (cache, (key, value)) in cache.chunks_exact_mut(size.max(1)).zip(heads) {
        let (keys, values) = cache.parts_mut(extent.keys());
        let (panel, lane) = (position / PANEL, position % PANEL);
        let panel = keys.part_mut(panel * PANEL * width..(panel + 1) * PANEL * width);
        if lane == 0 {
            panel.fill(T::ZERO);
        }
        let slots = panel.iter_mut().skip(lane).step_by(PANEL);
        slots.zip(key).for_each(|(slot, x)| *slot = T::round(*x));
        let panels = values.chunks_exact_mut((capacity * PANEL).max(1));
        for (panel, columns) in panels.zip(value.chunks(PANEL)) {
            let slots = panel.part_mut(position * PANEL..(position + 1) * PANEL);
            slots.fill(T::ZERO);
            slots.iter_mut().zip(columns).for_each(|(slot, x)| *slot = T::round(*x));
        }
    }
}

/// Replaces a row of queries, `[attention width]`, which stand at position `keys - 1` if a bias of positions
/// is given, by their context: attention to the first `keys` positions. `scores` has room for as many.
pub(crate) fn attend_cached(
    context: &Context<'_>,
    queries: &mut [f32],
    cached: &CachedKeys<'_>,
    bias: Option<RelativeBias<'_>>,
    scores: &mut [f32],
) {
    let scores = &mut *scores;
    if cached.extent.half {
        attend::<f16>(context, queries, cached, bias, scores);
    } else {
        attend::<f32>(context, queries, cached, bias, scores);
    }
}

fn attend<T: Stored>(
    context: &Context<'_>,
    queries: &mut [f32],
    cached: &CachedKeys<'_>,
    bias: Option<RelativeBias<'_>>,
    scores: &mut [f32],
) {
    let extent = cached.extent;
    let cache: &[T] = typed_shared(cached.bytes);
    let size = extent.keys() + extent.values();
    let heads = HeadColumns::all(context.config).zip(cache.chunks_exact(size.max(1)));
    for (head, cache) in heads {
        let (keys, values) = cache.split_at_checked(extent.keys()).unwrap_or_default();
        let query = queries.part_mut(head.columns.clone());
        query.iter_mut().for_each(|x| *x *= context.config.attention_scale);
        score(context.kernels, query, keys, scores);
        if let Some(bias) = bias {
            bias.add_to_scores(scores, &head, scores.len().saturating_sub(1) as u32, None);
        }
        (context.kernels.softmax)(scores);
        mix(context.kernels, query, values, scores, extent.capacity);
    }
}

/// Scores of one head's query with its keys.
fn score<T: Stored>(kernels: &Kernels, query: &[f32], keys: &[T], scores: &mut [f32]) {
    let (inputs, outputs) = (query.len(), scores.len());
    let values = keys.part(0..outputs.div_ceil(PANEL) * PANEL * inputs);
    let rhs = Panels { values, outputs, inputs };
    let mut out = MatrixMut::new(scores, outputs);
    T::gemm(kernels)(&mut out, Matrix::new(query, inputs), rhs, &Epilogue::overwrite(&[]));
}

/// The mix of one head's values by the softmax of its scores, in place of the query.
fn mix<T: Stored>(
    kernels: &Kernels,
    out: &mut [f32],
    values: &[T],
    weights: &[f32],
    capacity: usize,
) {
    let inputs = weights.len();
    let panels = values.chunks_exact((capacity * PANEL).max(1));
    for (panel, out) in panels.zip(out.chunks_mut(PANEL)) {
        let (values, outputs) = (panel.part(0..inputs * PANEL), out.len());
        let rhs = Panels { values, outputs, inputs };
        let (mut out, lhs) = (MatrixMut::new(out, outputs), Matrix::new(weights, inputs));
        T::gemm(kernels)(&mut out, lhs, rhs, &Epilogue::overwrite(&[]));
    }
}

/// A byte slice as values of another type; a rest shorter than a value is left out.
fn typed_shared<T: AnyBitPattern>(bytes: &[u8]) -> &[T] {
    let whole = bytes.len() / size_of::<T>() * size_of::<T>();
    let values = bytemuck::try_cast_slice(bytes.part(0..whole));
    debug_assert!(values.is_ok(), "caches start at multiples of 16");
    values.unwrap_or_default()
}
