//! The bundled model on a Cortex-M55, bare metal, without an allocator.
#![no_std]
#![no_main]

#[cfg(not(feature = "bad-input"))]
use coda_firmware::Memory;
use coda_firmware::Needs;
#[cfg(feature = "bad-input")]
use coda_firmware::bad_input;
use coda_runtime::kernels::mve;
use cortex_m_rt::{entry, exception};

/// Code and constants, with models that write or without.
const CODE: usize = if cfg!(feature = "writes") { 104 * 1024 } else { 48 * 1024 };

/// Stack, in the same way.
const STACK: usize = if cfg!(feature = "writes") { 20 * 1024 } else { 8 * 1024 };

/// What the program needs of what the board has; it checks that it is enough.
const NEEDS: Needs =
    Needs { code: CODE, stack: STACK, flash: 2560 * 1024, ram: 512 * 1024 }.checked();

#[cfg(not(feature = "bad-input"))]
#[entry]
fn main() -> ! {
    // The macro makes this an exclusive reference: the arena is no part of the stack.
    static mut MEMORY: Memory = Memory::new();
    coda_firmware::exit(coda_firmware::run(MEMORY, mve::detect(), &NEEDS))
}

#[cfg(feature = "bad-input")]
#[entry]
fn main() -> ! {
    static mut MEMORY: bad_input::Memory = bad_input::Memory::new();
    let _ = NEEDS;
    coda_firmware::exit(coda_firmware::run_bad_input(MEMORY, mve::detect()))
}

#[exception]
fn SysTick() {
    coda_firmware::ticks::overflow();
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    coda_firmware::exit(Err(coda_firmware::Failure::Run))
}
