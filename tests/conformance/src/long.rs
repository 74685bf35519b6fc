//! Long inputs: 2,048 and 8,192 tokens through every table, with answers written down, so that a machine of
//! 32 bits is compared with one of 64. The package is `Tiny::long` of the tests.

use crate::golden::GoldenError;
use coda_runtime::executor::{Executor, Input};
use coda_runtime::format::Package;
use coda_runtime::include_package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;

static PACKAGE: &[u8] = include_package!("../long.coda");

/// Longest input.
const LONGEST: usize = 8192;
/// Token ids below it.
const IDS: u32 = 12;

/// An input: its tokens, k, and the FNV-1a hash of the bits of all hidden states and values. The rule of low-rank
/// keys compares numbers above 2^32 in both.
struct Answer {
    tokens: usize,
    selected: usize,
    hash: u64,
}

const ANSWERS: [Answer; 2] = [
    Answer { tokens: 2048, selected: 304, hash: 0x8968_3e59_31b1_cf00 },
    Answer { tokens: LONGEST, selected: 66, hash: 0xae76_3c03_665e_7a26 },
];

fn plan(model: &Model<'_>, answer: &Answer) -> Option<Plan> {
    let capacity = Capacity { tokens: answer.tokens, selected: answer.selected };
    Plan::new(&model.dimensions(), capacity).ok()
}

/// Bytes of the arena that the longest input needs; 0 if the package is none.
pub fn long_arena_bytes() -> usize {
    let Ok(package) = Package::parse(PACKAGE) else { return 0 };
    let Ok(model) = Model::from_package(&package) else { return 0 };
    let plans = ANSWERS.iter().filter_map(|answer| plan(&model, answer));
    plans.map(|plan| plan.arena_bytes()).max().unwrap_or(0)
}

/// Runs the long inputs with `table`, in an arena of [`long_arena_bytes`]; returns their number.
pub fn check_long(table: &'static Kernels, arena: &mut [u8]) -> Result<usize, GoldenError> {
    let problem = |problem| GoldenError { table: table.name, model: "long", problem };
    let package = Package::parse(PACKAGE).map_err(|_| problem("the package does not parse"))?;
    let model = Model::from_package(&package).map_err(|_| problem("it does not bind"))?;
    let mut ids = [0; LONGEST];
    for (index, id) in ids.iter_mut().enumerate() {
        *id = (index as u32).wrapping_mul(2_654_435_761) % IDS;
    }
    for answer in &ANSWERS {
        let plan = plan(&model, answer).ok_or(problem("no plan"))?;
        let executor = Executor::new(&model, table, plan, arena);
        let mut executor = executor.map_err(|_| problem("the arena does not fit"))?;
        let input = Input::tokens(ids.get(..answer.tokens).unwrap_or(&ids));
        let output = executor.run(input, Budget::Selected(answer.selected));
        let output = output.map_err(|_| problem("the run is refused"))?;
        if hash(output.hidden.iter().flatten().chain(output.values)) != answer.hash {
            return Err(problem("other bits on a long input"));
        }
    }
    Ok(ANSWERS.len())
}

/// The FNV-1a hash of the bits of values.
pub(crate) fn hash<'v>(values: impl Iterator<Item = &'v f32>) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    values
        .flat_map(|value| value.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
