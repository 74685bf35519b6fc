//! Attention inside each sequence of a ragged batch, or from one sequence to another.

use super::matrices::Matrices;
use super::real::{dot, largest, sum, vectorized};
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply3};
use candle_core::{CpuStorage, Result, Tensor};
use std::sync::{Mutex, PoisonError};

/// One sequence: its rows among the queries, and among the keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// First query row.
    pub query_start: usize,
    /// Query rows.
    pub queries: usize,
    /// First key row.
    pub key_start: usize,
    /// Key rows.
    pub keys: usize,
    /// A query sees the keys up to its own place alone, and no later ones.
    pub causal: bool,
    /// The row of the bias table of each query and key, `[queries, keys]`; empty where there is no table.
    pub entries: Vec<u32>,
}

impl Segment {
    /// How many keys a query sees.
    fn seen(&self, query: usize) -> usize {
        if self.causal { self.keys.min(query + 1) } else { self.keys }
    }

    fn entries_of(&self, query: usize) -> &[u32] {
        self.entries.get(query * self.keys..(query + 1) * self.keys).unwrap_or(&[])
    }
}

/// `softmax(scale q k^T) v` for every head of every sequence.
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

/// `softmax(scale q k^T + bias) v`, where the bias of a query and a key is an entry of `table`.
///
/// **Shapes**: as [`attention`]; `table` `[entries, heads]`.
///
/// # Errors
/// The shapes disagree, or a segment names an entry that is not there.
pub fn attention_with_bias(
    q: &Tensor,
    [k, v]: [&Tensor; 2],
    table: &Tensor,
    segments: Vec<Segment>,
    heads: usize,
    scale: f64,
) -> Result<Tensor> {
    let (entries, columns) = table.dims2()?;
    let largest = segments.iter().flat_map(|segment| &segment.entries).max();
    if columns != heads || largest.is_some_and(|entry| *entry as usize >= entries) {
        candle_core::bail!("entry {largest:?} of a bias table of {entries} rows, {columns} heads");
    }
    let attention = Attention { segments, heads, scale, saved: Mutex::default() };
    // One operand, because an operation has three.
    apply3(Biased(attention), q, &Tensor::cat(&[k, v], 0)?, table)
}

struct Attention {
    segments: Vec<Segment>,
    heads: usize,
    scale: f64,
    /// The attention weights of every sequence, kept for the gradient.
    saved: Mutex<Vec<CpuStorage>>,
}

/// The same with a bias: keys and values stand one after the other.
struct Biased(Attention);

struct Operands<'a, T> {
    q: View<'a, T>,
    k: View<'a, T>,
    v: View<'a, T>,
    table: Option<View<'a, T>>,
}

/// Gradients of all operands.
struct Sums<T> {
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    table: Vec<T>,
}

/// The gradient of what the softmax of the weights read, from that of the weights, in place.
fn softmax_backward<T: Real>(gradient: &mut [T], weights: &[T], keys: usize) {
    vectorized(|| {
        for (g, w) in gradient.chunks_exact_mut(keys).zip(weights.chunks_exact(keys)) {
            let along = dot(g, w);
            g.iter_mut().zip(w).for_each(|(g, w)| *g = *w * (*g - along));
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
    /// Softmax of rows of products of every head, in place.
    fn softmax<T: Real>(&self, products: &mut [T], segment: &Segment, table: &[T]) {
        let (heads, scale) = (self.heads, T::constant(self.scale));
        vectorized(|| {
            for (index, row) in products.chunks_exact_mut(segment.keys).enumerate() {
                let (head, query) = (index / segment.queries, index % segment.queries);
                row.iter_mut().for_each(|x| *x *= scale);
                let bias = |entry: &u32| table[*entry as usize * heads + head];
                let entries = segment.entries_of(query);
                row.iter_mut().zip(entries).for_each(|(x, entry)| *x += bias(entry));
                let (seen, unseen) = row.split_at_mut(segment.seen(query));
                unseen.fill(T::zero());
                let top = largest(seen);
                seen.iter_mut().for_each(|x| *x = (*x - top).exponential());
                let share = T::one() / sum(seen);
                seen.iter_mut().for_each(|x| *x *= share);
            }
        });
    }

    fn weights<T: Real>(&self, segment: &Segment, on: &Operands<'_, T>) -> Result<CpuStorage> {
        let Segment { query_start, queries, key_start, keys, .. } = *segment;
        let query = Matrices::heads(&on.q, query_start, queries, self.heads);
        let key = Matrices::heads(&on.k, key_start, keys, self.heads).transposed();
        let mut products = query.times::<T>(&key)?;
        self.softmax(&mut products, segment, on.table.map_or(&[], |table| table.values));
        Ok(T::to_cpu_storage_owned(products))
    }

    fn context<T: Real>(&self, on: &Operands<'_, T>) -> Result<Out<T>> {
        let (q, v) = (&on.q, &on.v);
        let mut out = vec![T::zero(); q.values.len()];
        let mut saved = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let Segment { query_start, queries, key_start, keys, .. } = *segment;
            let weights = self.weights(segment, on)?;
            let value = Matrices::heads(v, key_start, keys, self.heads);
            let sizes = [self.heads, queries, keys];
            let context = Matrices::packed(&weights, 0, sizes).times::<T>(&value)?;
            let rows = &mut out[query_start * q.columns..(query_start + queries) * q.columns];
            spread(&context, self.heads, rows, q.columns);
            saved.push(weights);
        }
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        Ok((out, q.columns))
    }

    fn gradients<T: Real>(&self, on: &Operands<'_, T>, g: &View<'_, T>) -> Result<Sums<T>> {
        let zeros = |view: &View<'_, T>| vec![T::zero(); view.values.len()];
        let table = on.table.as_ref().map_or_else(Vec::new, zeros);
        let mut sums = Sums { q: zeros(&on.q), k: zeros(&on.k), v: zeros(&on.v), table };
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        for (segment, weights) in self.segments.iter().zip(saved.iter()) {
            let Segment { query_start, queries, key_start, keys, .. } = *segment;
            let sizes = [self.heads, queries, keys];
            let inner = self.inner(segment, weights, [g, &on.v], &mut sums.table)?;
            let range = |start, count| start * g.columns..(start + count) * g.columns;
            let key_rows = range(key_start, keys);
            let put = |packed: &[T], rows| spread(packed, self.heads, rows, g.columns);
            let key = Matrices::heads(&on.k, key_start, keys, self.heads);
            let of_q = Matrices::packed(&inner, 0, sizes).times::<T>(&key)?;
            put(&of_q, &mut sums.q[range(query_start, queries)]);
            let query = Matrices::heads(&on.q, query_start, queries, self.heads);
            let of_k = Matrices::packed(&inner, 0, sizes).transposed().times::<T>(&query)?;
            put(&of_k, &mut sums.k[key_rows.clone()]);
            let own = Matrices::heads(g, query_start, queries, self.heads);
            let of_v = Matrices::packed(weights, 0, sizes).transposed().times::<T>(&own)?;
            put(&of_v, &mut sums.v[key_rows]);
        }
        Ok(sums)
    }

    fn add_bias_gradient<T: Real>(&self, inner: &[T], segment: &Segment, table: &mut [T]) {
        for (index, row) in inner.chunks_exact(segment.keys).enumerate() {
            let (head, query) = (index / segment.queries, index % segment.queries);
            for (entry, value) in segment.entries_of(query).iter().zip(row) {
                table[*entry as usize * self.heads + head] += *value;
            }
        }
    }

    /// The gradient of the products of a sequence; adds that of the bias to `table`.
    fn inner<T: Real>(
        &self,
        segment: &Segment,
        weights: &CpuStorage,
        [g, v]: [&View<'_, T>; 2],
        table: &mut [T],
    ) -> Result<CpuStorage> {
        let Segment { query_start, queries, key_start, keys, .. } = *segment;
        let own = Matrices::heads(g, query_start, queries, self.heads);
        let value = Matrices::heads(v, key_start, keys, self.heads).transposed();
        let mut inner = own.times::<T>(&value)?;
        softmax_backward(&mut inner, T::cpu_storage_as_slice(weights)?, keys);
        if !table.is_empty() {
            self.add_bias_gradient(&inner, segment, table);
        }
        let scale = T::constant(self.scale);
        vectorized(|| inner.iter_mut().for_each(|value| *value *= scale));
        Ok(T::to_cpu_storage_owned(inner))
    }
}

impl Differentiable<3> for Attention {
    const NAME: &'static str = "attention";

    fn forward<T: Real>(&self, [q, k, v]: [View<'_, T>; 3]) -> Result<Out<T>> {
        self.context(&Operands { q, k, v, table: None })
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 3>) -> Result<Gradients<T, 3>> {
        let [q, k, v] = pass.inputs;
        let sums = self.gradients(&Operands { q, k, v, table: None }, &pass.gradient)?;
        let [first, second, third] = pass.wanted;
        Ok([first.then_some(sums.q), second.then_some(sums.k), third.then_some(sums.v)])
    }
}

impl Biased {
    fn operands<'a, T: Real>([q, both, table]: [View<'a, T>; 3]) -> Operands<'a, T> {
        let (k, v) = both.halves();
        Operands { q, k, v, table: Some(table) }
    }
}

impl Differentiable<3> for Biased {
    const NAME: &'static str = "attention with bias";

    fn forward<T: Real>(&self, inputs: [View<'_, T>; 3]) -> Result<Out<T>> {
        self.0.context(&Self::operands(inputs))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 3>) -> Result<Gradients<T, 3>> {
        let sums = self.0.gradients(&Self::operands(pass.inputs), &pass.gradient)?;
        let [first, second, third] = pass.wanted;
        let both = || [sums.k, sums.v].concat();
        Ok([first.then_some(sums.q), second.then(both), third.then_some(sums.table)])
    }
}
