//! `AdamW` with a rate for each group, clipped gradients, and averaged weights.

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use coda_converter::source::Place;
use coda_runtime::format::Role;
use serde::Serialize;
use std::collections::BTreeMap;

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AdamW {
    /// Rate of everything that has no other.
    pub rate: f64,
    /// Rate of norms.
    pub norm_rate: f64,
    /// Rate of the head.
    pub head_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of the weights of matrices.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
    /// Decay of the averaged weights; 0 for none.
    pub average: f64,
}

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

/// The state of all trained tensors.
pub type State = BTreeMap<Place, Moments>;

/// The state before the first step.
///
/// # Errors
/// Never for tensors in main memory.
pub fn initial_state(variables: &BTreeMap<Place, Var>) -> Result<State> {
    let moments = |(place, variable): (&Place, &Var)| {
        let average: Vec<f32> = variable.flatten_all()?.to_vec1()?;
        let zeros = vec![0.0; average.len()];
        Ok((*place, Moments { first: zeros.clone(), second: zeros, average }))
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
        variables: &BTreeMap<Place, Var>,
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

    /// Updates the variables; `norm` is that of the gradients, `factor` scales every rate, `step`
    /// counts from 1. A variable without gradient (a router in a dense step) stays as it is.
    ///
    /// # Errors
    /// A gradient has another shape than its variable.
    pub fn step(
        &self,
        variables: &BTreeMap<Place, Var>,
        state: &mut State,
        (gradients, norm): (&GradStore, f64),
        (factor, step): (f64, u64),
    ) -> Result<()> {
        let scale = if norm > self.clip { self.clip / norm } else { 1.0 };
        for (place, variable) in variables {
            let Some(moments) = state.get_mut(place) else { continue };
            if let Some(gradient) = gradients.get(variable.as_tensor()) {
                let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
                let mut values: Vec<f32> = variable.flatten_all()?.to_vec1()?;
                let decays = variable.dims().iter().all(|side| *side > 1);
                let rates = Rates::new(self, place.1, decays, factor, step);
                rates.update(&mut values, &gradient, moments, scale as f32);
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

/// The factors of one tensor's update.
struct Rates {
    rate: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
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
            eps: adam.eps as f32,
            correction1: correction(adam.beta1),
            correction2: correction(adam.beta2),
        }
    }

    fn update(&self, values: &mut [f32], gradient: &[f32], moments: &mut Moments, scale: f32) {
        let slots = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, g), (first, second)) in values.iter_mut().zip(gradient).zip(slots) {
            let g = g * scale;
            *first = self.beta1 * *first + (1.0 - self.beta1) * g;
            *second = self.beta2 * *second + (1.0 - self.beta2) * g * g;
            let root = (*second / self.correction2).sqrt() + self.eps;
            *value -= self.decay * *value + self.rate * (*first / self.correction1) / root;
        }
    }
}
