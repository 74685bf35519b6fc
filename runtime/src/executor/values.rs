//! The values of an answer: whether they are one, and its label.

/// Index of the largest value, the first of equals: the label rule of every door. `None` without
/// values above minus infinity; a NaN is never the largest.
#[must_use]
pub fn largest(values: &[f32]) -> Option<usize> {
    let larger = |(best, top): (Option<usize>, f32), (index, value): (usize, &f32)| {
        if *value > top { (Some(index), *value) } else { (best, top) }
    };
    values.iter().enumerate().fold((None, f32::NEG_INFINITY), larger).0
}

/// No value is NaN or infinite. By bits and to the end: the same work for any data.
#[must_use]
#[inline(never)]
pub fn all_finite(values: &[f32]) -> bool {
    let magnitude = |value: &f32| value.to_bits() & !(1 << 31);
    values.iter().map(magnitude).fold(0, u32::max) < f32::INFINITY.to_bits()
}

/// The larger number; NaN if one is.
pub(super) const fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}
