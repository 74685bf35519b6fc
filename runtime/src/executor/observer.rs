//! A look inside a run, and a hand on its routing.

use crate::routing::Selection;
use crate::tensor::Matrix;

/// Sees the inner states of a run, and may change router scores. Every method does nothing unless overridden; the calls of `()`
/// compile to nothing.
pub trait Observer {
    /// Hidden states before the first layer, `[n, d]`.
    fn embedded(&mut self, hidden: Matrix<'_>) {
        let _ = hidden;
    }

    /// Router scores of routed layer `layer`, `[n]`, before the selection. They may be changed, for
    /// instance to routing by chance or by position where learned routing is to be judged.
    fn scored(&mut self, layer: usize, scores: &mut [f32]) {
        let _ = (layer, scores);
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
