//! How long an inference takes, and the most tokens that a deadline leaves (ours).

use crate::model::{Macs, Model, ModelError};
use core::fmt;
use core::time::Duration;

/// What an inference costs on one machine with one kernel table, in nanoseconds: measured there by
/// `coda bench --calibrate`, which prints it as a constant for a firmware too.
///
/// `time = fixed + token n + sum over layers of (frozen, attention and task multiply-accumulates, each
/// times its cost)`, for n tokens; [`Layer::macs`](crate::model::Layer::macs) counts them for a k.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CostModel {
    /// One inference.
    pub fixed: f32,
    /// One token of the input.
    pub token: f32,
    /// One multiply-accumulate of a frozen linear map.
    pub frozen: f32,
    /// One multiply-accumulate of attention scores and context.
    pub attention: f32,
    /// One multiply-accumulate of an adapter, a router or low-rank keys.
    pub task: f32,
    /// What a deadline sets aside for the error of the prediction and the noise of the machine, as a
    /// share of the prediction.
    pub margin: f32,
}

/// What was chosen for a deadline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// k of the routed layers.
    pub tokens: usize,
    /// The routed layers among so many first ones take one token more.
    pub layers: usize,
    /// How long the inference should take, without the margin.
    pub predicted: Duration,
}

/// Why nothing was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeadlineError {
    /// The executor has no cost model.
    NoCostModel,
    /// Not even one token in each routed layer is fast enough.
    TooShort {
        /// What one token needs, with the margin.
        needed: Duration,
        /// The deadline.
        given: Duration,
    },
    /// A layer could not be viewed; after a successful bind this does not happen.
    Model(ModelError),
}

impl From<ModelError> for DeadlineError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl fmt::Display for DeadlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCostModel => write!(f, "a deadline needs the cost model of this machine"),
            Self::TooShort { needed, given } => write!(
                f,
                "a deadline of {} us is too short: one token in each routed layer takes {} us",
                given.as_micros(),
                needed.as_micros()
            ),
            Self::Model(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DeadlineError {}

impl CostModel {
    /// Nanoseconds of an inference of `tokens` tokens with so many multiply-accumulates.
    #[must_use]
    pub fn predict(&self, tokens: usize, macs: &Macs) -> f32 {
        let products = self.frozen * macs.frozen as f32
            + self.attention * macs.attention as f32
            + self.task * macs.task as f32;
        self.fixed + self.token * tokens as f32 + products
    }

    /// The most tokens in the routed layers that are done within `deadline`: the largest k for all of
    /// them, at most `limit`, and one more in as many of the first layers as fit.
    ///
    /// # Errors
    /// [`DeadlineError::TooShort`].
    pub fn choose(
        &self,
        model: &Model<'_>,
        tokens: usize,
        limit: usize,
        deadline: Duration,
    ) -> Result<Choice, DeadlineError> {
        let available = deadline.as_nanos() as f32 / (1.0 + self.margin);
        let time = |k: usize, layers: usize| -> Result<f32, DeadlineError> {
            let macs = (0..model.config().layers)
                .map(|index| layer_macs(model, index, tokens, k + usize::from(index < layers)));
            Ok(self.predict(tokens, &macs.sum::<Result<Macs, ModelError>>()?))
        };
        let limit = limit.clamp(1, tokens.max(1));
        let least = time(1, 0)?;
        if least > available {
            let needed = nanoseconds(least * (1.0 + self.margin));
            return Err(DeadlineError::TooShort { needed, given: deadline });
        }
        // `low` fits, `high` does not or is not allowed.
        let (mut low, mut high) = (1, limit + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if time(middle, 0)? <= available { low = middle } else { high = middle }
        }
        let mut layers = 0;
        if low < limit {
            while layers < model.config().layers && time(low, layers + 1)? <= available {
                layers += 1;
            }
        }
        Ok(Choice { tokens: low, layers, predicted: nanoseconds(time(low, layers)?) })
    }
}

/// Multiply-accumulates of layer `index` if it selects `k` of `tokens` tokens, all if it is dense.
fn layer_macs(
    model: &Model<'_>,
    index: usize,
    tokens: usize,
    k: usize,
) -> Result<Macs, ModelError> {
    let layer = model.layer(index)?;
    let pinned = model.pinned().filter(|position| *position < tokens).count();
    let selected = if layer.routing.is_some() { k.max(pinned).min(tokens) } else { tokens };
    Ok(layer.macs(tokens, selected))
}

fn nanoseconds(value: f32) -> Duration {
    Duration::from_nanos(value.max(0.0) as u64)
}
