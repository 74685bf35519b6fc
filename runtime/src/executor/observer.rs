//! A look inside a run.

use crate::routing::Selection;
use crate::tensor::Matrix;

/// Sees the inner states of a run. Every method does nothing unless overridden; the calls of `()`
/// compile to nothing.
pub trait Observer {
    /// Hidden states before the first layer, `[n, d]`.
    fn embedded(&mut self, hidden: Matrix<'_>) {
        let _ = hidden;
    }

    /// What layer `layer` selected, before it runs.
    fn selected(&mut self, layer: usize, selection: &Selection<'_>) {
        let _ = (layer, selection);
    }

    /// Hidden states after layer `layer`, `[n, d]`, before any final norm.
    fn layer(&mut self, layer: usize, hidden: Matrix<'_>) {
        let _ = (layer, hidden);
    }
}

impl Observer for () {}
