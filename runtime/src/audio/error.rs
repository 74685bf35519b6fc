//! Why a sound is refused.

use super::rate::{LARGEST, POSITION};
use core::fmt;

/// Why a sound is refused. A push that is refused has taken none of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioError {
    /// A sample that is not a number, is infinite, or is far beyond -1 to 1.
    Sample {
        /// Its place, counted from the first sample of the sound.
        index: usize,
    },
    /// No samples at all.
    Empty,
    /// More samples than the window holds.
    TooLong {
        /// Samples so far, with those of this push.
        samples: usize,
        /// Samples of the window.
        most: usize,
    },
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sample { index } => write!(
                f,
                "sample {index} of the sound is not a number within -{LARGEST} to {LARGEST}: \
                 full scale is 1"
            ),
            Self::Empty => write!(f, "the sound has no samples"),
            Self::TooLong { samples, most } => write!(
                f,
                "the sound has {samples} samples, the window of {} positions holds {most}: cut it",
                most / POSITION
            ),
        }
    }
}

impl core::error::Error for AudioError {}
