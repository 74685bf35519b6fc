//! Sizes that stop at the largest number in place of overflowing: a plan refuses them.

use crate::panel::PANEL;

/// The product of all factors.
pub(super) const fn product(factors: &[usize]) -> usize {
    let (mut result, mut index) = (1usize, 0);
    while index < factors.len() {
        result = result.saturating_mul(factors[index]);
        index += 1;
    }
    result
}

/// The largest value; 0 of none.
pub(super) const fn largest(values: &[usize]) -> usize {
    let (mut result, mut index) = (0, 0);
    while index < values.len() {
        if values[index] > result {
            result = values[index];
        }
        index += 1;
    }
    result
}

/// Panels of [`PANEL`] values that hold `count`.
pub(super) const fn panels(count: usize) -> usize {
    count.saturating_add(PANEL - 1) / PANEL
}

/// The sum of all values.
pub(super) const fn sum(values: &[usize]) -> usize {
    let (mut result, mut index) = (0usize, 0);
    while index < values.len() {
        result = result.saturating_add(values[index]);
        index += 1;
    }
    result
}
