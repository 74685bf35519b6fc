//! What every board program does: classify the bundled images at several reductions, compare every
//! logit with the host's to the bit, and compare the memory touched with the plan.
#![no_std]

#[cfg(feature = "bad-input")]
pub mod bad_input;
#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "none")]
mod memory_map;
mod model;
#[cfg(target_os = "none")]
mod stack;
#[cfg(all(target_os = "none", target_arch = "arm"))]
#[path = "ticks_arm.rs"]
pub mod ticks;
#[cfg(all(target_os = "none", target_arch = "riscv32"))]
#[path = "ticks_riscv.rs"]
mod ticks;
#[cfg(feature = "writes")]
mod writes;

#[cfg(all(target_os = "none", feature = "bad-input"))]
pub use board::run_bad_input;
#[cfg(target_os = "none")]
pub use board::{Needs, exit, run};
pub use model::{ARENA_BYTES, PACKAGE_BYTES};

use coda_runtime::executor::{Executor, Input, RunError};
use coda_runtime::format::{FormatError, Package};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use core::fmt;
use core::hint::black_box;
use model::{ANSWERS, IMAGES, REDUCTIONS, THE_PLAN};

/// What memory holds before a run.
const PAINT: u8 = 0xa5;

/// The arena of the plan, to the byte, and what must stay as it is behind it.
#[repr(C)]
pub struct Memory {
    arena: Arena<ARENA_BYTES>,
    guard: [u8; 64],
}

impl Memory {
    /// All zero; [`check`] paints it.
    #[must_use]
    pub const fn new() -> Self {
        Self { arena: Arena::new(), guard: [0; 64] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a board fails; the exit status of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// The package does not parse.
    Parse = 1,
    /// The package does not bind.
    Bind = 2,
    /// The executor refuses the plan.
    Executor = 3,
    /// A run is refused.
    Run = 4,
    /// A logit has other bits than the host's.
    Answer = 5,
    /// Something was written behind the arena.
    Guard = 6,
    /// The bytes of the arena that were touched are not those of the plan.
    HighWater = 7,
    /// A damaged package or an oversized input was not refused.
    BadInput = 8,
    /// The stack went below the planned bytes.
    Stack = 9,
    /// The text could not be written.
    Text = 10,
    /// This core has not the instructions of the board's kernel table.
    Kernels = 11,
    /// The program is larger than the board's constants say, or the stack smaller.
    Needs = 12,
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Text
    }
}

/// Where a program prints, and what it counts.
pub trait Console {
    /// Instructions or cycles so far.
    fn count(&mut self) -> u64;
    /// Prints one line.
    ///
    /// # Errors
    /// The line could not be written.
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result;
}

macro_rules! line {
    ($console:expr, $($text:tt)*) => {
        if cfg!(feature = "text") { $console.line(format_args!($($text)*))? }
    };
}
#[cfg(any(target_os = "none", feature = "bad-input", feature = "writes"))]
pub(crate) use line;

/// Classifies every image at every reduction.
///
/// # Errors
/// The first [`Failure`].
pub fn check(
    memory: &mut Memory,
    kernels: &'static Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let package = Package::parse(model::package()).map_err(|_| Failure::Parse)?;
    let model = Model::from_package(&package).map_err(|_| Failure::Bind)?;
    memory.arena.0.fill(PAINT);
    memory.guard.fill(PAINT);
    line!(console, "kernels {}", kernels.name);
    refuse_bad_input(&model, kernels, memory)?;
    let mut answers = ANSWERS.as_chunks::<4>().0.iter();
    for reduction in REDUCTIONS {
        check_reduction(&model, kernels, memory, console, reduction, &mut answers)?;
    }
    if answers.next().is_some() {
        return Err(Failure::Answer);
    }
    check_memory(memory, console)?;
    #[cfg(feature = "writes")]
    writes::check(&mut memory.arena.0, kernels, console)?;
    Ok(())
}

/// Classifies every image at one reduction; the logits are the next of `answers`.
fn check_reduction<'a>(
    model: &Model<'_>,
    kernels: &'static Kernels,
    memory: &mut Memory,
    console: &mut impl Console,
    reduction: f32,
    answers: &mut impl Iterator<Item = &'a [u8; 4]>,
) -> Result<(), Failure> {
    let pixels = model.patch_grid().ok_or(Failure::Bind)?.image_bytes();
    let mut total = 0;
    for (index, image) in IMAGES.chunks_exact(pixels).enumerate() {
        let mut executor = Executor::new(model, kernels, THE_PLAN, &mut memory.arena.0)
            .map_err(|_| Failure::Executor)?;
        let before = console.count();
        let output = executor
            .run(black_box(Input::Pixels(image)), black_box(Budget::Reduction(reduction)))
            .map_err(|_| Failure::Run)?;
        total += console.count() - before;
        line!(
            console,
            "answer r={reduction} image={index} label={} bits{:?}",
            output.label().unwrap_or(usize::MAX),
            Bits(output.values)
        );
        for value in output.values {
            if answers.next() != Some(&value.to_le_bytes()) {
                return Err(Failure::Answer);
            }
        }
    }
    let images = (IMAGES.len() / pixels).max(1) as u64;
    line!(console, "count r={reduction} per-inference={}", total / images);
    Ok(())
}

/// Bits of floats, for people and for `diff`.
struct Bits<'a>(&'a [f32]);

impl fmt::Debug for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|value| write!(f, " {:08x}", value.to_bits()))
    }
}

/// Every byte of the plan was used, and none behind it.
fn check_memory(memory: &Memory, console: &mut impl Console) -> Result<(), Failure> {
    // Without the black box the compiler may conclude that nothing can have written there.
    let memory = black_box(memory);
    if memory.guard != [PAINT; 64] {
        return Err(Failure::Guard);
    }
    let last = memory.arena.0.iter().rposition(|byte| *byte != PAINT);
    let touched = last.map_or(0, |last| last + 1);
    line!(console, "arena planned={ARENA_BYTES} touched={touched}");
    if touched == ARENA_BYTES { Ok(()) } else { Err(Failure::HighWater) }
}

/// A cut package and an oversized image come back as errors.
fn refuse_bad_input(
    model: &Model<'_>,
    kernels: &Kernels,
    memory: &mut Memory,
) -> Result<(), Failure> {
    let bytes = model::package();
    let cut = bytes.get(..bytes.len() - 1).unwrap_or(bytes);
    if !matches!(Package::parse(cut), Err(FormatError::WrongLength { .. })) {
        return Err(Failure::BadInput);
    }
    let arena = &mut memory.arena.0;
    let mut executor =
        Executor::new(model, kernels, THE_PLAN, arena).map_err(|_| Failure::Executor)?;
    match executor.run(Input::Pixels(&IMAGES), Budget::Task) {
        Err(RunError::ImageBytes { .. }) => Ok(()),
        _ => Err(Failure::BadInput),
    }
}
