//! Why an answer is refused.

use crate::executor::RunError;
use core::fmt;

/// Why an answer is refused. Everything is checked before any work, but for what the encoder finds at its end
/// ([`RunError::NotFinite`], [`RunError::NotRun`]).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum GenerateError {
    /// The encoder refuses the input or the budget.
    Run(RunError),
    /// A start id outside the vocabulary.
    StartOutOfRange {
        /// Its place among the start ids.
        position: usize,
        /// The id.
        id: u32,
        /// Tokens of the decoder.
        vocabulary: usize,
    },
    /// Start ids and new tokens need more positions than the plan holds.
    TooManyPositions {
        /// Positions needed.
        needed: usize,
        /// Positions of the plan.
        capacity: usize,
    },
    /// More hypotheses than the plan holds, or none.
    Beams {
        /// Hypotheses asked for.
        found: usize,
        /// Hypotheses of the plan.
        capacity: usize,
    },
    /// A length penalty that is no number.
    LengthPenalty,
    /// Times are asked for, of a model that has none or of several hypotheses.
    Times {
        /// Hypotheses asked for.
        beams: usize,
    },
    /// Another answer was asked for before any input was encoded.
    NothingEncoded,
}

impl From<RunError> for GenerateError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Run(error) => write!(f, "{error}"),
            Self::StartOutOfRange { position, id, vocabulary } => write!(
                f,
                "start token {position} has id {id}, the vocabulary ends at {}",
                vocabulary.saturating_sub(1)
            ),
            Self::TooManyPositions { needed, capacity } => {
                write!(f, "the answer needs {needed} positions, the plan holds {capacity}")
            }
            Self::Beams { found, capacity } => {
                write!(f, "{found} hypotheses, the plan holds 1 to {capacity}")
            }
            Self::LengthPenalty => write!(f, "the length penalty is not a number"),
            Self::Times { beams: 2.. } => {
                write!(f, "an answer with times has one hypothesis: ask for 1 beam")
            }
            Self::Times { .. } => write!(f, "the package does not say which ids are times"),
            Self::NothingEncoded => {
                write!(f, "there is no input to answer again: encode one with `generate` first")
            }
        }
    }
}

impl core::error::Error for GenerateError {}
