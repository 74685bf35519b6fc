//! Float functions with the same bits on every CPU.
//!
//! Each but [`sqrt`] is one fixed sequence of `+ - * /`, comparisons and bit moves: no fused
//! multiply-add, no table, no branch, no function of the platform. IEEE 754 fixes the result of
//! every step, and a loop over any of them vectorises on every target with float vectors.
//!
//! # Subnormals
//!
//! Some vector units (32-bit ARM NEON) read and write numbers below [`f32::MIN_POSITIVE`] as zero.
//! The functions give the same bits there: where a result could be subnormal they return +0
//! instead, decided by a comparison of the argument against a normal number, and an intermediate
//! that can be subnormal is only ever added to a normal number that it cannot change. So [`exp`] is
//! +0 below ln(2^-126), [`sigmoid`] below -87, the GELUs below their own limits, [`ln`] takes a
//! subnormal for zero, and [`relu`], [`erf`] and the GELUs return +0 near zero. No function returns
//! a subnormal, nor does any return -0 except [`sqrt`] of -0. ([`sqrt`] of a subnormal is normal,
//! and relies on a scalar unit that reads it.)
//!
//! # NaN
//!
//! A NaN argument gives a NaN. Its sign and payload differ between CPUs and are not specified.
//!
//! # Errors
//!
//! "ulp" is the distance of adjacent `f32` at the exact result. Stated errors are maxima over every
//! `f32` of the domain, found by trying each, and rounded up.

use core::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// Adding and subtracting it rounds to an integer: at 1.5 * 2^23 the spacing of `f32` is one.
const ROUNDER: f32 = 12_582_912.0;

/// ln 2 in two parts. The first has 15 significant bits: its product with any exponent is exact.
pub(super) const LN_2_HIGH: f32 = 0.693_145_75;
pub(super) const LN_2_LOW: f32 = 1.428_606_8e-6;

/// q in e^r = 1 + r + r^2 q(r).
pub(super) const EXP: [f32; 5] =
    [0.499_999_94, 0.166_665_17, 0.041_668_1, 0.008_369_192, 0.001_383_878_4];
/// 2^f for a result of 8 bits, and the least exponent that counts.
pub(super) const EXP_8BIT: [f32; 4] = [1.0, 0.693_282_9, 0.242_210_97, 0.055_008_933];
pub(super) const EXP_8BIT_LEAST: f32 = -30.0;
/// P in erfc(z) = e^(-z^2) t P(1 - 2 t).
pub(super) const ERFC: [f32; 9] = [
    0.510_791_36,
    -0.343_580_48,
    0.139_734_82,
    -0.018_217_593,
    -0.010_741_789,
    0.003_218_646_9,
    0.001_489_527_4,
    -0.000_377_336_9,
    -0.000_230_738_15,
];

/// The largest argument whose exponential is finite, and the smallest with a normal one.
const EXP_HIGHEST: f32 = 88.722_83;
pub(super) const EXP_LOWEST: f32 = -87.336_54;

/// Q in Phi(x) = 1/2 + x Q(x^2) for a result of 8 bits, and the argument from which Phi is 0 or 1.
pub(super) const PHI_8BIT: [f32; 7] = [
    0.397_870_3,
    -0.064_554_51,
    0.008_763_733,
    -0.000_812_195_36,
    4.776_461_7e-5,
    -1.588_860_2e-6,
    2.258_879e-8,
];
pub(super) const PHI_8BIT_END: f32 = 4.0;

/// Below it the exact GELU counts as zero.
pub(super) const GELU_ERF_LOWEST: f32 = -12.5;

/// Where a result is about as small as its argument, arguments nearer to zero than this count as
/// zero: an eighth of it, which is the smallest term that matters in any sum, is still normal.
pub(super) const TINY: f32 = 16.0 * f32::MIN_POSITIVE;

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule, of at most ten terms: written out, because a
/// compiler that optimises for size keeps a loop.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    const { assert!(N > 0 && N <= 10) };
    let mut sum = c[N - 1];
    macro_rules! steps {
        ($($i:literal)*) => { $(if $i + 1 < N { sum = sum * x + c[$i] })* };
    }
    steps!(8 7 6 5 4 3 2 1 0);
    sum
}

/// e^x.
///
/// `x = n ln 2 + r` with |r| <= 0.3467, e^r = 1 + r + r^2 q(r) with q of degree 4, and n is added to
/// the exponent bits. Domain: everything. Maximum error 0.99 ulp.
///
/// Above 88.72283 (where e^x exceeds [`f32::MAX`]) the result is +inf; below -87.33654 (where it is
/// less than [`f32::MIN_POSITIVE`]) it is +0.
#[must_use]
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mantissa = 1.0 + (r + r * r * polynomial(r, EXP));
    // The bits of ROUNDER below bit 9 are zero, so the shift leaves n alone, modulo 2^9.
    let y = f32::from_bits(mantissa.to_bits().wrapping_add(shifted.to_bits() << 23));
    let y = if x < EXP_LOWEST { 0.0 } else { y };
    // The sum is +inf for a large x and NaN for a NaN.
    let end = x + f32::INFINITY;
    if x <= EXP_HIGHEST { y } else { end }
}

/// e^x of an x that is not positive, for a result that is rounded to 8 bits.
///
/// `x log2 e = n + f` with |f| <= 1/2, and 2^f by a polynomial of degree 3 that is 1 at 0. Domain:
/// x <= 0 and NaN. Maximum error 1.04e-4 relative from -20.7 on.
///
/// Exactly 1 at 0. Below -20.7 and of NaN it is some number from 0 to 1e-9.
#[must_use]
#[inline(always)]
pub fn exp_8bit(x: f32) -> f32 {
    let t = x * LOG2_E;
    let t = if t > EXP_8BIT_LEAST { t } else { EXP_8BIT_LEAST };
    let shifted = t + ROUNDER;
    let f = t - (shifted - ROUNDER);
    let mantissa = polynomial(f, EXP_8BIT);
    f32::from_bits(mantissa.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Natural logarithm.
///
/// `x = 2^k (1 + f)` with 1 + f in [sqrt 1/2, sqrt 2), s = f / (2 + f), and
/// ln(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) with R of degree 3. Domain: positive normal numbers.
/// Maximum error 0.84 ulp, and ln 1 is +0.
///
/// Of +-0 and subnormals the result is -inf, of other negative numbers NaN, of +inf +inf.
#[must_use]
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const LEAST: u32 = FRAC_1_SQRT_2.to_bits();
    let offset = x.to_bits().wrapping_sub(LEAST);
    let k = (offset.cast_signed() >> 23) as f32;
    let f = f32::from_bits((offset & 0x007f_ffff) + LEAST) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * polynomial(z, [0.666_667_76, 0.399_775_62, 0.298_717_35]);
    let half = 0.5 * f * f;
    let y = k * LN_2_HIGH - ((half - (s * (half + r) + k * LN_2_LOW)) - f);
    let negative = x <= -f32::MIN_POSITIVE;
    let y = if negative { f32::NAN } else { y };
    let zero = x.abs() < f32::MIN_POSITIVE;
    let y = if zero { f32::NEG_INFINITY } else { y };
    // The argument itself is the result for +inf and NaN.
    if x <= f32::MAX { y } else { x }
}

/// 1 - erf(z) for z >= 0, given also z^2: e^(-z^2) t P(1 - 2 t) with t = 1 / (1 + z/2) and P of
/// degree 8. The relative error of t P is below 4e-7; that of the exponential grows with z^2.
#[inline(always)]
fn erfc(z: f32, square: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    exp(-square) * (t * polynomial(1.0 - 2.0 * t, ERFC))
}

/// The error function.
///
/// x + x S(x^2) with S of degree 6 where |x| < 1, else the sign of x times 1 - erfc(|x|), and
/// erfc(z) = e^(-z^2) t P(1 - 2 t) with t = 1 / (1 + z/2) and P of degree 8. Domain: everything. Maximum error 9.0e-8 absolute and 1.51
/// ulp.
///
/// The result is exactly +-1 from |x| = 3.919206 on, infinities included; for |x| < 2^-122 it is +0.
#[must_use]
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    const S: [f32; 7] = [
        0.128_379_17,
        -0.376_126_26,
        0.112_835_79,
        -0.026_853_347,
        0.005_187_162,
        -0.000_799_785_3,
        7.806_904e-5,
    ];
    let z = x.abs();
    let square = x * x;
    let near = x + x * polynomial(square, S);
    let far = (1.0 - erfc(z, square)).copysign(x);
    let y = if z < 1.0 { near } else { far };
    if z < TINY { 0.0 } else { y }
}

/// The exact GELU, `x/2 (1 + erf(x / sqrt 2))`.
///
/// As x h for negative x and x (1 - h) for others, with h = erfc(|x| / sqrt 2) / 2: nothing cancels.
/// Domain: everything. Maximum error 1.22e-7 max(1, |x|) absolute.
///
/// Below -12.5 (where the exact result is above -5e-36), -inf included, and for |x| < 2^-122 the
/// result is +0. Of +inf it is +inf.
#[must_use]
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    let tail = 0.5 * erfc(x.abs() * FRAC_1_SQRT_2, 0.5 * x * x);
    let y = x * if x < 0.0 { tail } else { 1.0 - tail };
    let zero = (x < GELU_ERF_LOWEST) | (x.abs() < TINY);
    if zero { 0.0 } else { y }
}

/// The exact GELU for a result that is rounded to 8 bits.
///
/// As x Phi(x), Phi by an odd polynomial of degree 13 that is 0 and 1 to the bit at -4 and 4, and from
/// there on. Domain: everything. Maximum error 1.92e-4 absolute.
///
/// Below -3.9 (where the exact result is above -1.9e-4), -inf included, and for |x| < 2^-122 the
/// result is +0. From 4 on it is x.
#[must_use]
#[inline(always)]
pub fn gelu_erf_8bit(x: f32) -> f32 {
    // A NaN becomes 4, which leaves it to the last product.
    let near = if x < PHI_8BIT_END { x } else { PHI_8BIT_END };
    let near = if near > -PHI_8BIT_END { near } else { -PHI_8BIT_END };
    let phi = 0.5 + near * polynomial(near * near, PHI_8BIT);
    let zero = (phi <= 0.0) | (x.abs() < TINY);
    if zero { 0.0 } else { x * phi }
}

/// The tanh form of GELU, `x/2 (1 + tanh y)` with `y = sqrt(2/pi) (x + 0.044715 x^3)`.
///
/// As x / (1 + e^(-2 y)). Domain: everything. Maximum error 1.27e-7 max(1, |x|) absolute.
///
/// Below -10 (where the exact result is above -2e-37), -inf included, and for |x| < 2^-122 the
/// result is +0. Of +inf it is +inf.
#[must_use]
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    // -2 sqrt(2/pi), and that times 0.044715
    const LINEAR: f32 = -1.595_769;
    const CUBIC: f32 = -0.071_354_814;
    let y = x / (1.0 + exp(x * (LINEAR + CUBIC * (x * x))));
    let zero = (x < -10.0) | (x.abs() < TINY);
    if zero { 0.0 } else { y }
}

/// `x / (1 + e^(-rate x))`: the SiLU with a rate of 1, the quick GELU with one of 1.702.
///
/// Domain: everything. Maximum error 2.4e-7 max(1, |x|) absolute.
///
/// Where rate x is below -87 (where the exact result is above -2e-36), at -inf too, and for |x| < 2^-122
/// the result is +0. Of +inf it is +inf.
#[must_use]
#[inline(always)]
pub fn swish(x: f32, rate: f32) -> f32 {
    let scaled = rate * x;
    let y = x / (1.0 + exp(-scaled));
    let zero = (scaled < -87.0) | (x.abs() < TINY);
    if zero { 0.0 } else { y }
}

/// The rate of the quick GELU.
pub const QUICK: f32 = 1.702;

/// 1 / (1 + e^-x).
///
/// Domain: everything. Maximum error 2.49 ulp.
///
/// Below -87 (where the exact result is less than 1.7e-38), -inf included, the result is +0. It is
/// exactly 1 from 16.635532 on.
#[must_use]
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let y = 1.0 / (1.0 + exp(-x));
    if x < -87.0 { 0.0 } else { y }
}

/// The hyperbolic tangent.
///
/// x + x^3 P(x^2) with P of degree 4 where |x| < 0.625, else the sign of x times
/// 1 - 2 / (1 + e^(2 |x|)). Domain: everything. Maximum error 8.0e-8 absolute and 1.34 ulp.
///
/// Exactly +-1 from |x| = 9.010914 on, infinities included; for |x| < 2^-122 it is +0.
#[must_use]
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    const P: [f32; 5] =
        [-0.333_332_8, 0.133_314_42, -0.053_739_715, 0.020_639_088, -0.005_704_988_7];
    let z = x.abs();
    let square = x * x;
    let near = x + x * (square * polynomial(square, P));
    let far = (1.0 - 2.0 / (1.0 + exp(2.0 * z))).copysign(x);
    let y = if z < 0.625 { near } else { far };
    if z < TINY { 0.0 } else { y }
}

/// x where it is positive, else +0; a subnormal counts as zero. Exact; NaN stays NaN.
#[must_use]
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// The nearest integer, of two equally near the even one, by adding and subtracting 1.5 * 2^23.
///
/// Exact for |x| <= 2^22; the result is not defined beyond. Zero comes back as +0.
#[must_use]
#[inline(always)]
pub fn round_ties_even(x: f32) -> f32 {
    (x + ROUNDER) - ROUNDER
}

/// Square root, correctly rounded on every CPU (error 0.5 ulp): a hardware instruction, or its
/// integer equivalent from `libm`. A loop over it is not vectorised.
///
/// NaN below zero; -0 of -0; +inf of +inf. Never subnormal.
#[must_use]
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    #[cfg(all(cortex_m, target_abi = "eabihf"))]
    return super::cortex_m::sqrt(x);
    #[cfg(not(all(cortex_m, target_abi = "eabihf")))]
    libm::sqrtf(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_2_SQRT_PI, PI};
    use std::vec::Vec;

    const EXP_MAX_ULPS: f64 = 0.99;
    const LN_MAX_ULPS: f64 = 0.84;
    const ERF_MAX_ERROR: f64 = 9.0e-8;
    const ERF_MAX_ULPS: f64 = 1.51;
    const GELU_ERF_MAX_ERROR: f64 = 1.22e-7;
    const GELU_TANH_MAX_ERROR: f64 = 1.27e-7;
    const SWISH_MAX_ERROR: f64 = 2.4e-7;
    const SIGMOID_MAX_ULPS: f64 = 2.49;
    const TANH_MAX_ERROR: f64 = 8.0e-8;
    const TANH_MAX_ULPS: f64 = 1.34;

    /// From here on erf and sigmoid are exactly one.
    const ERF_ONE: f32 = 3.919_206;
    const SIGMOID_ONE: f32 = 16.635_532;
    const TANH_ONE: f32 = 9.010_914;

    /// Every 293rd `f32`, and for the slow references every 9973rd.
    const DENSE: usize = 293;
    const SPARSE: usize = 9973;

    type Function = fn(f32) -> f32;

    fn silu(x: f32) -> f32 {
        swish(x, 1.0)
    }

    fn gelu_quick(x: f32) -> f32 {
        swish(x, QUICK)
    }

    const ALL: [(&str, Function); 13] = [
        ("exp", exp),
        ("ln", ln),
        ("erf", erf),
        ("gelu_erf", gelu_erf),
        ("gelu_erf_8bit", gelu_erf_8bit),
        ("gelu_tanh", gelu_tanh),
        ("silu", silu),
        ("gelu_quick", gelu_quick),
        ("sigmoid", sigmoid),
        ("relu", relu),
        ("round_ties_even", round_ties_even),
        ("sqrt", sqrt),
        ("tanh", tanh),
    ];

    /// Every `step`th non-negative finite number up to `highest`.
    fn up_to(highest: f32, step: usize) -> impl Iterator<Item = f32> {
        (0..=highest.to_bits()).step_by(step).map(f32::from_bits)
    }

    /// The same with both signs.
    fn within(highest: f32, step: usize) -> impl Iterator<Item = f32> {
        up_to(highest, step).flat_map(|x| [x, -x])
    }

    /// 4096 numbers evenly spread over [-16, 16), then every 65521st bit pattern.
    fn sweep() -> impl Iterator<Item = f32> {
        let even = (-2048i16..2048).map(|i| f32::from(i) / 128.0);
        even.chain((0..=u32::MAX).step_by(65_521).map(f32::from_bits))
    }

    fn ulp(exact: f64) -> f64 {
        let binade = exact.abs().max(f64::from(f32::MIN_POSITIVE)).to_bits() >> 52 << 52;
        f64::from_bits(binade) * f64::from(f32::EPSILON)
    }

    /// The largest of `error(x, result, exact)`.
    fn worst(
        inputs: impl Iterator<Item = f32>,
        function: Function,
        exact: impl Fn(f64) -> f64,
        error: impl Fn(f32, f64, f64) -> f64,
    ) -> f64 {
        inputs.fold(0.0, |worst, x| {
            let error = error(x, f64::from(function(x)), exact(f64::from(x)));
            assert!(error.is_finite(), "at {x:e}");
            worst.max(error)
        })
    }

    fn ulps(_: f32, result: f64, exact: f64) -> f64 {
        (result - exact).abs() / ulp(exact)
    }

    fn absolute(_: f32, result: f64, exact: f64) -> f64 {
        (result - exact).abs()
    }

    fn scaled(x: f32, result: f64, exact: f64) -> f64 {
        (result - exact).abs() / f64::from(x.abs()).max(1.0)
    }

    /// erf by its series of positive terms up to 3, beyond by the continued fraction of erfc.
    fn reference_erf(x: f64) -> f64 {
        let z = x.abs();
        let density = FRAC_2_SQRT_PI * (-z * z).exp();
        if z < 3.0 {
            let (mut term, mut sum, mut n) = (z, z, 1.0);
            while term > sum * 1e-17 {
                term *= 2.0 * z * z / (2.0 * n + 1.0);
                sum += term;
                n += 1.0;
            }
            return (density * sum).copysign(x);
        }
        let fraction = (1..=60).rev().fold(z, |below, k| z + 0.5 * f64::from(k) / below);
        (1.0 - 0.5 * density / fraction).copysign(x)
    }

    fn reference_gelu_erf(x: f64) -> f64 {
        0.5 * x * (1.0 + reference_erf(x / 2f64.sqrt()))
    }

    fn reference_gelu_tanh(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    }

    fn assert_bits(function: Function, golden: &[(f32, u32)]) {
        for &(x, bits) in golden {
            assert_eq!(function(x).to_bits(), bits, "at {x:e}: {:#010x}", function(x).to_bits());
        }
    }

    #[test]
    fn the_reference_erf_agrees_with_published_values() {
        let published = [
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (3.5, 0.999_999_256_901_627_7),
        ];
        for (x, value) in published {
            assert!((reference_erf(x) - value).abs() < 1e-15, "at {x}");
        }
    }

    #[test]
    fn exp_is_within_its_stated_error() {
        let inputs = within(EXP_HIGHEST, DENSE).filter(|&x| x >= EXP_LOWEST);
        assert!(worst(inputs, exp, f64::exp, ulps) <= EXP_MAX_ULPS);
    }

    #[test]
    fn exp_8bit_is_within_its_stated_error() {
        let inputs = up_to(20.7, DENSE).map(|x| -x);
        let relative = |_: f32, result: f64, exact: f64| (result - exact).abs() / exact;
        assert!(worst(inputs, exp_8bit, f64::exp, relative) <= 1.04e-4);
        assert_eq!(exp_8bit(0.0), 1.0);
        for x in [-20.8, -100.0, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert!((0.0..=1e-9).contains(&exp_8bit(x)), "{x}");
        }
    }

    #[test]
    fn ln_is_within_its_stated_error() {
        let inputs = up_to(f32::MAX, DENSE).filter(|&x| x >= f32::MIN_POSITIVE);
        assert!(worst(inputs, ln, f64::ln, ulps) <= LN_MAX_ULPS);
    }

    #[test]
    fn erf_is_within_its_stated_errors() {
        let inputs = || within(f32::MAX, SPARSE);
        assert!(worst(inputs(), erf, reference_erf, absolute) <= ERF_MAX_ERROR);
        let not_tiny = inputs().filter(|x| x.abs() >= TINY);
        assert!(worst(not_tiny, erf, reference_erf, ulps) <= ERF_MAX_ULPS);
    }

    #[test]
    fn gelu_erf_is_within_its_stated_error() {
        let inputs = within(f32::MAX, SPARSE);
        assert!(worst(inputs, gelu_erf, reference_gelu_erf, scaled) <= GELU_ERF_MAX_ERROR);
    }

    #[test]
    fn gelu_erf_8bit_is_within_its_stated_error() {
        // Beyond 16 it is its argument or 0, and so is the reference in f32.
        let inputs = within(16.0, SPARSE);
        assert!(worst(inputs, gelu_erf_8bit, reference_gelu_erf, absolute) <= 1.92e-4);
        let ends = within(f32::MAX, DENSE).filter(|x| x.abs() >= 4.0);
        for x in ends.chain([4.0, -4.0]) {
            assert_eq!(gelu_erf_8bit(x).to_bits(), x.max(0.0).to_bits(), "{x}");
        }
    }

    #[test]
    fn gelu_tanh_is_within_its_stated_error() {
        let inputs = within(f32::MAX, DENSE);
        assert!(worst(inputs, gelu_tanh, reference_gelu_tanh, scaled) <= GELU_TANH_MAX_ERROR);
    }

    #[test]
    fn swish_is_within_its_stated_error() {
        for (function, rate) in [(silu as Function, 1.0), (gelu_quick, f64::from(QUICK))] {
            let exact = |x: f64| x / (1.0 + (-rate * x).exp());
            assert!(worst(within(f32::MAX, DENSE), function, exact, scaled) <= SWISH_MAX_ERROR);
        }
    }

    #[test]
    fn sigmoid_is_within_its_stated_error() {
        let inputs = within(f32::MAX, DENSE).filter(|&x| x >= -87.0);
        let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(worst(inputs, sigmoid, exact, ulps) <= SIGMOID_MAX_ULPS);
    }

    #[test]
    fn tanh_is_within_its_stated_error() {
        let inputs = || within(f32::MAX, DENSE);
        assert!(worst(inputs(), tanh, f64::tanh, absolute) <= TANH_MAX_ERROR);
        let not_tiny = inputs().filter(|x| x.abs() >= TINY);
        assert!(worst(not_tiny, tanh, f64::tanh, ulps) <= TANH_MAX_ULPS);
    }

    #[test]
    fn tanh_is_odd_and_ends_at_one() {
        assert!(sweep().filter(|x| x.abs() >= TINY).all(|x| tanh(-x) == -tanh(x)));
        assert_eq!(
            (tanh(TANH_ONE), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)),
            (1.0, 1.0, -1.0)
        );
        assert!(tanh(TANH_ONE.next_down()) < 1.0);
    }

    #[test]
    fn round_ties_even_agrees_with_the_standard_library() {
        let limit = 4_194_304.0;
        assert!(within(limit, DENSE).all(|x| round_ties_even(x) == x.round_ties_even()));
        for (x, rounded) in [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-2.5, -2.0), (-3.5, -4.0)] {
            assert_eq!(round_ties_even(x), rounded);
        }
    }

    #[test]
    fn sqrt_is_correctly_rounded() {
        assert!(up_to(f32::MAX, DENSE).all(|x| sqrt(x) == f64::from(x).sqrt() as f32));
    }

    #[test]
    fn exp_reaches_infinity_and_zero_at_its_limits() {
        assert!(exp(EXP_HIGHEST).is_finite() && exp(EXP_LOWEST) >= f32::MIN_POSITIVE);
        assert_eq!(exp(EXP_HIGHEST.next_up()), f32::INFINITY);
        assert_eq!(exp(EXP_LOWEST.next_down()).to_bits(), 0);
        assert!(f64::from(EXP_HIGHEST.next_up()).exp() > f64::from(f32::MAX));
        assert!(f64::from(EXP_LOWEST.next_down()).exp() < f64::from(f32::MIN_POSITIVE));
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
    }

    #[test]
    fn ln_of_what_is_not_positive_and_normal_is_as_stated() {
        let subnormal = f32::MIN_POSITIVE.next_down();
        for zero in [0.0, -0.0, subnormal, -subnormal] {
            assert_eq!(ln(zero), f32::NEG_INFINITY);
        }
        for negative in [-f32::MIN_POSITIVE, -1.0, f32::MIN, f32::NEG_INFINITY] {
            assert!(ln(negative).is_nan());
        }
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert_eq!(ln(1.0).to_bits(), 0);
    }

    #[test]
    fn erf_is_odd_and_ends_at_one() {
        assert!(sweep().filter(|x| x.abs() >= TINY).all(|x| erf(-x) == -erf(x)));
        assert_eq!((erf(ERF_ONE), erf(f32::INFINITY), erf(f32::NEG_INFINITY)), (1.0, 1.0, -1.0));
        assert!(erf(ERF_ONE.next_down()) < 1.0);
    }

    #[test]
    fn gelus_end_at_zero_and_at_their_argument() {
        for gelu in [gelu_erf, gelu_erf_8bit, gelu_tanh] {
            for x in [(-12.5f32).next_down(), -1e4, -1e20, f32::MIN, f32::NEG_INFINITY] {
                assert_eq!(gelu(x).to_bits(), 0, "at {x:e}");
            }
            for x in [20.0, 1e4, 1e20, f32::MAX, f32::INFINITY] {
                assert_eq!(gelu(x), x);
            }
            assert_eq!((gelu(0.0).to_bits(), gelu(-0.0).to_bits()), (0, 0));
        }
        assert!(gelu_erf(-12.5) < 0.0 && gelu_tanh(-10.0) < 0.0);
        assert_eq!(gelu_tanh((-10.0f32).next_down()).to_bits(), 0);
    }

    #[test]
    fn sigmoid_ends_at_zero_and_one() {
        assert!(sigmoid(-87.0) >= f32::MIN_POSITIVE);
        for x in [(-87.0f32).next_down(), f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(sigmoid(x).to_bits(), 0);
        }
        assert_eq!((sigmoid(SIGMOID_ONE), sigmoid(f32::INFINITY)), (1.0, 1.0));
        assert!(sigmoid(SIGMOID_ONE.next_down()) < 1.0);
        assert_eq!(sigmoid(0.0), 0.5);
    }

    #[test]
    fn relu_keeps_positive_numbers_only() {
        assert_eq!((relu(2.5), relu(-2.5).to_bits(), relu(-0.0).to_bits()), (2.5, 0, 0));
        assert_eq!(relu(f32::MIN_POSITIVE), f32::MIN_POSITIVE);
        assert_eq!(relu(f32::MIN_POSITIVE.next_down()).to_bits(), 0);
        assert_eq!((relu(f32::INFINITY), relu(f32::NEG_INFINITY).to_bits()), (f32::INFINITY, 0));
    }

    #[test]
    fn nan_stays_nan() {
        for (name, function) in ALL {
            assert!(function(f32::NAN).is_nan() && function(-f32::NAN).is_nan(), "{name}");
        }
    }

    #[test]
    fn no_result_is_subnormal_or_negative_zero() {
        for (name, function) in ALL.iter().filter(|(name, _)| *name != "sqrt") {
            for x in sweep().filter(|x| *name != "round_ties_even" || x.abs() < 4e6) {
                let y = function(x);
                assert!(!y.is_subnormal() && y.to_bits() != (-0.0f32).to_bits(), "{name} {x:e}");
            }
        }
    }

    #[test]
    fn results_have_their_golden_bits() {
        let golden = [
            (-87.0, 0x00b3_3687),
            (-3.7, 0x3cca_88fe),
            (-0.1, 0x3f67_a36d),
            (0.5, 0x3fd3_094c),
            (1.0, 0x402d_f854),
            (88.5, 0x7f4c_dcc4),
        ];
        assert_bits(exp, &golden);
        let golden =
            [(-20.0, 0x310d_a609), (-3.7, 0x3cca_8e3e), (-0.1, 0x3f67_a4ae), (0.0, 0x3f80_0000)];
        assert_bits(exp_8bit, &golden);
        let golden = [
            (1e-30, 0xc28a_27b5),
            (0.3, 0xbf9a_1bc8),
            (0.99, 0xbc24_aa20),
            (1.01, 0x3c23_06ac),
            (3.7, 0x3fa7_7773),
            (1e30, 0x428a_27b5),
        ];
        assert_bits(ln, &golden);
        let golden = [
            (-2.0, 0xbf7e_cd71),
            (-0.7, 0xbf2d_8461),
            (1e-3, 0x3a93_e61c),
            (0.1, 0x3de6_52f5),
            (1.0, 0x3f57_bb3d),
            (3.3, 0x3f7f_ffcd),
        ];
        assert_bits(erf, &golden);
        let golden = [
            (-12.0, 0x8add_6066),
            (-2.5, 0xbc7e_5911),
            (-0.3, 0xbdea_c157),
            (0.3, 0x3e3d_d289),
            (1.0, 0x3f57_625e),
            (4.9, 0x409c_ccc8),
        ];
        assert_bits(gelu_erf, &golden);
        let golden = [
            (-3.9, 0xb9be_9ccd),
            (-2.5, 0xbc7d_7280),
            (-0.3, 0xbdea_ec26),
            (0.3, 0x3e3d_bd21),
            (1.5, 0x3fb3_320a),
            (4.9, 0x409c_cccd),
        ];
        assert_bits(gelu_erf_8bit, &golden);
        let golden = [
            (-9.5, 0x8a0a_b720),
            (-2.5, 0xbc77_2405),
            (-0.3, 0xbdea_c2a7),
            (0.3, 0x3e3d_d1e1),
            (1.0, 0x3f57_585c),
            (4.9, 0x409c_cccc),
        ];
        assert_bits(gelu_tanh, &golden);
        let golden = [
            (-80.0, 0x05bf_ecba),
            (-7.3, 0x3a30_f806),
            (-0.3, 0x3ed9_e2ac),
            (0.3, 0x3f13_0eaa),
            (1.0, 0x3f3b_26a8),
            (9.1, 0x3f7f_f8ae),
        ];
        assert_bits(sigmoid, &golden);
        let golden =
            [(1e-40, 0x1e3c_e4e7), (0.3, 0x3f0c_378c), (2.0, 0x3fb5_04f3), (1e30, 0x5863_5fa9)];
        assert_bits(sqrt, &golden);
    }

    #[test]
    fn sweeps_have_their_golden_hashes() {
        let hash = |function: Function| {
            let results = sweep().map(function).map(|y| if y.is_nan() { 0.0 } else { y });
            let bytes = results.flat_map(|y| y.to_bits().to_le_bytes());
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        let hashes: Vec<u64> = ALL.iter().map(|&(_, function)| hash(function)).collect();
        let golden = [
            0xf4e4_c08d_9d6e_84f1,
            0x86f2_bc2c_4523_b93f,
            0xc740_8b08_6b69_caf7,
            0x561e_9d6c_bd98_1034,
            0x26cc_9564_f2c5_e563,
            0x8f3e_925e_f393_b06e,
            0x4edc_d287_0a0b_104b,
            0xc0f9_e82a_548d_d2f7,
            0x6b81_9565_c41a_090e,
            0x0df5_29e3_71bc_b351,
            0x12a1_502e_b888_059f,
            0xe0af_456b_9ea5_a4a3,
            0x0fe6_b7c1_146b_f0a7,
        ];
        assert_eq!(hashes, golden, "{hashes:#018x?}");
    }
}
