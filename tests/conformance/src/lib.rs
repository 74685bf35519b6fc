//! The conformance suite: every kernel of a table gives the bits of the scalar one, and whole models
//! give their golden answers. It needs neither `std` nor an allocator, so that it runs wherever the
//! runtime does: on Linux, in firmware, in wasm.
#![no_std]
#![allow(clippy::missing_errors_doc, clippy::must_use_candidate, reason = "for tests")]

mod cases;
mod golden;
mod long;
mod parse;
pub mod problem;
mod random;
mod rows;
mod sound;
mod workspace;
mod writers;

pub use cases::{Difference, Shape, check_kernels};
pub use golden::GoldenError;
pub use long::{check_long, long_arena_bytes};
pub use parse::check_parse;
pub use sound::check_sound;
pub use workspace::Workspace;

use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;

/// Bytes of the arena that the golden models need at most.
pub const ARENA_BYTES: usize = 65_536;

/// Of the values and shapes of the suite.
const SEED: u64 = 0x00c0_da00;

/// What one table was compared on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls of kernels with equal bits.
    pub kernel_cases: usize,
    /// Whole inferences with equal bits.
    pub golden_answers: usize,
}

/// Why a table does not conform.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// A kernel gave other bits.
    Kernel(Difference),
    /// A model gave other bits.
    Golden(GoldenError),
}

/// Compares `table` with the scalar one.
pub fn check(
    table: &'static Kernels,
    workspace: &mut Workspace,
    arena: &mut Arena<ARENA_BYTES>,
) -> Result<Summary, Failure> {
    let kernel_cases = check_kernels(table, workspace, SEED).map_err(Failure::Kernel)?;
    let golden_answers = golden::check(table, &mut arena.0).map_err(Failure::Golden)?
        + writers::check(table, &mut arena.0).map_err(Failure::Golden)?;
    Ok(Summary { kernel_cases, golden_answers })
}
