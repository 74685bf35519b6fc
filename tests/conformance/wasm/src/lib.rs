//! The conformance suite as a WebAssembly module; `run.mjs` calls it.
#![no_std]

use coda_conformance::{ARENA_BYTES, Workspace, check};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Number of kernel tables.
// SAFETY: no other symbol of this module has this name; the same for those below.
#[unsafe(no_mangle)]
extern "C" fn tables() -> usize {
    Kernels::available().count()
}

/// Where the name of table `index` is.
#[unsafe(no_mangle)]
extern "C" fn name(index: usize) -> *const u8 {
    Kernels::available().nth(index).map_or("", |table| table.name).as_ptr()
}

/// How long it is.
#[unsafe(no_mangle)]
extern "C" fn name_length(index: usize) -> usize {
    Kernels::available().nth(index).map_or(0, |table| table.name.len())
}

/// Checks table `index`: the number of kernel cases with equal bits, -1 if any differs.
#[unsafe(no_mangle)]
extern "C" fn run(index: usize) -> i32 {
    let Some(table) = Kernels::available().nth(index) else { return -1 };
    let (mut workspace, mut arena) = (Workspace::new(), Arena::<ARENA_BYTES>::new());
    check(table, &mut workspace, &mut arena).map_or(-1, |summary| summary.kernel_cases as i32)
}
