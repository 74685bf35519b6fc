//! Samples, and what a model of speech reads of them.

use anyhow::{Context as _, Result};
use coda_runtime::audio::{Context, LogMel, Mel};

/// A sound that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples at 16 kHz, 1 is full scale.
    pub samples: Vec<f32>,
    /// Whether the file goes on.
    pub cut: bool,
}

/// The features of samples at 16 kHz for an encoder of `bins` mel bins and `positions` positions, `[frames, bins]`.
///
/// # Errors
/// No bank of triangles has so many bins, or the samples do not fit into the positions.
pub fn features(
    samples: &[f32],
    bins: usize,
    positions: usize,
    context: Context,
) -> Result<Vec<f32>> {
    let mel = Mel::of(bins);
    let mel = mel.with_context(|| format!("{bins} mel bins; sound becomes 80 or 128"))?;
    let mut values = vec![0.0; mel.values(positions)];
    let mut features = LogMel::new(mel, &mut values);
    features.push(samples)?;
    let filled = features.finish(context)?.values.len();
    values.truncate(filled);
    Ok(values)
}

impl Sound {
    /// The features of the sound for an encoder of `bins` mel bins and `positions` positions, `[frames, bins]`.
    ///
    /// # Errors
    /// As of [`features`].
    pub fn features(&self, bins: usize, positions: usize, context: Context) -> Result<Vec<f32>> {
        features(&self.samples, bins, positions, context)
    }
}
