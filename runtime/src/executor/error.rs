//! Why an executor cannot be made, and why a run is refused.

use crate::routing::{BudgetError, DeadlineError};
use core::fmt;

/// Why there is no executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The arena is smaller than the plan.
    ArenaTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The arena does not start at a multiple of [`ARENA_ALIGNMENT`](crate::memory::ARENA_ALIGNMENT).
    ArenaMisaligned,
    /// The plan was made for another model.
    AnotherModel,
}

impl fmt::Display for ExecutorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ArenaTooSmall { needed, found } => {
                write!(f, "the arena has {found} bytes, the plan needs {needed}")
            }
            Self::ArenaMisaligned => write!(
                f,
                "the arena must start at a multiple of {} bytes: use memory::Arena",
                crate::memory::ARENA_ALIGNMENT
            ),
            Self::AnotherModel => write!(f, "the plan was made for a model of other dimensions"),
        }
    }
}

impl core::error::Error for ExecutorError {}

/// Why a run is refused. Everything but [`RunError::NotFinite`] and [`RunError::NotRun`] is checked
/// before any work.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RunError {
    /// An input without a token.
    Empty,
    /// More tokens than the plan holds.
    TooManyTokens {
        /// Tokens of the input.
        found: usize,
        /// Tokens of the plan.
        capacity: usize,
    },
    /// More tokens than the model has positions.
    TooManyPositions {
        /// Tokens of the input.
        found: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// A token id outside the vocabulary.
    TokenOutOfRange {
        /// Its place in the input.
        position: usize,
        /// The id.
        id: u32,
        /// Rows of the embedding table.
        vocabulary: usize,
    },
    /// A token type the model does not have, or not one for each token.
    TokenTypes {
        /// Token types of the model.
        limit: usize,
    },
    /// The true length of a padded input is above the number of ids.
    Length {
        /// The length named.
        length: usize,
        /// The ids given.
        found: usize,
    },
    /// An image of another size.
    ImageBytes {
        /// Bytes of an image of this model.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Another number of patch values.
    #[cfg(feature = "more-families")]
    PatchValues {
        /// Values of all patches of this model.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// Features that are no whole number of tokens.
    #[cfg(feature = "frames")]
    FeatureValues {
        /// Values of a token: two frames.
        each: usize,
        /// Values given.
        found: usize,
    },
    /// The values of an image are not those of whole rows of patches.
    #[cfg(feature = "grid")]
    GridValues {
        /// Values of a row of patches.
        row: usize,
        /// Values given.
        found: usize,
    },
    /// An image has more rows or columns of patches than the model has places for.
    #[cfg(feature = "grid")]
    GridSize {
        /// Rows and columns of the image.
        found: (usize, usize),
        /// Most rows and columns.
        limit: (usize, usize),
    },
    /// The package does not say how pixels are normalised.
    NoNormalization,
    /// Pixels for an encoder of tokens, or tokens for an encoder of pixels.
    WrongInput,
    /// The budget makes no sense.
    Budget(BudgetError),
    /// Nothing could be chosen for a deadline.
    Deadline(DeadlineError),
    /// The budget selects more tokens than the plan holds.
    SelectedAboveCapacity {
        /// Tokens the budget selects.
        needed: usize,
        /// Tokens of the plan.
        capacity: usize,
    },
    /// A value of the answer, of a hidden state or of the features given is NaN or infinite: activations
    /// overflowed f32, or the weights are damaged. There is no answer.
    NotFinite,
    /// The [`Workers`](crate::executor::Workers) of the executor did not run what they were given.
    NotRun,
}

impl From<BudgetError> for RunError {
    fn from(error: BudgetError) -> Self {
        Self::Budget(error)
    }
}

impl From<DeadlineError> for RunError {
    fn from(error: DeadlineError) -> Self {
        Self::Deadline(error)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the input has no token"),
            Self::TooManyTokens { found, capacity } => {
                write!(f, "the input has {found} tokens, the plan holds {capacity}")
            }
            Self::TooManyPositions { found, limit } => {
                write!(f, "the input has {found} tokens, the model has {limit} positions")
            }
            Self::TokenOutOfRange { position, id, vocabulary } => write!(
                f,
                "token {position} has id {id}, the vocabulary ends at {}",
                vocabulary.saturating_sub(1)
            ),
            Self::TokenTypes { limit } => {
                write!(f, "each token needs a token type below {limit}")
            }
            Self::Length { length, found } => {
                write!(f, "a true length of {length} in an input of {found} tokens")
            }
            Self::ImageBytes { expected, found } => {
                write!(f, "the image has {found} bytes, the model reads {expected}")
            }
            #[cfg(feature = "more-families")]
            Self::PatchValues { expected, found } => {
                write!(f, "the patches have {found} values, the model reads {expected}")
            }
            #[cfg(feature = "frames")]
            Self::FeatureValues { each, found } => {
                write!(f, "{found} features are no multiple of {each}, which are two frames")
            }
            #[cfg(feature = "grid")]
            Self::GridValues { row, found } => {
                write!(
                    f,
                    "the image has {found} values, which are no rows of {row}, a row of patches"
                )
            }
            #[cfg(feature = "grid")]
            Self::GridSize { found: (rows, columns), limit } => write!(
                f,
                "the image has {rows} by {columns} patches, the model at most {} by {}",
                limit.0, limit.1
            ),
            Self::NoNormalization => {
                write!(f, "the package does not say how pixels are normalised")
            }
            Self::WrongInput => write!(f, "the model reads another kind of input"),
            Self::Budget(error) => write!(f, "{error}"),
            Self::Deadline(error) => write!(f, "{error}"),
            Self::SelectedAboveCapacity { needed, capacity } => {
                write!(f, "the budget selects {needed} tokens, the plan holds {capacity}")
            }
            Self::NotFinite => write!(f, "the answer is not finite"),
            Self::NotRun => write!(f, "the workers did not run all that they were given"),
        }
    }
}

impl core::error::Error for RunError {}
