//! Try before you trust: the inputs and answers that a package carries, run on this device.
//!
//! The same package and input give the same bits on every CPU, so the answers that the host wrote are
//! those that this device must give: one other bit, and the package, the flash, the CPU or this program is
//! not what it was. No other comparison is made and no tolerance exists.
//!
//! `coda self-test` writes the section (`FORMAT.md`, "self-test"). A signature says who made a package; a
//! self-test says that it works here.

use crate::executor::{Executor, Input, RunError};
use crate::format::{CaseInput, SelfTest};
use crate::routing::Budget;
use core::fmt;

/// Why a package is not trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SelfTestError {
    /// A case does not run.
    Run {
        /// Its number, from 0.
        case: usize,
        /// Why.
        error: RunError,
    },
    /// An answer has another number of values.
    Values {
        /// Its number, from 0.
        case: usize,
        /// Values written down.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A value has other bits.
    Bits {
        /// Its number, from 0.
        case: usize,
        /// Which value.
        value: usize,
        /// Bits written down.
        expected: u32,
        /// Bits found.
        found: u32,
    },
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Run { case, error } => write!(f, "case {case} of the self-test: {error}"),
            Self::Values { case, expected, found } => {
                write!(f, "case {case} of the self-test gives {found} values, not {expected}")
            }
            Self::Bits { case, value, expected, found } => write!(
                f,
                "case {case} of the self-test: value {value} is {found:#010x}, not {expected:#010x}"
            ),
        }
    }
}

impl core::error::Error for SelfTestError {}

/// Runs every case; gives their number. The plan must hold them: `Capacity::any_budget` of the model's
/// longest input always does.
///
/// # Errors
/// [`SelfTestError`] for the first case that does not run or answers otherwise.
pub fn run(executor: &mut Executor<'_, '_>, test: &SelfTest<'_>) -> Result<usize, SelfTestError> {
    let mut count = 0;
    for (case, own) in test.cases().enumerate() {
        let input = match own.input {
            CaseInput::Tokens(ids) => Input::tokens(ids),
            CaseInput::Pixels(pixels) => Input::Pixels(pixels),
        };
        let budget = if own.selected == 0 { Budget::Task } else { Budget::Selected(own.selected) };
        let answer = executor.run(input, budget);
        let answer = answer.map_err(|error| SelfTestError::Run { case, error })?;
        compare(case, own.values, answer.values)?;
        count += 1;
    }
    Ok(count)
}

fn compare(case: usize, expected: &[u32], found: &[f32]) -> Result<(), SelfTestError> {
    if expected.len() != found.len() {
        let (expected, found) = (expected.len(), found.len());
        return Err(SelfTestError::Values { case, expected, found });
    }
    let mut pairs = expected.iter().zip(found).enumerate();
    match pairs.find(|(_, (bits, value))| **bits != value.to_bits()) {
        Some((value, (&expected, found))) => {
            Err(SelfTestError::Bits { case, value, expected, found: found.to_bits() })
        }
        None => Ok(()),
    }
}
