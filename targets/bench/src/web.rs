//! A WebAssembly module; `run.mjs` gives it a clock and a console and calls it.

use crate::packages::{self, ARENA, IMAGE};
use coda_bench::{Bench, BenchError, Console, Counter, Format, Memory, Setup};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use core::fmt;
use host::{Host, now};

#[path = "../../wasm/src/host.rs"]
mod host;

/// Runs of which the least counts.
const RUNS: usize = 20;

impl Console for Host {
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        self.print_line(text)
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
