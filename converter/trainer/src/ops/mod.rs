//! The operations of an encoder with hand-written gradients, for candle's autograd.
//!
//! candle differentiates every operand of a product, frozen or not, and composes norms and softmax of
//! many small passes. Here each operation is one pass, computes only the gradients that something
//! trainable needs, and works on **ragged** batches: the rows of all sequences one after the other,
//! no padding. Every operation exists for f32 (training) and f64 (gradients against finite
//! differences).

mod activation;
mod attention;
#[cfg(feature = "onednn")]
mod bf16;
mod frozen;
mod gate;
mod linear;
mod matrices;
mod norm;
mod product;
mod real;
mod rows;

pub use activation::activation;
pub use attention::{Segment, attention, attention_with_bias};
pub use frozen::{FrozenMap, frozen_feed_forward};
pub use gate::{Selected, SoftTopK, gates};
pub use linear::{linear, linear_without_bias};
pub use norm::{layer_norm, rms_norm};
pub use real::Real;
pub use rows::{add_gated, gather, mean_rows, merge_rows};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result};
use candle_core::{Shape, Storage, Tensor};

/// One operand: contiguous values in rows of `columns`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub(crate) storage: &'a CpuStorage,
    pub(crate) offset: usize,
    pub(crate) values: &'a [T],
    pub(crate) columns: usize,
}

impl<'a, T: Real> View<'a, T> {
    fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("an operand is not contiguous")
        };
        let values = &T::cpu_storage_as_slice(storage)?[start..end];
        let columns = layout.dims().last().copied().unwrap_or(1).max(1);
        Ok(Self { storage, offset: start, values, columns })
    }

    pub(crate) const fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// The first half of the rows, and the other.
    pub(crate) fn halves(&self) -> (Self, Self) {
        let (first, second) = self.values.split_at(self.rows() / 2 * self.columns);
        let offset = self.offset + first.len();
        (Self { values: first, ..*self }, Self { values: second, offset, ..*self })
    }
}

/// Values with their number of columns.
pub(crate) type Out<T> = (Vec<T>, usize);

/// Gradients of N operands; `None` where none is needed.
pub(crate) type Gradients<T, const N: usize> = [Option<Vec<T>>; N];

/// What the gradient of an operation is computed from.
pub(crate) struct Backward<'a, T, const N: usize> {
    pub(crate) inputs: [View<'a, T>; N],
    /// The gradient of the result.
    pub(crate) gradient: View<'a, T>,
    /// The operands whose gradient is needed.
    pub(crate) wanted: [bool; N],
}

/// An operation of N operands with a gradient.
pub(crate) trait Differentiable<const N: usize>: Send + Sync + 'static {
    const NAME: &'static str;

    fn forward<T: Real>(&self, inputs: [View<'_, T>; N]) -> Result<Out<T>>;

    fn backward<T: Real>(&self, pass: &Backward<'_, T, N>) -> Result<Gradients<T, N>>;
}

/// Makes an operation known to candle.
struct CandleOp<D>(D);

fn forward<D: Differentiable<N>, const N: usize>(
    op: &D,
    inputs: [(&CpuStorage, &Layout); N],
) -> Result<(CpuStorage, Shape)> {
    match inputs[0].0.dtype() {
        DType::F64 => forward_of::<f64, D, N>(op, inputs),
        _ => forward_of::<f32, D, N>(op, inputs),
    }
}

fn forward_of<T: Real, D: Differentiable<N>, const N: usize>(
    op: &D,
    inputs: [(&CpuStorage, &Layout); N],
) -> Result<(CpuStorage, Shape)> {
    let views = each(inputs.map(|(storage, layout)| View::new(storage, layout)))?;
    let (values, columns) = op.forward::<T>(views)?;
    let shape = Shape::from((values.len() / columns.max(1), columns));
    Ok((T::to_cpu_storage_owned(values), shape))
}

fn each<V, const N: usize>(results: [Result<V>; N]) -> Result<[V; N]> {
    let list: Vec<V> = results.into_iter().collect::<Result<_>>()?;
    match list.try_into() {
        Ok(array) => Ok(array),
        Err(_) => candle_core::bail!("the number of operands changed"),
    }
}

fn backward<D: Differentiable<N>, const N: usize>(
    op: &D,
    inputs: [&Tensor; N],
    gradient: &Tensor,
) -> Result<[Gradient; N]> {
    match gradient.dtype() {
        DType::F64 => backward_of::<f64, D, N>(op, inputs, gradient),
        _ => backward_of::<f32, D, N>(op, inputs, gradient),
    }
}

fn backward_of<T: Real, D: Differentiable<N>, const N: usize>(
    op: &D,
    inputs: [&Tensor; N],
    gradient: &Tensor,
) -> Result<[Gradient; N]> {
    let gradient = gradient.contiguous()?;
    let guards = inputs.map(Tensor::storage_and_layout);
    let gradient = gradient.storage_and_layout();
    let views = each(std::array::from_fn(|index| {
        let (storage, layout) = &guards[index];
        View::new(on_cpu(storage)?, layout)
    }))?;
    let pass = Backward {
        inputs: views,
        gradient: View::new(on_cpu(&gradient.0)?, gradient.1)?,
        wanted: inputs.map(Tensor::track_op),
    };
    let found = op.backward::<T>(&pass)?;
    let mut shapes = inputs.iter().map(|input| input.shape());
    each(found.map(|values| {
        let shape = shapes.next();
        values
            .zip(shape)
            .map(|(values, shape)| Tensor::from_vec(values, shape, &Device::Cpu))
            .transpose()
    }))
}

fn on_cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => candle_core::bail!("an operand is not in main memory"),
    }
}

/// An operation as candle's trait for its number of operands: a storage, a layout and a tensor of each.
macro_rules! custom_op {
    ($name:ident, $count:literal, $gradients:ty: $($storage:ident $layout:ident $input:ident)*) => {
        impl<D: Differentiable<$count>> $name for CandleOp<D> {
            fn name(&self) -> &'static str {
                D::NAME
            }

            fn cpu_fwd(
                &self,
                $($storage: &CpuStorage, $layout: &Layout),*
            ) -> Result<(CpuStorage, Shape)> {
                forward(&self.0, [$(($storage, $layout)),*])
            }

            fn bwd(&self, $($input: &Tensor,)* _: &Tensor, g: &Tensor) -> Result<$gradients> {
                let [$($input),*] = backward(&self.0, [$($input),*], g)?;
                Ok(($($input),*))
            }
        }
    };
}

type Gradient = Option<Tensor>;

custom_op!(CustomOp1, 1, Gradient: s1 l1 a1);
custom_op!(CustomOp2, 2, (Gradient, Gradient): s1 l1 a1 s2 l2 a2);
custom_op!(CustomOp3, 3, (Gradient, Gradient, Gradient): s1 l1 a1 s2 l2 a2 s3 l3 a3);

pub(crate) fn apply1<D: Differentiable<1>>(op: D, a: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op1(CandleOp(op))
}

pub(crate) fn apply2<D: Differentiable<2>>(op: D, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op2(&b.contiguous()?, CandleOp(op))
}

pub(crate) fn apply3<D: Differentiable<3>>(
    op: D,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
) -> Result<Tensor> {
    a.contiguous()?.apply_op3(&b.contiguous()?, &c.contiguous()?, CandleOp(op))
}
