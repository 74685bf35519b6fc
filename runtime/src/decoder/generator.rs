//! A model with its arena: begins an answer.

use super::answer::{Generation, PausedGeneration};
use super::deadline::{AnswerChoice, AnswerCosts};
use super::error::GenerateError;
use super::logits::Best;
use super::memory::Memory;
use super::observer::Probabilities;
use super::search::{Hypotheses, Manner};
use super::step::{Rows, Step};
use crate::block::Context;
use crate::executor::{Executor, ExecutorError, Input, Observer, RunError, ThisCore, Workers};
use crate::kernels::Kernels;
use crate::memory::{
    ARENA_ALIGNMENT, AnswerCapacity, GenerationPlan, KeyExtent, divide_memory, divide_step, typed,
};
use crate::model::{AnswerSize, Decoder, Model};
use crate::routing::{Budget, CostModel, DeadlineError};
use crate::tensor::Part;
use core::mem::take;
use core::time::Duration;

/// How an answer is searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Search<'s> {
    /// Ids that the answer begins with; empty for the package's.
    pub start: &'s [u32],
    /// Most new tokens; 0 for the package's, or as many as the plan holds if that is less.
    pub longest: usize,
    /// Hypotheses; 0 for the package's, or as many as the plan holds if that is less. 1 is greedy.
    pub beams: usize,
    /// The power of its length that a hypothesis' log-probability is divided by; `None` for the package's.
    pub length_penalty: Option<f32>,
    /// The answer holds times, of a model of speech and one hypothesis: the start ids must not end with the one
    /// behind which no times follow.
    pub times: bool,
    /// An answer of one hypothesis that says the same again and again ends: [`Ending::Loop`](super::Ending).
    pub ends_loops: bool,
    /// One hypothesis has a [score](Generation::score) too, which takes a little time.
    pub scored: bool,
}

impl Search<'static> {
    /// As the package says.
    pub const OF_PACKAGE: Self = Self {
        start: &[],
        longest: 0,
        beams: 0,
        length_penalty: None,
        times: false,
        ends_loops: false,
        scored: false,
    };
    /// As the package says, with one hypothesis.
    pub const GREEDY: Self = Self { beams: 1, ..Self::OF_PACKAGE };
}

/// What the decoder's stages need to know: they run on one core.
fn context<'m>(decoder: &'m Decoder<'_>, kernels: &'m Kernels) -> Context<'m> {
    Context {
        config: decoder.config(),
        kernels,
        workers: &ThisCore,
        adapter_activation: decoder.adapter_activation(),
    }
}

/// A search whose settings are all known and fit the plan.
struct Settled {
    /// Start ids.
    start: usize,
    longest: usize,
    beams: usize,
    length_penalty: f32,
    manner: Manner,
}

impl Settled {
    /// The longest answer to an input of `tokens` tokens.
    const fn size(&self, tokens: usize) -> AnswerSize {
        AnswerSize { tokens, start: self.start, longest: self.longest, beams: self.beams }
    }
}

/// What a deadline of a whole answer comes to.
fn choose(
    executor: &Executor<'_, '_>,
    decoder: &Decoder<'_>,
    costs: Result<AnswerCosts, DeadlineError>,
    size: AnswerSize,
    deadline: Duration,
) -> Result<AnswerChoice, RunError> {
    let choose = |left| executor.choose(size.tokens, left);
    Ok(costs?.choose(decoder, size, deadline, choose)?)
}

/// Generates answers in a caller's scratch buffer.
pub struct Generator<'m, 'a> {
    model: &'m Model<'m>,
    decoder: Decoder<'m>,
    kernels: &'m Kernels,
    #[cfg_attr(not(feature = "workers"), expect(dead_code, reason = "there is one core"))]
    workers: &'m dyn Workers,
    #[cfg_attr(not(feature = "deadline"), expect(dead_code, reason = "there are no deadlines"))]
    costs: Option<CostModel>,
    answer_costs: Option<AnswerCosts>,
    plan: GenerationPlan,
    arena: &'a mut [u8],
    /// What the memory in the arena holds; `None` before it is filled.
    memory: Option<KeyExtent>,
}

impl core::fmt::Debug for Generator<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Generator").field("kernels", &self.kernels).finish_non_exhaustive()
    }
}

impl<'m, 'a> Generator<'m, 'a> {
    /// Prepares to generate with `model` within `arena`.
    ///
    /// # Errors
    /// [`ExecutorError::ArenaTooSmall`] with both numbers, [`ExecutorError::ArenaMisaligned`], and
    /// [`ExecutorError::AnotherModel`] if the model has no decoder, or the plan was made for another.
    pub fn new(
        model: &'m Model<'m>,
        kernels: &'m Kernels,
        plan: GenerationPlan,
        arena: &'a mut [u8],
    ) -> Result<Self, ExecutorError> {
        let decoder = model.decoder().filter(|own| own.dimensions() == *plan.dimensions());
        let decoder = decoder.ok_or(ExecutorError::AnotherModel)?;
        if *plan.encoder().dimensions() != model.dimensions() {
            return Err(ExecutorError::AnotherModel);
        }
        let (needed, found) = (plan.arena_bytes(), arena.len());
        if found < needed {
            return Err(ExecutorError::ArenaTooSmall { needed, found });
        }
        if !arena.as_ptr().addr().is_multiple_of(ARENA_ALIGNMENT) {
            return Err(ExecutorError::ArenaMisaligned);
        }
        let arena = arena.part_mut(0..needed);
        let (workers, costs, answer_costs, memory) = (&ThisCore, None, None, None);
        Ok(Self { model, decoder, kernels, workers, costs, answer_costs, plan, arena, memory })
    }

    /// The same with the encoder on more cores: its plan says on how many. The answer does not change by a bit.
    #[cfg(feature = "workers")]
    #[must_use]
    pub fn with_workers(self, workers: &'m dyn Workers) -> Self {
        Self { workers, ..self }
    }

    /// The same with the encoder's costs on this machine, for [`Budget::Deadline`], which needs
    /// [those of the tokens](Self::with_answer_costs) too.
    #[cfg(feature = "deadline")]
    #[must_use]
    pub fn with_costs(self, costs: CostModel) -> Self {
        Self { costs: Some(costs), ..self }
    }

    /// The same with the costs of an answer's tokens: a deadline is for the whole answer, the encoder gets what
    /// the longest answer that is asked for leaves.
    #[cfg(feature = "deadline")]
    #[must_use]
    pub fn with_answer_costs(self, costs: AnswerCosts) -> Self {
        Self { answer_costs: Some(costs), ..self }
    }

    /// The plan it generates by.
    #[must_use]
    pub const fn plan(&self) -> &GenerationPlan {
        &self.plan
    }

    /// Encodes `input` and begins an answer; [`Generation::step`] adds to it.
    ///
    /// # Errors
    /// [`GenerateError`], before any work but for what the encoder finds at its end.
    pub fn generate(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        search: &Search<'_>,
    ) -> Result<Generation<'_>, GenerateError> {
        self.generate_observed(input, budget, search, &mut ())
    }

    /// The same, and shows the encoder's inner states to `observer`.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub fn generate_observed(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        search: &Search<'_>,
        observer: &mut impl Observer,
    ) -> Result<Generation<'_>, GenerateError> {
        let settled = self.settle(search)?;
        self.memory = None;
        let (tokens, choice) = self.encode(input, budget, &settled, observer)?;
        let extent = self.plan.memory_keys(tokens);
        let (states, buffers) = divide_memory(&self.plan, self.arena);
        let states: &mut [f32] = typed(states);
        let d = self.plan.dimensions().encoder_hidden;
        let states = states.part_mut(0..tokens * d);
        let context = context(&self.decoder, self.kernels);
        Memory::new(&context, &self.decoder, buffers, extent).fill(states, d);
        self.memory = Some(extent);
        Ok(self.begin(search.start, &settled, extent, choice))
    }

    /// Begins another answer to the input that was encoded last, which is not encoded again: with other start
    /// ids, or another search.
    ///
    /// # Errors
    /// [`GenerateError`]; [`GenerateError::NothingEncoded`] if no input was encoded, or the last one failed.
    pub fn again(&mut self, search: &Search<'_>) -> Result<Generation<'_>, GenerateError> {
        let extent = self.memory.ok_or(GenerateError::NothingEncoded)?;
        let settled = self.settle(search)?;
        Ok(self.begin(search.start, &settled, extent, None))
    }

    /// The probabilities of `ids` behind start ids, of the input that was encoded last: softmax over every id that
    /// an answer may hold, before any is suppressed. So a model of speech tells languages, and that nobody speaks.
    /// As many as `out` has room for are written.
    ///
    /// # Errors
    /// As [`Generator::again`]; a logit that is not finite.
    pub fn probabilities(
        &mut self,
        start: &[u32],
        ids: &[u32],
        out: &mut [f32],
    ) -> Result<(), GenerateError> {
        let mut found = Probabilities::new(ids, out);
        let search = Search { start, longest: 1, beams: 1, ..Search::OF_PACKAGE };
        self.again(&search)?.step_observed(&mut found)?;
        found.finish();
        Ok(())
    }

    /// An answer of the start ids; the memory is filled.
    fn begin(
        &mut self,
        start: &[u32],
        settled: &Settled,
        memory: KeyExtent,
        choice: Option<AnswerChoice>,
    ) -> Generation<'_> {
        let rules = *self.decoder.rules();
        let own = rules.start.iter().filter(|_| start.is_empty());
        let start = start.iter().copied().chain(own);
        let extent = AnswerCapacity { beams: settled.beams, ..self.plan.answer() };
        let hypotheses = Hypotheses::new(extent, rules.end, settled.length_penalty);
        let (left, manner) = (settled.longest, settled.manner);
        let begun =
            PausedGeneration { hypotheses, memory, left, done: 0, over: false, manner, choice };
        let mut answer = self.go_on(begun);
        answer.hypotheses.start(start);
        answer
    }

    /// Goes on with an answer that was set aside; the arena must be as it was. `None` if the answer is that of
    /// a generator with another plan.
    pub fn resume(&mut self, paused: PausedGeneration) -> Option<Generation<'_>> {
        let (own, extent) = (self.plan.answer(), paused.hypotheses.extent());
        let tokens = paused.memory.capacity.checked_sub(self.plan.dimensions().appended)?;
        let fits = extent.positions == own.positions
            && extent.beams <= own.beams
            && tokens <= self.plan.encoder().capacity().tokens
            && paused.memory == self.plan.memory_keys(tokens);
        fits.then(|| self.go_on(paused))
    }

    /// The answer in the arena.
    fn go_on(&mut self, paused: PausedGeneration) -> Generation<'_> {
        let Self { decoder, kernels, plan, arena, .. } = self;
        let memory_extent = paused.memory;
        let PausedGeneration { hypotheses, left, done, over, manner, choice, .. } = paused;
        let (decoder, beams) = (&*decoder, hypotheses.extent().beams);
        let (mut buffers, memory) = divide_step(plan, arena);
        let hypotheses = hypotheses.with_ids(take(&mut buffers.ids));
        let step = Step {
            context: context(decoder, kernels),
            decoder,
            globals: decoder.globals(),
            scratch: buffers.take_scratch(),
            rows: Rows::take(&mut buffers),
            cache: buffers.cache,
            cache_extent: plan.self_keys(),
            beams,
            memory,
            memory_extent,
        };
        let best = Best::new(buffers.best, buffers.best_ids, beams, manner.scored);
        let logits = buffers.logits;
        Generation { step, logits, best, hypotheses, left, done, over, manner, choice }
    }

    fn encode(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        settled: &Settled,
        observer: &mut impl Observer,
    ) -> Result<(usize, Option<AnswerChoice>), GenerateError> {
        let executor = Executor::new(self.model, self.kernels, *self.plan.encoder(), self.arena);
        debug_assert!(executor.is_ok(), "the plan has been compared");
        let Ok(executor) = executor else { return Err(RunError::NotRun.into()) };
        #[cfg(feature = "workers")]
        let executor = executor.with_workers(self.workers);
        #[cfg(feature = "deadline")]
        let executor = match self.costs {
            Some(costs) => executor.with_costs(costs),
            None => executor,
        };
        let mut executor = executor;
        let choice = match budget {
            Budget::Deadline(deadline) => {
                let size = settled.size(executor.tokens(&input)?);
                let costs = self.answer_costs.ok_or(DeadlineError::NoAnswerCosts);
                Some(choose(&executor, &self.decoder, costs, size, deadline)?)
            }
            _ => None,
        };
        let budget = choice.map_or(budget, |choice| choice.encoder.into());
        let output = executor.run_observed(input, budget, observer)?;
        Ok((output.hidden.rows(), choice))
    }

    /// The search, with the package's settings where it has none; it must fit the plan.
    fn settle(&self, search: &Search<'_>) -> Result<Settled, GenerateError> {
        let (rules, answer) = (self.decoder.rules(), self.plan.answer());
        let vocabulary = self.decoder.vocabulary();
        let outside = |id: &u32| *id as usize >= vocabulary;
        if let Some(position) = search.start.iter().position(outside) {
            let id = search.start.get(position).copied().unwrap_or_default();
            return Err(GenerateError::StartOutOfRange { position, id, vocabulary });
        }
        let beams = if search.beams > 0 { search.beams } else { rules.beams.min(answer.beams) };
        if beams > answer.beams {
            return Err(GenerateError::Beams { found: beams, capacity: answer.beams });
        }
        let start = if search.start.is_empty() { rules.start.len() } else { search.start.len() };
        let room = answer.positions.saturating_sub(start);
        let longest =
            if search.longest > 0 { search.longest } else { rules.longest.min(room.max(1)) };
        if longest > room {
            let needed = start.saturating_add(longest);
            return Err(GenerateError::TooManyPositions { needed, capacity: answer.positions });
        }
        let length_penalty = search.length_penalty.unwrap_or(rules.length_penalty);
        if !length_penalty.is_finite() {
            return Err(GenerateError::LengthPenalty);
        }
        if search.times && (beams > 1 || self.decoder.speech().is_none()) {
            return Err(GenerateError::Times { beams });
        }
        let ends_loops = search.ends_loops && beams == 1;
        let manner = Manner { times: search.times, ends_loops, scored: search.scored };
        Ok(Settled { start, longest, beams, length_penalty, manner })
    }
}
