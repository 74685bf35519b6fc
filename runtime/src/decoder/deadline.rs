//! How long the tokens of an answer take, which a deadline sets aside for them (`docs/method.md`, "Deadlines").

use crate::model::{AnswerMacs, AnswerSize, Decoder};
use crate::routing::{DeadlineChoice, DeadlineError};
use core::time::Duration;

/// What an answer costs on one machine with one kernel table behind the encoder's inference, in nanoseconds:
/// measured there by `coda bench --calibrate`, which prints it as a constant for a firmware too.
///
/// `time = memory M + weight W + row R + key K`, each times the multiply-accumulates that [`AnswerMacs`] counts. A
/// step has one row for all weights of the decoder, so that `weight` is the time in which memory yields one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerCosts {
    /// One multiply-accumulate of keys and values of the encoder's states.
    pub memory: f32,
    /// One weight of a step.
    pub weight: f32,
    /// One multiply-accumulate of a weight and a further hypothesis.
    pub row: f32,
    /// One multiply-accumulate of attention to kept keys and values.
    pub key: f32,
    /// What a deadline sets aside for the error of the prediction and the noise of the machine, as a share of the
    /// prediction.
    pub margin: f32,
}

/// What a deadline of a whole answer comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerChoice {
    /// For the encoder.
    pub encoder: DeadlineChoice,
    /// Set aside for keys and values of the encoder's states and all tokens that were asked for, with the margin.
    pub reserved: Duration,
}

impl AnswerCosts {
    /// Nanoseconds of an answer with so many multiply-accumulates, without the encoder's inference and without
    /// the margin.
    #[must_use]
    pub fn predict(&self, macs: &AnswerMacs) -> f32 {
        self.memory * macs.memory as f32
            + self.weight * macs.weights as f32
            + self.row * macs.rows as f32
            + self.key * macs.keys as f32
    }

    /// What the longest answer takes, with the margin.
    #[must_use]
    pub fn reserve(&self, decoder: &Decoder<'_>, size: AnswerSize) -> Duration {
        let nanoseconds = self.predict(&decoder.answer_macs(size)) * (1.0 + self.margin);
        Duration::from_nanos(nanoseconds.max(0.0) as u64)
    }

    /// What is left of a deadline for the encoder, by `choose`.
    ///
    /// # Errors
    /// [`DeadlineError::AnswerTooShort`]: not even the least fits beside the tokens. Those of `choose`.
    pub fn choose(
        &self,
        decoder: &Decoder<'_>,
        size: AnswerSize,
        deadline: Duration,
        choose: impl FnOnce(Duration) -> Result<DeadlineChoice, DeadlineError>,
    ) -> Result<AnswerChoice, DeadlineError> {
        let reserved = self.reserve(decoder, size);
        let needed = match choose(deadline.saturating_sub(reserved)) {
            Ok(encoder) if reserved <= deadline => return Ok(AnswerChoice { encoder, reserved }),
            Ok(encoder) => encoder.predicted,
            Err(DeadlineError::TooShort { needed, .. }) => needed,
            Err(error) => return Err(error),
        };
        let needed = needed.saturating_add(reserved);
        Err(DeadlineError::AnswerTooShort { needed, reserved, given: deadline })
    }
}
