//! The `coda-trainer` command.
//!
//! Exit status: 0 done, 1 wrong usage, 2 an input that cannot be used, 130 interrupted.

mod command;

use clap::{CommandFactory, FromArgMatches, Parser};
use coda_converter::{say, warn};
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

/// The arguments; a number below 0 is a value of its option, which refuses it by name.
fn arguments() -> Result<Arguments, clap::Error> {
    let command = Arguments::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            let takes = arg.get_action().takes_values();
            if takes { arg.allow_negative_numbers(true) } else { arg }
        })
    });
    Arguments::from_arg_matches(&command.try_get_matches()?)
}

fn main() -> ExitCode {
    sigpipe::reset();
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return USAGE.into();
            }
            say::keep(printed);
            return finish(0);
        }
    };
    finish(match arguments.command.run() {
        Ok(()) => 0,
        Err(error) => {
            warn!("error: {error:#}");
            match error.downcast_ref() {
                Some(TrainError::Interrupted { .. }) => INTERRUPTED,
                _ => INPUT,
            }
        }
    })
}

/// The status of a command that ended with `status`, if all it said was written.
fn finish(status: u8) -> ExitCode {
    match say::finish() {
        Ok(()) => status.into(),
        Err(error) => {
            warn!("error: cannot write to standard output: {error}");
            status.max(INPUT).into()
        }
    }
}
