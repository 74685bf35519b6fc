//! Core clock ticks by the SysTick counter, which every Cortex-M has, beyond its 24 bits.

use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::{SYST, syst::SystClkSource};

/// Ticks of one turn of the counter.
const TURN: u32 = 1 << 24;

static TURNS: AtomicU32 = AtomicU32::new(0);

/// To be called by the program's `SysTick` exception.
pub fn overflow() {
    TURNS.fetch_add(1, Ordering::Relaxed);
}

/// Starts the counter.
pub(crate) fn start(counter: &mut SYST) {
    counter.set_clock_source(SystClkSource::Core);
    counter.set_reload(TURN - 1);
    counter.clear_current();
    counter.enable_interrupt();
    counter.enable_counter();
}

/// Ticks since [`start`].
pub(crate) fn now() -> u64 {
    loop {
        let turns = TURNS.load(Ordering::Relaxed);
        let left = SYST::get_current();
        // An overflow in between: read both again.
        if turns == TURNS.load(Ordering::Relaxed) {
            return u64::from(turns) * u64::from(TURN) + u64::from(TURN - 1 - left);
        }
    }
}

/// Ticks of 2^20 instructions of a loop of two: on an emulator that counts instructions this turns
/// ticks into instructions.
pub(crate) fn calibrate() -> u64 {
    const INSTRUCTIONS: u32 = 1 << 20;
    let before = now();
    cortex_m::asm::delay(INSTRUCTIONS / 2);
    now() - before
}
