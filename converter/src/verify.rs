//! A model against the oracle, and a quantised model against the float one, layer by layer.

mod writers;

pub use writers::{Lesson, decoder_against_float, decoder_against_oracle};

use crate::dataset::SampleInput;
use crate::oracle::{Oracle, OracleInput};
use crate::session::{Session, is_not_finite, worse};
use crate::source::Base;
use anyhow::{Context, Result, bail};
use coda_runtime::config::HeadKind;
use coda_runtime::executor::{Observer, all_finite, largest};
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
    /// Labels compared: one for each input, or for each of its tokens; of an answer, its tokens.
    pub labels: usize,
    /// Labels that are the same, per cent; absent without a classifier.
    pub agreement: Option<f64>,
    /// The labels are tokens of answers.
    pub writes: bool,
    /// For each label that is another one: by how much the reference prefers its own one, as a share of
    /// the root mean square of its logits. Where that is little, either label is right.
    pub margins: Vec<f64>,
    /// Smallest cosine of two embeddings; absent without an embedding.
    pub cosine: Option<f64>,
    /// Where a value was first NaN or infinite.
    pub not_finite: Option<String>,
}

impl Comparison {
    /// Labels that are the same, or that the reference prefers its own one to by at most `margin`,
    /// per cent; absent without a classifier.
    #[must_use]
    pub fn agreement_within(&self, margin: f64) -> Option<f64> {
        let close = self.margins.iter().filter(|own| **own <= margin).count();
        self.agreement.map(|same| same + 100.0 * close as f64 / self.labels.max(1) as f64)
    }
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

    /// The values of the stage of a name.
    fn stage(self, name: &str) -> Result<Vec<f32>> {
        let mut stages = self.stages.into_iter();
        let found = stages.find(|(stage, _)| stage == name);
        found.map(|(_, values)| values).with_context(|| format!("there is no stage {name}"))
    }

    /// The first stage with a value that is not finite.
    fn not_finite(&self) -> Option<&str> {
        let bad = self.stages.iter().find(|(_, values)| !all_finite(values));
        bad.map(|(stage, _)| stage.as_str())
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
    let found = session.run(input.as_input(), budget, &mut states, |output| {
        (flat(output.hidden), output.values.to_vec())
    });
    let (hidden, answer) = match found {
        // The stages that it came to say where.
        Err(error) if is_not_finite(&error) => (vec![f32::NAN], vec![f32::NAN]),
        found => found?,
    };
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
        SampleInput::Patches(values) => oracle.run(OracleInput::Patches(values))?,
        SampleInput::Features(values) => oracle.run(OracleInput::Features(values))?,
        SampleInput::Grid(patches) => oracle.run(OracleInput::Patches(&patches.flattened()))?,
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
    /// Logits of each label, where an input has several labels.
    logits_of_a_label: Option<usize>,
    labels: usize,
    same_label: usize,
    margins: Vec<f64>,
    lowest_cosine: f64,
    head: Option<HeadKind>,
    /// Labels are the tokens of an answer.
    writes: bool,
    not_finite: Option<String>,
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
        let head = model.head().map(|head| head.kind);
        let logits_of_a_label = match head {
            Some(HeadKind::TokenClassification { labels }) => Some(labels),
            _ => None,
        };
        Self { head, logits_of_a_label, lowest_cosine: 1.0, ..Self::default() }
    }

    /// Of answers, whose labels are compared one by one.
    fn of_tokens() -> Self {
        Self { writes: true, ..Self::default() }
    }

    fn add(&mut self, own: &States, other: &States) {
        self.inputs += 1;
        self.add_stages(own, other);
        let length = self.logits_of_a_label.unwrap_or(own.answer.len()).max(1);
        for (own, other) in own.answer.chunks(length).zip(other.answer.chunks(length)) {
            self.compare_labels(own, other);
        }
        // Negated, a NaN is the worst.
        self.lowest_cosine = -worse(-self.lowest_cosine, -cosine(&own.answer, &other.answer));
    }

    /// The stages of the last input, and where one is not finite.
    fn add_stages(&mut self, own: &States, other: &States) {
        for (whose, states) in [("", own), (" of the reference", other)] {
            if let (None, Some(stage)) = (&self.not_finite, states.not_finite()) {
                self.not_finite = Some(format!("input {}, {stage}{whose}", self.inputs));
            }
        }
        self.stages.resize_with(own.stages.len().max(self.stages.len()), StageTally::default);
        let pairs = own.stages.iter().zip(&other.stages);
        for (tally, ((name, own), (_, other))) in self.stages.iter_mut().zip(pairs) {
            tally.stage.clone_from(name);
            tally.add(own, other);
        }
    }

    /// The labels of two vectors of logits, and the margin where they differ.
    fn compare_labels(&mut self, own: &[f32], other: &[f32]) {
        self.labels += 1;
        let (label, reference) = (largest(own), largest(other));
        if label.is_some() && label == reference {
            self.same_label += 1;
            return;
        }
        let logit =
            |label: Option<usize>| label.and_then(|at| other.get(at)).map(|x| f64::from(*x));
        let squares: f64 = other.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let scale = (squares / other.len().max(1) as f64).sqrt();
        let margin = logit(reference).zip(logit(label)).map(|(best, found)| best - found);
        self.margins.push(margin.map_or(f64::NAN, |margin| margin / scale));
    }

    fn finish(self, title: &str) -> Comparison {
        let share = 100.0 * self.same_label as f64 / self.labels.max(1) as f64;
        let kinds = matches!(
            self.head,
            Some(HeadKind::Classification { .. } | HeadKind::TokenClassification { .. })
        );
        let classifies = self.writes || kinds;
        let embeds = matches!(self.head, Some(HeadKind::Embedding { .. }));
        Comparison {
            title: title.to_owned(),
            inputs: self.inputs,
            stages: self.stages.into_iter().map(StageTally::finish).collect(),
            labels: if classifies { self.labels } else { 0 },
            agreement: classifies.then_some(share),
            writes: self.writes,
            margins: if classifies { self.margins } else { Vec::new() },
            cosine: embeds.then_some(self.lowest_cosine),
            not_finite: self.not_finite,
        }
    }
}

impl StageTally {
    fn add(&mut self, own: &[f32], other: &[f32]) {
        for (a, b) in own.iter().zip(other) {
            let error = (f64::from(*a) - f64::from(*b)).abs();
            self.worst = worse(self.worst, error);
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

/// Cosine of the angle between two vectors; 1 for equal ones (empty ones too), 0 if one of them has no
/// length, NaN if a value is NaN.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let length = (dot(a, a) * dot(b, b)).sqrt();
    match length {
        0.0 => f64::from(u8::from(a == b)),
        _ => dot(a, b) / length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(head: HeadKind, pairs: &[[&[f32]; 2]]) -> Comparison {
        let mut tally = Tally { head: Some(head), lowest_cosine: 1.0, ..Tally::default() };
        for [own, other] in pairs {
            let states = |answer: &[f32]| {
                let mut states = States { answer: answer.to_vec(), ..States::default() };
                states.add("answer".to_owned(), answer.to_vec());
                states
            };
            tally.add(&states(own), &states(other));
        }
        tally.finish("pairs")
    }

    #[test]
    fn another_label_counts_by_the_margin_of_the_reference() {
        let labels = HeadKind::Classification { labels: 2 };
        let found = tally(labels, &[[&[1.0, -1.0], &[2.0, -2.0]], [&[-0.1, 0.1], &[0.2, 0.1]]]);
        assert_eq!((found.agreement, found.cosine, found.margins.len()), (Some(50.0), None, 1));
        assert_eq!(found.agreement_within(0.1), Some(50.0));
        assert_eq!(found.agreement_within(0.7), Some(100.0));
    }

    #[test]
    fn a_nan_is_the_worst_error_and_no_label_wherever_it_comes() {
        let labels = HeadKind::Classification { labels: 2 };
        let good: [&[f32]; 2] = [&[1.0, 2.0], &[1.0, 2.0]];
        for bad in [f32::NAN, f32::INFINITY] {
            let both = [bad, bad];
            for damaged in [[&[1.0, 2.0][..], &both], [&both, &[1.0, 2.0]], [&both, &both]] {
                for pairs in [[good, damaged], [damaged, good]] {
                    let found = tally(labels, &pairs);
                    let worst = found.stages[0].worst;
                    assert!(worst.is_nan() || worst > 1e30, "{found:?}");
                    assert!(found.not_finite.is_some());
                    let found = tally(HeadKind::Embedding { normalize: true }, &pairs);
                    let cosine = found.cosine.unwrap();
                    assert!(cosine.is_nan() || cosine < 0.0, "{found:?}");
                }
            }
            let none = tally(labels, &[good, [&[f32::NAN; 2], &[f32::NAN; 2]]]);
            assert_eq!(none.agreement_within(1e30), Some(50.0));
        }
    }

    #[test]
    fn a_vector_without_length_is_like_none_but_itself() {
        assert_eq!(cosine(&[0.0], &[1.0]), 0.0);
        assert_eq!(cosine(&[0.0], &[0.0]), 1.0);
        assert_eq!(cosine(&[], &[]), 1.0);
        assert!(cosine(&[f32::NAN], &[1.0]).is_nan());
    }
}
