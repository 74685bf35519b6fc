//! Constants of a plan, for a firmware to compile.

use crate::draw::grouped;
use coda_runtime::memory::{GenerationPlan, Plan};

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

/// What a firmware in Rust needs to size the arena of answers in a `const`.
#[must_use]
pub fn rust_answer_constants(plan: &GenerationPlan) -> String {
    let encoder = plan.encoder();
    format!(
        "use coda_runtime::memory::{{
    AnswerCapacity, Capacity, DecoderDimensions, Dimensions, GenerationPlan, Plan,
}};

const DIMENSIONS: Dimensions = {:#?};
const CAPACITY: Capacity = {:#?};
const DECODER: DecoderDimensions = {:#?};
const ANSWER: AnswerCapacity = {:#?};
/// An arena of {} bytes.
const PLAN: GenerationPlan = match Plan::new(&DIMENSIONS, CAPACITY) {{
    Ok(plan) => match GenerationPlan::new(plan, &DECODER, ANSWER) {{
        Ok(plan) => plan,
        Err(_) => panic!(\"the answer does not fit\"),
    }},
    Err(_) => panic!(\"the plan does not fit\"),
}};
",
        encoder.dimensions(),
        encoder.capacity(),
        plan.dimensions(),
        plan.answer(),
        grouped(plan.arena_bytes())
    )
}

/// The same for C, with the numbers of a `coda_capacity`. The package's answers begin with `start` ids.
#[must_use]
pub fn c_answer_constants(plan: &GenerationPlan, start: usize) -> String {
    let (capacity, answer) = (plan.encoder().capacity(), plan.answer());
    format!(
        "#define CODA_MAX_TOKENS {}
#define CODA_MAX_SELECTED {}
#define CODA_MAX_NEW_TOKENS {}
#define CODA_MAX_BEAMS {}
#define CODA_ARENA_BYTES {}
",
        capacity.tokens,
        capacity.selected,
        answer.positions - start.min(answer.positions),
        answer.beams,
        plan.arena_bytes()
    )
}
