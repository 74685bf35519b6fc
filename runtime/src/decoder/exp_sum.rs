//! Sums of exponentials.

use crate::kernels::math;

/// A sum of exponentials that may grow: `sum * exp(largest)`.
#[derive(Clone, Copy)]
pub(super) struct ExpSum {
    largest: f32,
    sum: f32,
}

impl ExpSum {
    pub(super) const EMPTY: Self = Self { largest: f32::NEG_INFINITY, sum: 0.0 };

    /// Adds `exp` of each value, in order.
    pub(super) fn add(&mut self, values: impl Iterator<Item = f32> + Clone) {
        let largest = values.clone().fold(self.largest, |a, b| if b > a { b } else { a });
        if largest == f32::NEG_INFINITY {
            return;
        }
        if self.largest > f32::NEG_INFINITY {
            self.sum *= math::exp(self.largest - largest);
        }
        let finite = values.filter(|value| *value > f32::NEG_INFINITY);
        finite.for_each(|value| self.sum += math::exp(value - largest));
        self.largest = largest;
    }

    pub(super) fn ln(self) -> f32 {
        self.largest + math::ln(self.sum)
    }
}
