//! A board with a debugger or an emulator attached; what its core counts is in a file of its own.

#[cfg(target_arch = "arm")]
mod cortex_m;
#[cfg(target_arch = "riscv32")]
mod riscv;

use crate::packages::{self, ARENA, IMAGE};
use coda_bench::{Bench, BenchError, Console, Counter, Format, Memory, Setup};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use core::fmt;
use semihosting::io::{Write, stdout};
use semihosting::println;

/// Runs of which the least counts; cycles of a board vary with its caches.
const RUNS: usize = 3;

struct Semihosting;

impl Console for Semihosting {
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        let mut out = stdout().map_err(|_| fmt::Error)?;
        out.write_fmt(text).and_then(|()| out.write_all(b"\n")).map_err(|_| fmt::Error)
    }
}

/// Measures everything with one counter, `varies` from run to run or not, and ends the program.
fn main(
    arena: &mut Arena<ARENA>,
    pixels: &mut [u8; IMAGE],
    counter: &mut impl Counter,
    varies: bool,
) -> ! {
    let runs = if varies { RUNS } else { 1 };
    let result = run(Memory { arena: &mut arena.0, pixels, ids: &mut [] }, counter, runs);
    if let Err(error) = &result {
        println!("failed: {error}");
    }
    exit(result.is_ok())
}

fn run(mut memory: Memory<'_>, counter: &mut impl Counter, runs: usize) -> Result<(), BenchError> {
    let format = if cfg!(feature = "json") { Format::Json } else { Format::Csv };
    let setup = Setup { target: crate::TARGET, kernels: Kernels::best(), format, runs };
    let console = &mut Semihosting;
    let mut bench = Bench::start(setup, counter, console)?;
    bench.base_and_tasks(packages::base(), &packages::tasks(), None, &mut memory)?;
    bench.finish()
}

fn exit(success: bool) -> ! {
    semihosting::process::exit(i32::from(!success))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(false)
}
