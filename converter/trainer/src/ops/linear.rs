//! `y = x W^T + b`.

use super::matrices::Matrices;
use super::real::vectorized;
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply2, apply3};
use candle_core::{Result, Tensor};

/// `x W^T + b` for every row.
///
/// **Shapes**: `x` `[n, inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`.
///
/// # Errors
/// The shapes disagree.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    apply3(Linear, x, weight, bias)
}

/// `x W^T` for every row.
///
/// # Errors
/// The shapes disagree.
pub fn linear_without_bias(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    apply2(Linear, x, weight)
}

struct Linear;

fn product<T: Real>(x: &View<'_, T>, weight: &View<'_, T>) -> Result<Vec<T>> {
    if x.columns != weight.columns {
        candle_core::bail!("rows of {} for a map of {} inputs", x.columns, weight.columns);
    }
    Matrices::whole(x).times(&Matrices::whole(weight).transposed())
}

fn input_gradient<T: Real>(g: &View<'_, T>, weight: &View<'_, T>) -> Result<Vec<T>> {
    Matrices::whole(g).times(&Matrices::whole(weight))
}

fn weight_gradient<T: Real>(g: &View<'_, T>, x: &View<'_, T>) -> Result<Vec<T>> {
    Matrices::whole(g).transposed().times(&Matrices::whole(x))
}

/// The sum of all rows.
pub(super) fn column_sums<T: Real>(rows: &View<'_, T>) -> Vec<T> {
    let mut sums = vec![T::zero(); rows.columns];
    vectorized(|| {
        for row in rows.values.chunks_exact(rows.columns) {
            sums.iter_mut().zip(row).for_each(|(slot, value)| *slot += *value);
        }
    });
    sums
}

impl Differentiable<3> for Linear {
    const NAME: &'static str = "linear";

    fn forward<T: Real>(&self, [x, weight, bias]: [View<'_, T>; 3]) -> Result<Out<T>> {
        let mut out = product(&x, &weight)?;
        vectorized(|| {
            for row in out.chunks_exact_mut(weight.rows()) {
                row.iter_mut().zip(bias.values).for_each(|(slot, bias)| *slot += *bias);
            }
        });
        Ok((out, weight.rows()))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 3>) -> Result<Gradients<T, 3>> {
        let ([x, weight, _], g) = (&pass.inputs, &pass.gradient);
        let [of_x, of_weight, of_bias] = pass.wanted;
        Ok([
            of_x.then(|| input_gradient(g, weight)).transpose()?,
            of_weight.then(|| weight_gradient(g, x)).transpose()?,
            of_bias.then(|| column_sums(g)),
        ])
    }
}

impl Differentiable<2> for Linear {
    const NAME: &'static str = "linear without bias";

    fn forward<T: Real>(&self, [x, weight]: [View<'_, T>; 2]) -> Result<Out<T>> {
        Ok((product(&x, &weight)?, weight.rows()))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 2>) -> Result<Gradients<T, 2>> {
        let ([x, weight], g) = (&pass.inputs, &pass.gradient);
        let [of_x, of_weight] = pass.wanted;
        Ok([
            of_x.then(|| input_gradient(g, weight)).transpose()?,
            of_weight.then(|| weight_gradient(g, x)).transpose()?,
        ])
    }
}
