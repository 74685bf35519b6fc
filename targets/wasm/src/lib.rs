//! The checks of the boards as a WebAssembly module; `run.mjs` gives it a console and calls it.
#![no_std]

use coda_firmware::{Console, Memory, check};
use coda_runtime::kernels::Kernels;
use core::fmt::{self, Write};

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
    fn count(&mut self) -> u64 {
        now()
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        self.write_fmt(text)?;
        self.write_char('\n')
    }
}

/// Runs all checks: 0, or the number of a `coda_firmware::Failure`.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
extern "C" fn run() -> i32 {
    let mut memory = Memory::new();
    check(&mut memory, Kernels::best(), &mut Host).map_or_else(|failure| failure as i32, |()| 0)
}
