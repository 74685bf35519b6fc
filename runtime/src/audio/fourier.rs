//! The power of a frame's discrete Fourier transform.
//!
//! 400 real samples x are 200 complex ones, `z(n) = x(2n) + i x(2n + 1)`. Their transform Z is computed by
//! decimation in time, in place, with radices 4, 2, 5, 5. Then, with `w = e^(-2 pi i / 400)`,
//!
//! ```text
//! 2 E(k)   = Z(k) + conj Z(200 - k)            the even samples' transform
//! 2 i O(k) = Z(k) - conj Z(200 - k)            the odd samples'
//! X(k)     = E(k) + w^k O(k),   X(200 - k) = conj(E(k) - w^k O(k))
//! ```

use core::f64::consts::PI;
use core::ops::{Add, Mul, Sub};

/// Samples of a frame, and points of its transform.
pub(super) const FRAME: usize = 400;
/// Complex points that hold them.
const HALF: usize = FRAME / 2;
/// A quarter of a turn.
const QUARTER: usize = FRAME / 4;

/// `sin(2 pi i / 400)` of a turn and a quarter: the cosine is a quarter further on.
static SINES: [f32; FRAME + QUARTER] = {
    let mut sines = [0.0; FRAME + QUARTER];
    let mut point = 0;
    while point < sines.len() {
        sines[point] = sine(point) as f32;
        point += 1;
    }
    sines
};

/// `sin(2 pi point / 400)` in float64, for the compiler.
const fn sine(point: usize) -> f64 {
    let within = point % QUARTER;
    match point / QUARTER % 4 {
        0 => first_quarter(within),
        1 => first_quarter(QUARTER - within),
        2 => 0.0 - first_quarter(within),
        _ => 0.0 - first_quarter(QUARTER - within),
    }
}

/// The series of the sine up to `x^25 / 25!`, which is below 1e-20 of the result.
const fn first_quarter(point: usize) -> f64 {
    let x = 2.0 * PI * point as f64 / FRAME as f64;
    let (mut term, mut sum) = (x, x);
    let mut n = 2.0;
    while n < 25.0 {
        term *= -x * x / (n * (n + 1.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// `cos(2 pi point / 400)` and `-sin(2 pi point / 400)`, for `point` below 400: `w^point`.
#[inline(always)]
fn turn(point: usize) -> Complex {
    let value = |at: usize| {
        debug_assert!(at < SINES.len(), "point {at} of a turn");
        SINES.get(at).copied().unwrap_or_default()
    };
    Complex { re: value(point + QUARTER), im: -value(point) }
}

/// The periodic Hann window `1/2 - cos(2 pi t / 400) / 2`.
#[inline(always)]
fn hann(t: usize) -> f32 {
    0.5 - 0.5 * turn(t).re
}

#[derive(Clone, Copy, Debug, Default)]
struct Complex {
    re: f32,
    im: f32,
}

impl Add for Complex {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }
}

impl Complex {
    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        Self { re: factor * self.re, im: factor * self.im }
    }

    /// -i times the number.
    #[inline(always)]
    const fn turned_back(self) -> Self {
        Self { re: self.im, im: -self.re }
    }

    #[inline(always)]
    fn conjugate(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    #[inline(always)]
    fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }
}

/// The transform of one frame, and the memory it is computed in.
#[derive(Clone, Debug)]
pub(super) struct Spectrum([Complex; HALF]);

impl Spectrum {
    pub(super) const ZERO: Self = Self([Complex { re: 0.0, im: 0.0 }; HALF]);

    /// Transforms a frame of samples under the Hann window.
    pub(super) fn transform(&mut self, samples: &[f32; FRAME]) {
        let sample = |at: usize| hann(at) * samples.get(at).copied().unwrap_or_default();
        for (group, block) in self.0.chunks_exact_mut(4).enumerate() {
            // Where decimation by 5, 5 and 2 puts the group's first point; the others are 50 apart.
            let first = group / 10 + 5 * (group / 2 % 5) + 25 * (group % 2);
            let point = |n: usize| Complex {
                re: sample(2 * (first + 50 * n)),
                im: sample(2 * (first + 50 * n) + 1),
            };
            let sums = four([point(0), point(1), point(2), point(3)]);
            block.iter_mut().zip(sums).for_each(|(slot, sum)| *slot = sum);
        }
        combine(&mut self.0, 4, two);
        combine(&mut self.0, 8, five);
        combine(&mut self.0, 40, five);
    }

    /// Gives `take` the power `|X(k)|^2` of bins 1 to 199, from both ends to the middle.
    pub(super) fn powers(&self, mut take: impl FnMut(usize, f32)) {
        let point = |k: usize| self.0.get(k).copied().unwrap_or_default();
        for k in 1..QUARTER {
            let (low, high) = (point(k), point(HALF - k).conjugate());
            let even = (low + high).scaled(0.5);
            let odd = turn(k) * (low - high).scaled(0.5).turned_back();
            take(k, (even + odd).power());
            take(HALF - k, (even - odd).power());
        }
        take(QUARTER, point(QUARTER).power());
    }
}

/// Joins `RADIX` neighbouring transforms of `length` points to one, everywhere.
#[inline(always)]
fn combine<const RADIX: usize>(
    points: &mut [Complex],
    length: usize,
    butterfly: impl Fn([Complex; RADIX]) -> [Complex; RADIX],
) {
    let step = FRAME / (RADIX * length);
    for block in points.chunks_exact_mut(RADIX * length) {
        for k in 0..length {
            let mut values = [Complex::default(); RADIX];
            for (part, value) in values.iter_mut().enumerate() {
                let own = block.get(k + part * length).copied().unwrap_or_default();
                *value = if part == 0 { own } else { turn(step * part * k) * own };
            }
            for (part, sum) in butterfly(values).into_iter().enumerate() {
                block.iter_mut().skip(k + part * length).take(1).for_each(|slot| *slot = sum);
            }
        }
    }
}

/// The transform of two points.
#[inline(always)]
fn two([a, b]: [Complex; 2]) -> [Complex; 2] {
    [a + b, a - b]
}

/// The transform of four points.
#[inline(always)]
fn four([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (sum, difference) = (a + c, a - c);
    let (other, turned) = (b + d, (b - d).turned_back());
    [sum + other, difference + turned, sum - other, difference - turned]
}

/// The transform of five points, by the symmetry of the fifth roots of one.
#[inline(always)]
fn five([a, b, c, d, e]: [Complex; 5]) -> [Complex; 5] {
    const FIFTH: usize = FRAME / 5;
    let (once, twice) = (turn(FIFTH), turn(2 * FIFTH));
    let (outer, inner) = (b + e, c + d);
    let near = a + outer.scaled(once.re) + inner.scaled(twice.re);
    let far = a + outer.scaled(twice.re) + inner.scaled(once.re);
    let (outer, inner) = ((b - e).turned_back(), (c - d).turned_back());
    let near_turned = outer.scaled(-once.im) + inner.scaled(-twice.im);
    let far_turned = outer.scaled(-twice.im) - inner.scaled(-once.im);
    [
        a + (b + e) + (c + d),
        near + near_turned,
        far + far_turned,
        far - far_turned,
        near - near_turned,
    ]
}
