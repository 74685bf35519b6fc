//! What the memory of a `coda_generation` holds, in safe Rust: the largest answer, the arena, an answer that is
//! set aside between two calls.

use crate::answers::{Answer, Capacity, Generation};
use crate::pointers::{Held, slice_mut};
use crate::state::{Region, State, fits_bytes};
use crate::status::{Error, Status};
use coda_runtime::decoder::{AnswerCosts, GenerateError, Generator, PausedGeneration, Search};
use coda_runtime::executor::{Input, RunError};
use coda_runtime::memory::{self, AnswerCapacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;

/// The largest call: nothing of it is left to the package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest {
    encoder: memory::Capacity,
    answer: AnswerCapacity,
}

impl Largest {
    /// What `asked` leaves open is the model's.
    pub(crate) fn of(model: &Model<'_>, asked: &Capacity) -> Result<Self, Status> {
        let decoder = model.decoder().ok_or(Status::NoDecoder)?;
        let rules = decoder.rules();
        let or = |asked: usize, own: usize| if asked == 0 { own } else { asked };
        let tokens = or(asked.max_tokens, model.max_tokens().unwrap_or(0));
        let new = or(asked.max_new_tokens, rules.longest);
        Ok(Self {
            encoder: memory::Capacity { tokens, selected: or(asked.max_selected, tokens) },
            answer: AnswerCapacity {
                positions: rules.start.len().saturating_add(new),
                beams: or(asked.max_beams, rules.beams),
            },
        })
    }

    pub(crate) fn plan(&self, model: &Model<'_>) -> Result<GenerationPlan, Error> {
        let decoder = model.decoder().ok_or(Status::NoDecoder)?;
        let encoder = Plan::new(&model.dimensions(), self.encoder)?;
        Ok(GenerationPlan::new(encoder, &decoder.dimensions(), self.answer)?)
    }
}

/// Memory for answers. It starts with a word that tells it from memory that was never initialised.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Writer {
    magic: usize,
    largest: Largest,
    arena: *mut u8,
    bytes: usize,
    begun: Option<Begun>,
}

/// An answer that was begun.
#[derive(Debug)]
struct Begun {
    plan: GenerationPlan,
    /// Those of its model.
    packages: [Region; 2],
    paused: PausedGeneration,
}

impl Held for Writer {
    type Place = Generation;
    const MAGIC: usize = 0x0c0d_a002;
}

impl Writer {
    pub(crate) const fn new(largest: Largest, arena: *mut u8, bytes: usize) -> Self {
        Self { magic: Self::MAGIC, largest, arena, bytes, begun: None }
    }

    pub(crate) fn region(&self) -> Region {
        Region { start: self.arena.addr(), bytes: self.bytes }
    }

    /// The model's plan; the arena must hold it and lie apart from the packages.
    pub(crate) fn plan(&self, state: &State) -> Result<GenerationPlan, Error> {
        let plan = self.largest.plan(state.model()?)?;
        fits_bytes(plan.arena_bytes(), self.region())?;
        state.is_apart_from_packages(self.region())?;
        Ok(plan)
    }

    /// Begins an answer. What is refused leaves one that was begun as it was.
    pub(crate) fn generate(
        &mut self,
        state: &State,
        input: Input<'_>,
        budget: Budget<'_>,
        search: &Search<'_>,
    ) -> Result<(), Error> {
        let (model, plan) = (state.model()?, self.plan(state)?);
        let arena = slice_mut(self.arena, self.bytes)?;
        let generator = Generator::new(model, state.kernels, plan, arena)?;
        // The costs that C gives are the encoder's: a deadline is one for the encoder.
        let mut generator = match state.costs {
            Some(costs) => generator.with_costs(costs).with_answer_costs(AnswerCosts::default()),
            None => generator,
        };
        match generator.generate(input, budget, search) {
            Ok(begun) => {
                let (packages, paused) = (state.packages(), begun.pause());
                self.begun = Some(Begun { plan, packages, paused });
                Ok(())
            }
            Err(error) => {
                let at_work = [RunError::NotFinite, RunError::NotRun].map(GenerateError::Run);
                if at_work.contains(&error) {
                    self.begun = None;
                }
                Err(error.into())
            }
        }
    }

    /// The answer so far, or with one more token.
    pub(crate) fn answer(&mut self, state: &State, step: bool) -> Result<Answer, Error> {
        let model = state.model()?;
        let own = |begun: &mut Begun| begun.packages == state.packages();
        let begun = self.begun.take_if(own).ok_or(Status::NoAnswer)?;
        let Begun { plan, packages, paused } = begun;
        let arena = slice_mut(self.arena, self.bytes)?;
        let mut generator = Generator::new(model, state.kernels, plan, arena)?;
        let mut answer = generator.resume(paused).ok_or(Status::Internal)?;
        let stepped = if step { answer.step().map(drop) } else { Ok(()) };
        let shown = Answer::of(&answer);
        self.begun = Some(Begun { plan, packages, paused: answer.pause() });
        stepped.map_err(GenerateError::Run)?;
        Ok(shown)
    }
}
