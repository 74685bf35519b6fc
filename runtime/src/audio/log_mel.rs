//! Samples in, rows of features out.

use super::error::AudioError;
use super::fourier::{FRAME, Spectrum};
use super::mel::Mel;
use super::rate::{HOP, LARGEST, POSITION};
use crate::kernels::math::ln;
use crate::tensor::Part;
use core::f32::consts::LOG10_E;

/// Samples by which a frame begins before its place: what is reflected at both ends.
const REFLECTED: usize = FRAME / 2;
/// The least power that counts.
const LEAST_POWER: f32 = 1e-10;
/// Decades below the loudest value at which a value is held.
const RANGE: f32 = 8.0;
/// How many positions a sound becomes when it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Context {
    /// The whole window, with silence behind the sound: what Whisper was trained on.
    #[default]
    Padded,
    /// As few as hold the sound, `ceil(samples / 320)`.
    Exact,
    /// As few as hold the sound, but at least so many, and at most the window.
    AtLeast(usize),
}

/// The features of a sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features<'a> {
    /// `[2 positions, bins]`, frame after frame: what a convolution over time gathers lies together.
    pub values: &'a [f32],
    /// Values of a frame.
    pub bins: usize,
    /// Positions of the encoder, of 320 samples or 20 ms each.
    pub positions: usize,
}

/// Log-mel features of one sound, made while it arrives.
///
/// It holds the last 400 samples and the transform of one frame, `size_of::<LogMel>()` bytes, below 3.3 KB;
/// features go to the caller's buffer.
#[derive(Debug)]
pub struct LogMel<'a> {
    mel: &'static Mel,
    rows: &'a mut [f32],
    frame: [f32; FRAME],
    /// Samples of the frame that are there.
    filled: usize,
    spectrum: Spectrum,
    /// Samples of the sound so far.
    samples: usize,
    frames: usize,
    loudest: f32,
}

impl<'a> LogMel<'a> {
    /// Begins a sound.
    ///
    /// **Shapes**: `buffer` `[2 positions, bins]`, [`Mel::values`]: its length says how many positions the
    /// window has, at most as many as the encoder.
    #[must_use]
    pub fn new(mel: &'static Mel, buffer: &'a mut [f32]) -> Self {
        Self {
            mel,
            rows: buffer,
            frame: [0.0; FRAME],
            filled: REFLECTED,
            spectrum: Spectrum::ZERO,
            samples: 0,
            frames: 0,
            loudest: f32::MIN,
        }
    }

    /// Samples that still fit into the window.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.window() * POSITION).saturating_sub(self.samples)
    }

    /// Takes the next samples: 16 kHz, mono, 32768 is full scale.
    ///
    /// # Errors
    /// They do not fit into the window ([`LogMel::room`]).
    pub fn push_i16(&mut self, samples: &[i16]) -> Result<(), AudioError> {
        self.fits(samples.len())?;
        samples.iter().for_each(|sample| self.take(f32::from(*sample) / 32_768.0));
        self.samples += samples.len();
        Ok(())
    }

    /// Takes the next samples: 16 kHz, mono, 1 is full scale.
    ///
    /// # Errors
    /// They do not fit into the window ([`LogMel::room`]), or one of them is not a number within -16 to 16.
    pub fn push(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.fits(samples.len())?;
        let wrong = samples.iter().position(|sample| sample.is_nan() || sample.abs() > LARGEST);
        if let Some(at) = wrong {
            return Err(AudioError::Sample { index: self.samples + at });
        }
        samples.iter().for_each(|sample| self.take(*sample));
        self.samples += samples.len();
        Ok(())
    }

    /// Ends the sound.
    ///
    /// # Errors
    /// There were no samples.
    pub fn finish(mut self, context: Context) -> Result<Features<'a>, AudioError> {
        if self.samples == 0 {
            return Err(AudioError::Empty);
        }
        let least = self.samples.div_ceil(POSITION);
        let positions = match context {
            Context::Exact => least,
            Context::AtLeast(positions) => positions.min(self.window()).max(least),
            Context::Padded => self.window(),
        };
        (self.samples..positions * POSITION).for_each(|_| self.take(0.0));
        self.reflect_end();
        self.write_frame();
        let rows = self.rows.parts_mut(self.mel.values(positions)).0;
        let least = self.loudest - RANGE;
        rows.iter_mut().for_each(|x| *x = (x.max(least) + 4.0) * 0.25);
        Ok(Features { values: rows, bins: self.mel.bins(), positions })
    }

    /// Positions that the buffer holds.
    fn window(&self) -> usize {
        self.rows.len().checked_div(self.mel.values(1)).unwrap_or_default()
    }

    fn fits(&self, count: usize) -> Result<(), AudioError> {
        if count <= self.room() {
            return Ok(());
        }
        let samples = self.samples.saturating_add(count);
        Err(AudioError::TooLong { samples, most: self.window() * POSITION })
    }

    /// A frame that is full is written when the next sample comes: the first one needs it.
    #[inline]
    fn take(&mut self, sample: f32) {
        if self.filled == FRAME {
            if self.frames == 0 {
                self.reflect_start(sample);
            }
            self.write_frame();
            self.frame.copy_within(HOP.., 0);
            self.filled = FRAME - HOP;
        }
        self.frame.iter_mut().skip(self.filled).take(1).for_each(|slot| *slot = sample);
        self.filled += 1;
    }

    /// Samples 1 to 200 before sample 0, the first of them last.
    fn reflect_start(&mut self, sample_200: f32) {
        let (before, after) = self.frame.parts_mut(REFLECTED);
        let behind = after.iter().skip(1).chain([&sample_200]);
        before.iter_mut().rev().zip(behind).for_each(|(slot, sample)| *slot = *sample);
    }

    /// The rest of the last frame: the samples before the last one, backwards.
    fn reflect_end(&mut self) {
        let (before, after) = self.frame.parts_mut(self.filled);
        let behind = before.iter().rev().skip(1);
        after.iter_mut().zip(behind).for_each(|(slot, sample)| *slot = *sample);
    }

    /// The logarithms of the frame's mel powers to the next row.
    fn write_frame(&mut self) {
        let bins = self.mel.bins();
        let row = self.rows.part_mut(self.frames * bins..(self.frames + 1) * bins);
        row.fill(0.0);
        // Silence needs no transform; its powers are these.
        if self.frame.iter().any(|sample| *sample != 0.0) {
            self.spectrum.transform(&self.frame);
            self.spectrum.powers(|bin, power| self.mel.add(bin, power, row));
        }
        for value in row {
            *value = ln(value.max(LEAST_POWER)) * LOG10_E;
            self.loudest = self.loudest.max(*value);
        }
        self.frames += 1;
    }
}
