//! Constants of a plan, for a firmware to compile.

use crate::draw::grouped;
use coda_runtime::memory::Plan;

/// What a firmware in Rust needs to size its arena in a `const`.
#[must_use]
pub fn rust_constants(plan: &Plan) -> String {
    format!(
        "use coda_runtime::memory::{{Capacity, Dimensions, Plan}};

const DIMENSIONS: Dimensions = {:#?};
const CAPACITY: Capacity = {:#?};
/// An arena of {} bytes.
const PLAN: Plan = match Plan::new(&DIMENSIONS, CAPACITY) {{
    Ok(plan) => plan,
    Err(_) => panic!(\"the plan does not fit\"),
}};
",
        plan.dimensions(),
        plan.capacity(),
        grouped(plan.arena_bytes())
    )
}

/// The same for C, with the numbers that `coda_start` takes.
#[must_use]
pub fn c_constants(plan: &Plan) -> String {
    format!(
        "#define CODA_MAX_TOKENS {}
#define CODA_MAX_SELECTED {}
#define CODA_ARENA_BYTES {}
",
        plan.capacity().tokens,
        plan.capacity().selected,
        plan.arena_bytes()
    )
}
