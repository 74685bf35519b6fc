//! Sound files as what a model of speech reads.

#[cfg(feature = "audio")]
mod file;
#[cfg(feature = "microphone")]
mod microphone;
mod samples;

#[cfg(feature = "microphone")]
pub use microphone::Microphone;
pub use samples::{Sound, features};

use crate::dataset::SampleInput;
use anyhow::{Context as _, Result, bail};
use coda_runtime::audio::{Context, POSITION};
use coda_runtime::config::Embedding;
use coda_runtime::model::Model;
use std::path::Path;

/// A sound as a model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Its features.
    pub input: SampleInput,
    /// That its end was cut.
    pub note: Option<String>,
}

/// The first `most` samples of a sound file, counted at 16 kHz. No more than these are decoded.
///
/// # Errors
/// The file cannot be read, is of a kind that is not supported, is damaged or cut off, or has no samples.
/// The error names the file. A build without the feature `audio` reads none.
pub fn read(path: &Path, most: usize) -> Result<Sound> {
    #[cfg(feature = "audio")]
    return file::read(path, most);
    #[cfg(not(feature = "audio"))]
    bail!(
        "{} ({most} samples): this build reads no sound files: it lacks the feature `audio`",
        path.display()
    );
}

/// A sound file for `model`, as long as its window at most.
///
/// # Errors
/// As of [`read`]; the model does not read sound.
pub fn read_for(path: &Path, model: &Model<'_>, context: Context) -> Result<Heard> {
    let Embedding::Frames { bins, positions } = model.config().embedding else {
        bail!("{}: the model does not read sound", path.display());
    };
    let sound = read(path, positions * POSITION)?;
    let features = sound.features(bins, positions, context);
    let features = features.with_context(|| path.display().to_string())?;
    let seconds = positions as f64 * 0.02;
    let note = sound.cut.then(|| {
        format!("the sound is longer than the {seconds} s that the model reads: its end was cut")
    });
    Ok(Heard { input: SampleInput::Features(features), note })
}
