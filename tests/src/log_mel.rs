//! Log-mel features: the reference vectors, and their definition once more in float64.

use crate::tolerance::LOG_MEL;
use anyhow::{Context as _, Result, ensure};
use coda_runtime::audio::{Context, LogMel, MEL_80, POSITION};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::f64::consts::PI;
use std::path::Path;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    clips: Vec<Clip>,
}

/// Where an input's sound lies in the samples of all.
#[derive(Debug, Deserialize)]
struct Clip {
    offset: usize,
    samples: usize,
    audio_context: usize,
}

/// Compares every input of a directory of speech: its `config.json` and `inputs.safetensors`. Gives the
/// number of inputs, 0 where there are no sounds.
///
/// # Errors
/// A file is missing or damaged, or a value is too far from its reference.
pub fn check(config: &Path, inputs: &Path) -> Result<usize> {
    let config: Config = serde_json::from_slice(&std::fs::read(config)?)?;
    if config.clips.is_empty() {
        return Ok(0);
    }
    let bytes = std::fs::read(inputs)?;
    let inputs = SafeTensors::deserialize(&bytes)?;
    let pcm: Vec<i16> = bytemuck::pod_collect_to_vec(inputs.tensor("pcm")?.data());
    for (index, clip) in config.clips.iter().enumerate() {
        let expected = inputs.tensor(&format!("log_mel_{index}"))?;
        let expected: Vec<f32> = bytemuck::pod_collect_to_vec(expected.data());
        let sound = pcm.get(clip.offset..).and_then(|behind| behind.get(..clip.samples));
        let sound = sound.context("a clip outside of `pcm`")?;
        compare(sound, clip.audio_context, &expected).with_context(|| format!("clip {index}"))?;
    }
    Ok(config.clips.len())
}

/// Compares the features of a sound, cut to `positions`, with `expected`, `[80, 2 positions]`.
fn compare(sound: &[i16], positions: usize, expected: &[f32]) -> Result<()> {
    let mut buffer = vec![0.0; MEL_80.values(positions)];
    let mut features = LogMel::new(&MEL_80, &mut buffer);
    features.push_i16(&sound[..sound.len().min(features.room())])?;
    let features = features.finish(Context::Padded)?;
    ensure!(expected.len() == features.values.len(), "{} values", expected.len());
    let frames = 2 * positions;
    let expected = |at: usize| f64::from(expected[at % 80 * frames + at / 80]);
    let found = features.values.iter().copied().map(f64::from);
    match LOG_MEL.first_miss(found, (0..features.values.len()).map(expected)) {
        None => Ok(()),
        Some((at, found, expected)) => {
            anyhow::bail!("frame {} bin {}: {found}, expected {expected}", at / 80, at % 80)
        }
    }
}

/// The features of a sound by their definition, in float64 with a plain transform: `[2 positions, bins]`.
#[must_use]
pub fn reference(sound: &[f64], positions: usize, bins: usize) -> Vec<f64> {
    let samples = (positions * POSITION) as isize;
    let at = |index: isize| {
        let index = index.abs();
        let index = if index < samples { index } else { 2 * samples - 2 - index };
        sound.get(index as usize).copied().unwrap_or(0.0)
    };
    let filters = filters(bins);
    let mut values = Vec::new();
    for frame in 0..2 * positions as isize {
        let window = |t: usize| 0.5 - 0.5 * (2.0 * PI * t as f64 / 400.0).cos();
        let frame: Vec<f64> =
            (0..400).map(|t| window(t) * at(160 * frame - 200 + t as isize)).collect();
        let powers: Vec<f64> = (0..=200).map(|bin| power(&frame, bin)).collect();
        let sums = filters.iter().map(|filter| dot(filter, &powers));
        values.extend(sums.map(|sum| sum.max(1e-10).log10()));
    }
    let loudest = values.iter().copied().fold(f64::MIN, f64::max);
    values.iter().map(|value| (value.max(loudest - 8.0) + 4.0) / 4.0).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// The power of one bin of the 400-point transform, term by term.
fn power(frame: &[f64], bin: usize) -> f64 {
    let angle = |t: usize| 2.0 * PI * ((t * bin) % 400) as f64 / 400.0;
    let (cosines, sines): (Vec<f64>, Vec<f64>) =
        (0..400).map(|t| (angle(t).cos(), angle(t).sin())).unzip();
    dot(frame, &cosines).powi(2) + dot(frame, &sines).powi(2)
}

/// The triangles as dense rows over bins 0 to 200.
#[must_use]
pub fn filters(bins: usize) -> Vec<Vec<f64>> {
    let to_mel = |hz: f64| {
        if hz < 1000.0 { 0.015 * hz } else { 15.0 + 27.0 * (hz / 1000.0).ln() / 6.4f64.ln() }
    };
    let to_hz = |mel: f64| {
        if mel < 15.0 { mel / 0.015 } else { 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() }
    };
    let edge = |index: usize| to_hz(to_mel(8000.0) * index as f64 / (bins + 1) as f64);
    let filter = |m: usize| {
        let (low, middle, high) = (edge(m), edge(m + 1), edge(m + 2));
        let weight = |bin: usize| {
            let hz = 40.0 * bin as f64;
            let sides = ((hz - low) / (middle - low)).min((high - hz) / (high - middle));
            sides.max(0.0) * 2.0 / (high - low)
        };
        (0..=200).map(weight).collect()
    };
    (0..bins).map(filter).collect()
}
