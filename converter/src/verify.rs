//! A model against the oracle, and a quantised model against the float one, layer by layer.

use crate::dataset::SampleInput;
use crate::oracle::{Oracle, OracleInput};
use crate::session::Session;
use crate::source::Base;
use anyhow::{Context, Result, bail};
use coda_runtime::config::HeadKind;
use coda_runtime::executor::Observer;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::tensor::Matrix;
use serde::Serialize;

/// How far two runs are apart after one stage, over all inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// The stage: `embedding`, `layer 0`, ..., `hidden`, `answer`.
    pub stage: String,
    /// Largest `|a - b|`.
    pub worst: f64,
    /// Mean `|a - b|`.
    pub mean: f64,
    /// Root mean square of the reference: the scale of the errors.
    pub scale: f64,
}

/// A comparison of two ways to compute the same thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub title: String,
    /// Inputs compared.
    pub inputs: usize,
    /// Stage by stage.
    pub stages: Vec<Difference>,
    /// Inputs with the same label, per cent; absent without a classifier.
    pub agreement: Option<f64>,
    /// Smallest cosine of two answers.
    pub cosine: f64,
}

/// Everything one run shows.
#[derive(Default)]
struct States {
    stages: Vec<(String, Vec<f32>)>,
    answer: Vec<f32>,
}

impl States {
    fn add(&mut self, stage: String, values: Vec<f32>) {
        self.stages.push((stage, values));
    }

    fn label(&self) -> Option<usize> {
        let values = self.answer.iter().enumerate();
        values.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map(|(index, _)| index)
    }
}

impl Observer for States {
    fn embedded(&mut self, hidden: Matrix<'_>) {
        self.add("embedding".to_owned(), flat(hidden));
    }

    fn layer(&mut self, layer: usize, hidden: Matrix<'_>) {
        self.add(format!("layer {layer}"), flat(hidden));
    }
}

fn flat(matrix: Matrix<'_>) -> Vec<f32> {
    matrix.iter().flatten().copied().collect()
}

fn run_model(session: &mut Session<'_>, input: &SampleInput, budget: Budget<'_>) -> Result<States> {
    let mut states = States::default();
    let (hidden, answer) = session.run(input.as_input(), budget, &mut states, |output| {
        (flat(output.hidden), output.values.to_vec())
    })?;
    states.add("hidden".to_owned(), hidden);
    states.answer.clone_from(&answer);
    states.add("answer".to_owned(), answer);
    Ok(states)
}

fn run_oracle(oracle: &Oracle, model: &Model<'_>, input: &SampleInput) -> Result<States> {
    let found = match input {
        SampleInput::Tokens(ids) => oracle.run(OracleInput::Tokens(ids))?,
        SampleInput::Typed { .. } => bail!("the oracle reads no token types"),
        SampleInput::Pixels(pixels) => {
            oracle.run(OracleInput::Patches(&patches(model, pixels)?))?
        }
    };
    let mut states = States::default();
    states.add("embedding".to_owned(), found.embedded);
    for (index, layer) in found.layers.into_iter().enumerate() {
        states.add(format!("layer {index}"), layer);
    }
    states.add("hidden".to_owned(), found.hidden);
    states.answer.clone_from(&found.answer);
    states.add("answer".to_owned(), found.answer);
    Ok(states)
}

/// The normalised patches of an image, row after row.
fn patches(model: &Model<'_>, pixels: &[u8]) -> Result<Vec<f32>> {
    let grid = model.patch_grid().context("the model reads tokens")?;
    let normalization = model.normalization().context("no input normalisation")?;
    let mut values = vec![0.0; grid.patches() * grid.inputs()];
    for (index, row) in values.chunks_exact_mut(grid.inputs()).enumerate() {
        grid.read(pixels, index, &normalization, row);
    }
    Ok(values)
}

/// Compares the dense path of `model` with the oracle on every input.
///
/// # Errors
/// The graph cannot be built, or an input does not fit.
pub fn against_oracle(
    base: &Base,
    model: &Model<'_>,
    inputs: &[SampleInput],
    mut progress: impl FnMut(),
) -> Result<Comparison> {
    let mut session = session_for(model, inputs)?;
    let mut tally = Tally::new(model);
    // A graph is for one length and holds all weights: inputs of a length share one.
    let mut by_length: Vec<&SampleInput> = inputs.iter().collect();
    by_length.sort_by_key(|input| input.tokens(model));
    for group in by_length.chunk_by(|a, b| a.tokens(model) == b.tokens(model)) {
        let oracle = Oracle::new(base, group.first().map_or(0, |input| input.tokens(model)))?;
        for input in group {
            let own = run_model(&mut session, input, Budget::Task)?;
            tally.add(&own, &run_oracle(&oracle, model, input)?);
            progress();
        }
    }
    Ok(tally.finish("dense path against the tract oracle"))
}

/// Two packings of one model.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'m> {
    /// The one that is judged.
    pub model: &'m Model<'m>,
    /// What it should compute.
    pub float: &'m Model<'m>,
}

/// Compares two packings of one model at one budget.
///
/// # Errors
/// An input or the budget does not fit.
pub fn against_float(
    title: &str,
    pair: Pair<'_>,
    inputs: &[SampleInput],
    budget: Budget<'_>,
    mut progress: impl FnMut(),
) -> Result<Comparison> {
    let mut own = session_for(pair.model, inputs)?;
    let mut reference = session_for(pair.float, inputs)?;
    let mut tally = Tally::new(pair.model);
    for input in inputs {
        let states = run_model(&mut own, input, budget)?;
        tally.add(&states, &run_model(&mut reference, input, budget)?);
        progress();
    }
    Ok(tally.finish(title))
}

fn session_for<'m>(model: &'m Model<'m>, inputs: &[SampleInput]) -> Result<Session<'m>> {
    let longest = inputs.iter().map(|input| input.tokens(model)).max().unwrap_or(1);
    Session::new(model, Capacity::any_budget(longest))
}

/// Differences added up over inputs, so that no states are kept.
#[derive(Default)]
struct Tally {
    inputs: usize,
    same_label: usize,
    lowest_cosine: Option<f64>,
    has_labels: bool,
    stages: Vec<StageTally>,
}

/// Differences of one stage.
#[derive(Default)]
struct StageTally {
    stage: String,
    worst: f64,
    sum: f64,
    squares: f64,
    count: usize,
}

impl Tally {
    fn new(model: &Model<'_>) -> Self {
        let kind = model.head().map(|head| head.kind);
        let has_labels = matches!(kind, Some(HeadKind::Classification { .. }));
        Self { has_labels, ..Self::default() }
    }

    fn add(&mut self, own: &States, other: &States) {
        self.inputs += 1;
        self.same_label += usize::from(own.label() == other.label());
        let cosine = cosine(&own.answer, &other.answer);
        self.lowest_cosine = Some(self.lowest_cosine.map_or(cosine, |low| low.min(cosine)));
        self.stages.resize_with(own.stages.len().max(self.stages.len()), StageTally::default);
        let pairs = own.stages.iter().zip(&other.stages);
        for (tally, ((name, own), (_, other))) in self.stages.iter_mut().zip(pairs) {
            tally.stage.clone_from(name);
            tally.add(own, other);
        }
    }

    fn finish(self, title: &str) -> Comparison {
        let share = 100.0 * self.same_label as f64 / self.inputs.max(1) as f64;
        Comparison {
            title: title.to_owned(),
            inputs: self.inputs,
            stages: self.stages.into_iter().map(StageTally::finish).collect(),
            agreement: self.has_labels.then_some(share),
            cosine: self.lowest_cosine.unwrap_or(1.0),
        }
    }
}

impl StageTally {
    fn add(&mut self, own: &[f32], other: &[f32]) {
        for (a, b) in own.iter().zip(other) {
            let error = f64::from((a - b).abs());
            self.worst = self.worst.max(error);
            self.sum += error;
            self.squares += f64::from(*b) * f64::from(*b);
        }
        self.count += own.len();
    }

    fn finish(self) -> Difference {
        let count = self.count.max(1) as f64;
        Difference {
            stage: self.stage,
            worst: self.worst,
            mean: self.sum / count,
            scale: (self.squares / count).sqrt(),
        }
    }
}

/// Cosine of the angle between two vectors; 1 for empty ones.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length > 0.0 { dot(a, b) / length } else { 1.0 }
}
