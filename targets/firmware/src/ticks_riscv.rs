//! Instructions by the counter that every RISC-V core of the machine level has.

use riscv::register::minstret;

/// Instructions so far; the counter always runs.
pub(crate) fn now() -> u64 {
    minstret::read64()
}

/// Ticks of 2^20 instructions; see `ticks_arm`.
pub(crate) fn calibrate() -> u64 {
    const TURNS: u32 = 1 << 19;
    let before = now();
    riscv::asm::delay(2 * TURNS);
    now() - before
}
