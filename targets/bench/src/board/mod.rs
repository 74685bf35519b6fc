//! A Cortex-M board with a debugger or an emulator attached: the cycle counter of the DWT, or where it
//! stands still, as in QEMU, the SysTick counter in instructions of the emulator.

mod counter;

use crate::packages::{self, ARENA, IMAGE};
use coda_bench::{Bench, BenchError, Console, Format, Memory};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use core::fmt;
use cortex_m::Peripherals;
use cortex_m_rt::{entry, exception};
use cortex_m_semihosting::{debug, hprintln};
use counter::CoreCounter;

/// Runs of which the least counts; cycles of a board vary with its caches.
const RUNS: usize = 3;

struct Semihosting;

impl Console for Semihosting {
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        hprintln!("{}", text);
        Ok(())
    }
}

#[entry]
fn main() -> ! {
    // The macro makes these exclusive references: they are no part of the stack.
    static mut ARENA_MEMORY: Arena<ARENA> = Arena::new();
    static mut PIXELS: [u8; IMAGE] = [0; IMAGE];
    let memory = Memory { arena: &mut ARENA_MEMORY.0, pixels: PIXELS, ids: &mut [] };
    let result = run(memory);
    if let Err(error) = &result {
        hprintln!("failed: {}", error);
    }
    exit(result.is_ok())
}

fn run(mut memory: Memory<'_>) -> Result<(), BenchError> {
    let format = if cfg!(feature = "json") { Format::Json } else { Format::Csv };
    let peripherals = Peripherals::take().ok_or(BenchError::Text)?;
    let counter = &mut CoreCounter::start(peripherals);
    let runs = if counter.is_emulated() { 1 } else { RUNS };
    let console = &mut Semihosting;
    let mut bench = Bench::start((crate::TARGET, format), Kernels::best(), runs, counter, console)?;
    bench.base_and_tasks(packages::base(), &packages::tasks(), None, &mut memory)?;
    bench.finish()
}

fn exit(success: bool) -> ! {
    loop {
        debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

#[exception]
fn SysTick() {
    counter::overflow();
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(false)
}
