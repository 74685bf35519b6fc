//! The bundled model on a RISC-V core without floats or vectors, bare metal, without an allocator.
#![no_std]
#![no_main]

#[cfg(not(feature = "bad-input"))]
use coda_firmware::Memory;
use coda_firmware::Needs;
#[cfg(feature = "bad-input")]
use coda_firmware::bad_input;
use coda_runtime::kernels::compact;
use riscv_rt::entry;

/// Code and constants, with models that write or without.
const CODE: usize = if cfg!(feature = "writes") { 144 * 1024 } else { 72 * 1024 };

/// Stack, in the same way.
const STACK: usize = if cfg!(feature = "writes") { 20 * 1024 } else { 8 * 1024 };

/// What the program needs of what the board has; it checks that it is enough.
const NEEDS: Needs =
    Needs { code: CODE, stack: STACK, flash: 1024 * 1024, ram: 256 * 1024 }.checked();

#[cfg(not(feature = "bad-input"))]
#[entry]
fn main() -> ! {
    // The arena is no part of the stack.
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, on one core, and nothing else names this variable.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    coda_firmware::exit(coda_firmware::run(memory, Some(&compact::KERNELS), &NEEDS))
}

#[cfg(feature = "bad-input")]
#[entry]
fn main() -> ! {
    static mut MEMORY: bad_input::Memory = bad_input::Memory::new();
    // SAFETY: `main` runs once, on one core, and nothing else names this variable.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    let _ = NEEDS;
    coda_firmware::exit(coda_firmware::run_bad_input(memory, Some(&compact::KERNELS)))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    coda_firmware::exit(Err(coda_firmware::Failure::Run))
}
