//! A task on trial: its self-test, in an arena of its own, beside the task in use.

use crate::device::{Refusal, Task};
use crate::external::HeapArena;
use coda_runtime::executor::Executor;
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::self_test;

/// Runs the self-test that the task carries.
pub(crate) fn self_test(base: &Package<'static>, task: &Task) -> Result<(), Refusal> {
    let test = task.package.self_test().ok_or(Refusal::Untested)?;
    let model = Model::bind(base, &task.package)?;
    let capacity = Capacity::any_budget(model.max_tokens().ok_or(Refusal::Untested)?);
    let plan = Plan::new(&model.dimensions(), capacity).map_err(|_| Refusal::Untested)?;
    let mut arena = HeapArena::new(plan.arena_bytes()).ok_or(Refusal::Untested)?;
    let executor = Executor::new(&model, Kernels::best(), plan, arena.bytes());
    let mut executor = executor.map_err(|_| Refusal::Untested)?;
    self_test::run(&mut executor, &test)?;
    Ok(())
}
