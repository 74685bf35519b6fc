//! One inference: tokens or pixels in, answer out.
//!
//! | file | stage |
//! |---|---|
//! | `embed` | ids or patches to hidden states |
//! | `frames` | log-mel frames to hidden states |
//! | `grid` | the same for an image of any size |
//! | `pass` | what the stages of one inference read and write |
//! | `route` | which tokens pass a layer |
//! | `layer` | one encoder layer, as in `docs/method.md`, "One layer" |
//! | `keys` | what the selected tokens of a layer attend to |
//! | `probe` | the pooling by attention of a learned query |
//! | `head` | pooling, dense stages, classifier, embedding |
//! | `values` | the label of an answer, and whether it is one |

mod embed;
mod error;
#[cfg(feature = "frames")]
mod frames;
#[cfg(feature = "grid")]
mod grid;
mod head;
mod input;
mod keys;
mod layer;
mod observer;
mod pass;
mod probe;
mod route;
mod values;

pub use error::{ExecutorError, RunError};
pub use input::Input;
pub use observer::Observer;
pub use values::{all_finite, largest};

#[cfg(feature = "std")]
pub use crate::block::ThreadPool;
pub use crate::block::{ThisCore, Workers};

use crate::block::{Context, Cores, Watched};
use crate::kernels::Kernels;
use crate::memory::{ARENA_ALIGNMENT, Buffers, Plan};
use crate::model::Model;
use crate::routing::{Budget, CostModel, DeadlineChoice, DeadlineError};
use crate::tensor::{Matrix, Part};
use core::time::Duration;
use pass::Pass;
use route::{Router, tokens_behind, tokens_of_layer};

/// Runs a model in a caller's scratch buffer.
pub struct Executor<'m, 'a> {
    model: &'m Model<'m>,
    kernels: &'m Kernels,
    workers: Cores<'m>,
    plan: Plan,
    costs: Option<CostModel>,
    arena: &'a mut [u8],
}

impl core::fmt::Debug for Executor<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Executor")
            .field("kernels", &self.kernels)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// The answer of one inference, in the arena until the next.
#[derive(Clone, Copy, Debug)]
pub struct Output<'r> {
    /// Logits `[labels]`, those of each token `[n, labels]`, or the embedding; empty without a head.
    pub values: &'r [f32],
    /// Hidden states after the last layer and the final norm, `[n, d]`; n are the tokens that are left
    /// where layers prune.
    pub hidden: Matrix<'r>,
    /// What was chosen for a deadline; `None` under another budget.
    pub choice: Option<DeadlineChoice>,
    /// The values are logits of each token.
    #[cfg(feature = "heads")]
    of_each_token: bool,
}

impl Output<'_> {
    /// Index of the largest value, as [`largest`] has it. `None` without a head, and where each token
    /// has a label of its own ([`Output::token_logits`]).
    #[must_use]
    pub fn label(&self) -> Option<usize> {
        #[cfg(feature = "heads")]
        if self.of_each_token {
            return None;
        }
        largest(self.values)
    }

    /// The logits of each token, `[n, labels]`, of a head that labels tokens; [`largest`] of a row is
    /// the token's label. `None` under another head.
    #[cfg(feature = "heads")]
    #[must_use]
    pub fn token_logits(&self) -> Option<Matrix<'_>> {
        let labels = self.values.len() / self.hidden.rows().max(1);
        self.of_each_token.then(|| Matrix::new(self.values, labels))
    }
}

impl<'m, 'a> Executor<'m, 'a> {
    /// Prepares to run `model` within `arena`.
    ///
    /// # Errors
    /// [`ExecutorError::ArenaTooSmall`] with both numbers, [`ExecutorError::ArenaMisaligned`], and
    /// [`ExecutorError::AnotherModel`] if the plan was made for other dimensions.
    pub fn new(
        model: &'m Model<'m>,
        kernels: &'m Kernels,
        plan: Plan,
        arena: &'a mut [u8],
    ) -> Result<Self, ExecutorError> {
        if *plan.dimensions() != model.dimensions() {
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
        Ok(Self { model, kernels, workers: &ThisCore, plan, costs: None, arena })
    }

    /// The same executor on more cores: the plan says on how many ([`Plan::with_workers`]). The
    /// answer does not change by a bit.
    #[cfg(feature = "workers")]
    #[must_use]
    pub fn with_workers(self, workers: &'m dyn Workers) -> Self {
        Self { workers, ..self }
    }

    /// The same executor with the costs of this machine, for [`Budget::Deadline`].
    #[cfg(feature = "deadline")]
    #[must_use]
    pub fn with_costs(self, costs: CostModel) -> Self {
        Self { costs: Some(costs), ..self }
    }

    /// The model it runs.
    #[must_use]
    pub const fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// The plan it runs by.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs one inference.
    ///
    /// # Errors
    /// [`RunError`] for an input or budget that does not fit, which is checked before any work;
    /// [`RunError::NotFinite`] for an answer that is none; [`RunError::NotRun`].
    pub fn run(&mut self, input: Input<'_>, budget: Budget<'_>) -> Result<Output<'_>, RunError> {
        self.run_observed(input, budget, &mut ())
    }

    /// Runs one inference and shows its inner states to `observer`.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn run_observed(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        observer: &mut impl Observer,
    ) -> Result<Output<'_>, RunError> {
        let tokens = input::check(&input, self.model, &self.plan)?;
        let choice = match budget {
            Budget::Deadline(deadline) => Some(self.choose(tokens, deadline)?),
            _ => None,
        };
        let budget = choice.map_or(budget, Budget::from);
        self.check_budget(&budget, tokens)?;
        let (model, layers) = (self.model, self.model.config().layers);
        let watched = Watched::new(self.workers);
        let mut pass = self.begin(tokens, watched.cores());
        let mut router = Router::new(model, budget, &mut pass.buffers);
        embed::forward(&mut pass, model, &input);
        observer.embedded(pass.hidden());
        for index in 0..layers {
            let layer = model.layer(index);
            let selected = router.route(&mut pass, &layer, index, observer);
            layer::forward(&mut pass, &layer, selected);
            observer.layer(index, pass.hidden());
        }
        let tokens = pass.tokens;
        head::forward(&mut pass, model.head());
        let undone = watched.left_work_undone();
        if undone || !pass.is_finite() {
            return Err(if undone { RunError::NotRun } else { RunError::NotFinite });
        }
        let Pass { buffers, context, .. } = pass;
        let hidden = Matrix::new(buffers.hidden, context.config.hidden).first_rows(tokens);
        Ok(Output {
            values: buffers.output,
            hidden,
            choice,
            #[cfg(feature = "heads")]
            of_each_token: model.head().is_some_and(|head| head.is_of_each_token()),
        })
    }

    /// The buffers of an inference, and what its stages need to know.
    fn begin<'p>(&mut self, tokens: usize, workers: Cores<'p>) -> Pass<'p, '_>
    where
        'm: 'p,
    {
        let Self { model, kernels, .. } = *self;
        let config = model.config();
        let adapter_activation = model.task_config().map(|task| task.adapter_activation);
        let context = Context { config, kernels, workers, adapter_activation };
        let mut buffers = Buffers::divide(&self.plan, self.arena);
        let scratch = buffers.take_scratch(self.plan.workers());
        Pass { context, globals: model.globals(), buffers, scratch, tokens }
    }

    /// The number of tokens of an input, which is checked.
    #[cfg(feature = "decoder")]
    pub(crate) fn tokens(&self, input: &Input<'_>) -> Result<usize, RunError> {
        input::check(input, self.model, &self.plan)
    }

    /// What a deadline comes to for an input of `tokens` tokens.
    ///
    /// # Errors
    /// [`DeadlineError::NoCostModel`] without `with_costs`,
    /// [`DeadlineError::TooShort`].
    pub fn choose(
        &self,
        tokens: usize,
        deadline: Duration,
    ) -> Result<DeadlineChoice, DeadlineError> {
        let costs = self.costs.filter(|_| cfg!(feature = "deadline"));
        let costs = costs.ok_or(DeadlineError::NoCostModel)?;
        costs.choose(self.model, tokens, self.plan.capacity().selected, deadline)
    }

    /// The budget must be sensible and fit the plan.
    fn check_budget(&self, budget: &Budget<'_>, tokens: usize) -> Result<(), RunError> {
        budget.check(self.model.config().layers)?;
        let (capacity, mut tokens) = (self.plan.capacity().selected, tokens);
        for index in 0..self.model.config().layers {
            let needed = tokens_of_layer(self.model, index, tokens, budget);
            tokens = tokens_behind(self.model, index, tokens, budget);
            if needed.is_some_and(|needed| needed > capacity) {
                return Err(RunError::SelectedAboveCapacity {
                    needed: needed.unwrap_or(0),
                    capacity,
                });
            }
        }
        Ok(())
    }
}
