//! The `coda-trainer` command.
//!
//! Exit status: 0 done, 1 wrong usage, 2 an input that cannot be used, 130 interrupted.

mod command;

use clap::Parser;
use coda_trainer::train::TrainError;
use command::Command;
use std::process::ExitCode;

/// Trains CoDA tasks: adapters, routers, norms and heads on a frozen transformer.
#[derive(Debug, Parser)]
#[command(name = "coda-trainer", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Wrong usage.
const USAGE: u8 = 1;
/// An input that cannot be used.
const INPUT: u8 = 2;
/// Interrupted, as shells expect.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    sigpipe::reset();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; a closed pipe is no reason to fail either.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref() {
                Some(TrainError::Interrupted { .. }) => INTERRUPTED.into(),
                _ => INPUT.into(),
            }
        }
    }
}
