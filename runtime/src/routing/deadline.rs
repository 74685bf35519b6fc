//! How long an inference takes, and the most tokens that a deadline leaves (ours).

use crate::model::{Macs, Model};
use core::fmt;
use core::time::Duration;

/// Kernels multiply rows in groups, of eight on wide machines: k tokens cost about what the next
/// multiple of this costs, so deadlines choose multiples.
pub const TOKEN_GROUP: usize = 8;

/// Tokens from k to the next number that is worth choosing: a group, and one where there are fewer.
#[must_use]
pub const fn token_step(k: usize) -> usize {
    if k < TOKEN_GROUP { 1 } else { TOKEN_GROUP }
}

/// What an inference costs on one machine with one kernel table, in nanoseconds: measured there by
/// `coda bench --calibrate`, which prints it as a constant for a firmware too.
///
/// `time = fixed + token n + sum over layers of (frozen, attention and task multiply-accumulates, each
/// times its cost)`, for n tokens; [`Model::layer_macs`] counts them for a k.
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
    /// One multiply-accumulate of an adapter, a router, low-rank keys or a sweep of the gate.
    pub task: f32,
    /// What a deadline sets aside for the error of the prediction and the noise of the machine, as a
    /// share of the prediction.
    pub margin: f32,
}

/// What was chosen for a deadline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadlineChoice {
    /// k of the routed layers.
    pub tokens: usize,
    /// The routed layers among so many first ones take [`token_step`] tokens more, at most all.
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
    /// The costs of an answer's tokens are not known.
    #[cfg(feature = "decoder")]
    NoAnswerCosts,
    /// The tokens of an answer leave no time to one token in each routed layer.
    #[cfg(feature = "decoder")]
    AnswerTooShort {
        /// What both need, with the margins.
        needed: Duration,
        /// What the answer's tokens need of that.
        reserved: Duration,
        /// The deadline.
        given: Duration,
    },
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
            #[cfg(feature = "decoder")]
            Self::NoAnswerCosts => {
                write!(f, "a deadline of an answer needs the costs of its tokens on this machine")
            }
            #[cfg(feature = "decoder")]
            Self::AnswerTooShort { needed, reserved, given } => write!(
                f,
                "a deadline of {} us is too short: the tokens of the answer take {} us, with one token in \
                 each routed layer {} us; ask for fewer tokens",
                given.as_micros(),
                reserved.as_micros(),
                needed.as_micros()
            ),
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
    /// them, below [`TOKEN_GROUP`], a multiple of it or `limit`, and [`token_step`] more in as many of
    /// the first layers as fit.
    ///
    /// # Errors
    /// [`DeadlineError::TooShort`].
    pub fn choose(
        &self,
        model: &Model<'_>,
        tokens: usize,
        limit: usize,
        deadline: Duration,
    ) -> Result<DeadlineChoice, DeadlineError> {
        let available = deadline.as_nanos() as f32 / (1.0 + self.margin);
        let curve = Curve::new(model, tokens);
        let limit = limit.clamp(1, tokens.max(1));
        let time = |k: usize| self.predict(tokens, &curve.at(in_groups(k, limit)));
        let least = time(1);
        if least > available {
            let needed = nanoseconds(least * (1.0 + self.margin));
            return Err(DeadlineError::TooShort { needed, given: deadline });
        }
        // `low` fits, `high` does not or is not allowed.
        let (mut low, mut high) = (1, limit + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if time(middle) <= available { low = middle } else { high = middle }
        }
        let next = (low + token_step(low)).min(tokens);
        let (mut layers, mut macs) = (0, curve.at(low));
        while next <= limit && low < next && layers < model.config().layers {
            let of = |k| layer_macs(model, layers, tokens, k);
            let more = plus(macs, of(next), of(low));
            if self.predict(tokens, &more) > available {
                break;
            }
            (layers, macs) = (layers + 1, more);
        }
        let predicted = nanoseconds(self.predict(tokens, &macs));
        Ok(DeadlineChoice { tokens: low, layers, predicted })
    }
}

/// k, or from [`TOKEN_GROUP`] on the next multiple of it; at most `limit`.
fn in_groups(k: usize, limit: usize) -> usize {
    let k = if k < TOKEN_GROUP { k } else { k.next_multiple_of(TOKEN_GROUP) };
    k.min(limit)
}

/// Multiply-accumulates of all layers as a function of k, from one look at each layer: they are a
/// polynomial of degree 2 below all tokens.
struct Curve {
    tokens: usize,
    /// The least k: pinned tokens are always selected.
    first: usize,
    /// At the least k and the two behind it.
    least: [Macs; 3],
    /// With all tokens.
    all: Macs,
}

impl Curve {
    fn new(model: &Model<'_>, tokens: usize) -> Self {
        let pinned = model.pinned().filter(|position| *position < tokens).count();
        let first = pinned.max(1);
        let (mut least, mut all) = ([Macs::default(); 3], Macs::default());
        for index in 0..model.config().layers {
            let of = |k: usize| layer_macs(model, index, tokens, k);
            for (slot, k) in least.iter_mut().zip(first..) {
                *slot = [*slot, of(k)].into_iter().sum();
            }
            all = [all, of(tokens)].into_iter().sum();
        }
        Self { tokens, first, least, all }
    }

    fn at(&self, k: usize) -> Macs {
        if k >= self.tokens {
            return self.all;
        }
        let steps = k.saturating_sub(self.first) as i64;
        let value = |part: fn(&Macs) -> u64| {
            let [a, b, c] = self.least.each_ref().map(|macs| part(macs).cast_signed());
            let (slope, bend) = (b - a, c - 2 * b + a);
            (a + steps * slope + steps * (steps - 1) / 2 * bend).max(0).cast_unsigned()
        };
        Macs {
            frozen: value(|macs| macs.frozen),
            attention: value(|macs| macs.attention),
            task: value(|macs| macs.task),
        }
    }
}

/// `sum + more - less`; `less` is a part of `sum`.
const fn plus(sum: Macs, more: Macs, less: Macs) -> Macs {
    Macs {
        frozen: (sum.frozen + more.frozen).saturating_sub(less.frozen),
        attention: (sum.attention + more.attention).saturating_sub(less.attention),
        task: (sum.task + more.task).saturating_sub(less.task),
    }
}

/// Multiply-accumulates of layer `index` if it selects `k` of `tokens` tokens, all if it is dense.
fn layer_macs(model: &Model<'_>, index: usize, tokens: usize, k: usize) -> Macs {
    let pinned = model.pinned().filter(|position| *position < tokens).count();
    let selected = k.max(pinned).min(tokens);
    let left = if prunes_before(model, index) { selected } else { tokens };
    let selected = if model.routing(index).is_some() { selected } else { left };
    model.layer_macs(index, left, selected)
}

/// A layer before layer `index` leaves the selected tokens alone.
#[cfg_attr(not(feature = "pruning"), expect(unused_variables, reason = "no layer prunes"))]
fn prunes_before(model: &Model<'_>, index: usize) -> bool {
    #[cfg(feature = "pruning")]
    return (0..index).any(|before| {
        let routing = model.routing(before);
        routing.is_some_and(|routing| routing.attention == crate::config::AttentionMode::Prune)
    });
    #[cfg(not(feature = "pruning"))]
    false
}

fn nanoseconds(value: f32) -> Duration {
    Duration::from_nanos(value.max(0.0) as u64)
}
