//! Samples, frames and positions.

/// Samples a second.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples from a frame to the next.
pub(super) const HOP: usize = 160;
/// Frames of a position of the encoder.
pub const FRAMES_A_POSITION: usize = 2;
/// Samples of a position of the encoder: 20 ms.
pub const POSITION: usize = FRAMES_A_POSITION * HOP;
/// A sample beyond it is an error, not a loud sound: full scale is 1.
pub(super) const LARGEST: f32 = 16.0;
