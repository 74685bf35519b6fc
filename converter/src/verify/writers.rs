//! The decoder of a model that writes: every position of given answers against the oracle, and against the float
//! model.
//!
//! Two answers of an input are compared: the model's own greedy one, and fixed ids behind the start. The reference
//! is given the ids of the model that is judged, whatever it would choose itself (teacher forcing), so that one
//! choice between near ties does not make all that follows another answer.

use super::{Comparison, Pair, States, Tally, run_oracle};
use crate::answer;
use crate::dataset::SampleInput;
use crate::oracle::{DecoderOracle, Oracle};
use crate::session::{Arena, Session};
use crate::source::{Base, Task};
use anyhow::{Context, Result};
use coda_runtime::decoder::{GenerateError, Generation, Generator, Search, StepObserver};
use coda_runtime::executor::RunError;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::tensor::Matrix;

/// New tokens of an answer.
const LONGEST: usize = 8;
/// Fixed ids behind the start.
const FIXED: usize = 4;
/// Steps from one fixed id to the next: a prime, so that they are spread over any vocabulary.
const STRIDE: usize = 7919;

/// Inputs, and how much of each passes the encoder's layers.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'l> {
    /// What is compared, for people.
    pub title: &'l str,
    /// Inputs.
    pub inputs: &'l [SampleInput],
    /// The encoder's budget.
    pub budget: Budget<'l>,
}

/// What a decoder computed at each position of an answer.
#[derive(Default)]
struct Written {
    /// Ids that entered, start ids included.
    ids: Vec<u32>,
    embedded: Vec<f32>,
    layers: Vec<Vec<f32>>,
    /// Of the last start id and of all behind it.
    logits: Vec<f32>,
}

impl StepObserver for Written {
    fn embedded(&mut self, _: usize, hidden: Matrix<'_>) {
        self.embedded.extend(hidden.iter().take(1).flatten());
    }

    fn layer(&mut self, _: usize, layer: usize, hidden: Matrix<'_>) {
        self.layers.resize_with(self.layers.len().max(layer + 1), Vec::new);
        self.layers[layer].extend(hidden.iter().take(1).flatten());
    }

    fn logits(&mut self, row: usize, _: usize, values: &[f32]) {
        self.logits.extend(values.iter().filter(|_| row == 0));
    }
}

impl Written {
    /// One step more; false behind the last, and behind one whose logits are not finite: they say so.
    fn step(&mut self, answer: &mut Generation<'_>) -> bool {
        answer.step_observed(self).unwrap_or(false) && !answer.is_over()
    }

    fn states(self) -> States {
        let mut states = States::default();
        states.add("decoder embedding".to_owned(), self.embedded);
        for (index, layer) in self.layers.into_iter().enumerate() {
            states.add(format!("decoder layer {index}"), layer);
        }
        states.add("logits".to_owned(), self.logits);
        states
    }
}

/// A model that writes what it is told.
struct Dictation<'m> {
    model: &'m Model<'m>,
    plan: GenerationPlan,
    arena: Arena,
    start: Vec<u32>,
    vocabulary: usize,
}

impl<'m> Dictation<'m> {
    fn new(model: &'m Model<'m>, inputs: &[SampleInput]) -> Result<Self> {
        let decoder = model.decoder().context("the model has no decoder")?;
        let tokens = inputs.iter().map(|input| input.tokens(model)).max().unwrap_or(1);
        let start: Vec<u32> = decoder.rules().start.iter().collect();
        let most = decoder.config().max_tokens().unwrap_or(usize::MAX);
        let positions = (start.len() + LONGEST).min(most);
        let capacity = AnswerCapacity { positions, beams: 1 };
        let plan = answer::plan(model, Capacity::any_budget(tokens), capacity, 1)?;
        let arena = Arena::new(plan.arena_bytes())?;
        Ok(Self { model, plan, arena, start, vocabulary: decoder.vocabulary() })
    }

    /// Start ids, and some behind them.
    fn fixed(&self) -> Vec<u32> {
        let room = self.positions().saturating_sub(self.start.len() + 1);
        let id = |index: usize| ((index + 1) * STRIDE % self.vocabulary.max(1)) as u32;
        self.start.iter().copied().chain((0..FIXED.min(room)).map(id)).collect()
    }

    const fn positions(&self) -> usize {
        self.plan.answer().positions
    }

    fn generator(&mut self) -> Result<Generator<'m, '_>> {
        let arena = self.arena.bytes();
        Ok(Generator::new(self.model, Kernels::best(), self.plan, arena)?)
    }

    /// The greedy answer, and fixed ids; nothing where the encoder's states are not finite.
    fn answers(&mut self, input: &SampleInput, budget: Budget<'_>) -> Result<Vec<Written>> {
        let Some(greedy) = self.greedy(input, budget)? else { return Ok(Vec::new()) };
        let fixed = self.fixed();
        let dictated = self.dictated(input, budget, &fixed)?;
        Ok([greedy].into_iter().chain(dictated).collect())
    }

    fn greedy(&mut self, input: &SampleInput, budget: Budget<'_>) -> Result<Option<Written>> {
        let mut written = Written { ids: self.start.clone(), ..Written::default() };
        let mut generator = self.generator()?;
        let answer = generator.generate(input.as_input(), budget, &Search::GREEDY);
        let Some(mut answer) = finite(answer)? else { return Ok(None) };
        while written.step(&mut answer) {}
        // The last id is chosen and does not enter, unless it is the end, which is not kept.
        let entered = answer.tokens().len() - usize::from(!answer.has_ended());
        written.ids.extend(answer.tokens().iter().take(entered));
        Ok(Some(written))
    }

    /// What it computes where `ids` enter, whatever it would choose.
    fn dictated(
        &mut self,
        input: &SampleInput,
        budget: Budget<'_>,
        ids: &[u32],
    ) -> Result<Option<Written>> {
        let first = self.start.len();
        let mut generator = self.generator()?;
        let search = |length: usize| Search { start: &ids[..length], longest: 1, ..Search::GREEDY };
        let mut logits = Vec::new();
        let mut written = Written::default();
        let answer = generator.generate(input.as_input(), budget, &search(first));
        let Some(mut answer) = finite(answer)? else { return Ok(None) };
        written.step(&mut answer);
        for length in first + 1..=ids.len() {
            logits.append(&mut written.logits);
            written = Written::default();
            written.step(&mut generator.again(&search(length))?);
        }
        logits.append(&mut written.logits);
        Ok(Some(Written { ids: ids.to_vec(), logits, ..written }))
    }

    /// The logits of each position without those of ids that may not follow.
    fn chosen_from(&self, logits: &[f32]) -> Vec<Vec<f32>> {
        let rules = self.model.decoder().map(|decoder| *decoder.rules());
        let is_suppressed = |position: usize, id: u32| {
            rules.is_some_and(|rules| {
                let first = rules.suppressed_first.iter().filter(|_| position == 0);
                rules.suppressed.iter().chain(first).any(|own| own == id)
            })
        };
        let rows = logits.chunks(self.vocabulary.max(1)).enumerate();
        let row = |(position, row): (usize, &[f32])| {
            let ids = (0..).zip(row).filter(|(id, _)| !is_suppressed(position, *id));
            ids.map(|(_, logit)| *logit).collect()
        };
        rows.map(row).collect()
    }

    /// Adds what two decoders computed of the same ids.
    fn compare(&self, tally: &mut Tally, own: Written, other: Written) {
        let pairs = self.chosen_from(&own.logits).into_iter();
        for (own, other) in pairs.zip(self.chosen_from(&other.logits)) {
            tally.compare_labels(&own, &other);
        }
        tally.add_stages(&own.states(), &other.states());
    }
}

/// The answer; `None` where the encoder's states are not finite.
fn finite<T>(found: Result<T, GenerateError>) -> Result<Option<T>> {
    match found {
        Err(GenerateError::Run(RunError::NotFinite)) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// Compares the decoder of `model`, with float weights, with the oracle. With a task the encoder's states are the
/// model's own, which the oracle has not; the decoder has the task's adapters. Without one the oracle computes both.
///
/// # Errors
/// A graph cannot be built, or an input does not fit.
pub fn decoder_against_oracle(
    base: &Base,
    task: Option<&Task>,
    model: &Model<'_>,
    lesson: Lesson<'_>,
    mut progress: impl FnMut(),
) -> Result<Comparison> {
    let mut dictation = Dictation::new(model, lesson.inputs)?;
    let mut tally = Tally::of_tokens();
    let mut by_length: Vec<&SampleInput> = lesson.inputs.iter().collect();
    by_length.sort_by_key(|input| input.tokens(model));
    for group in by_length.chunk_by(|a, b| a.tokens(model) == b.tokens(model)) {
        let tokens = group.first().map_or(0, |input| input.tokens(model));
        let mut encoder = Encoder::new(base, task, model, tokens)?;
        let mut kept: Option<DecoderOracle> = None;
        for input in group {
            let answers = tally.answers(dictation.answers(input, lesson.budget)?);
            if answers.is_empty() {
                continue;
            }
            let states = encoder.states(input, lesson.budget)?;
            // Layers that prune leave fewer than there are tokens.
            let rows = states.len() / base.config.hidden.max(1);
            let decoder = match kept.take().filter(|own| own.states() == rows) {
                Some(decoder) => decoder,
                None => DecoderOracle::new(base, task, rows, dictation.positions())?,
            };
            for own in answers {
                let other = oracles_own(&decoder, &states, &own.ids, dictation.start.len())?;
                dictation.compare(&mut tally, own, other);
            }
            kept = Some(decoder);
            progress();
        }
    }
    Ok(tally.finish(lesson.title))
}

impl Tally {
    /// The answers of the next input.
    fn answers(&mut self, answers: Vec<Written>) -> Vec<Written> {
        self.inputs += 1;
        if answers.is_empty() {
            self.note_encoder("");
        }
        answers
    }

    /// The encoder's states of the last input are not finite.
    fn note_encoder(&mut self, whose: &str) {
        let input = self.inputs;
        self.not_finite.get_or_insert_with(|| format!("input {input}, encoder{whose}"));
    }
}

/// What the oracle computes of the ids of an answer.
fn oracles_own(
    oracle: &DecoderOracle,
    states: &[f32],
    ids: &[u32],
    start: usize,
) -> Result<Written> {
    let found = oracle.run(states, ids)?;
    let each = found.logits.len() / ids.len().max(1);
    let logits = found.logits.get((start - 1) * each..).unwrap_or_default().to_vec();
    Ok(Written { ids: ids.to_vec(), embedded: found.embedded, layers: found.layers, logits })
}

/// What a decoder oracle reads: states of the oracle's encoder, or of a routed model.
enum Encoder<'m> {
    Oracle { oracle: Oracle, model: &'m Model<'m> },
    Model(Box<Session<'m>>),
}

impl<'m> Encoder<'m> {
    fn new(base: &Base, task: Option<&Task>, model: &'m Model<'m>, tokens: usize) -> Result<Self> {
        Ok(match task {
            None => Self::Oracle { oracle: Oracle::new(base, tokens)?, model },
            Some(_) => Self::Model(Box::new(Session::new(model, Capacity::any_budget(tokens))?)),
        })
    }

    /// `[n, d]`, behind the final norm.
    fn states(&mut self, input: &SampleInput, budget: Budget<'_>) -> Result<Vec<f32>> {
        match self {
            Self::Oracle { oracle, model } => run_oracle(oracle, model, input)?.stage("hidden"),
            Self::Model(session) => session.run(input.as_input(), budget, &mut (), |output| {
                output.hidden.iter().flatten().copied().collect()
            }),
        }
    }
}

/// Compares the decoders of two packings of one model.
///
/// # Errors
/// An input or the budget does not fit.
pub fn decoder_against_float(
    pair: Pair<'_>,
    lesson: Lesson<'_>,
    mut progress: impl FnMut(),
) -> Result<Comparison> {
    let mut judged = Dictation::new(pair.model, lesson.inputs)?;
    let mut float = Dictation::new(pair.float, lesson.inputs)?;
    let mut tally = Tally::of_tokens();
    for input in lesson.inputs {
        for own in tally.answers(judged.answers(input, lesson.budget)?) {
            match float.dictated(input, lesson.budget, &own.ids)? {
                Some(other) => judged.compare(&mut tally, own, other),
                None => tally.note_encoder(" of the reference"),
            }
        }
        progress();
    }
    Ok(tally.finish(lesson.title))
}
