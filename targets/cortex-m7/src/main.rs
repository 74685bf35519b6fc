//! The bundled model on a Cortex-M7, bare metal, without an allocator.
#![no_std]
#![no_main]

use coda_firmware::Memory;
use coda_runtime::kernels::dsp;
use cortex_m_rt::{entry, exception};

/// Bytes of stack that the program is given; it checks that they are there and enough.
const STACK_BYTES: usize = 8 * 1024;

#[entry]
fn main() -> ! {
    // The macro makes this an exclusive reference: the arena is no part of the stack.
    static mut MEMORY: Memory = Memory::new();
    coda_firmware::exit(coda_firmware::run(MEMORY, dsp::detect(), STACK_BYTES))
}

#[exception]
fn SysTick() {
    coda_firmware::ticks::overflow();
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    coda_firmware::exit(Err(coda_firmware::Failure::Run))
}
