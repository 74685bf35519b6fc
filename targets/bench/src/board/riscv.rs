//! RISC-V: the instructions that a core of the machine level counts.

use crate::packages::{ARENA, IMAGE};
use coda_bench::Counter;
use coda_runtime::memory::Arena;
use riscv::register::minstret;
use riscv_rt::entry;

struct Instructions;

impl Counter for Instructions {
    fn unit(&self) -> &'static str {
        "instructions"
    }

    fn now(&mut self) -> u64 {
        minstret::read64()
    }
}

#[entry]
fn main() -> ! {
    // No part of the stack.
    static mut ARENA_MEMORY: Arena<ARENA> = Arena::new();
    static mut PIXELS: [u8; IMAGE] = [0; IMAGE];
    // SAFETY: `main` runs once, on one core, and nothing else names this variable.
    let arena = unsafe { &mut *(&raw mut ARENA_MEMORY) };
    // SAFETY: as above.
    let pixels = unsafe { &mut *(&raw mut PIXELS) };
    super::main(arena, pixels, &mut Instructions, false)
}
