//! A model that writes with its arena, for host programs.

use crate::session::Arena;
use anyhow::{Context, Result};
use coda_runtime::decoder::{AnswerCosts, Ending, Generation, Generator, Search};
use coda_runtime::executor::{Input, Observer, ThreadPool};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, CostModel, DeadlineChoice};
use coda_runtime::text::Detokenizer;
use std::time::{Duration, Instant};

/// Answers inputs of up to a number of tokens.
#[derive(Debug)]
pub struct Writer<'m> {
    model: &'m Model<'m>,
    kernels: &'static Kernels,
    plan: GenerationPlan,
    arena: Arena,
    pool: Option<ThreadPool>,
    costs: Option<CostModel>,
    answer_costs: Option<AnswerCosts>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// New tokens, start ids and the end left out.
    pub tokens: Vec<u32>,
    /// It ended by its end id, and not by its length.
    pub ended: bool,
    /// Its score, of a search with several hypotheses.
    pub score: Option<f32>,
    /// What was chosen for the encoder under a deadline.
    pub choice: Option<DeadlineChoice>,
    /// What the deadline sets aside for the tokens.
    pub reserved: Option<Duration>,
    /// From the call until the encoder's states were keys and values.
    pub encoding: Duration,
    /// From there until the first token.
    pub first: Duration,
    /// From there until the end.
    pub rest: Duration,
    /// Steps: tokens, the end included.
    pub steps: usize,
}

/// The text of ids; the ids themselves, with spaces between, where the model has no tokenizer.
///
/// # Errors
/// Never, but for what the standard library says of writing into memory.
pub fn text_of(model: &Model<'_>, ids: &[u32]) -> Result<String> {
    let Some(tokenizer) = model.tokenizer() else {
        return Ok(ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    };
    let (mut detokenizer, mut text) = (Detokenizer::new(tokenizer), String::new());
    ids.iter().try_for_each(|id| detokenizer.write(*id, &mut text))?;
    detokenizer.finish(&mut text)?;
    Ok(text)
}

/// The plan of an answer with an encoder on `threads` threads.
///
/// # Errors
/// The model has no decoder, or a capacity is empty, contradictory or too large.
pub fn plan(
    model: &Model<'_>,
    capacity: Capacity,
    answer: AnswerCapacity,
    threads: usize,
) -> Result<GenerationPlan> {
    let decoder = model.decoder().context("the model has no decoder: it does not write")?;
    let encoder = Plan::with_workers(&model.dimensions(), capacity, threads)?;
    Ok(GenerationPlan::new(encoder, &decoder.dimensions(), answer)?)
}

impl<'m> Writer<'m> {
    /// Plans and allocates the arena.
    ///
    /// # Errors
    /// As [`plan`]; no memory, or no thread.
    pub fn new(
        model: &'m Model<'m>,
        kernels: &'static Kernels,
        capacity: Capacity,
        answer: AnswerCapacity,
        threads: usize,
    ) -> Result<Self> {
        let plan = plan(model, capacity, answer, threads)?;
        let pool = (threads > 1).then(|| ThreadPool::new(threads)).transpose()?;
        let arena = Arena::new(plan.arena_bytes())?;
        let (costs, answer_costs) = (None, None);
        Ok(Self { model, kernels, plan, arena, pool, costs, answer_costs })
    }

    /// The same with the costs of this machine, of the encoder and of the tokens, for deadlines.
    #[must_use]
    pub fn with_costs(self, costs: CostModel, answer: AnswerCosts) -> Self {
        Self { costs: Some(costs), answer_costs: Some(answer), ..self }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &GenerationPlan {
        &self.plan
    }

    /// Answers one input. `grown` sees the new tokens of the best hypothesis after each step: with one
    /// hypothesis they only grow.
    ///
    /// # Errors
    /// As [`Generator::generate`]; an answer that is not finite.
    pub fn run(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        search: &Search<'_>,
        observer: &mut (impl Observer + Send),
        grown: impl FnMut(&[u32]) -> Result<()> + Send,
    ) -> Result<Answer> {
        self.work(|generator, clock| {
            let answer = generator.generate_observed(input, budget, search, observer)?;
            Ok(clock.finish(answer, grown)?.0)
        })
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// Does what `work` does with the generator, on the threads of the plan; the clock starts here.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn work<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Generator<'_, '_>, Clock) -> Result<T> + Send,
    ) -> Result<T> {
        let Self { model, kernels, plan, arena, pool, costs, answer_costs } = self;
        let pool = pool.as_ref();
        let clock = Clock(Instant::now());
        let generator = Generator::new(model, kernels, *plan, arena.bytes())?;
        let generator = match costs {
            Some(costs) => generator.with_costs(*costs),
            None => generator,
        };
        let generator = match answer_costs {
            Some(costs) => generator.with_answer_costs(*costs),
            None => generator,
        };
        let mut generator = match pool {
            Some(pool) => generator.with_workers(pool),
            None => generator,
        };
        match pool {
            Some(pool) => pool.run(|| work(&mut generator, clock)),
            None => work(&mut generator, clock),
        }
    }
}

/// When an answer began.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// An answer without a step.
    pub(crate) fn nothing(self) -> Answer {
        Answer {
            tokens: Vec::new(),
            ended: true,
            score: None,
            choice: None,
            reserved: None,
            encoding: self.0.elapsed(),
            first: Duration::ZERO,
            rest: Duration::ZERO,
            steps: 0,
        }
    }

    /// Every step of an answer, and why it ended.
    pub(crate) fn finish(
        self,
        mut answer: Generation<'_>,
        mut grown: impl FnMut(&[u32]) -> Result<()>,
    ) -> Result<(Answer, Option<Ending>)> {
        let encoding = self.0.elapsed();
        let (mut first, mut steps) = (None, 0);
        while !answer.is_over() {
            answer.step()?;
            steps += 1;
            first.get_or_insert_with(|| self.0.elapsed());
            grown(answer.tokens())?;
        }
        let (end, first) = (self.0.elapsed(), first.unwrap_or(encoding));
        let found = Answer {
            tokens: answer.tokens().to_vec(),
            ended: answer.has_ended(),
            score: answer.score(),
            choice: answer.choice(),
            reserved: answer.reserved(),
            encoding,
            first: first - encoding,
            rest: end - first,
            steps,
        };
        Ok((found, answer.ending()))
    }
}
