//! The program of a Cortex-M board with a debugger or an emulator attached.

use crate::{Console, Failure, Memory, check, line, stack, ticks};
use coda_runtime::kernels::Kernels;
use core::fmt;
use cortex_m::Peripherals;
use cortex_m_semihosting::{debug, hprintln};

struct Semihosting;

impl Console for Semihosting {
    fn count(&mut self) -> u64 {
        ticks::now()
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        hprintln!("{}", text);
        Ok(())
    }
}

/// Runs all checks in `memory`, with a stack of `stack_bytes`, the board's constant.
///
/// # Errors
/// The first [`Failure`].
pub fn run(
    memory: &mut Memory,
    kernels: Option<&'static Kernels>,
    stack_bytes: usize,
) -> Result<(), Failure> {
    let kernels = kernels.ok_or(Failure::Kernels)?;
    let room = stack::room();
    if room < stack_bytes {
        return Err(Failure::Stack);
    }
    let mut peripherals = Peripherals::take().ok_or(Failure::Executor)?;
    ticks::start(&mut peripherals.SYST);
    let console = &mut Semihosting;
    line!(console, "ticks-of-1024-instructions {}", ticks::calibrate());
    stack::paint();
    let result = check(memory, kernels, console);
    let depth = stack::depth();
    line!(console, "stack planned={stack_bytes} touched={depth} room={room}");
    result?;
    if depth > stack_bytes { Err(Failure::Stack) } else { Ok(()) }
}

/// Ends the program: status 0, or 1 with the failure's name.
pub fn exit(result: Result<(), Failure>) -> ! {
    if cfg!(feature = "text")
        && let Err(failure) = result
    {
        hprintln!("failed: {:?}", failure);
    }
    loop {
        debug::exit(if result.is_ok() { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}
