//! Norms of rows.

use super::real::{dot, sum, vectorized};
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply2, apply3};
use candle_core::{Result, Tensor};

/// `(x - mean) / sqrt(variance + eps) * w + b` for every row.
///
/// **Shapes**: `x` `[n, d]`, `weight` and `bias` `[d]`.
///
/// # Errors
/// The shapes disagree.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    apply3(LayerNorm { eps }, x, weight, bias)
}

/// `x / sqrt(mean(x^2) + eps) * w` for every row.
///
/// # Errors
/// The shapes disagree.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    apply2(RmsNorm { eps }, x, weight)
}

struct LayerNorm {
    eps: f64,
}

struct RmsNorm {
    eps: f64,
}

/// Mean and 1 / standard deviation of a row.
#[inline(always)]
fn moments<T: Real>(row: &[T], eps: f64) -> (T, T) {
    let count = T::constant(row.len() as f64);
    let mean = sum(row) / count;
    let mut square = [T::zero(); 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for lane in 0..16 {
            let centred = chunk[lane] - mean;
            square[lane] += centred * centred;
        }
    }
    let rest: T = rest.iter().map(|x| (*x - mean) * (*x - mean)).sum();
    let variance = (square.into_iter().sum::<T>() + rest) / count;
    (mean, T::one() / (variance + T::constant(eps)).sqrt())
}

/// 1 / root mean square of a row.
#[inline(always)]
fn inverse_rms<T: Real>(row: &[T], eps: f64) -> T {
    let mean_square = dot(row, row) / T::constant(row.len() as f64);
    T::one() / (mean_square + T::constant(eps)).sqrt()
}

impl Differentiable<3> for LayerNorm {
    const NAME: &'static str = "layer norm";

    fn forward<T: Real>(&self, [x, weight, bias]: [View<'_, T>; 3]) -> Result<Out<T>> {
        let d = x.columns;
        let mut out = x.values.to_vec();
        vectorized(|| {
            for row in out.chunks_exact_mut(d) {
                let (mean, scale) = moments(row, self.eps);
                let parameters = weight.values.iter().zip(bias.values);
                for (slot, (w, b)) in row.iter_mut().zip(parameters) {
                    *slot = (*slot - mean) * scale * *w + *b;
                }
            }
        });
        Ok((out, d))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 3>) -> Result<Gradients<T, 3>> {
        let [x, weight, _] = &pass.inputs;
        let d = x.columns;
        let mut of_x = vec![T::zero(); if pass.wanted[0] { x.values.len() } else { 0 }];
        let (mut of_weight, mut of_bias) = (vec![T::zero(); d], vec![T::zero(); d]);
        let mut normal = vec![T::zero(); d];
        let mut weighted = vec![T::zero(); d];
        vectorized(|| {
            let rows = x.values.chunks_exact(d).zip(pass.gradient.values.chunks_exact(d));
            for (index, (row, g)) in rows.enumerate() {
                let (mean, scale) = moments(row, self.eps);
                for column in 0..d {
                    normal[column] = (row[column] - mean) * scale;
                    weighted[column] = g[column] * weight.values[column];
                    of_weight[column] += g[column] * normal[column];
                    of_bias[column] += g[column];
                }
                if let Some(slots) = of_x.get_mut(index * d..(index + 1) * d) {
                    let count = T::constant(d as f64);
                    let (shift, along) = (sum(&weighted) / count, dot(&weighted, &normal) / count);
                    for column in 0..d {
                        slots[column] = scale * (weighted[column] - shift - normal[column] * along);
                    }
                }
            }
        });
        let [first, second, third] = pass.wanted;
        Ok([first.then_some(of_x), second.then_some(of_weight), third.then_some(of_bias)])
    }
}

impl Differentiable<2> for RmsNorm {
    const NAME: &'static str = "rms norm";

    fn forward<T: Real>(&self, [x, weight]: [View<'_, T>; 2]) -> Result<Out<T>> {
        let d = x.columns;
        let mut out = vec![T::zero(); x.values.len()];
        vectorized(|| {
            for (row, slots) in x.values.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
                let scale = inverse_rms(row, self.eps);
                for ((slot, x), w) in slots.iter_mut().zip(row).zip(weight.values) {
                    *slot = *x * scale * *w;
                }
            }
        });
        Ok((out, d))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 2>) -> Result<Gradients<T, 2>> {
        let [x, weight] = &pass.inputs;
        let d = x.columns;
        let mut of_x = vec![T::zero(); x.values.len()];
        let (mut of_weight, mut weighted) = (vec![T::zero(); d], vec![T::zero(); d]);
        vectorized(|| {
            let rows = x.values.chunks_exact(d).zip(pass.gradient.values.chunks_exact(d));
            for ((row, g), slots) in rows.zip(of_x.chunks_exact_mut(d)) {
                let scale = inverse_rms(row, self.eps);
                for column in 0..d {
                    weighted[column] = g[column] * weight.values[column];
                    of_weight[column] += g[column] * row[column] * scale;
                }
                let along = dot(&weighted, row) * scale * scale / T::constant(d as f64);
                for column in 0..d {
                    slots[column] = scale * (weighted[column] - row[column] * along);
                }
            }
        });
        let [first, second] = pass.wanted;
        Ok([first.then_some(of_x), second.then_some(of_weight)])
    }
}
