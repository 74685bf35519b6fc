//! Cortex-M: cycles by the DWT, or where it stands still, as in QEMU, instructions by SysTick.

use crate::packages::{ARENA, IMAGE};
use coda_bench::Counter;
use coda_runtime::memory::Arena;
use cortex_m::Peripherals;
use cortex_m::peripheral::DWT;
use cortex_m_rt::{entry, exception};

#[path = "../../../firmware/src/ticks_arm.rs"]
mod ticks;

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
    ticks::overflow();
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
        /// Ticks of 2^20 instructions.
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
        ticks::start(&mut peripherals.SYST);
        Self::Emulated { ticks: ticks::calibrate().max(1) }
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
            Self::Emulated { ticks } => (ticks::now() << 20) / *ticks,
        }
    }
}
