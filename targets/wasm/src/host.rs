//! What `run.mjs` gives a module: a clock and a console.

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
    pub(crate) safe fn now() -> u64;
    /// Prints `length` bytes of UTF-8 at `text`.
    safe fn print(text: *const u8, length: usize);
}

/// The console.
pub(crate) struct Host;

impl Host {
    pub(crate) fn print_line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        self.write_fmt(text)?;
        self.write_char('\n')
    }
}

impl Write for Host {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print(text.as_ptr(), text.len());
        Ok(())
    }
}
