//! Routers that begin with what a dense model says of its tokens (ours).
//!
//! Let every token's update in a layer be multiplied by a mark that is 1. The derivative of the loss by
//! the mark is, to first order, what the loss would change by if the token skipped the layer (the
//! saliency of Molchanov et al. 2017, there for channels). A router is the ridge regression of its
//! logarithm, within each sequence, on what the router reads.

use crate::loss::{LossWeights, loss};
use crate::model::{Batch, Model};
use candle_core::{DType, Device, Result, Tensor, Var};

/// Sequences of at least so many tokens weigh in; in others there is little to choose.
const FEWEST_TOKENS: usize = 4;
/// Ridge: added to the diagonal, as a share of its mean.
const RIDGE: f64 = 1e-2;
/// Steps of the conjugate gradients.
const ITERATIONS: usize = 200;

/// Sums of a layer's regression: `w = (X^T X + ridge I)^-1 X^T s`, where the rows of X are what the router
/// reads and s the logarithms of the saliency, both less their means within each sequence.
#[derive(Clone, Debug)]
struct Sums {
    /// `sum of x x^T`, `[d, d]`.
    gram: Vec<f64>,
    /// `sum of x s`, `[d]`.
    target: Vec<f64>,
    /// `sum of s s`.
    square: f64,
    rows: f64,
}

/// A fitted router and the part of the variance that it explains.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The vector, `[d]`, of scores with spread 1 within sequences.
    pub router: Vec<f32>,
    /// R squared.
    pub explained: f64,
}

/// Routers of all layers.
///
/// # Errors
/// A batch does not fit the model.
pub fn routers(
    model: &Model,
    batches: impl IntoIterator<Item = anyhow::Result<Batch>>,
    weights: LossWeights,
) -> anyhow::Result<Vec<Fitted>> {
    let (layers, width) = (model.config().layers, model.config().hidden);
    let empty =
        Sums { gram: vec![0.0; width * width], target: vec![0.0; width], square: 0.0, rows: 0.0 };
    let mut sums = vec![empty; layers];
    for batch in batches {
        let batch = batch?;
        let rows = batch.ranges.last().map_or(0, |range| range.end);
        let ones = || Var::ones((rows, 1), DType::F32, &Device::Cpu);
        let marks: Vec<Var> = (0..layers).map(|_| ones()).collect::<Result<_>>()?;
        let tensors: Vec<Tensor> = marks.iter().map(|mark| mark.as_tensor().clone()).collect();
        let (encoded, inputs) = model.forward_marked(&batch, &tensors)?;
        let gradients = loss(&encoded, batch.expected(), None, weights)?.backward()?;
        for ((mark, input), sums) in marks.iter().zip(inputs).zip(&mut sums) {
            let Some(gradient) = gradients.get(mark) else { continue };
            let saliency: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
            let input: Vec<f32> = input.detach().flatten_all()?.to_vec1()?;
            for range in &batch.ranges {
                sums.add_sequence(
                    &input[range.start * width..range.end * width],
                    &saliency[range.clone()],
                )?;
            }
        }
    }
    Ok(sums.iter().map(Sums::fit).collect())
}

impl Sums {
    /// Adds a sequence: what its router reads, `[n, d]`, and the saliency of its tokens.
    fn add_sequence(&mut self, input: &[f32], saliency: &[f32]) -> Result<()> {
        let (count, width) = (saliency.len(), self.target.len());
        let largest = saliency.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        if count < FEWEST_TOKENS || largest == 0.0 {
            return Ok(());
        }
        let logarithm = |value: &f32| f64::from((value.abs() / largest).max(1e-4).ln());
        let mut wanted: Vec<f64> = saliency.iter().map(logarithm).collect();
        let mean = wanted.iter().sum::<f64>() / count as f64;
        wanted.iter_mut().for_each(|value| *value -= mean);
        let x = Tensor::from_slice(input, (count, width), &Device::Cpu)?;
        let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let gram: Vec<f32> = x.t()?.matmul(&x)?.flatten_all()?.to_vec1()?;
        self.gram.iter_mut().zip(gram).for_each(|(sum, value)| *sum += f64::from(value));
        let rows: Vec<f32> = x.flatten_all()?.to_vec1()?;
        for (row, wanted) in rows.chunks_exact(width).zip(&wanted) {
            let pairs = self.target.iter_mut().zip(row);
            pairs.for_each(|(sum, value)| *sum += f64::from(*value) * wanted);
        }
        self.square += wanted.iter().map(|value| value * value).sum::<f64>();
        self.rows += count as f64;
        Ok(())
    }

    fn fit(&self) -> Fitted {
        let width = self.target.len();
        let trace: f64 = self.gram.iter().step_by(width + 1).sum();
        let ridge = RIDGE * trace / width as f64;
        let apply = |v: &[f64]| -> Vec<f64> {
            let rows = self.gram.chunks_exact(width);
            rows.zip(v).map(|(row, own)| dot(row, v) + ridge * own).collect()
        };
        let solved = conjugate_gradients(apply, &self.target);
        let spread: f64 = self
            .gram
            .chunks_exact(width)
            .zip(&solved)
            .map(|(row, own)| dot(row, &solved) * own)
            .sum();
        let scale = (self.rows / spread.max(f64::MIN_POSITIVE)).sqrt();
        let explained = (2.0 * dot(&solved, &self.target) - spread) / self.square;
        Fitted { router: solved.iter().map(|value| (value * scale) as f32).collect(), explained }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves `A x = b` for a positive definite A.
fn conjugate_gradients(apply: impl Fn(&[f64]) -> Vec<f64>, b: &[f64]) -> Vec<f64> {
    let (mut x, mut left, mut direction) = (vec![0.0; b.len()], b.to_vec(), b.to_vec());
    let mut square = dot(&left, &left);
    let enough = square * 1e-16;
    for _ in 0..ITERATIONS {
        if square <= enough {
            break;
        }
        let image = apply(&direction);
        let step = square / dot(&direction, &image);
        for index in 0..x.len() {
            x[index] += step * direction[index];
            left[index] -= step * image[index];
        }
        let next = dot(&left, &left);
        let share = next / square;
        direction.iter_mut().zip(&left).for_each(|(own, left)| *own = left + share * *own);
        square = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Draws, Purpose};

    #[test]
    fn the_direction_that_made_the_saliency_is_found() -> anyhow::Result<()> {
        const WIDTH: usize = 6;
        let made = [0.9f32, -0.4, 0.0, 0.3, -1.1, 0.2];
        let mut sums = Sums {
            gram: vec![0.0; WIDTH * WIDTH],
            target: vec![0.0; WIDTH],
            square: 0.0,
            rows: 0.0,
        };
        for sequence in 0..40u32 {
            let mut draws = Draws::new(1, Purpose::Order, u64::from(sequence));
            let input: Vec<f32> = (0..9 * WIDTH).map(|_| draws.normal()).collect();
            let saliency: Vec<f32> = input
                .chunks_exact(WIDTH)
                .map(|x| x.iter().zip(&made).map(|(x, w)| x * w).sum::<f32>().exp())
                // A factor of each sequence does not count.
                .map(|s| s * (1.0 + sequence as f32))
                .collect();
            sums.add_sequence(&input, &saliency)?;
        }
        let Fitted { router, explained } = sums.fit();
        assert!(explained > 0.99, "{explained}");
        let scale = router[0] / made[0];
        assert!(scale > 0.0);
        for (found, made) in router.iter().zip(made) {
            assert!((found - made * scale).abs() < 0.03 * scale, "{router:?}");
        }
        Ok(())
    }
}
