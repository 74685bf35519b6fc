//! The program of a bare-metal board with a debugger or an emulator attached.

use crate::{
    ARENA_BYTES, Console, Failure, Memory, PACKAGE_BYTES, check, line, memory_map, stack, ticks,
};
use coda_runtime::kernels::Kernels;
use core::fmt;
use semihosting::io::{Write, stdout};

/// What a board's program may take of what the board has, in bytes. `targets/boards.csv` has the
/// same numbers for `coda plan --target`.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Code and constants of the program without text, at most.
    pub code: usize,
    /// Stack, at most.
    pub stack: usize,
    /// Flash that the program is given.
    pub flash: usize,
    /// RAM that it is given.
    pub ram: usize,
}

impl Needs {
    /// The same, if package and code fit the flash, and arena and stack the RAM. In a `const` the
    /// program does not compile otherwise.
    ///
    /// # Panics
    /// If they do not fit.
    #[must_use]
    pub const fn checked(self) -> Self {
        assert!(
            self.code + PACKAGE_BYTES <= self.flash,
            "package and code are more than the flash"
        );
        assert!(self.stack + ARENA_BYTES <= self.ram, "arena and stack are more than the RAM");
        self
    }
}

struct Semihosting;

impl Console for Semihosting {
    fn count(&mut self) -> u64 {
        ticks::now()
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        let mut out = stdout().map_err(|_| fmt::Error)?;
        out.write_fmt(text).and_then(|()| out.write_all(b"\n")).map_err(|_| fmt::Error)
    }
}

/// Runs all checks in `memory` with one kernel table, within what the board has.
///
/// # Errors
/// The first [`Failure`].
pub fn run(
    memory: &mut Memory,
    kernels: Option<&'static Kernels>,
    needs: &Needs,
) -> Result<(), Failure> {
    let kernels = kernels.ok_or(Failure::Kernels)?;
    let (room, code) = (stack::room(), memory_map::code_bytes());
    // Text is not part of what a product needs.
    if room < needs.stack || !cfg!(feature = "text") && code > needs.code {
        return Err(Failure::Needs);
    }
    #[cfg(target_arch = "arm")]
    ticks::start(&mut cortex_m::Peripherals::take().ok_or(Failure::Needs)?.SYST);
    let console = &mut Semihosting;
    line!(
        console,
        "needs code={} package={PACKAGE_BYTES} of flash={}, stack={} arena={ARENA_BYTES} of ram={}",
        needs.code,
        needs.flash,
        needs.stack,
        needs.ram
    );
    line!(console, "ticks-of-1024-instructions {}", ticks::calibrate() >> 10);
    stack::paint();
    let result = check(memory, kernels, console);
    let depth = stack::depth();
    print_number(b"stack touched=", depth);
    line!(console, "stack planned={} room={room}", needs.stack);
    result?;
    if depth > needs.stack { Err(Failure::Stack) } else { Ok(()) }
}

/// Prints a number without the formatting of `core`, which a program without text has not.
fn print_number(label: &[u8], number: usize) {
    let mut digits = [b'\n'; 11];
    let (mut rest, mut first) = (number, digits.len() - 1);
    while first > 0 {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Ok(mut out) = stdout() {
        let _ = out.write_all(label);
        let _ = out.write_all(digits.get(first..).unwrap_or(&[]));
    }
}

/// Runs the checks of bad input, each of which must come back as a status.
///
/// # Errors
/// The first [`Failure`].
#[cfg(feature = "bad-input")]
pub fn run_bad_input(
    memory: &mut crate::bad_input::Memory,
    kernels: Option<&'static Kernels>,
) -> Result<(), Failure> {
    crate::bad_input::check(memory, kernels.ok_or(Failure::Kernels)?, &mut Semihosting)
}

/// Ends the program with status 0, or with the number of the failure.
pub fn exit(result: Result<(), Failure>) -> ! {
    semihosting::process::exit(result.map_or_else(|failure| i32::from(failure as u8), |()| 0))
}
