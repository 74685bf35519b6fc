//! Sound to the log-mel features of Whisper, while it arrives (`docs/method.md`, "Front end of speech").
//!
//! ```text
//! frame    400 samples every 160, times a Hann window
//! power    of its discrete Fourier transform, bins 0..200 of 40 Hz
//! mel      80 or 128 triangles over these bins
//! log      decimal, of at least 1e-10
//! finish   not below the loudest value minus 8, then (x + 4) / 4
//! ```
//!
//! A frame is written as soon as its samples are there; only the last line waits for the end. However a
//! sound is cut into pushes, the bits are the same, and they are on every CPU: sums have one order, nothing
//! is fused, sines and triangles are constants that the compiler computes in float64, and the logarithm is
//! [`crate::kernels::math::ln`]. What is subnormal on the way cannot show, because no power below 1e-10
//! counts.
//!
//! ```
//! use coda_runtime::audio::{Context, LogMel, MEL_80};
//!
//! // RAM for a window of 50 positions, which is a second.
//! let mut buffer = [0.0; MEL_80.values(50)];
//! let mut sound = LogMel::new(&MEL_80, &mut buffer);
//! sound.push_i16(&[120, -340, 75])?; // 16 kHz, mono, any count at a time
//! sound.push(&[0.25; 1000])?;
//! let features = sound.finish(Context::Exact)?;
//! assert_eq!(features.positions, 4); // of 20 ms each
//! assert_eq!(features.values.len(), 8 * 80); // [frames, bins]
//! # Ok::<(), coda_runtime::audio::AudioError>(())
//! ```
//!
//! | file | part |
//! |---|---|
//! | `log_mel` | [`LogMel`]: samples in, rows of features out |
//! | `fourier` | the power of a frame's 400-point transform |
//! | `mel` | [`Mel`]: the triangles |
//! | `rate` | samples, frames and positions |
//! | `error` | why a sound is refused |

mod error;
mod fourier;
mod log_mel;
mod mel;
mod rate;

pub use error::AudioError;
pub use log_mel::{Context, Features, LogMel};
pub use mel::{MEL_80, MEL_128, Mel};
pub use rate::{FRAMES_A_POSITION, POSITION, SAMPLE_RATE};
