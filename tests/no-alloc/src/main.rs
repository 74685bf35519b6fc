//! One inference without `std`, without an allocator, in a buffer whose size is a constant.
//!
//! The golden package is embedded and used in place, as a firmware does it. The plan is computed at
//! compile time; the buffer has exactly its size and a guard behind it. An update with a signature
//! goes through two slots as well. The process exits 0 if the answer has the golden bits, and else
//! with the code of a [`Failure`].
#![no_std]
#![no_main]

mod update;

use coda_runtime::executor::{Executor, ExecutorError, Input};
use coda_runtime::format::Package;
use coda_runtime::include_package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Arena, Capacity, Dimensions, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use core::ffi::c_int;

static PACKAGE: &[u8] = include_package!("../../golden/bert-int8-v1.0.coda");
static EXPECTED: &str = include_str!("../../golden/bert-int8-v1.0.json");

/// What `coda inspect` prints of the package, written down to plan at compile time.
const DIMENSIONS: Dimensions = Dimensions {
    hidden: 8,
    attention_width: 8,
    head_dim: 4,
    feed_forward: 12,
    gated: false,
    patch_inputs: 0,
    adapter: 4,
    low_rank: 2,
    pooled: 8,
    outputs: 3,
    dense_layers: false,
    keys_of_all: true,
    int8: true,
    int8_attention: false,
};

const IDS: [u32; 7] = [2, 5, 6, 7, 9, 10, 3];
const TYPES: [u8; 7] = [0, 0, 0, 0, 1, 1, 1];
/// r of the inference; 4 of the 7 tokens pass each layer.
const REDUCTION: f32 = 2.0;

const PLAN: Plan = match Plan::new(&DIMENSIONS, Capacity { tokens: IDS.len(), selected: 4 }) {
    Ok(plan) => plan,
    Err(_) => panic!(),
};
const ARENA_BYTES: usize = PLAN.arena_bytes();

const GUARD: [u8; 64] = [0xa5; 64];

/// The scratch buffer and what must stay as it is behind it.
#[repr(C)]
struct Memory {
    arena: Arena<ARENA_BYTES>,
    guard: [u8; 64],
}

/// What went wrong: the exit code.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Failure {
    Parse = 1,
    Bind = 2,
    /// The constant plan is not that of the package.
    Dimensions = 3,
    /// A buffer that is too small was accepted, or another error reported.
    ShortArena = 4,
    Executor = 5,
    Run = 6,
    /// The golden file has no answer for [`REDUCTION`].
    Expected = 7,
    /// The answer has other bits.
    Answer = 8,
    /// Something was written behind the buffer.
    Guard = 9,
    /// An update was taken or refused that should not be.
    Update = 10,
}

#[link(name = "c")]
// SAFETY: `abort` is declared as in stdlib.h; it takes nothing and may be called at any time, so it
// is safe to call.
unsafe extern "C" {
    safe fn abort() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abort()
}

/// What the C runtime calls.
// SAFETY: no other symbol of this program is called `main`, and the C runtime, which passes
// arguments that are not read, takes the result as the exit code.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    run().map_or_else(|failure| c_int::from(failure as u8), |()| 0)
}

fn run() -> Result<(), Failure> {
    update::run().ok_or(Failure::Update)?;
    let package = Package::parse(PACKAGE).map_err(|_| Failure::Parse)?;
    let model = Model::from_package(&package).map_err(|_| Failure::Bind)?;
    if model.dimensions() != DIMENSIONS {
        return Err(Failure::Dimensions);
    }
    let mut memory = Memory { arena: Arena::new(), guard: GUARD };
    check_short_arena(&model, &mut memory)?;
    let mut executor = Executor::new(&model, Kernels::best(), PLAN, &mut memory.arena.0)
        .map_err(|_| Failure::Executor)?;
    let input = Input::typed(&IDS, &TYPES);
    let output = executor.run(input, Budget::Reduction(REDUCTION)).map_err(|_| Failure::Run)?;
    let expected = golden_bits(EXPECTED).ok_or(Failure::Expected)?;
    if !output.values.iter().map(|value| Some(value.to_bits())).eq(expected) {
        return Err(Failure::Answer);
    }
    // Without the black box the compiler may conclude that nothing can have written there.
    if core::hint::black_box(&memory).guard == GUARD { Ok(()) } else { Err(Failure::Guard) }
}

/// One byte less than the plan must be refused, with both numbers.
fn check_short_arena(model: &Model<'_>, memory: &mut Memory) -> Result<(), Failure> {
    let found = ARENA_BYTES - 1;
    match Executor::new(model, Kernels::best(), PLAN, &mut memory.arena.0[..found]) {
        Err(error) if error == (ExecutorError::ArenaTooSmall { needed: ARENA_BYTES, found }) => {
            Ok(())
        }
        _ => Err(Failure::ShortArena),
    }
}

/// The logits' bits at [`REDUCTION`], from the golden file.
fn golden_bits(json: &str) -> Option<impl Iterator<Item = Option<u32>> + use<'_>> {
    let (_, answer) = json.split_once("\"reduction\": 2.0")?;
    let (_, values) = answer.split_once("\"values\": \"")?;
    let (words, _) = values.split_once('"')?;
    Some(words.split(' ').map(|word| u32::from_str_radix(word, 16).ok()))
}
