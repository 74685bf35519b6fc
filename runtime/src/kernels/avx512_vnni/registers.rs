//! Registers of 16 floats.

use core::arch::x86_64::{__m512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps};
use core::arch::x86_64::{_mm512_add_ps, _mm512_mul_ps, _mm512_set1_ps};

/// Lanes of a register.
pub(super) const WIDE: usize = 16;

/// The first 16 values of a slice, zeros after its end.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load(values: &[f32]) -> __m512 {
    // SAFETY: it reads as many values as the slice has, 16 at most.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()) }
}

/// Stores as many values as there are slots, 16 at most.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store(slots: &mut [f32], values: __m512) {
    // SAFETY: it writes as many values as the slice has slots, 16 at most.
    unsafe { _mm512_mask_storeu_ps(slots.as_mut_ptr(), first_lanes(slots.len()), values) }
}

/// The first `count` of 16 lanes.
pub(super) const fn first_lanes(count: usize) -> u16 {
    if count < WIDE { (1 << count) - 1 } else { u16::MAX }
}

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule, of `N` registers.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn polynomial<const N: usize, const TERMS: usize>(
    x: [__m512; N],
    c: [f32; TERMS],
) -> [__m512; N] {
    let mut terms = c.into_iter().rev();
    let mut sums = [_mm512_set1_ps(terms.next().unwrap_or(0.0)); N];
    for term in terms {
        for (sum, x) in sums.iter_mut().zip(&x) {
            *sum = _mm512_add_ps(_mm512_mul_ps(*sum, *x), _mm512_set1_ps(term));
        }
    }
    sums
}
