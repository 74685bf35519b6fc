//! A bound model with its arena: what a firmware sets up once, for host programs.

use crate::bytes::PackageBytes;
use anyhow::{Context, Result, anyhow, bail};
use coda_runtime::executor::{Executor, Input, Observer, Output, RunError, ThreadPool};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, CostModel};
use coda_runtime::tensor::Matrix;
use memmap2::MmapMut;

/// An arena from which on the system is asked for large pages: they come with fewer faults.
const LARGE: usize = 1 << 20;
/// Bytes of a large page.
const LARGE_PAGE: usize = 2 << 20;

/// Runs inputs of up to a number of tokens through one model.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model<'m>,
    kernels: &'static Kernels,
    plan: Plan,
    arena: Arena,
    pool: Option<ThreadPool>,
    costs: Option<CostModel>,
}

impl<'m> Session<'m> {
    /// Plans and allocates the arena for `capacity`.
    ///
    /// # Errors
    /// The capacity is empty, contradictory or too large.
    pub fn new(model: &'m Model<'m>, capacity: Capacity) -> Result<Self> {
        let plan = Plan::new(&model.dimensions(), capacity)?;
        Ok(Self {
            model,
            kernels: Kernels::best(),
            plan,
            arena: Arena::new(plan.arena_bytes())?,
            pool: None,
            costs: None,
        })
    }

    /// The same on `threads` threads; the answer has the same bits.
    ///
    /// # Errors
    /// No thread, more than the system gives, or no memory for their scratch.
    pub fn with_threads(self, threads: usize) -> Result<Self> {
        let plan = Plan::with_workers(&self.model.dimensions(), self.plan.capacity(), threads)?;
        let pool = (threads > 1).then(|| ThreadPool::new(threads)).transpose()?;
        let same = plan.arena_bytes() == self.plan.arena_bytes();
        let arena = if same { self.arena } else { Arena::new(plan.arena_bytes())? };
        Ok(Self { plan, arena, pool, ..self })
    }

    /// The same with another kernel table.
    #[must_use]
    pub fn with_kernels(self, kernels: &'static Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// The same with the costs of this machine, for deadlines.
    #[must_use]
    pub fn with_costs(self, costs: CostModel) -> Self {
        Self { costs: Some(costs), ..self }
    }

    /// The costs of this machine.
    #[must_use]
    pub const fn costs(&self) -> Option<CostModel> {
        self.costs
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// Runs one input and hands its answer to `read`.
    ///
    /// # Errors
    /// As [`Executor::run`]; of an answer that is not finite it says in which layer that began.
    pub fn run<T: Send>(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        observer: &mut (impl Observer + Send),
        read: impl FnOnce(Output<'_>) -> T + Send,
    ) -> Result<T> {
        let answer = self.run_once(input, budget, observer, read);
        answer.map_err(|error| {
            if !is_not_finite(&error) {
                return error;
            }
            let mut seen = FirstNotFinite::default();
            // It ends as before; nothing is read of it but the stage.
            let _ = self.run_once(input, budget, &mut seen, |_| ());
            error.context(seen.sentence())
        })
    }

    fn run_once<T: Send>(
        &mut self,
        input: Input<'_>,
        budget: Budget<'_>,
        observer: &mut (impl Observer + Send),
        read: impl FnOnce(Output<'_>) -> T + Send,
    ) -> Result<T> {
        let executor = Executor::new(self.model, self.kernels, self.plan, self.arena.bytes())?;
        let mut executor = match self.costs {
            Some(costs) => executor.with_costs(costs),
            None => executor,
        };
        let Some(pool) = &self.pool else {
            return Ok(read(executor.run_observed(input, budget, observer)?));
        };
        let mut executor = executor.with_workers(pool);
        pool.run(|| Ok(read(executor.run_observed(input, budget, observer)?)))
    }
}

/// The larger of two errors; NaN is larger than any.
#[must_use]
pub fn worse(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Whether a run failed because its answer is not finite.
#[must_use]
pub fn is_not_finite(error: &anyhow::Error) -> bool {
    error.downcast_ref::<RunError>() == Some(&RunError::NotFinite)
}

/// The first stage of a run with a hidden state that is not finite.
#[derive(Debug, Default)]
pub struct FirstNotFinite {
    stages: usize,
    found: Option<String>,
}

impl FirstNotFinite {
    fn see(&mut self, hidden: Matrix<'_>) {
        let stage = self.stages;
        self.stages += 1;
        if self.found.is_some() {
            return;
        }
        let bad = hidden.iter().enumerate().find_map(|(token, row)| {
            row.iter().find(|value| !value.is_finite()).map(|value| (token, *value))
        });
        self.found = bad.map(|(token, value)| match stage.checked_sub(1) {
            None => format!("{value} in the embedding of token {token}"),
            Some(layer) => format!("{value} after layer {layer} at token {token}"),
        });
    }

    /// What was found, and what it can be.
    #[must_use]
    pub fn sentence(&self) -> String {
        let began = self.found.as_deref().unwrap_or("behind the last layer");
        format!(
            "no answer: NaN or infinity, first {began}: activations overflow f32 or weights are damaged \
             (`coda verify` compares every layer)"
        )
    }
}

impl Observer for FirstNotFinite {
    fn embedded(&mut self, hidden: Matrix<'_>) {
        self.see(hidden);
    }

    fn layer(&mut self, _: usize, hidden: Matrix<'_>) {
        self.see(hidden);
    }
}

/// Memory of its own pages. An arena needs less alignment, but rows that begin with a line of the cache are
/// read and written faster; and its pages come when they are first used.
#[derive(Debug)]
pub(crate) struct Arena {
    pages: MmapMut,
    length: usize,
}

impl Arena {
    /// So many bytes.
    pub(crate) fn new(length: usize) -> Result<Self> {
        let large = length >= LARGE;
        let mapped = if large { length.next_multiple_of(LARGE_PAGE) } else { length.max(1) };
        let pages = MmapMut::map_anon(mapped);
        let pages = pages.with_context(|| format!("no memory for an arena of {length} bytes"))?;
        #[cfg(target_os = "linux")]
        if large {
            // A system without large pages refuses, and small ones serve as well.
            let _ = pages.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { pages, length })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.pages.get_mut(..self.length).unwrap_or_default()
    }
}

/// Binds the packages of one or two files: a bundle, a base, or a base and a task in any order.
///
/// # Errors
/// The packages do not parse or do not fit.
pub fn bind<'a>(files: &'a [PackageBytes]) -> Result<Model<'a>> {
    let packages: Vec<Package<'a>> =
        files.iter().map(PackageBytes::parse).collect::<Result<_, _>>()?;
    bind_packages(&packages)
}

/// The same of packages that are parsed: a large one is checked once.
///
/// # Errors
/// The packages do not fit.
pub fn bind_packages<'a>(packages: &[Package<'a>]) -> Result<Model<'a>> {
    match packages {
        [single] => Ok(Model::from_package(single)?),
        [first, second] => {
            let base = first.base().or(second.base());
            let task = second.task().or(first.task());
            match (base, task) {
                (Some(base), Some(task)) => Ok(Model::bind(&base, &task)?),
                (None, _) => Err(anyhow!("neither package is a base")),
                (_, None) => Err(anyhow!("neither package is a task")),
            }
        }
        _ => bail!("give a bundle, a base, or a base and a task"),
    }
}
