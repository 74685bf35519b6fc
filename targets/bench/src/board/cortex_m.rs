//! Cortex-M: cycles by the DWT, or where it stands still, as in QEMU, instructions by SysTick.

use crate::packages::{ARENA, IMAGE};
use coda_bench::Counter;
use coda_runtime::memory::Arena;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::Peripherals;
use cortex_m::peripheral::{DWT, SYST, syst::SystClkSource};
use cortex_m_rt::{entry, exception};

/// Ticks of one turn of SysTick.
const TURN: u32 = 1 << 24;
/// Instructions of the loop that turns ticks into instructions.
const INSTRUCTIONS: u32 = 1 << 20;

static TURNS: AtomicU32 = AtomicU32::new(0);

#[entry]
fn main() -> ! {
    // The macro makes these exclusive references: they are no part of the stack.
    static mut ARENA_MEMORY: Arena<ARENA> = Arena::new();
    static mut PIXELS: [u8; IMAGE] = [0; IMAGE];
    let Some(peripherals) = Peripherals::take() else { super::exit(false) };
    let mut counter = CoreCounter::start(peripherals);
    let varies = matches!(counter, CoreCounter::Cycles { .. });
    super::main(ARENA_MEMORY, PIXELS, &mut counter, varies)
}

#[exception]
fn SysTick() {
    TURNS.fetch_add(1, Ordering::Relaxed);
}

/// The counter of a core.
enum CoreCounter {
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
    fn start(mut peripherals: Peripherals) -> Self {
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
