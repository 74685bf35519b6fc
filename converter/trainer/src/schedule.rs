//! A reduction for each layer, found on validation data for a budget of multiply-accumulates (ours).

use crate::model::{Model, TaskSpec};
use coda_runtime::config::{AttentionMode, Config};
use coda_runtime::routing::tokens_for_reduction;

/// Reductions that a layer may have.
const NOTCHES: [f32; 11] = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0];

/// Multiply-accumulates of layer `index` for `tokens` tokens at a reduction (`coda.md`, "Cost of one
/// layer", and the task's own parts).
#[must_use]
pub fn layer_cost(
    (config, spec): (&Config, &TaskSpec),
    index: usize,
    tokens: usize,
    reduction: f32,
) -> f64 {
    let mode = spec.routing(index).filter(|_| reduction > 1.0);
    let n = tokens as f64;
    let k = mode.map_or(tokens, |_| tokens_for_reduction(tokens, reduction)) as f64;
    let (d, width) = (config.hidden as f64, config.attention_width() as f64);
    let maps = if config.gated { 3.0 } else { 2.0 };
    let row = 2.0 * d * width + maps * d * config.feed_forward as f64;
    let exact = if mode == Some(AttentionMode::KToAll) { n } else { k };
    let keys = if matches!(mode, None | Some(AttentionMode::KToK)) { k } else { n };
    let low_rank = match mode {
        Some(AttentionMode::KToLowRank) => (n - k) * spec.low_rank as f64 * (d + 2.0 * width),
        _ => 0.0,
    };
    let router = spec.routing(index).map_or(0.0, |_| d);
    let task = n * (2.0 * d * spec.adapter_hidden as f64 + router);
    k * row + exact * 2.0 * d * width + 2.0 * k * keys * width + low_rank + task
}

/// Multiply-accumulates of all layers for inputs of these lengths.
#[must_use]
pub fn cost(model: &Model, lengths: &[usize], reductions: &[f32]) -> f64 {
    let shape = (&model.config, &model.spec);
    let of = |length: usize| -> f64 {
        let layers = reductions.iter().enumerate();
        layers.map(|(index, r)| layer_cost(shape, index, length, *r)).sum()
    };
    lengths.iter().map(|length| of(*length)).sum()
}

/// Finds reductions whose cost is at most `1 / speed` of the dense one and whose loss is least:
/// beginning with one reduction for all layers, one layer after the other is made denser and another
/// sparser, as long as that lowers the loss.
///
/// `loss` measures a schedule; `tell` hears of every step.
///
/// # Errors
/// A measurement failed.
pub fn search<E>(
    model: &Model,
    lengths: &[usize],
    speed: f64,
    mut loss: impl FnMut(&[f32]) -> Result<f64, E>,
    mut tell: impl FnMut(&[f32], f64),
) -> Result<Vec<f32>, E> {
    let layers = model.config.layers;
    let budget = cost(model, lengths, &vec![1.0; layers]) / speed;
    let values =
        |notches: &[usize]| -> Vec<f32> { notches.iter().map(|notch| NOTCHES[*notch]).collect() };
    let fits = |notches: &[usize]| cost(model, lengths, &values(notches)) <= budget;
    let routed: Vec<usize> = (0..layers).filter(|i| model.spec.routing(*i).is_some()).collect();
    let uniform = |notch: usize| {
        let own = |index| if routed.contains(&index) { notch } else { 0 };
        (0..layers).map(own).collect::<Vec<usize>>()
    };
    let last = NOTCHES.len() - 1;
    let first = (0..last).find(|notch| fits(&uniform(*notch))).unwrap_or(last);
    let mut best = uniform(first);
    let mut least = loss(&values(&best))?;
    tell(&values(&best), least);
    loop {
        let mut found: Option<(Vec<usize>, f64)> = None;
        for denser in &routed {
            for sparser in routed.iter().filter(|index| *index != denser) {
                let Some(next) = exchange(&best, *denser, *sparser, last, &fits) else { continue };
                let value = loss(&values(&next))?;
                if value < found.as_ref().map_or(least, |(_, value)| *value) {
                    found = Some((next, value));
                }
            }
        }
        let Some((next, value)) = found else { return Ok(values(&best)) };
        (best, least) = (next, value);
        tell(&values(&best), least);
    }
}

/// One layer two notches denser at most, another as much sparser as the budget asks for.
fn exchange(
    notches: &[usize],
    denser: usize,
    sparser: usize,
    last: usize,
    fits: &impl Fn(&[usize]) -> bool,
) -> Option<Vec<usize>> {
    let mut next = notches.to_vec();
    next[denser] = next[denser].checked_sub(1)?;
    while !fits(&next) {
        if next[sparser] == last {
            return None;
        }
        next[sparser] += 1;
    }
    (next != notches).then_some(next)
}
