//! Maps that are not trained, and the feed-forward network of two of them: no gradient of a weight, and
//! the wide rows between the two maps never leave the cache.

use super::activation::{activate, scale_by};
use super::matrices::Matrices;
use super::product::rounded;
use super::real::vectorized;
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply1, on_cpu};
use candle_core::{CpuStorage, DType, Result, Tensor};
use coda_runtime::config::Activation;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows that are multiplied at once: their wide values stay in a second-level cache.
const ROWS: usize = 256;

/// A map `y = x W^T + b` that is not trained.
#[derive(Clone, Debug)]
pub struct FrozenMap(Arc<Values>);

#[derive(Debug)]
struct Values {
    weight: Tensor,
    bias: Option<Tensor>,
    /// The weight in bf16, if products are computed in it.
    rounded: Option<Vec<u16>>,
}

impl FrozenMap {
    /// **Shapes**: `weight` `[outputs, inputs]`, `bias` `[outputs]`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let weight = weight.contiguous()?;
        let rounded = match weight.dtype() {
            DType::F32 => rounded(&weight.flatten_all()?.to_vec1::<f32>()?),
            _ => None,
        };
        let bias = bias.map(Tensor::contiguous).transpose()?;
        Ok(Self(Arc::new(Values { weight, bias, rounded })))
    }

    /// The map of every row.
    ///
    /// # Errors
    /// The shapes disagree.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        apply1(self.clone(), x)
    }

    /// Appends `x W^T + b` for every row of `x`.
    fn append_product<T: Real>(&self, x: &Matrices<'_>, out: &mut Vec<T>) -> Result<()> {
        let guard = self.0.weight.storage_and_layout();
        let weight = View::<T>::new(on_cpu(&guard.0)?, guard.1)?;
        if x.sizes[2] != weight.columns {
            candle_core::bail!("rows of {} for a map of {} inputs", x.sizes[2], weight.columns);
        }
        let start = out.len();
        x.append(&self.matrix(&weight).transposed(), out)?;
        if let Some(bias) = &self.0.bias {
            let guard = bias.storage_and_layout();
            let bias = View::<T>::new(on_cpu(&guard.0)?, guard.1)?;
            vectorized(|| {
                for row in out[start..].chunks_exact_mut(bias.values.len()) {
                    row.iter_mut().zip(bias.values).for_each(|(slot, bias)| *slot += *bias);
                }
            });
        }
        Ok(())
    }

    /// Appends `g W` for every row of `g`.
    fn append_back<T: Real>(&self, g: &Matrices<'_>, out: &mut Vec<T>) -> Result<()> {
        let guard = self.0.weight.storage_and_layout();
        let weight = View::<T>::new(on_cpu(&guard.0)?, guard.1)?;
        g.append(&self.matrix(&weight), out)
    }

    fn matrix<'a, T: Real>(&'a self, weight: &View<'a, T>) -> Matrices<'a> {
        Matrices { rounded: self.0.rounded.as_deref(), ..Matrices::whole(weight) }
    }

    fn outputs(&self) -> Result<usize> {
        self.0.weight.dim(0)
    }

    fn inputs(&self) -> Result<usize> {
        self.0.weight.dim(1)
    }
}

impl Differentiable<1> for FrozenMap {
    const NAME: &'static str = "frozen map";

    fn forward<T: Real>(&self, [x]: [View<'_, T>; 1]) -> Result<Out<T>> {
        let columns = self.outputs()?;
        let mut out = Vec::with_capacity(x.rows() * columns);
        for (start, count) in parts(x.rows()) {
            self.append_product(&Matrices::rows(&x, start, count), &mut out)?;
        }
        Ok((out, columns))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let g = &pass.gradient;
        let mut out = Vec::with_capacity(pass.inputs[0].values.len());
        for (start, count) in parts(g.rows()) {
            self.append_back(&Matrices::rows(g, start, count), &mut out)?;
        }
        Ok([Some(out)])
    }
}

/// `W2 activation(W1 x + b1) + b2` for every row.
///
/// # Errors
/// The shapes disagree.
pub fn frozen_feed_forward(
    x: &Tensor,
    first: &FrozenMap,
    second: &FrozenMap,
    kind: Activation,
) -> Result<Tensor> {
    let (first, second, keeps) = (first.clone(), second.clone(), x.track_op());
    apply1(FeedForward { first, second, kind, keeps, slopes: Mutex::default() }, x)
}

struct FeedForward {
    first: FrozenMap,
    second: FrozenMap,
    kind: Activation,
    /// A gradient will be asked for.
    keeps: bool,
    /// Derivatives of the activation.
    slopes: Mutex<Option<CpuStorage>>,
}

impl Differentiable<1> for FeedForward {
    const NAME: &'static str = "frozen feed-forward network";

    fn forward<T: Real>(&self, [x]: [View<'_, T>; 1]) -> Result<Out<T>> {
        let (wide, columns) = (self.first.outputs()?, self.second.outputs()?);
        let mut out = Vec::with_capacity(x.rows() * columns);
        let mut slopes = Vec::with_capacity(if self.keeps { x.rows() * wide } else { 0 });
        let mut inner = Vec::new();
        for (start, count) in parts(x.rows()) {
            inner.clear();
            self.first.append_product(&Matrices::rows(&x, start, count), &mut inner)?;
            activate(&mut inner, self.kind, self.keeps.then_some(&mut slopes));
            let storage = T::to_cpu_storage_owned(inner);
            self.second
                .append_product(&Matrices::packed(&storage, 0, [1, count, wide]), &mut out)?;
            inner = T::cpu_storage_data(storage)?;
        }
        let mut saved = self.slopes.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = Some(T::to_cpu_storage_owned(slopes));
        Ok((out, columns))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let (g, wide) = (&pass.gradient, self.first.outputs()?);
        let saved = self.slopes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(saved) = &*saved else { candle_core::bail!("a gradient before the values") };
        let slopes = T::cpu_storage_as_slice(saved)?;
        let mut out = Vec::with_capacity(g.rows() * self.first.inputs()?);
        let mut inner = Vec::new();
        for (start, count) in parts(g.rows()) {
            inner.clear();
            self.second.append_back(&Matrices::rows(g, start, count), &mut inner)?;
            scale_by(&mut inner, &slopes[start * wide..(start + count) * wide]);
            let storage = T::to_cpu_storage_owned(inner);
            self.first.append_back(&Matrices::packed(&storage, 0, [1, count, wide]), &mut out)?;
            inner = T::cpu_storage_data(storage)?;
        }
        Ok([Some(out)])
    }
}

/// Starts and lengths of parts of at most [`ROWS`] rows.
fn parts(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(ROWS).map(move |start| (start, ROWS.min(rows - start)))
}
