//! Attention inside each sequence of a ragged batch.

use super::matrices::Matrices;
use super::real::{dot, largest, sum, vectorized};
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply3};
use candle_core::{CpuStorage, Result, Tensor};
use std::sync::{Mutex, PoisonError};

/// One sequence: its rows among the queries, and among the keys and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// First query row.
    pub query_start: usize,
    /// Query rows.
    pub queries: usize,
    /// First key row.
    pub key_start: usize,
    /// Key rows.
    pub keys: usize,
    /// Added to the scaled products: `[heads, queries, keys]`, or empty.
    pub bias: Vec<f32>,
}

/// `softmax(scale q k^T + bias) v` for every head of every sequence.
///
/// **Shapes**: `q` `[queries, heads * width]`, `k` and `v` `[keys, heads * width]`.
///
/// # Errors
/// The shapes disagree.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: Vec<Segment>,
    heads: usize,
    scale: f64,
) -> Result<Tensor> {
    apply3(Attention { segments, heads, scale, saved: Mutex::default() }, q, k, v)
}

struct Attention {
    segments: Vec<Segment>,
    heads: usize,
    scale: f64,
    /// The attention weights of every sequence, kept for the gradient.
    saved: Mutex<Vec<CpuStorage>>,
}

/// Softmax of rows of scaled products, in place.
fn softmax_rows<T: Real>(products: &mut [T], keys: usize, scale: T, bias: &[f32]) {
    vectorized(|| {
        for (index, row) in products.chunks_exact_mut(keys).enumerate() {
            let own = bias.get(index * keys..(index + 1) * keys).unwrap_or(&[]);
            row.iter_mut().for_each(|x| *x *= scale);
            row.iter_mut().zip(own).for_each(|(x, b)| *x += T::constant(f64::from(*b)));
            let top = largest(row);
            row.iter_mut().for_each(|x| *x = (*x - top).exponential());
            let share = T::one() / sum(row);
            row.iter_mut().for_each(|x| *x *= share);
        }
    });
}

/// The gradient of the scaled products from that of the weights, in place.
fn softmax_backward<T: Real>(gradient: &mut [T], weights: &[T], keys: usize, scale: T) {
    vectorized(|| {
        for (g, w) in gradient.chunks_exact_mut(keys).zip(weights.chunks_exact(keys)) {
            let along = dot(g, w);
            g.iter_mut().zip(w).for_each(|(g, w)| *g = *w * (*g - along) * scale);
        }
    });
}

/// Writes a batch of heads to rows of a matrix with the heads side by side.
fn spread<T: Real>(packed: &[T], heads: usize, rows: &mut [T], columns: usize) {
    let (width, count) = (columns / heads, rows.len() / columns);
    for head in 0..heads {
        for row in 0..count {
            let from = (head * count + row) * width;
            let to = row * columns + head * width;
            rows[to..to + width].copy_from_slice(&packed[from..from + width]);
        }
    }
}

impl Attention {
    fn weights<T: Real>(
        &self,
        segment: &Segment,
        q: &View<'_, T>,
        k: &View<'_, T>,
    ) -> Result<CpuStorage> {
        let Segment { query_start, queries, key_start, keys, bias } = segment;
        let query = Matrices::heads(q, *query_start, *queries, self.heads);
        let key = Matrices::heads(k, *key_start, *keys, self.heads).transposed();
        let mut products = query.times::<T>(&key)?;
        softmax_rows(&mut products, *keys, T::constant(self.scale), bias);
        Ok(T::to_cpu_storage_owned(products))
    }
}

impl Differentiable<3> for Attention {
    const NAME: &'static str = "attention";

    fn forward<T: Real>(&self, [q, k, v]: [View<'_, T>; 3]) -> Result<Out<T>> {
        let mut out = vec![T::zero(); q.values.len()];
        let mut saved = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let Segment { query_start, queries, key_start, keys, .. } = *segment;
            let weights = self.weights(segment, &q, &k)?;
            let value = Matrices::heads(&v, key_start, keys, self.heads);
            let sizes = [self.heads, queries, keys];
            let context = Matrices::packed(&weights, 0, sizes).times::<T>(&value)?;
            let rows = &mut out[query_start * q.columns..(query_start + queries) * q.columns];
            spread(&context, self.heads, rows, q.columns);
            saved.push(weights);
        }
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        Ok((out, q.columns))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 3>) -> Result<Gradients<T, 3>> {
        let ([q, k, v], g, columns) = (&pass.inputs, &pass.gradient, pass.output.columns);
        let mut of_q = vec![T::zero(); q.values.len()];
        let mut of_k = vec![T::zero(); k.values.len()];
        let mut of_v = vec![T::zero(); v.values.len()];
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        for (segment, weights) in self.segments.iter().zip(saved.iter()) {
            let Segment { query_start, queries, key_start, keys, .. } = *segment;
            let sizes = [self.heads, queries, keys];
            let own = Matrices::heads(g, query_start, queries, self.heads);
            let value = Matrices::heads(v, key_start, keys, self.heads).transposed();
            let mut inner = own.times::<T>(&value)?;
            softmax_backward(
                &mut inner,
                T::cpu_storage_as_slice(weights)?,
                keys,
                T::constant(self.scale),
            );
            let inner = T::to_cpu_storage_owned(inner);
            let query_rows = query_start * columns..(query_start + queries) * columns;
            let key_rows = key_start * columns..(key_start + keys) * columns;
            let key = Matrices::heads(k, key_start, keys, self.heads);
            let found = Matrices::packed(&inner, 0, sizes).times::<T>(&key)?;
            spread(&found, self.heads, &mut of_q[query_rows], columns);
            let query = Matrices::heads(q, query_start, queries, self.heads);
            let found = Matrices::packed(&inner, 0, sizes).transposed().times::<T>(&query)?;
            spread(&found, self.heads, &mut of_k[key_rows.clone()], columns);
            let found = Matrices::packed(weights, 0, sizes).transposed().times::<T>(&own)?;
            spread(&found, self.heads, &mut of_v[key_rows], columns);
        }
        let [first, second, third] = pass.wanted;
        Ok([first.then_some(of_q), second.then_some(of_k), third.then_some(of_v)])
    }
}
