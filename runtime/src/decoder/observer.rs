//! What a caller may see of a step.

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
