//! The checks of the boards on Linux: the same lines, with nanoseconds in place of ticks.

use coda_firmware::{Console, Memory, check};
use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

struct Terminal(Instant);

impl Console for Terminal {
    fn count(&mut self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        println!("{text}");
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut memory = Box::new(Memory::new());
    match check(&mut memory, &mut Terminal(Instant::now())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("failed: {failure:?}");
            ExitCode::from(failure as u8)
        }
    }
}
