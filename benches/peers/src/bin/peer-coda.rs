//! A package in this runtime: `peer-coda PACKAGE INPUTS THREADS [REDUCTION]`.

use anyhow::{Result, bail};
use coda_peers::{Input, Job};
use coda_runtime::executor::{Executor, Input as CodaInput, Output, ThreadPool};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;

/// Bytes of a line of the cache.
const LINE: usize = 64;

fn main() -> Result<()> {
    let job = Job::read()?;
    let file = std::fs::File::open(&job.model)?;
    // SAFETY: nothing writes to the package while it is in use.
    let bytes = unsafe { memmap2::Mmap::map(&file)? };
    let package = Package::parse(&bytes)?;
    let model = Model::from_package(&package)?;
    let capacity = Capacity::any_budget(job.tokens);
    let plan = Plan::with_workers(&model.dimensions(), capacity, job.threads)?;
    // As `coda` does: rows that begin with a line of the cache are read faster.
    let mut space = vec![0; plan.arena_bytes() + LINE - 1];
    let start = space.as_ptr().align_offset(LINE);
    let arena = &mut space[start..start + plan.arena_bytes()];
    let pool = (job.threads > 1).then(|| ThreadPool::new(job.threads)).transpose()?;
    let reduction = job.more.first().map_or(Ok(1.0), |reduction| reduction.parse())?;
    let budget = Budget::Reduction(reduction);
    let hidden = |output: Output<'_>| output.hidden.iter().flatten().copied().collect();
    job.serve(|input| {
        let input = match input {
            Input::Ids(ids) => CodaInput::tokens(ids),
            Input::Bytes(pixels) => CodaInput::Pixels(pixels),
            Input::Planes(_) => bail!("images are bytes here"),
        };
        let mut executor = Executor::new(&model, Kernels::best(), plan, arena)?;
        let Some(pool) = &pool else {
            return Ok(hidden(executor.run(input, budget)?));
        };
        let mut executor = executor.with_workers(pool);
        pool.run(|| Ok(hidden(executor.run(input, budget)?)))
    })
}
