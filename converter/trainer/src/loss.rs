//! What is minimised.

use crate::model::Encoded;
use crate::number::number;
use candle_core::{D, Device, Result, Tensor};
use serde::Serialize;

/// Weights of the parts of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::Args)]
#[command(next_help_heading = "Teacher")]
pub struct LossWeights {
    /// Part of a label that is spread over all
    #[arg(help_heading = "Hyper-parameters", long, value_name = "PART", default_value_t = 0.0, value_parser = number::<f64>)]
    pub smoothing: f64,
    /// Share of the teacher's soft labels
    #[arg(long, value_name = "PART", default_value_t = 0.5, value_parser = number::<f64>)]
    pub soft_labels: f64,
    /// Their temperature
    #[arg(long, value_name = "X", default_value_t = 2.0, value_parser = number::<f64>)]
    pub temperature: f64,
    /// Weight of the squared error of the teacher's pooled vector
    #[arg(long, value_name = "X", default_value_t = 0.1, value_parser = number::<f64>)]
    pub pooled: f64,
    /// Weight of the relative squared error of the teacher's hidden states
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = number::<f64>)]
    pub hidden: f64,
}

/// What a teacher says of a batch, or the mean of several.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Hidden states after the final norm, if they are learnt from.
    pub hidden: Option<Tensor>,
    /// One vector a sequence.
    pub pooled: Tensor,
    /// Logits, if the teacher has the task's head.
    pub logits: Option<Tensor>,
}

impl Targets {
    /// The mean of what several teachers say, part by part; `None` of nothing. A part that one of them
    /// lacks is left out.
    ///
    /// # Errors
    /// They are not of one batch.
    pub fn mean(all: Vec<Self>) -> Result<Option<Self>> {
        let count = all.len() as f64;
        let add = |sum: Option<Tensor>, more: Option<Tensor>| {
            sum.zip(more).map(|(sum, more)| sum + more).transpose()
        };
        let sum = all.into_iter().map(Ok::<Self, candle_core::Error>).reduce(|sum, more| {
            let (sum, more): (Self, Self) = (sum?, more?);
            Ok(Self {
                hidden: add(sum.hidden, more.hidden)?,
                pooled: (sum.pooled + more.pooled)?,
                logits: add(sum.logits, more.logits)?,
            })
        });
        let Some(sum) = sum.transpose()? else { return Ok(None) };
        let divide = |part: Tensor| part / count;
        Ok(Some(Self {
            hidden: sum.hidden.map(divide).transpose()?,
            pooled: divide(sum.pooled)?,
            logits: sum.logits.map(divide).transpose()?,
        }))
    }
}

/// `x - logsumexp(x)` of every row.
fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let top = x.max_keepdim(D::Minus1)?.detach();
    let shifted = x.broadcast_sub(&top)?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.broadcast_sub(&total)
}

/// Labels as distributions, `(1 - smoothing) one_hot + smoothing / labels`.
fn smoothed(labels: &[usize], count: usize, smoothing: f64) -> Result<Tensor> {
    let rest = (smoothing / count as f64) as f32;
    let mut values = vec![rest; labels.len() * count];
    for (row, label) in values.chunks_exact_mut(count).zip(labels) {
        row[*label] += (1.0 - smoothing) as f32;
    }
    Tensor::from_vec(values, (labels.len(), count), &Device::Cpu)
}

/// Mean cross-entropy of target distributions.
fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let rows = logits.dim(0)? as f64;
    (log_softmax(logits)? * targets)?.sum_all()? * (-1.0 / rows)
}

/// `T^2 KL(teacher || student)` at temperature T, without the teacher's own entropy.
fn soft_cross_entropy(student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let soft = log_softmax(&(teacher / temperature)?)?.exp()?.detach();
    let entropy = cross_entropy(&(teacher / temperature)?, &soft)?.detach();
    let cross = cross_entropy(&(student / temperature)?, &soft)?;
    (cross - entropy)? * (temperature * temperature)
}

/// Mean squared difference.
fn squared_error(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    (a - b)?.sqr()?.mean_all()
}

/// The loss of a batch.
///
/// # Errors
/// A tensor that the loss needs is missing.
pub fn loss(
    encoded: &Encoded,
    labels: &[usize],
    distilled: Option<&Targets>,
    weights: LossWeights,
) -> Result<Tensor> {
    let mut parts = Vec::new();
    if let Some(logits) = &encoded.logits {
        parts.extend(of_labels(logits, labels, distilled, weights)?);
    }
    if let Some(distilled) = distilled {
        parts.extend(of_states(encoded, distilled, weights)?);
    }
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { candle_core::bail!("there is nothing to minimise") };
    parts.try_fold(first, |sum, part| sum + part)
}

/// Cross-entropy with the labels, and with those of a teacher.
fn of_labels(
    logits: &Tensor,
    labels: &[usize],
    distilled: Option<&Targets>,
    weights: LossWeights,
) -> Result<Vec<Tensor>> {
    let hard = smoothed(labels, logits.dim(1)?, weights.smoothing)?.to_dtype(logits.dtype())?;
    let hard = cross_entropy(logits, &hard)?;
    let Some(teacher) = distilled.and_then(|distilled| distilled.logits.as_ref()) else {
        return Ok(vec![hard]);
    };
    let soft = soft_cross_entropy(logits, teacher, weights.temperature)?;
    Ok(vec![(hard * (1.0 - weights.soft_labels))?, (soft * weights.soft_labels)?])
}

/// Squared errors of a teacher's pooled vector and hidden states.
fn of_states(encoded: &Encoded, distilled: &Targets, weights: LossWeights) -> Result<Vec<Tensor>> {
    let mut parts = Vec::new();
    if weights.pooled > 0.0 {
        parts.push((squared_error(&encoded.pooled, &distilled.pooled)? * weights.pooled)?);
    }
    if let Some(hidden) = distilled.hidden.as_ref().filter(|_| weights.hidden > 0.0) {
        let scale = hidden.sqr()?.mean_all()?.to_scalar::<f32>()?;
        let weight = weights.hidden / f64::from(scale.max(f32::MIN_POSITIVE));
        parts.push((squared_error(&encoded.hidden, hidden)? * weight)?);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teachers_answer_with_their_mean() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let distilled = |values: &[f32], hidden: bool| Targets {
            hidden: hidden.then(|| tensor(values)),
            pooled: tensor(values),
            logits: Some(tensor(values)),
        };
        let all = vec![distilled(&[1.0, 4.0], true), distilled(&[3.0, -2.0], false)];
        let mean = Targets::mean(all).unwrap().unwrap();
        for part in [&mean.pooled, mean.logits.as_ref().unwrap()] {
            assert_eq!(part.to_vec1::<f32>().unwrap(), [2.0, 1.0]);
        }
        assert!(mean.hidden.is_none());
        assert!(Targets::mean(Vec::new()).unwrap().is_none());
    }
}
