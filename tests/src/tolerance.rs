//! Named tolerances, so that no test compares with a bare number.

/// How close two values must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Equal bits (equal floats: -0 is 0).
    Exact,
    /// `|a - b| <= limit * max(1, |b|)`.
    Relative(f64),
    /// `|a - b| <= limit`.
    Absolute(f64),
}

/// What the reference vectors' README states for scores, gates and hidden states of an f32
/// implementation.
pub const VECTORS: Tolerance = Tolerance::Relative(1e-4);

/// What it states for the logits of a decoder.
pub const LOGITS: Tolerance = Tolerance::Relative(2e-4);

/// What it states for log-mel features.
pub const LOG_MEL: Tolerance = Tolerance::Absolute(1e-4);

/// Our f32 results against another f32 implementation that sums in another order.
pub const OTHER_F32: Tolerance = Tolerance::Relative(1e-4);

impl Tolerance {
    /// `found` is close enough to `expected`.
    #[must_use]
    pub fn accepts(self, found: f64, expected: f64) -> bool {
        match self {
            Self::Exact => found == expected,
            Self::Relative(limit) => (found - expected).abs() <= limit * expected.abs().max(1.0),
            Self::Absolute(limit) => (found - expected).abs() <= limit,
        }
    }

    /// The first pair that is not close enough.
    pub fn first_miss(
        self,
        found: impl IntoIterator<Item = f64>,
        expected: impl IntoIterator<Item = f64>,
    ) -> Option<(usize, f64, f64)> {
        let pairs = found.into_iter().zip(expected).enumerate();
        pairs.map(|(index, (a, b))| (index, a, b)).find(|(_, a, b)| !self.accepts(*a, *b))
    }
}
