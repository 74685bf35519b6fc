//! What a caller may see of a step.

use super::exp_sum::ExpSum;
use crate::kernels::math;
use crate::tensor::Matrix;

/// Sees the inner states of every step: one row for each hypothesis, of one position. Every method does nothing
/// unless overridden; the calls of `()` compile to nothing.
pub trait StepObserver {
    /// What enters the first layer at `position`, `[rows, d]`.
    fn embedded(&mut self, position: usize, hidden: Matrix<'_>) {
        let _ = (position, hidden);
    }

    /// Hidden states of `position` after decoder layer `layer`, `[rows, d]`, before any final norm.
    fn layer(&mut self, position: usize, layer: usize, hidden: Matrix<'_>) {
        let _ = (position, layer, hidden);
    }

    /// Logits of the tokens from `first` on, for hypothesis `row` of this step, before any is suppressed.
    fn logits(&mut self, row: usize, first: usize, values: &[f32]) {
        let _ = (row, first, values);
    }
}

impl StepObserver for () {}

/// Keeps the logits of some ids of one row, and what makes probabilities of them.
pub(super) struct Probabilities<'p> {
    ids: &'p [u32],
    values: &'p mut [f32],
    sum: ExpSum,
}

impl<'p> Probabilities<'p> {
    pub(super) fn new(ids: &'p [u32], values: &'p mut [f32]) -> Self {
        values.fill(f32::NEG_INFINITY);
        Self { ids, values, sum: ExpSum::EMPTY }
    }

    /// The logits become probabilities; 0 for an id that no answer holds.
    pub(super) fn finish(self) {
        let sum = self.sum.ln();
        self.values.iter_mut().for_each(|value| *value = math::exp(*value - sum));
    }
}

impl StepObserver for Probabilities<'_> {
    fn logits(&mut self, _: usize, first: usize, values: &[f32]) {
        self.sum.add(values.iter().copied());
        for (id, slot) in self.ids.iter().zip(self.values.iter_mut()) {
            let index = (*id as usize).checked_sub(first);
            if let Some(value) = index.and_then(|index| values.get(index)) {
                *slot = *value;
            }
        }
    }
}
