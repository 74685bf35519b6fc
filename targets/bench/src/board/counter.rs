//! Cycles by the DWT, else instructions by SysTick.

use coda_bench::Counter;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::Peripherals;
use cortex_m::peripheral::{DWT, SYST, syst::SystClkSource};

/// Ticks of one turn of SysTick.
const TURN: u32 = 1 << 24;
/// Instructions of the loop that turns ticks into instructions.
const INSTRUCTIONS: u32 = 1 << 20;

static TURNS: AtomicU32 = AtomicU32::new(0);

/// To be called by the `SysTick` exception.
pub(super) fn overflow() {
    TURNS.fetch_add(1, Ordering::Relaxed);
}

/// The counter of a core.
pub(super) enum CoreCounter {
    /// Cycles, beyond the 32 bits of the register as long as it is read once a turn.
    Cycles {
        /// Cycles of whole turns.
        turns: u64,
        /// The register when it was last read.
        last: u32,
    },
    /// An emulator that counts instructions by SysTick.
    Emulated {
        /// Ticks of [`INSTRUCTIONS`].
        ticks: u64,
    },
}

impl CoreCounter {
    /// Starts what the core has.
    pub(super) fn start(mut peripherals: Peripherals) -> Self {
        peripherals.DCB.enable_trace();
        DWT::unlock();
        peripherals.DWT.enable_cycle_counter();
        let before = DWT::cycle_count();
        cortex_m::asm::delay(64);
        if DWT::cycle_count() != before {
            return Self::Cycles { turns: 0, last: before };
        }
        let counter = &mut peripherals.SYST;
        counter.set_clock_source(SystClkSource::Core);
        counter.set_reload(TURN - 1);
        counter.clear_current();
        counter.enable_interrupt();
        counter.enable_counter();
        let before = ticks();
        // Two instructions a round.
        cortex_m::asm::delay(INSTRUCTIONS / 2);
        Self::Emulated { ticks: (ticks() - before).max(1) }
    }

    /// Nothing varies from run to run.
    pub(super) const fn is_emulated(&self) -> bool {
        matches!(self, Self::Emulated { .. })
    }
}

impl Counter for CoreCounter {
    fn unit(&self) -> &'static str {
        match self {
            Self::Cycles { .. } => "cycles",
            Self::Emulated { .. } => "instructions",
        }
    }

    fn now(&mut self) -> u64 {
        match self {
            Self::Cycles { turns, last } => {
                let now = DWT::cycle_count();
                if now < *last {
                    *turns += 1 << 32;
                }
                *last = now;
                *turns + u64::from(now)
            }
            Self::Emulated { ticks: of_loop } => ticks() * u64::from(INSTRUCTIONS) / *of_loop,
        }
    }
}

/// Ticks of SysTick since it was started.
fn ticks() -> u64 {
    loop {
        let turns = TURNS.load(Ordering::Relaxed);
        let left = SYST::get_current();
        // An overflow in between: read both again.
        if turns == TURNS.load(Ordering::Relaxed) {
            return u64::from(turns) * u64::from(TURN) + u64::from(TURN - 1 - left);
        }
    }
}
