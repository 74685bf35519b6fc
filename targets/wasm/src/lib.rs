//! The checks of the boards as a WebAssembly module; `run.mjs` gives it a console and calls it.
#![no_std]

mod host;

use coda_firmware::{Console, Memory, check};
use coda_runtime::kernels::Kernels;
use core::fmt;
use host::{Host, now};

impl Console for Host {
    fn count(&mut self) -> u64 {
        now()
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        self.print_line(text)
    }
}

/// Runs all checks: 0, or the number of a `coda_firmware::Failure`.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
extern "C" fn run() -> i32 {
    let mut memory = Memory::new();
    check(&mut memory, Kernels::best(), &mut Host).map_or_else(|failure| failure as i32, |()| 0)
}
