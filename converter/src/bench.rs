//! Latency at several reductions, measured side by side.

use crate::dataset::SampleInput;
use crate::evaluate::median;
use crate::grid::Patches;
use crate::session::Session;
use anyhow::{Context, Result, bail, ensure};
use coda_runtime::config::{AttentionMode, Embedding};
use coda_runtime::image::PatchGrid;
use coda_runtime::model::{Macs, Model};
use coda_runtime::routing::{Budget, tokens_for_reduction};
use serde::Serialize;
use std::time::Instant;

/// Runs before the first that counts.
const WARM_UP: usize = 3;
/// Token ids repeat after a prime number of steps, so that neighbours differ.
const STRIDE: usize = 7919;

/// One line of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReductionTiming {
    /// Reduction factor r.
    pub reduction: f32,
    /// Median latency of one inference, milliseconds.
    pub median_ms: f64,
    /// 95th percentile, milliseconds.
    pub p95_ms: f64,
    /// [`median_ms`](Self::median_ms) at the first reduction, divided by the one here.
    pub speed_up: f64,
    /// Multiply-accumulates of the layers.
    pub macs: u64,
    /// Speed-up that the multiply-accumulates predict.
    pub predicted_speed_up: f64,
}

/// An input of `tokens` tokens for `model`: ids from all over the vocabulary, or a pattern of pixels.
///
/// # Errors
/// The model has no such input.
pub fn input(model: &Model<'_>, tokens: Option<usize>) -> Result<SampleInput> {
    if let Some(grid) = model.patch_grid() {
        let fixed = model.max_tokens().unwrap_or(0);
        let fits = tokens.is_none_or(|tokens| tokens == fixed);
        ensure!(fits, "the model reads images of {fixed} tokens: leave --tokens out");
        let bytes = 0..grid.image_bytes();
        return Ok(SampleInput::Pixels(bytes.map(|index| (index * 31 % 251) as u8).collect()));
    }
    if let Some(most) = PatchGrid::largest(&model.config().embedding) {
        return grid_input(model, most, tokens);
    }
    let tokens = tokens.or(model.max_tokens());
    let tokens = tokens.context("the model does not bound its inputs: give --tokens")?;
    if let Some(limit) = model.max_tokens() {
        ensure!(tokens >= 1 && tokens <= limit, "--tokens {tokens} must be from 1 to {limit}");
    }
    match model.config().embedding {
        Embedding::Tokens { vocabulary, .. } => {
            let ids = (0..tokens).map(|i| (i * STRIDE % vocabulary) as u32);
            Ok(SampleInput::Tokens(ids.collect()))
        }
        Embedding::Frames { bins, .. } => {
            let values =
                (0..2 * tokens * bins).map(|index| (index * 31 % 251) as f32 / 125.5 - 1.0);
            Ok(SampleInput::Features(values.collect()))
        }
        Embedding::Patches { .. } | Embedding::Grid { .. } => {
            bail!("the model reads neither pixels nor tokens")
        }
    }
}

/// An image of `tokens` patches, as near to a square as may be.
fn grid_input(model: &Model<'_>, most: PatchGrid, tokens: Option<usize>) -> Result<SampleInput> {
    let limit = model.max_tokens().unwrap_or(1);
    let tokens = tokens.unwrap_or(limit);
    ensure!(tokens >= 1 && tokens <= limit, "--tokens {tokens} must be from 1 to {limit}");
    let fits = |rows: &usize| {
        tokens.is_multiple_of(*rows) && *rows <= most.rows && tokens / rows <= most.columns
    };
    let rows = (1..=tokens).filter(fits).min_by_key(|rows| rows.abs_diff(tokens / rows));
    let rows =
        rows.with_context(|| format!("no image has {tokens} patches: give other --tokens"))?;
    let values = (0..tokens * most.inputs()).map(|index| (index * 31 % 251) as f32 / 125.0 - 1.0);
    let columns = tokens / rows;
    Ok(SampleInput::Grid(Patches { rows, columns, values: values.collect() }))
}

/// Multiply-accumulates of all layers for `tokens` tokens at reduction `r`.
///
/// # Errors
/// A layer cannot be read, which [`Model::bind`] has ruled out.
pub fn macs(model: &Model<'_>, tokens: usize, reduction: f32) -> Result<Macs> {
    macs_of(model, tokens, tokens_for_reduction(tokens, reduction))
}

/// Multiply-accumulates of all layers for `tokens` tokens of which `routed` pass the routed layers.
///
/// # Errors
/// As [`macs`].
pub fn macs_of(model: &Model<'_>, tokens: usize, routed: usize) -> Result<Macs> {
    let mut left = tokens;
    let layers = (0..model.config().layers).map(|index| -> Result<Macs> {
        let routing = model.layer(index).routing;
        let selected = if routing.is_some() { routed.min(left) } else { left };
        let macs = model.layer_macs(index, left, selected);
        if routing.is_some_and(|routing| routing.attention == AttentionMode::Prune) {
            left = selected;
        }
        Ok(macs)
    });
    layers.sum()
}

/// Times `runs` rounds, in each of them one inference at every reduction. `progress` is called
/// after each round.
///
/// # Errors
/// A reduction does not fit the input.
pub fn measure(
    session: &mut Session<'_>,
    input: &SampleInput,
    reductions: &[f32],
    runs: usize,
    mut progress: impl FnMut(),
) -> Result<Vec<ReductionTiming>> {
    let mut milliseconds = vec![Vec::new(); reductions.len()];
    for round in 0..WARM_UP + runs {
        for (series, reduction) in milliseconds.iter_mut().zip(reductions) {
            let start = Instant::now();
            session.run(input.as_input(), Budget::Reduction(*reduction), &mut (), |_| ())?;
            if round >= WARM_UP {
                series.push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
        if round >= WARM_UP {
            progress();
        }
    }
    timings(session.model(), input, reductions, &milliseconds)
}

fn timings(
    model: &Model<'_>,
    input: &SampleInput,
    reductions: &[f32],
    milliseconds: &[Vec<f64>],
) -> Result<Vec<ReductionTiming>> {
    let tokens = input.tokens(model);
    let first = reductions.first().copied().unwrap_or(1.0);
    let reference = macs(model, tokens, first)?.total() as f64;
    let lines = reductions.iter().zip(milliseconds).map(|(reduction, series)| {
        let macs = macs(model, tokens, *reduction)?.total();
        let median_ms = median(series.clone());
        Ok(ReductionTiming {
            reduction: *reduction,
            median_ms,
            p95_ms: percentile(series.clone(), 95),
            speed_up: median(milliseconds[0].clone()) / median_ms,
            macs,
            predicted_speed_up: reference / macs as f64,
        })
    });
    lines.collect()
}

/// The smallest value that at least `percent` per cent of the values do not exceed.
#[must_use]
pub fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_measured_value() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 95), 95.0);
        assert_eq!(percentile(values, 100), 100.0);
        assert_eq!(percentile(vec![3.0], 95), 3.0);
    }
}
