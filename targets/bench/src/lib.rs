//! Measures kernels, layers and whole inferences with whatever counter a target has, and prints a
//! row for each: CSV, or a JSON array of the same rows.
//!
//! A program brings a [`Counter`], a [`Console`], packages and an arena; see `main.rs` for those of a
//! board, of Linux and of a WebAssembly module.
#![no_std]

mod kernels;
mod report;
mod steps;

pub use report::{Console, Format, Setup};

use coda_runtime::config::Embedding;
use coda_runtime::executor::{Executor, ExecutorError, Input, RunError};
use coda_runtime::format::{FormatError, Package};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan, PlanError};
use coda_runtime::model::{Model, ModelError};
use coda_runtime::routing::Budget;
use core::fmt;
use report::{Report, Row};
use thiserror::Error;

/// Reductions of the layers and the inferences. r = 1 with the task's adapter is the reference that
/// "dense" means: every token passes every layer, and the answer is that of an ordinary adapter.
pub const REDUCTIONS: [f32; 4] = [1.0, 2.0, 4.0, 8.0];

/// What a target counts.
pub trait Counter {
    /// What one count is: `instructions`, `cycles`, `ns`.
    fn unit(&self) -> &'static str;

    /// Counts since some moment in the past.
    fn now(&mut self) -> u64;
}

/// Why a benchmark ends early.
#[derive(Clone, Copy, Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A package does not parse.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A package does not bind.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The plan is beyond the address space.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The arena is too small or misaligned.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// An inference is refused.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The buffer of the input is smaller than the input.
    #[error("an input of {needed} values for a buffer of {found}")]
    InputTooLarge {
        /// Bytes of an image, or token ids.
        needed: usize,
        /// What there is room for.
        found: usize,
    },
    /// The model does not bound its inputs, or reads neither tokens nor pixels.
    #[error("the model does not bound its inputs: name the tokens")]
    NoInput,
    /// A row could not be written.
    #[error("a row could not be written")]
    Text(#[from] fmt::Error),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Single kernels.
    pub kernels: bool,
    /// The parts of an inference.
    pub layers: bool,
    /// Whole inferences.
    pub inferences: bool,
}

impl Groups {
    /// Everything.
    pub const ALL: Self = Self { kernels: true, layers: true, inferences: true };
}

/// Memory that a benchmark works in.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Scratch of the executor, and of the kernels.
    pub arena: &'a mut [u8],
    /// Room for an image.
    pub pixels: &'a mut [u8],
    /// Room for token ids.
    pub ids: &'a mut [u32],
}

/// A benchmark under way.
#[derive(Debug)]
pub struct Bench<'b, C, O> {
    counter: &'b mut C,
    report: Report<'b, O>,
    kernels: &'b Kernels,
    groups: Groups,
    runs: usize,
    overhead: u64,
}

impl<'b, C: Counter, O: Console> Bench<'b, C, O> {
    /// Starts a report. The least of some runs is what the core does undisturbed; one run is enough
    /// where instructions are counted.
    ///
    /// # Errors
    /// The first line cannot be written.
    pub fn start(
        setup: Setup<'b>,
        counter: &'b mut C,
        console: &'b mut O,
    ) -> Result<Self, BenchError> {
        let report = Report::start(setup, counter.unit(), console)?;
        let (groups, kernels, runs) = (Groups::ALL, setup.kernels, setup.runs.max(1));
        let mut bench = Self { counter, report, kernels, groups, runs, overhead: 0 };
        bench.overhead = (0..8).map(|_| bench.measure(|| ())).min().unwrap_or(0);
        Ok(bench)
    }

    /// The same benchmark of some groups only.
    #[must_use]
    pub fn only(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// Ends the report.
    ///
    /// # Errors
    /// The last line cannot be written.
    pub fn finish(mut self) -> Result<(), BenchError> {
        Ok(self.report.finish()?)
    }

    /// Kernels on the first layer's weights, then layers and inferences of every task over `base`.
    ///
    /// `tasks` are a name and a package each.
    ///
    /// # Errors
    /// The first [`BenchError`].
    pub fn base_and_tasks(
        &mut self,
        base: &[u8],
        tasks: &[(&str, &[u8])],
        tokens: Option<usize>,
        memory: &mut Memory<'_>,
    ) -> Result<(), BenchError> {
        let base = Package::parse(base)?;
        for (index, (mode, task)) in tasks.iter().enumerate() {
            let task = Package::parse(task)?;
            let model = Model::bind(&base, &task)?;
            if index == 0 && self.groups.kernels {
                let tokens = tokens.or(model.max_tokens()).ok_or(BenchError::NoInput)?;
                self.kernels(&model, tokens, memory.arena)?;
            }
            self.model(&model, mode, tokens, memory)?;
        }
        Ok(())
    }

    /// Layers and inferences of one model.
    ///
    /// # Errors
    /// The first [`BenchError`].
    pub fn model(
        &mut self,
        model: &Model<'_>,
        mode: &str,
        tokens: Option<usize>,
        memory: &mut Memory<'_>,
    ) -> Result<(), BenchError> {
        let tokens = tokens.or(model.max_tokens()).ok_or(BenchError::NoInput)?;
        let routed = model.task_config().is_some();
        let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens))?;
        let Memory { arena, pixels, ids } = memory;
        let input = input(model, tokens, pixels, ids)?;
        for reduction in REDUCTIONS.into_iter().take(if routed { REDUCTIONS.len() } else { 1 }) {
            let budget = Budget::Reduction(reduction);
            let mut executor = Executor::new(model, self.kernels, plan, arena)?;
            let row = Row { mode, reduction, tokens, ..Row::of("inference", "inference") };
            if self.groups.inferences {
                let mut result = Ok(());
                let count = self.measure(|| result = executor.run(input, budget).map(|_| ()));
                result?;
                self.report.row(&Row { count, ..row })?;
            }
            if self.groups.layers {
                self.steps(&mut executor, input, budget, row)?;
            }
        }
        Ok(())
    }

    /// The least count of a run of `body`, less that of nothing. One run before the first is not
    /// counted, unless one is enough.
    fn measure(&mut self, mut body: impl FnMut()) -> u64 {
        if self.runs > 1 {
            body();
        }
        let mut least = u64::MAX;
        for _ in 0..self.runs {
            let start = self.counter.now();
            body();
            least = least.min(self.counter.now().saturating_sub(start));
        }
        least.saturating_sub(self.overhead)
    }
}

/// An input of `tokens` tokens: ids from all over the vocabulary, or a pattern of pixels. No count
/// depends on the values.
fn input<'a>(
    model: &Model<'_>,
    tokens: usize,
    pixels: &'a mut [u8],
    ids: &'a mut [u32],
) -> Result<Input<'a>, BenchError> {
    if let Some(grid) = model.patch_grid() {
        let (needed, found) = (grid.image_bytes(), pixels.len());
        let image = pixels.get_mut(..needed).ok_or(BenchError::InputTooLarge { needed, found })?;
        (0..)
            .zip(image.iter_mut())
            .for_each(|(at, pixel): (usize, _)| *pixel = (at * 31 % 251) as u8);
        return Ok(Input::Pixels(image));
    }
    let Embedding::Tokens { vocabulary, .. } = model.config().embedding else {
        return Err(BenchError::NoInput);
    };
    let (needed, found) = (tokens, ids.len());
    let ids = ids.get_mut(..needed).ok_or(BenchError::InputTooLarge { needed, found })?;
    (0..)
        .zip(ids.iter_mut())
        .for_each(|(at, id): (usize, _)| *id = (at * 7919 % vocabulary) as u32);
    Ok(Input::tokens(ids))
}
