//! A WebAssembly module; `run.mjs` gives it a clock and a console and calls it.

use crate::packages::{self, ARENA, IMAGE};
use coda_bench::{Bench, BenchError, Console, Counter, Format, Memory, Setup};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use core::fmt::{self, Write};

/// Runs of which the least counts.
const RUNS: usize = 20;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

#[link(wasm_import_module = "console")]
// SAFETY: declared as `run.mjs` provides them: both take and return plain numbers, and `print` only
// reads the bytes it is told of.
unsafe extern "C" {
    /// Nanoseconds.
    safe fn now() -> u64;
    /// Prints `length` bytes of UTF-8 at `text`.
    safe fn print(text: *const u8, length: usize);
}

struct Host;

impl Write for Host {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print(text.as_ptr(), text.len());
        Ok(())
    }
}

impl Console for Host {
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        self.write_fmt(text)?;
        self.write_char('\n')
    }
}

struct Clock;

impl Counter for Clock {
    fn unit(&self) -> &'static str {
        "ns"
    }

    fn now(&mut self) -> u64 {
        now()
    }
}

/// Runs everything and prints CSV, or JSON if `json` is not 0: 0, or 1 if it fails.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
extern "C" fn bench(json: i32) -> i32 {
    let result = run(if json == 0 { Format::Csv } else { Format::Json });
    if let Err(error) = &result {
        let _ = Host.line(format_args!("failed: {error}"));
    }
    i32::from(result.is_err())
}

fn run(format: Format) -> Result<(), BenchError> {
    let (mut arena, mut pixels) = (Arena::<ARENA>::new(), [0; IMAGE]);
    let mut memory = Memory { arena: &mut arena.0, pixels: &mut pixels, ids: &mut [] };
    let setup = Setup { target: crate::TARGET, kernels: Kernels::best(), format, runs: RUNS };
    let (mut clock, mut host) = (Clock, Host);
    let mut bench = Bench::start(setup, &mut clock, &mut host)?;
    bench.base_and_tasks(packages::base(), &packages::tasks(), None, &mut memory)?;
    bench.finish()
}
