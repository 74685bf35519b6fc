//! What an inference costs on this machine: measured, fitted, checked with deadlines.

use crate::bench::{input, percentile};
use crate::dataset::SampleInput;
use crate::evaluate::median;
use crate::session::{Session, worse};
use anyhow::{Context, Result, ensure};
use coda_runtime::decoder::AnswerCosts;
use coda_runtime::model::{Macs, Model};
use coda_runtime::routing::{Budget, CostModel, DeadlineChoice, TOKEN_GROUP, tokens_for_reduction};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Reductions that are timed at each length.
const REDUCTIONS: [f32; 9] = [1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0];
/// Runs before the first that counts.
pub(crate) const WARM_UP: usize = 3;
/// Steps of the fit; it has long stopped moving then.
const STEPS: usize = 20_000;
/// Columns of the fit: a cost for each.
const COSTS: usize = 5;
/// The share of runs whose time is within the margin of the prediction.
const WITHIN_MARGIN: usize = 99;
/// The largest margin: a machine noisier than this meets deadlines late rather than waste more.
const LARGEST_MARGIN: f32 = 0.12;
/// The largest error of a prediction that costs may have, about twice the largest margin. A quiet machine
/// has a few per cent; from here on a deadline says little of the time that is taken.
pub const LARGEST_ERROR: f32 = 0.25;
/// The share of the runs of one input that [`Fitted::noise`] covers.
const MOST_RUNS: usize = 90;

/// The costs of a package on a machine, as they are stored beside it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// The CPU they were measured on.
    pub cpu: String,
    /// The kernel table.
    pub kernels: String,
    /// Threads of an inference.
    pub threads: usize,
    /// Nanoseconds of an inference.
    pub fixed: f32,
    /// Nanoseconds of a token.
    pub token: f32,
    /// Nanoseconds of a multiply-accumulate of a frozen map.
    pub frozen: f32,
    /// Nanoseconds of a multiply-accumulate of attention.
    pub attention: f32,
    /// Nanoseconds of a multiply-accumulate of the task.
    pub task: f32,
    /// What deadlines set aside, as a share of the prediction.
    pub margin: f32,
    /// Largest error of the predicted median over the points measured, as a share of it.
    pub worst_error: f32,
    /// Those of an answer's tokens, of a model that writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<TokenCosts>,
}

/// What the tokens of an answer cost, as [`AnswerCosts`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenCosts {
    /// Nanoseconds of a multiply-accumulate of keys and values of the encoder's states.
    pub memory: f32,
    /// Nanoseconds of a weight of a step.
    pub weight: f32,
    /// Nanoseconds of a multiply-accumulate of a weight and a further hypothesis.
    pub row: f32,
    /// Nanoseconds of a multiply-accumulate of attention to kept keys and values.
    pub key: f32,
    /// What deadlines set aside, as a share of the prediction.
    pub margin: f32,
    /// Largest error of the predicted median over the points measured, as a share of it.
    pub worst_error: f32,
}

impl TokenCosts {
    /// For a generator.
    #[must_use]
    pub const fn model(&self) -> AnswerCosts {
        let Self { memory, weight, row, key, margin, .. } = *self;
        AnswerCosts { memory, weight, row, key, margin }
    }

    fn check(&self) -> Result<()> {
        let AnswerCosts { memory, weight, row, key, margin } = self.model();
        let costs = [memory, weight, row, key, margin];
        ensure!(costs.iter().all(|cost| *cost >= 0.0 && cost.is_finite()), "a cost is below 0");
        ensure!(weight > 0.0 || key > 0.0, "a token costs nothing");
        check_error(self.worst_error)
    }
}

impl Costs {
    /// For an executor.
    #[must_use]
    pub const fn model(&self) -> CostModel {
        let Self { fixed, token, frozen, attention, task, margin, .. } = *self;
        CostModel { fixed, token, frozen, attention, task, margin }
    }

    /// The file beside a package: its name and `.costs.json`.
    #[must_use]
    pub fn path(package: &Path) -> PathBuf {
        let mut name = package.as_os_str().to_owned();
        name.push(".costs.json");
        name.into()
    }

    /// Reads the file beside a package.
    ///
    /// # Errors
    /// It is not there, or is something else.
    pub fn read(package: &Path) -> Result<Self> {
        let path = Self::path(package);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: `coda bench --calibrate` writes it", path.display())
        })?;
        let costs: Self =
            serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        costs.check().with_context(|| {
            format!("{}: run `coda bench --calibrate` again on a quiet machine", path.display())
        })?;
        Ok(costs)
    }

    /// Whether deadlines may be kept by these costs.
    fn check(&self) -> Result<()> {
        let CostModel { fixed, token, frozen, attention, task, margin } = self.model();
        let costs = [fixed, token, frozen, attention, task, margin];
        ensure!(costs.iter().all(|cost| *cost >= 0.0 && cost.is_finite()), "a cost is below 0");
        ensure!(costs[..COSTS].iter().sum::<f32>() > 0.0, "every cost is 0");
        self.answer.iter().try_for_each(TokenCosts::check)?;
        check_error(self.worst_error)
    }
}

/// Times of one length and reduction.
struct Point {
    tokens: usize,
    macs: Macs,
    nanoseconds: Vec<f64>,
}

impl Point {
    fn columns(&self) -> [f64; COSTS] {
        let Macs { frozen, attention, task } = self.macs;
        [1.0, self.tokens as f64, frozen as f64, attention as f64, task as f64]
    }

    /// By how much most runs exceed the median, as a share of it.
    fn noise(&self) -> f64 {
        let times = &self.nanoseconds;
        percentile(times.clone(), MOST_RUNS) / median(times.clone()) - 1.0
    }
}

/// Rounds and inferences of [`calibrate`], for a progress bar.
#[must_use]
pub fn steps(model: &Model<'_>, tokens: usize, rounds: usize) -> usize {
    let points: usize = lengths(model, tokens).into_iter().map(|length| counts(length).len()).sum();
    (WARM_UP + rounds) * points
}

/// Tokens of the routed layers that are timed at a length.
fn counts(length: usize) -> Vec<usize> {
    let count = |reduction| {
        tokens_for_reduction(length, reduction).next_multiple_of(TOKEN_GROUP).min(length)
    };
    let mut counts = REDUCTIONS.map(count).to_vec();
    counts.dedup();
    counts
}

/// Lengths of the inputs: one for an encoder of images.
pub(crate) fn lengths(model: &Model<'_>, tokens: usize) -> Vec<usize> {
    if model.patch_grid().is_some() {
        return vec![tokens];
    }
    let mut lengths: Vec<usize> = [4, 2, 1].map(|part| tokens.div_ceil(part)).to_vec();
    lengths.dedup();
    lengths
}

/// Costs that were fitted to times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// The costs.
    pub costs: CostModel,
    /// Largest error of a predicted median, as a share of it.
    pub worst_error: f32,
    /// By how much nine in ten runs of an input exceed their own median at most, as a share of it; the
    /// median over inputs.
    pub noise: f32,
}

impl Fitted {
    /// Whether deadlines may be kept by these costs.
    ///
    /// # Errors
    /// The machine was busy, or the costs predict badly; the error says what to do.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.noise <= LARGEST_ERROR,
            "one run in ten took more than {:.0} % longer than the median of its like (at most {:.0} %): \
             other programs use the CPU; stop them, or give fewer --threads",
            self.noise * 100.0,
            LARGEST_ERROR * 100.0
        );
        check_error(self.worst_error).context("measure again on a quiet machine, with more --runs")
    }
}

/// No deadline is kept by a prediction that is off by more than [`LARGEST_ERROR`]; nor by a NaN.
pub(crate) fn check_error(worst: f32) -> Result<()> {
    ensure!(
        (0.0..=LARGEST_ERROR).contains(&worst),
        "the costs predict times with an error of up to {:.1} %, at most {:.0} % is of use",
        worst * 100.0,
        LARGEST_ERROR * 100.0
    );
    Ok(())
}

/// Measures inferences of up to `tokens` tokens and fits their costs. `progress` is called after
/// each.
///
/// # Errors
/// The model has no such input.
pub fn calibrate(
    session: &mut Session<'_>,
    tokens: usize,
    rounds: usize,
    mut progress: impl FnMut(),
) -> Result<Fitted> {
    let model = session.model();
    let mut points = Vec::new();
    for length in lengths(model, tokens) {
        let sample = input(model, model.patch_grid().is_none().then_some(length))?;
        for tokens in counts(length) {
            let macs = crate::bench::macs_of(model, length, tokens)?;
            let point = Point { tokens: length, macs, nanoseconds: Vec::new() };
            points.push((sample.clone(), tokens, point));
        }
    }
    for round in 0..WARM_UP + rounds {
        for (sample, tokens, point) in &mut points {
            let time = timed(session, sample, Budget::Selected(*tokens))?;
            if round >= WARM_UP {
                point.nanoseconds.push(time.as_nanos() as f64);
            }
            progress();
        }
    }
    let points: Vec<Point> = points.into_iter().map(|(.., point)| point).collect();
    Ok(fit(&points))
}

/// Runs one inference.
fn timed(session: &mut Session<'_>, sample: &SampleInput, budget: Budget<'_>) -> Result<Duration> {
    let start = Instant::now();
    session.run(sample.as_input(), budget, &mut (), |_| ())?;
    Ok(start.elapsed())
}

/// The costs that are closest to the medians, none of them negative, each point by its relative
/// error and by the square of its length; and the largest relative error.
fn fit(points: &[Point]) -> Fitted {
    let longest = points.iter().map(|point| point.tokens).max().unwrap_or(1) as f64;
    // The length that was asked for counts most.
    let weight = |point: &Point| (point.tokens as f64 / longest).powi(2);
    let row = |point: &Point| {
        let time = median(point.nanoseconds.clone()) / weight(point);
        point.columns().map(|column| column / time)
    };
    let rows: Vec<[f64; COSTS]> = points.iter().map(row).collect();
    let weights: Vec<f64> = points.iter().map(weight).collect();
    let (costs, left) = non_negative_least_squares(&rows, &weights);
    let errors = left.iter().zip(&weights).map(|(left, weight)| (left / weight).abs());
    let worst_error = errors.fold(0.0, worse) as f32;
    let [fixed, token, frozen, attention, task] = costs.map(|cost| cost as f32);
    let costs = CostModel { fixed, token, frozen, attention, task, margin: 0.0 };
    let costs = CostModel { margin: margin(&costs, points), ..costs };
    Fitted { costs, worst_error, noise: median(points.iter().map(Point::noise).collect()) as f32 }
}

/// `x >= 0` for which `rows x` is closest to `targets`, and what it leaves of them: coordinate
/// descent, where each value in turn takes up what the others leave.
pub(crate) fn non_negative_least_squares<const N: usize>(
    rows: &[[f64; N]],
    targets: &[f64],
) -> ([f64; N], Vec<f64>) {
    let sizes: [f64; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
    });
    let scaled = |row: &[f64; N], column: usize| row[column] / sizes[column];
    let (mut found, mut left) = ([0.0; N], targets.to_vec());
    for step in 0..STEPS {
        let column = step % N;
        let slope: f64 = rows.iter().zip(&left).map(|(row, left)| scaled(row, column) * left).sum();
        let new = (found[column] + slope).max(0.0);
        let change = new - found[column];
        for (row, left) in rows.iter().zip(&mut left) {
            *left -= change * scaled(row, column);
        }
        found[column] = new;
    }
    (std::array::from_fn(|column| found[column] / sizes[column]), left)
}

/// By how much a run takes longer than predicted at most, but for rare ones.
fn margin(costs: &CostModel, points: &[Point]) -> f32 {
    let excess = points.iter().flat_map(|point| {
        let predicted = f64::from(costs.predict(point.tokens, &point.macs));
        point.nanoseconds.iter().map(move |time| time / predicted - 1.0)
    });
    margin_of(excess.collect())
}

/// The margin, by how much each run took longer than predicted, as a share of that.
pub(crate) fn margin_of(excess: Vec<f64>) -> f32 {
    let margin = percentile(excess, WITHIN_MARGIN) as f32;
    margin.clamp(0.0, LARGEST_MARGIN)
}

/// What came of one deadline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadlineCheck {
    /// The time given, milliseconds.
    pub deadline_ms: f64,
    /// k that was chosen.
    pub tokens: usize,
    /// Layers that took more.
    pub layers: usize,
    /// Time predicted, milliseconds.
    pub predicted_ms: f64,
    /// Median of the runs, milliseconds.
    pub median_ms: f64,
    /// Share of runs that were late.
    pub late: f64,
    /// Share of runs of the same k without a deadline that took longer than their own median by more
    /// than what the deadline leaves above it: what the noise of the machine makes late.
    pub noise: f64,
    /// Every token passed every layer.
    pub full: bool,
}

/// Deadlines that are checked.
const DEADLINES: usize = 10;

/// Times at one deadline, milliseconds.
#[derive(Clone, Default)]
struct Series {
    choice: Option<DeadlineChoice>,
    given: Vec<f64>,
    /// Without a deadline, the same tokens.
    fixed: Vec<f64>,
}

/// Runs `runs` inferences at each of ten deadlines, from what a few tokens take to what all take,
/// and as many with the same tokens and no deadline, in turn.
///
/// # Errors
/// The session has no costs, or the model no such input.
pub fn check_deadlines(
    session: &mut Session<'_>,
    tokens: usize,
    runs: usize,
    mut progress: impl FnMut(),
) -> Result<Vec<DeadlineCheck>> {
    let model = session.model();
    let sample = input(model, model.patch_grid().is_none().then_some(tokens))?;
    let deadlines = deadlines(session, tokens)?;
    let mut series = vec![Series::default(); DEADLINES];
    for _ in 0..runs {
        for (own, deadline) in series.iter_mut().zip(deadlines) {
            let start = Instant::now();
            let budget = Budget::Deadline(Duration::from_nanos(deadline as u64));
            let choice = session.run(sample.as_input(), budget, &mut (), |out| out.choice)?;
            own.given.push(start.elapsed().as_secs_f64() * 1e3);
            let choice = choice.context("a run with a deadline says what it chose")?;
            own.choice = Some(choice);
            own.fixed.push(timed(session, &sample, choice.into())?.as_secs_f64() * 1e3);
            progress();
        }
    }
    series.iter().zip(deadlines).map(|(own, deadline)| own.check(deadline / 1e6, tokens)).collect()
}

/// From what an eighth of the tokens takes to what all take, nanoseconds.
fn deadlines(session: &Session<'_>, tokens: usize) -> Result<[f64; DEADLINES]> {
    let costs = session.costs().context("the session has no cost model")?;
    let predicted = |reduction: f32| -> Result<f64> {
        let macs = crate::bench::macs(session.model(), tokens, reduction)?;
        Ok(f64::from(costs.predict(tokens, &macs) * (1.0 + costs.margin)))
    };
    let (least, most) = (predicted(8.0)?, predicted(1.0)?);
    ensure!(tokens_for_reduction(tokens, 8.0) < tokens, "an input of {tokens} tokens is too short");
    let step = |index| least + (most - least) * index as f64 / (DEADLINES - 1) as f64;
    Ok(std::array::from_fn(step))
}

impl Series {
    fn check(&self, deadline_ms: f64, tokens: usize) -> Result<DeadlineCheck> {
        let choice = self.choice.context("at least one run")?;
        let predicted_ms = choice.predicted.as_secs_f64() * 1e3;
        let beyond_noise = median(self.fixed.clone()) + deadline_ms - predicted_ms;
        let share = |times: &[f64], limit: f64| {
            times.iter().filter(|time| **time > limit).count() as f64 / times.len() as f64
        };
        Ok(DeadlineCheck {
            deadline_ms,
            tokens: choice.tokens,
            layers: choice.layers,
            predicted_ms,
            median_ms: median(self.given.clone()),
            late: share(&self.given, deadline_ms),
            noise: share(&self.fixed, beyond_noise),
            full: choice.tokens >= tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_finds_the_costs_that_made_the_times() {
        let made = CostModel {
            fixed: 20_000.0,
            token: 150.0,
            frozen: 0.004,
            attention: 0.011,
            task: 0.02,
            margin: 0.0,
        };
        let mut points = Vec::new();
        for tokens in [32u64, 64, 128] {
            for k in [4, 9, 16, 25, 32] {
                let frozen = k * 1_700_000;
                let macs = Macs { frozen, attention: k * tokens * 4000, task: tokens * 300_000 };
                let time = f64::from(made.predict(tokens as usize, &macs));
                points.push(Point { tokens: tokens as usize, macs, nanoseconds: vec![time] });
            }
        }
        let fitted = fit(&points);
        let Fitted { costs: found, worst_error, noise } = fitted;
        assert!(worst_error < 1e-3 && noise == 0.0, "{worst_error} {noise}");
        fitted.check().unwrap();
        assert!((found.frozen / made.frozen - 1.0).abs() < 0.01, "{found:?}");
        assert!((found.attention / made.attention - 1.0).abs() < 0.05, "{found:?}");
        assert!(found.margin < 1e-3);
    }

    #[test]
    fn costs_that_predict_badly_or_of_a_busy_machine_are_refused() {
        let costs = CostModel { fixed: 1.0, ..CostModel::default() };
        let check = |worst_error, noise| Fitted { costs, worst_error, noise }.check();
        assert!(check(0.05, 0.1).is_ok());
        for (worst_error, noise, word) in [
            (0.9, 0.1, "90.0 %"),
            (f32::NAN, 0.1, "NaN"),
            (0.05, 0.8, "80 %"),
            (0.05, f32::NAN, "NaN"),
        ] {
            let error = format!("{:#}", check(worst_error, noise).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn stored_costs_that_predict_badly_or_nothing_are_not_read() {
        let good = Costs {
            cpu: String::new(),
            kernels: String::new(),
            threads: 1,
            fixed: 1.0,
            token: 0.0,
            frozen: 0.0,
            attention: 0.0,
            task: 0.0,
            margin: 0.0,
            worst_error: 0.1,
            answer: None,
        };
        let directory = tempfile::tempdir().unwrap();
        let package = directory.path().join("p.coda");
        let read = |costs: &Costs| {
            std::fs::write(Costs::path(&package), serde_json::to_string(costs).unwrap()).unwrap();
            Costs::read(&package).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(&good), Ok(good.clone()));
        for (bad, word) in [
            (Costs { worst_error: 0.9, ..good.clone() }, "90.0 %"),
            (Costs { fixed: 0.0, ..good.clone() }, "every cost is 0"),
            (Costs { margin: -1.0, ..good }, "below 0"),
        ] {
            let error = read(&bad).unwrap_err();
            assert!(error.contains(word) && error.contains("p.coda.costs.json"), "{error}");
        }
    }
}
