//! How many tokens may pass the routed layers of one call.

use super::{DeadlineChoice, token_step};
use crate::config::{Routing, TaskConfig};
use core::fmt;
use core::time::Duration;

/// How many of n tokens pass each routed layer; chosen for each call. Dense layers take all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget<'a> {
    /// As the task says: each layer's own reduction, else the task's.
    Task,
    /// `k = max(1, ceil(n / r))` in every routed layer; r at least 1.
    Reduction(f32),
    /// `k` tokens in every routed layer, at most all.
    Selected(usize),
    /// `k = max(1, ceil(n * fraction))`; above 0, at most 1.
    Fraction(f32),
    /// A reduction for each layer, dense ones included (and ignored).
    PerLayer(&'a [f32]),
    /// `k` tokens for each layer, at most all; dense ones included (and ignored).
    SelectedPerLayer(&'a [usize]),
    /// The most tokens that are done within this time by the executor's [`CostModel`](super::CostModel): the largest k
    /// for all routed layers, and some more in as many of the first as fit.
    Deadline(Duration),
    /// `tokens` and [`token_step`](super::token_step) more in the routed layers among the first
    /// `layers`, `tokens` in the others: what a deadline comes to.
    Stepped {
        /// k.
        tokens: usize,
        /// Layers, dense ones counted, before the step.
        layers: usize,
    },
}

/// Why a budget is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum BudgetError {
    /// A reduction below 1, or not a number.
    Reduction(f32),
    /// A fraction that is not above 0 and at most 1.
    Fraction(f32),
    /// No token.
    NoToken,
    /// A per-layer budget of another length than the model.
    Layers {
        /// Layers of the model.
        expected: usize,
        /// Layers given.
        found: usize,
    },
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Reduction(found) => write!(f, "a reduction must be at least 1, not {found}"),
            Self::Fraction(found) => {
                write!(f, "a fraction must be above 0 and at most 1, not {found}")
            }
            Self::NoToken => write!(f, "a budget of 0 tokens selects nothing: give at least 1"),
            Self::Layers { expected, found } => {
                write!(f, "a budget of {found} layers for a model of {expected} layers")
            }
        }
    }
}

impl core::error::Error for BudgetError {}

/// `max(1, ceil(n / r))`, at most n, for r at least 1.
#[must_use]
pub fn tokens_for_reduction(tokens: usize, reduction: f32) -> usize {
    ceil_tokens(tokens, tokens as f32 / reduction)
}

/// `ceil(value)` between 1 and `tokens`.
fn ceil_tokens(tokens: usize, value: f32) -> usize {
    libm::ceilf(value).clamp(1.0, tokens.max(1) as f32) as usize
}

impl From<DeadlineChoice> for Budget<'_> {
    fn from(choice: DeadlineChoice) -> Self {
        Self::Stepped { tokens: choice.tokens, layers: choice.layers }
    }
}

impl Budget<'_> {
    /// Checks the budget against a model of `layers` layers.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn check(&self, layers: usize) -> Result<(), BudgetError> {
        let reduction = |r: f32| {
            if r >= 1.0 && r.is_finite() { Ok(()) } else { Err(BudgetError::Reduction(r)) }
        };
        match *self {
            Self::Reduction(r) => reduction(r),
            Self::Selected(0) | Self::Stepped { tokens: 0, .. } => Err(BudgetError::NoToken),
            Self::Fraction(f) if f > 0.0 && f <= 1.0 => Ok(()),
            Self::Fraction(f) => Err(BudgetError::Fraction(f)),
            Self::PerLayer(found) if found.len() != layers => {
                Err(BudgetError::Layers { expected: layers, found: found.len() })
            }
            Self::PerLayer(reductions) => reductions.iter().copied().try_for_each(reduction),
            Self::SelectedPerLayer(found) if found.len() != layers => {
                Err(BudgetError::Layers { expected: layers, found: found.len() })
            }
            Self::SelectedPerLayer(tokens) if tokens.contains(&0) => Err(BudgetError::NoToken),
            Self::Task
            | Self::Selected(_)
            | Self::SelectedPerLayer(_)
            | Self::Stepped { .. }
            | Self::Deadline(_) => Ok(()),
        }
    }

    /// k of routed layer `index` for `tokens` tokens, pinned ones not yet counted.
    #[must_use]
    pub fn selected(
        &self,
        tokens: usize,
        index: usize,
        routing: &Routing,
        task: &TaskConfig,
    ) -> usize {
        match *self {
            Self::Task => tokens_for_reduction(tokens, routing.reduction.unwrap_or(task.reduction)),
            Self::Reduction(r) => tokens_for_reduction(tokens, r),
            Self::Selected(k) => k.clamp(1, tokens.max(1)),
            Self::Stepped { tokens: k, layers } => {
                let more = if index < layers { token_step(k) } else { 0 };
                k.saturating_add(more).clamp(1, tokens.max(1))
            }
            // An executor replaces a deadline by what it comes to.
            Self::Deadline(_) => 1,
            Self::Fraction(fraction) => ceil_tokens(tokens, tokens as f32 * fraction),
            Self::PerLayer(reductions) => {
                tokens_for_reduction(tokens, reductions.get(index).copied().unwrap_or(1.0))
            }
            Self::SelectedPerLayer(each) => {
                each.get(index).copied().unwrap_or(tokens).clamp(1, tokens.max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_is_the_ceiling_and_at_least_one() {
        assert_eq!(tokens_for_reduction(50, 8.0), 7);
        assert_eq!(tokens_for_reduction(12, 3.0), 4);
        assert_eq!(tokens_for_reduction(4, 8.0), 1);
        assert_eq!(tokens_for_reduction(50, 1.0), 50);
        assert_eq!(tokens_for_reduction(7, 1.5), 5);
    }

    #[test]
    fn an_integer_reduction_is_an_exact_division_for_every_length() {
        for tokens in 1..2048 {
            for reduction in 1..64 {
                let expected = usize::div_ceil(tokens, reduction);
                assert_eq!(tokens_for_reduction(tokens, reduction as f32), expected);
            }
        }
    }

    #[test]
    fn senseless_budgets_are_refused() {
        for r in [0.0, -1.0, 0.99, f32::NAN, f32::INFINITY] {
            assert!(Budget::Reduction(r).check(1).is_err());
            assert!(Budget::PerLayer(&[r]).check(1).is_err());
        }
        assert!(Budget::Selected(0).check(1).is_err());
        assert!(Budget::Fraction(0.0).check(1).is_err());
        assert!(Budget::Fraction(1.5).check(1).is_err());
        assert!(Budget::PerLayer(&[1.0]).check(2).is_err());
        assert!(Budget::PerLayer(&[1.0, 2.5]).check(2).is_ok());
        assert!(Budget::SelectedPerLayer(&[3]).check(2).is_err());
        assert!(Budget::SelectedPerLayer(&[3, 0]).check(2).is_err());
        assert!(Budget::SelectedPerLayer(&[3, usize::MAX]).check(2).is_ok());
    }
}
