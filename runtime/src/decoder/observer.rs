//! What a caller may see of a step.

/// Sees the logits of every step, before any is suppressed.
pub trait LogitObserver {
    /// Logits of the tokens from `first` on, for hypothesis `row` of this step.
    fn logits(&mut self, row: usize, first: usize, values: &[f32]);
}

/// Nobody looks.
impl LogitObserver for () {
    fn logits(&mut self, _: usize, _: usize, _: &[f32]) {}
}
