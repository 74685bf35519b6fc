//! The checks of the boards on Linux: the same lines, with nanoseconds in place of ticks; with the
//! argument `bad-input`, those of bad input.

use coda_firmware::{Console, Memory, bad_input, check};
use coda_runtime::kernels::Kernels;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

struct Terminal(Instant);

impl Console for Terminal {
    fn count(&mut self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        // `coda-linux | head` and a full disk end the check; they are no panic.
        writeln!(io::stdout(), "{text}").map_err(|_| fmt::Error)
    }
}

fn main() -> ExitCode {
    let mut terminal = Terminal(Instant::now());
    let kernels = Kernels::best();
    let checked = match std::env::args().nth(1).as_deref() {
        Some("bad-input") => {
            bad_input::check(&mut Box::new(bad_input::Memory::new()), kernels, &mut terminal)
        }
        _ => check(&mut Box::new(Memory::new()), kernels, &mut terminal),
    };
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed too, the status says it.
            let _ = writeln!(io::stderr(), "failed: {failure:?}");
            ExitCode::from(failure as u8)
        }
    }
}
