//! What a context holds, in safe Rust: a model, a plan, a place for the arena, the last error.

use crate::status::{Error, Status};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::CostModel;

/// First word of a context in use.
pub(crate) const MAGIC: usize = 0x0c0d_a001;

/// Memory of the caller: where it starts and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: usize,
    pub(crate) bytes: usize,
}

impl Region {
    pub(crate) const NONE: Self = Self { start: 0, bytes: 0 };

    pub(crate) const fn overlaps(self, other: Self) -> bool {
        self.bytes > 0
            && other.bytes > 0
            && self.start < other.start.saturating_add(other.bytes)
            && other.start < self.start.saturating_add(self.bytes)
    }

    /// An error that says which `two` they are, if this one shares bytes with another.
    pub(crate) const fn apart_from(self, other: Self, two: &'static str) -> Result<(), Error> {
        if self.overlaps(other) { Err(Error::Overlap(two)) } else { Ok(()) }
    }

    pub(crate) fn of<T>(values: &[T]) -> Self {
        Self { start: values.as_ptr().addr(), bytes: size_of_val(values) }
    }

    /// Of one value of the caller.
    #[cfg(feature = "decoder")]
    pub(crate) fn at<T>(value: *const T) -> Self {
        Self { start: value.addr(), bytes: size_of::<T>() }
    }
}

/// The arena and what it was planned for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) plan: Plan,
    pub(crate) arena: *mut u8,
    pub(crate) bytes: usize,
}

impl Started {
    pub(crate) fn region(&self) -> Region {
        Region { start: self.arena.addr(), bytes: self.bytes }
    }
}

/// A context. It starts with a word that tells it from memory that was never initialised.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct State {
    magic: usize,
    pub(crate) model: Option<Model<'static>>,
    /// The packages' bytes, for the check of overlaps; no task's if the bundle has it.
    base: Region,
    task: Region,
    pub(crate) kernels: &'static Kernels,
    pub(crate) costs: Option<CostModel>,
    pub(crate) started: Option<Started>,
    /// Where the answer lies that this model is at, or 0: what runs, starts or swaps ends it.
    #[cfg(feature = "decoder")]
    pub(crate) answering: usize,
    pub(crate) error: Error,
}

impl State {
    /// Without a model.
    pub(crate) fn empty() -> Self {
        Self {
            magic: MAGIC,
            model: None,
            base: Region::NONE,
            task: Region::NONE,
            kernels: Kernels::best(),
            costs: None,
            started: None,
            #[cfg(feature = "decoder")]
            answering: 0,
            error: Error::Plain(Status::Ok),
        }
    }

    /// Binds a base or a bundle, and a task unless the bundle has it or the base runs alone.
    pub(crate) fn open(
        &mut self,
        base: &'static [u8],
        task: Option<&'static [u8]>,
    ) -> Result<(), Error> {
        bind_packages(&mut self.model, base, task)?;
        self.base = Region::of(base);
        self.task = task.map_or(Region::NONE, Region::of);
        Ok(())
    }

    pub(crate) fn model(&self) -> Result<&Model<'static>, Status> {
        self.model.as_ref().ok_or(Status::NotInitialized)
    }

    /// The plan for so many tokens; 0 for the longest input and for any budget.
    pub(crate) fn plan(&self, tokens: usize, selected: usize) -> Result<Plan, Error> {
        let model = self.model()?;
        let tokens = if tokens == 0 { model.max_tokens().unwrap_or(0) } else { tokens };
        let selected = if selected == 0 { tokens } else { selected };
        Ok(Plan::new(&model.dimensions(), Capacity { tokens, selected })?)
    }

    /// Another task on the same base; on any error the old one stays.
    pub(crate) fn swap(&mut self, task: Option<&'static [u8]>) -> Result<(), Error> {
        let base = *self.model()?.base();
        let model = match task {
            Some(task) => bind(&base, task)?,
            None => Model::dense(&base)?,
        };
        let region = task.map_or(Region::NONE, Region::of);
        if let Some(started) = &mut self.started {
            started.region().apart_from(region, "the task and the arena")?;
            let plan = Plan::new(&model.dimensions(), started.plan.capacity())?;
            fits(&plan, started.region())?;
            started.plan = plan;
        }
        self.model = Some(model);
        self.task = region;
        self.end_answer();
        Ok(())
    }

    /// An answer that was begun does not go on: its arena or its model is another now.
    pub(crate) const fn end_answer(&mut self) {
        #[cfg(feature = "decoder")]
        {
            self.answering = 0;
        }
    }

    /// Where the packages lie: those of the model.
    #[cfg(feature = "decoder")]
    pub(crate) const fn packages(&self) -> [Region; 2] {
        [self.base, self.task]
    }

    /// The arena must not share bytes with the packages.
    pub(crate) fn is_apart_from_packages(&self, arena: Region) -> Result<(), Error> {
        arena.apart_from(self.base, "the arena and the base")?;
        arena.apart_from(self.task, "the arena and the task")
    }
}

/// The arena must be as large as the plan and as aligned.
pub(crate) fn fits(plan: &Plan, arena: Region) -> Result<(), Error> {
    fits_bytes(plan.arena_bytes(), arena)
}

/// The arena must be of so many bytes, and aligned.
pub(crate) fn fits_bytes(needed: usize, arena: Region) -> Result<(), Error> {
    use coda_runtime::executor::ExecutorError::{ArenaMisaligned, ArenaTooSmall};
    let found = arena.bytes;
    if found < needed {
        return Err(ArenaTooSmall { needed, found }.into());
    }
    if !arena.start.is_multiple_of(coda_runtime::memory::ARENA_ALIGNMENT) {
        return Err(ArenaMisaligned.into());
    }
    Ok(())
}

/// Binds a base or a bundle, and the task that stands in place of the bundle's own. Packages and models
/// are large, and stacks are small: what lies in this frame ends with it, and is written where it stays.
#[inline(never)]
fn bind_packages(
    model: &mut Option<Model<'static>>,
    base: &'static [u8],
    task: Option<&'static [u8]>,
) -> Result<(), Error> {
    let package = Package::parse(base).map_err(Error::Base)?;
    match task {
        Some(task) => return bind_other(model, &package, task),
        None => *model = Some(Model::from_package(&package)?),
    }
    Ok(())
}

/// The base of a package and another task than its own.
#[inline(never)]
fn bind_other(
    model: &mut Option<Model<'static>>,
    package: &Package<'static>,
    task: &'static [u8],
) -> Result<(), Error> {
    *model = Some(match package.base() {
        Some(base) => bind(&base, task)?,
        None => Model::from_package(package)?,
    });
    Ok(())
}

#[inline(never)]
fn bind(base: &Package<'static>, task: &'static [u8]) -> Result<Model<'static>, Error> {
    let task = Package::parse(task).map_err(Error::Task)?;
    Ok(Model::bind(base, &task)?)
}
