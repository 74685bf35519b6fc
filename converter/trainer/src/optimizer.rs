//! `AdamW` with a rate for each group, clipped gradients, averaged weights, and Muon for the
//! matrices of a base that is trained from scratch.

use crate::model::Key;
use crate::number::number;
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use coda_runtime::format::Role;
use serde::Serialize;
use std::collections::BTreeMap;

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::Args)]
#[command(next_help_heading = "Optimizer")]
pub struct AdamW {
    /// Learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-3, value_parser = number::<f64>)]
    pub rate: f64,
    /// Learning rate of norms
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = number::<f64>)]
    pub norm_rate: f64,
    /// Learning rate of the head
    #[arg(long, value_name = "X", default_value_t = 5e-3, value_parser = number::<f64>)]
    pub head_rate: f64,
    /// Part of the steps in which the rates grow; then they fall to 0 in a line
    #[arg(long, value_name = "PART", default_value_t = 0.06, value_parser = number::<f64>)]
    pub warm_up: f64,
    /// Decay of the first moment
    #[arg(long, value_name = "X", default_value_t = 0.9, value_parser = number::<f64>)]
    pub beta1: f64,
    /// Decay of the second moment
    #[arg(long, value_name = "X", default_value_t = 0.98, value_parser = number::<f64>)]
    pub beta2: f64,
    /// Weight decay of matrices
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = number::<f64>)]
    pub weight_decay: f64,
    /// Largest norm of the gradient
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number::<f64>)]
    pub clip: f64,
    /// Decay of averaged weights, which are then the result; 0 for none
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = number::<f64>)]
    pub average: f64,
    /// Orthogonal steps (Muon) for the matrices of a base, with `--method full`
    #[arg(long)]
    pub muon: bool,
}

/// Added to the root of the second moment.
const EPS: f32 = 1e-8;
/// Coefficients of the Newton-Schulz iteration of Muon (Jordan et al. 2024).
const NEWTON_SCHULZ: [f64; 3] = [3.4445, -4.775, 2.0315];
/// Its number of iterations.
const NEWTON_SCHULZ_STEPS: usize = 5;
/// Momentum of Muon.
const MUON_MOMENTUM: f32 = 0.95;
/// Root mean square of a Muon step, about that of an `AdamW` step (Liu et al. 2025).
const MUON_STEP: f64 = 0.2;

/// Moments and averaged weights of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// First moment.
    pub first: Vec<f32>,
    /// Second moment.
    pub second: Vec<f32>,
    /// Averaged weights; the weights themselves without averaging.
    pub average: Vec<f32>,
}

/// The gradients of a step.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'g> {
    /// That of each variable.
    pub of: &'g GradStore,
    /// The norm of all together.
    pub norm: f64,
}

/// The state of all trained tensors.
pub type State = BTreeMap<Key, Moments>;

/// The state before the first step.
///
/// # Errors
/// Never for tensors in main memory.
pub fn initial_state(variables: &BTreeMap<Key, Var>) -> Result<State> {
    let moments = |(key, variable): (&Key, &Var)| {
        let average: Vec<f32> = variable.flatten_all()?.to_vec1()?;
        let zeros = vec![0.0; average.len()];
        Ok((*key, Moments { first: zeros.clone(), second: zeros, average }))
    };
    variables.iter().map(moments).collect()
}

impl AdamW {
    const fn rate_of(&self, role: Role) -> f64 {
        match role {
            Role::HeadWeight | Role::HeadBias => self.head_rate,
            _ if is_norm(role) => self.norm_rate,
            _ => self.rate,
        }
    }

    /// The norm of all gradients together.
    ///
    /// # Errors
    /// Never for tensors in main memory.
    pub fn gradient_norm(
        &self,
        variables: &BTreeMap<Key, Var>,
        gradients: &GradStore,
    ) -> Result<f64> {
        let mut squares = 0.0;
        for variable in variables.values() {
            if let Some(gradient) = gradients.get(variable.as_tensor()) {
                let values = gradient.flatten_all()?.to_vec1::<f32>()?;
                squares += values.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
            }
        }
        Ok(squares.sqrt())
    }

    /// Updates the variables; `factor` scales every rate, `step`
    /// counts from 1. A variable without gradient (a router in a dense step) stays as it is.
    ///
    /// # Errors
    /// A gradient has another shape than its variable.
    pub fn step(
        &self,
        variables: &BTreeMap<Key, Var>,
        state: &mut State,
        gradients: Gradients<'_>,
        factor: f64,
        step: u64,
    ) -> Result<()> {
        let Gradients { of: gradients, norm } = gradients;
        let scale = if norm > self.clip { self.clip / norm } else { 1.0 };
        for (key, variable) in variables {
            let Some(moments) = state.get_mut(key) else { continue };
            if let Some(gradient) = gradients.get(variable.as_tensor()) {
                let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
                let mut values: Vec<f32> = variable.flatten_all()?.to_vec1()?;
                let decays = variable.dims().iter().all(|side| *side > 1);
                let (_, (_, role)) = *key;
                let rates = Rates::new(self, role, decays, factor, step);
                if self.muon && is_matrix_of_layer(role) {
                    rates.orthogonal(&mut values, &gradient, moments, variable.dims())?;
                } else {
                    rates.update(&mut values, &gradient, moments, scale as f32);
                }
                variable.set(&Tensor::from_vec(values, variable.dims(), &Device::Cpu)?)?;
            }
            self.average(variable, moments, step)?;
        }
        Ok(())
    }

    fn average(&self, variable: &Var, moments: &mut Moments, step: u64) -> Result<()> {
        let values: Vec<f32> = variable.flatten_all()?.to_vec1()?;
        // Early averages forget their first values sooner.
        let keep = self.average.min((1.0 + step as f64) / (10.0 + step as f64));
        let keep = if self.average > 0.0 { keep as f32 } else { 0.0 };
        for (slot, value) in moments.average.iter_mut().zip(values) {
            *slot = keep * *slot + (1.0 - keep) * value;
        }
        Ok(())
    }
}

const fn is_norm(role: Role) -> bool {
    role.belongs_to_task()
        && role.belongs_to_base()
        && !matches!(role, Role::HeadWeight | Role::HeadBias)
}

const fn is_matrix_of_layer(role: Role) -> bool {
    matches!(
        role,
        Role::Query
            | Role::Key
            | Role::Value
            | Role::AttentionOutput
            | Role::FeedForwardIn
            | Role::FeedForwardGate
            | Role::FeedForwardOut
            | Role::CrossQuery
            | Role::CrossKey
            | Role::CrossValue
            | Role::CrossOutput
    )
}

/// Pulls the singular values of a matrix to about 1.
///
/// # Errors
/// Out of memory.
pub fn orthogonalize(matrix: &Tensor) -> Result<Tensor> {
    let [a, b, c] = NEWTON_SCHULZ;
    let tall = matrix.dim(0)? > matrix.dim(1)?;
    let x = if tall { matrix.t()?.contiguous()? } else { matrix.clone() };
    let length = x.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
    let mut x = (x / f64::from(length.max(f32::MIN_POSITIVE)))?;
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let square = x.matmul(&x.t()?)?;
        let inner = ((&square * b)? + (square.matmul(&square)? * c)?)?;
        x = ((&x * a)? + inner.matmul(&x)?)?;
    }
    if tall { x.t()?.contiguous() } else { Ok(x) }
}

/// The factors of one tensor's update.
struct Rates {
    rate: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    correction1: f32,
    correction2: f32,
}

impl Rates {
    fn new(adam: &AdamW, role: Role, decays: bool, factor: f64, step: u64) -> Self {
        let rate = adam.rate_of(role) * factor;
        let correction = |beta: f64| (1.0 - beta.powf(step as f64)) as f32;
        Self {
            rate: rate as f32,
            decay: if decays { (rate * adam.weight_decay) as f32 } else { 0.0 },
            beta1: adam.beta1 as f32,
            beta2: adam.beta2 as f32,
            correction1: correction(adam.beta1),
            correction2: correction(adam.beta2),
        }
    }

    /// Muon: momentum, made orthogonal; the second moment is not used.
    fn orthogonal(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        shape: &[usize],
    ) -> Result<()> {
        for (first, g) in moments.first.iter_mut().zip(gradient) {
            *first = MUON_MOMENTUM * *first + (1.0 - MUON_MOMENTUM) * g;
        }
        let ahead = moments.first.iter().zip(gradient);
        let ahead = ahead.map(|(first, g)| MUON_MOMENTUM * first + (1.0 - MUON_MOMENTUM) * g);
        let ahead = Tensor::from_vec(ahead.collect::<Vec<f32>>(), shape, &Device::Cpu)?;
        let step: Vec<f32> = orthogonalize(&ahead)?.flatten_all()?.to_vec1()?;
        let longest = shape.iter().copied().max().unwrap_or(1) as f64;
        let rate = self.rate * (MUON_STEP * longest.sqrt()) as f32;
        for (value, step) in values.iter_mut().zip(step) {
            *value -= self.decay * *value + rate * step;
        }
        Ok(())
    }

    fn update(&self, values: &mut [f32], gradient: &[f32], moments: &mut Moments, scale: f32) {
        let slots = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, g), (first, second)) in values.iter_mut().zip(gradient).zip(slots) {
            let g = g * scale;
            *first = self.beta1 * *first + (1.0 - self.beta1) * g;
            *second = self.beta2 * *second + (1.0 - self.beta2) * g * g;
            let root = (*second / self.correction2).sqrt() + EPS;
            *value -= self.decay * *value + self.rate * (*first / self.correction1) / root;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orthogonalized_matrix_has_singular_values_near_one() {
        let values: Vec<f32> =
            (0..12).map(|i| ((i * 7 % 5) as f32) - 1.5 + 0.1 * i as f32).collect();
        for shape in [[3, 4], [4, 3]] {
            let matrix = Tensor::from_slice(&values, &shape, &Device::Cpu).unwrap();
            let found = orthogonalize(&matrix).unwrap();
            assert_eq!(found.dims(), shape);
            let flat = if shape[0] > shape[1] { found.t().unwrap() } else { found };
            let gram = flat.matmul(&flat.t().unwrap()).unwrap();
            for (row, values) in gram.to_vec2::<f32>().unwrap().iter().enumerate() {
                // Muon's coefficients leave singular values between about 0.7 and 1.2.
                assert!((0.4..1.6).contains(&values[row]), "{values:?}");
            }
        }
    }
}
