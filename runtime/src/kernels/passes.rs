//! What passes over rows share: weights of a norm, the scale of softmax weights, the order of sums.

/// Weights of a norm.
#[derive(Clone, Copy, Debug, Default)]
pub struct NormWeights<'a> {
    /// Factor of each column.
    pub weight: &'a [f32],
    /// Offset of each column; empty for none.
    pub bias: &'a [f32],
    /// Added inside the root.
    pub eps: f32,
}

/// The largest softmax weight before it is rounded to int8.
pub(crate) const WEIGHT_STEPS: f32 = 127.0 * 128.0;

/// What makes quantised softmax weights q of a row add up to 1: `scale q + offset`.
///
/// In a long row many small weights round to zero, together a good part of the whole: `offset` gives it back
/// to all of them evenly. The mix of values is `scale sum(q v) + offset sum(v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightScale {
    /// Factor of each q.
    pub scale: f32,
    /// Added to each weight; negative where more was rounded up than down.
    pub offset: f32,
}

impl WeightScale {
    /// From `sum(w)`, `sum(q)` and the number of weights.
    #[inline(always)]
    pub(crate) fn new(fine: i32, coarse: i32, count: usize) -> Self {
        let total = fine as f32;
        let offset = (fine - (coarse << 7)) as f32 / (count as f32 * total);
        Self { scale: 128.0 / total, offset }
    }
}

/// Folds eight partial sums in the one written order.
#[inline(always)]
pub(crate) fn fold(s: [f32; 8]) -> f32 {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}
