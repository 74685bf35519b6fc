//! Accuracy and latency at several reductions, measured side by side.

use crate::dataset::Sample;
use crate::session::Session;
use anyhow::{Context, Result, ensure};
use coda_runtime::config::{Head, HeadKind, Reading};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde::Serialize;
use std::iter::{repeat, repeat_n};
use std::time::Instant;

/// One line of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReductionResult {
    /// Reduction factor r; none where the task's own was used.
    pub reduction: Option<f32>,
    /// Right answers, per cent.
    pub accuracy: f64,
    /// Median latency of one inference, milliseconds; text to tokens not counted.
    pub median_ms: f64,
    /// Median of (latency at the first reduction / latency here), sample by sample: samples differ.
    pub speed_up: f64,
    /// Median time from text to label, milliseconds; [`median_ms`](Self::median_ms) without texts.
    pub end_to_end_ms: f64,
    /// [`speed_up`](Self::speed_up) from text to label.
    pub end_to_end_speed_up: f64,
    /// The answer to each sample.
    #[serde(skip)]
    pub answers: Vec<Option<usize>>,
}

impl ReductionResult {
    /// The reduction for a table.
    #[must_use]
    pub fn name(&self) -> String {
        self.reduction.map_or_else(|| "task".to_owned(), |reduction| reduction.to_string())
    }
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of samples.
    pub samples: usize,
    /// Kernel table.
    pub kernels: &'static str,
    /// Longest input in tokens.
    pub tokens: usize,
    /// The inputs are texts: from text to label is longer than from tokens.
    #[serde(skip)]
    pub from_text: bool,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// One entry for each reduction, in the order asked for.
    pub reductions: Vec<ReductionResult>,
}

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'s> {
    /// Reductions to compare, `None` for the task's own; the first is the reference of the speed-up.
    pub reductions: &'s [Option<f32>],
    /// Factor on the reduction of each layer ([`layer_reductions`]); empty for 1.
    pub layer_factors: &'s [f32],
    /// Kernel table.
    pub kernels: &'static Kernels,
    /// Threads of one inference.
    pub threads: usize,
}

/// Runs every sample at every reduction, one reduction after the other for each sample, so that
/// a change of the machine's speed meets all of them. `progress` is called after each sample.
///
/// # Errors
/// The model has no classifier, or an input or reduction does not fit.
pub fn evaluate(
    model: &Model<'_>,
    samples: &[Sample],
    settings: Settings<'_>,
    mut progress: impl FnMut(),
) -> Result<Evaluation> {
    let chooses = |head: Head| {
        let labels = matches!(head.kind, HeadKind::Classification { .. });
        labels && head.reading == Reading::Largest
    };
    ensure!(
        model.head().is_some_and(chooses),
        "the model chooses no label of several, so there is no accuracy: it needs a classifier of one \
         label"
    );
    let layers = model.config().layers;
    check_layer_factors(settings.layer_factors, layers)?;
    let each = |reduction| layer_reductions(repeat_n(reduction, layers), settings.layer_factors);
    let budgets: Vec<_> = settings.reductions.iter().map(|reduction| reduction.map(each)).collect();
    let longest = samples.iter().map(|sample| sample.input.tokens(model)).max().unwrap_or(0);
    let mut session = Session::new(model, Capacity::any_budget(longest))?
        .with_kernels(settings.kernels)
        .with_threads(settings.threads)?;
    let mut tallies = vec![Tally::default(); budgets.len()];
    for (index, sample) in samples.iter().enumerate() {
        for (tally, layers) in tallies.iter_mut().zip(&budgets) {
            let start = Instant::now();
            let budget = layers.as_deref().map_or(Budget::Task, Budget::PerLayer);
            let label = session
                .run(sample.input.as_input(), budget, &mut (), |output| output.label())
                .with_context(|| format!("sample {}", index + 1))?;
            let seconds = start.elapsed().as_secs_f64();
            tally.add(label == Some(sample.label), seconds, sample.tokenizing);
            tally.answers.push(label);
        }
        progress();
    }
    let pairs = settings.reductions.iter().zip(&tallies);
    Ok(Evaluation {
        samples: samples.len(),
        kernels: settings.kernels.name,
        tokens: longest,
        from_text: samples.iter().any(|sample| sample.tokenizing > 0.0),
        arena_bytes: session.plan().arena_bytes(),
        reductions: pairs.map(|(r, tally)| tally.result(*r, &tallies[0])).collect(),
    })
}

/// What came of one reduction, sample by sample.
#[derive(Clone, Default)]
struct Tally {
    right: usize,
    answers: Vec<Option<usize>>,
    seconds: Vec<f64>,
    from_text: Vec<f64>,
}

impl Tally {
    fn add(&mut self, right: bool, seconds: f64, tokenizing: f64) {
        self.right += usize::from(right);
        self.seconds.push(seconds);
        self.from_text.push(tokenizing + seconds);
    }

    fn result(&self, reduction: Option<f32>, reference: &Self) -> ReductionResult {
        ReductionResult {
            reduction,
            accuracy: 100.0 * self.right as f64 / self.seconds.len() as f64,
            median_ms: 1000.0 * median(self.seconds.clone()),
            speed_up: median_ratio(&reference.seconds, &self.seconds),
            end_to_end_ms: 1000.0 * median(self.from_text.clone()),
            end_to_end_speed_up: median_ratio(&reference.from_text, &self.from_text),
            answers: self.answers.clone(),
        }
    }
}

/// The reduction of each layer: what `reductions` gives for it, times its factor, at least 1 (ours).
/// Layers without a factor have 1.
pub fn layer_reductions(reductions: impl Iterator<Item = f32>, factors: &[f32]) -> Vec<f32> {
    let factors = factors.iter().copied().chain(repeat(1.0));
    reductions.zip(factors).map(|(reduction, factor)| (reduction * factor).max(1.0)).collect()
}

/// Whether `factors` are what a model of so many layers can have: none, or one above 0 for each.
///
/// # Errors
/// They are not; the error says why.
pub fn check_layer_factors(factors: &[f32], layers: usize) -> Result<()> {
    let count = factors.len();
    ensure!(count == 0 || count == layers, "{count} layer factors for a model of {layers} layers");
    let bad = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0));
    ensure!(bad.is_none(), "a layer factor must be above 0, not {}", bad.unwrap_or(&0.0));
    Ok(())
}

fn median_ratio(dense: &[f64], own: &[f64]) -> f64 {
    median(dense.iter().zip(own).map(|(dense, own)| dense / own).collect())
}

/// Whether a task routes tokens in some layer. Where none does, every reduction computes the same.
#[must_use]
pub fn routes(model: &Model<'_>) -> bool {
    (0..model.config().layers).any(|layer| model.layer(layer).routing.is_some())
}

/// The median; 0 for none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_divide_the_reduction_among_layers() {
        let layers = |reduction| layer_reductions(repeat_n(reduction, 3), &[0.125, 1.0, 2.0]);
        assert_eq!(layers(18.0), [2.25, 18.0, 36.0]);
        assert_eq!(layers(4.0), [1.0, 4.0, 8.0]);
        assert_eq!(layer_reductions([4.0, 2.0].into_iter(), &[0.5]), [2.0, 2.0]);
    }

    #[test]
    fn there_is_one_factor_above_nothing_for_each_layer() {
        assert!(check_layer_factors(&[], 2).is_ok());
        assert!(check_layer_factors(&[0.5, 8.0], 2).is_ok());
        for factors in [&[1.0][..], &[1.0; 3], &[1.0, 0.0], &[1.0, f32::NAN]] {
            assert!(check_layer_factors(factors, 2).is_err(), "{factors:?}");
        }
    }
}
