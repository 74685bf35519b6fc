//! Runs the conformance suite with every kernel table of this core; exits 0 if all have the scalar
//! bits and the tables are those in the build's `EXPECT`.
#![no_std]
#![no_main]

use coda_conformance::{ARENA_BYTES, Workspace, check};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use panic_semihosting as _;

/// Tables that must run, separated by commas.
const EXPECT: &str = env!("EXPECT");

#[entry]
fn main() -> ! {
    debug::exit(if run() { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

fn run() -> bool {
    let Some(workspace) = cortex_m::singleton!(: Workspace = Workspace::new()) else {
        return false;
    };
    let Some(arena) = cortex_m::singleton!(: Arena<ARENA_BYTES> = Arena::new()) else {
        return false;
    };
    let expected = EXPECT.split(',').map(Some).chain(core::iter::repeat(None));
    let mut ran = 0;
    for (table, expected) in Kernels::available().zip(expected) {
        ran += 1;
        match check(table, workspace, arena) {
            Ok(summary) => hprintln!(
                "cortex-m {}: {} kernel cases and {} golden answers have the scalar bits",
                table.name,
                summary.kernel_cases,
                summary.golden_answers
            ),
            Err(failure) => {
                hprintln!("cortex-m {}: {:?}", table.name, failure);
                return false;
            }
        }
        if expected != Some(table.name) {
            hprintln!("{} ran, but {} should have run", table.name, EXPECT);
            return false;
        }
    }
    ran == EXPECT.split(',').count()
}
