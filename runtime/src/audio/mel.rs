//! The triangles of the mel scale.

use super::fourier::FRAME;
use super::rate::{FRAMES_A_POSITION, SAMPLE_RATE};
use core::f64::consts::LN_2;

/// Bins of the transform inside the triangles: 1 to 199. At 0 Hz and at 8000 Hz every triangle is 0.
const BINS: usize = FRAME / 2 - 1;
/// Distance of the bins, in Hz.
const BIN_WIDTH: f64 = SAMPLE_RATE as f64 / FRAME as f64;
/// Where the scale turns from linear to logarithmic, in mel and in Hz.
const BREAK_MEL: f64 = 15.0;
const BREAK_HZ: f64 = 1000.0;
/// Mel in which the frequency grows 6.4 times, and the logarithm of that.
const OCTAVES: f64 = 27.0;
const LN_6_4: f64 = 1.856_297_990_365_626_3;

/// A bank of triangular filters on Slaney's mel scale, of 0 to 8000 Hz, each with area 1 in Hz.
///
/// Filter m is the triangle over `f(m), f(m + 1), f(m + 2)` of height `2 / (f(m + 2) - f(m))`, where the f are
/// equally spaced in mel. Between two neighbouring f a bin lies on two of them: one that rises and the one
/// before it, which falls. So a bank is three numbers a bin, and a frame 398 products.
///
/// Source: Slaney's Auditory Toolbox, as librosa and Whisper have it; `docs/method.md`, "Front end of speech".
#[derive(Debug)]
pub struct Mel {
    bins: usize,
    /// For bins 1 to 199: the filter that rises there, which may be one past the last.
    rising: [u8; BINS],
    /// The weight in that filter.
    rise: [f32; BINS],
    /// The weight in the filter before it.
    fall: [f32; BINS],
}

/// 80 filters: Whisper up to large-v2.
pub static MEL_80: Mel = Mel::new(80);
/// 128 filters: Whisper from large-v3 on.
pub static MEL_128: Mel = Mel::new(128);

impl Mel {
    /// The bank with so many filters: 80 or 128. A program that names [`MEL_80`] alone has no table of
    /// the other.
    #[must_use]
    pub fn of(bins: usize) -> Option<&'static Self> {
        [&MEL_80, &MEL_128].into_iter().find(|mel| mel.bins == bins)
    }

    /// Filters, which are values of a frame.
    #[must_use]
    pub const fn bins(&self) -> usize {
        self.bins
    }

    /// Values of features of `positions` positions: `2 * positions * bins`. More than the machine can
    /// address is the largest number.
    #[must_use]
    pub const fn values(&self, positions: usize) -> usize {
        positions.saturating_mul(FRAMES_A_POSITION * self.bins)
    }

    const fn new(bins: usize) -> Self {
        let mut mel = Self { bins, rising: [0; BINS], rise: [0.0; BINS], fall: [0.0; BINS] };
        let (mut at, mut filter) = (0, 0);
        while at < BINS {
            let hz = (at + 1) as f64 * BIN_WIDTH;
            while edge(filter + 1, bins) <= hz {
                filter += 1;
            }
            let (lower, upper) = (edge(filter, bins), edge(filter + 1, bins));
            mel.rising[at] = filter as u8;
            if filter < bins {
                let height = 2.0 / (edge(filter + 2, bins) - lower);
                mel.rise[at] = (height * (hz - lower) / (upper - lower)) as f32;
            }
            if filter > 0 {
                let height = 2.0 / (upper - edge(filter - 1, bins));
                mel.fall[at] = (height * (upper - hz) / (upper - lower)) as f32;
            }
            at += 1;
        }
        mel
    }

    /// Adds the power of bin `at` of the transform to the filters that it lies in.
    ///
    /// **Shapes**: `row` `[bins]`.
    #[inline(always)]
    pub(super) fn add(&self, at: usize, power: f32, row: &mut [f32]) {
        let at = at.wrapping_sub(1);
        let weight = |weights: &[f32; BINS]| weights.get(at).copied().unwrap_or_default();
        let rising = usize::from(self.rising.get(at).copied().unwrap_or_default());
        let mut put = |filter: usize, value: f32| {
            row.get_mut(filter).into_iter().for_each(|slot| *slot += value);
        };
        put(rising.wrapping_sub(1), weight(&self.fall) * power);
        put(rising, weight(&self.rise) * power);
    }
}

/// Edge `index` of `bins + 2` between 0 and 8000 Hz, in Hz.
const fn edge(index: usize, bins: usize) -> f64 {
    // ln 8 is that of 8000 Hz over 1000.
    let highest = BREAK_MEL + OCTAVES * (3.0 * LN_2) / LN_6_4;
    let mel = highest * index as f64 / (bins + 1) as f64;
    if mel < BREAK_MEL {
        mel * BREAK_HZ / BREAK_MEL
    } else {
        BREAK_HZ * exp((mel - BREAK_MEL) * LN_6_4 / OCTAVES)
    }
}

/// The series of the exponential in float64, for the compiler: of 0 to 2.1.
const fn exp(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    let mut n = 1.0;
    while n < 32.0 {
        term *= x / n;
        sum += term;
        n += 1.0;
    }
    sum
}
