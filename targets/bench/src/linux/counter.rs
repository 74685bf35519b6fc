//! What can be counted on Linux.

use super::marker::marker;
use coda_bench::Counter;
#[cfg(target_pointer_width = "64")]
use perf_event::events::Hardware;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// Names the file in which the emulator's plugin (`instructions.c`) keeps its count.
const FILE: &str = "CODA_INSTRUCTIONS";

/// What the user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Count {
    Time,
    Cycles,
    Instructions,
}

/// A counter.
pub(super) enum LinuxCounter {
    /// Nanoseconds.
    Time(Instant),
    /// The core's cycle counter (PMCCNTR on Arm) by way of Linux, user mode only.
    #[cfg(target_pointer_width = "64")]
    Cycles(perf_event::Counter),
    /// Guest instructions, as the emulator counts them.
    Emulated(File),
}

/// Opens the counter that is asked for, or the best there is.
pub(super) fn open(count: Option<Count>) -> Result<LinuxCounter, Box<dyn Error>> {
    let time = || LinuxCounter::Time(Instant::now());
    match count {
        Some(Count::Time) => Ok(time()),
        Some(Count::Cycles) => cycles().map_err(|error| {
            let hint = "see /proc/sys/kernel/perf_event_paranoid, or use --count time";
            format!("the cycle counter cannot be read: {error}; {hint}").into()
        }),
        Some(Count::Instructions) => {
            emulated()?.ok_or_else(|| format!("{FILE} is not set: run targets/bench.sh").into())
        }
        None => match emulated()? {
            Some(counter) => Ok(counter),
            None => Ok(cycles().unwrap_or_else(|_| time())),
        },
    }
}

#[cfg(target_pointer_width = "64")]
fn cycles() -> std::io::Result<LinuxCounter> {
    let mut counter = perf_event::Builder::new(Hardware::CPU_CYCLES).build()?;
    counter.enable()?;
    Ok(LinuxCounter::Cycles(counter))
}

#[cfg(not(target_pointer_width = "64"))]
fn cycles() -> std::io::Result<LinuxCounter> {
    Err(std::io::Error::other("this program has no way to it on 32 bits"))
}

fn emulated() -> Result<Option<LinuxCounter>, String> {
    let Some(path) = std::env::var_os(FILE) else { return Ok(None) };
    let file = File::open(&path).map_err(|error| format!("{FILE}={}: {error}", path.display()))?;
    Ok(Some(LinuxCounter::Emulated(file)))
}

impl LinuxCounter {
    /// Instructions do not vary from run to run.
    pub(super) const fn runs(&self) -> usize {
        if matches!(self, Self::Emulated(_)) { 1 } else { 20 }
    }
}

impl Counter for LinuxCounter {
    fn unit(&self) -> &'static str {
        match self {
            Self::Time(_) => "ns",
            #[cfg(target_pointer_width = "64")]
            Self::Cycles(_) => "cycles",
            Self::Emulated(_) => "instructions",
        }
    }

    fn now(&mut self) -> u64 {
        match self {
            Self::Time(start) => start.elapsed().as_nanos() as u64,
            // A counter that was opened can be read.
            #[cfg(target_pointer_width = "64")]
            Self::Cycles(counter) => counter.read().unwrap_or(0),
            Self::Emulated(file) => {
                marker();
                let mut count = [0; 8];
                file.read_exact_at(&mut count, 0).map_or(0, |()| u64::from_le_bytes(count))
            }
        }
    }
}
