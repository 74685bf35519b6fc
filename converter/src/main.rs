//! The `coda` command.
//!
//! Exit status: [`STATUSES`].

mod command;

use clap::Parser;
use coda_converter::{say, warn};
use command::Command;
use std::process::ExitCode;

/// Packs transformers with CoDA weights, runs them with learned token routing, and checks them.
#[derive(Debug, Parser)]
#[command(name = "coda", version, about, after_help = STATUSES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What the exit status says.
const STATUSES: &str = "Exit status: 0 done, 1 wrong usage, 2 an input that cannot be used, no finite \
     answer or an output that cannot be written, 3 a verification that failed, 130 interrupted.";

/// Wrong usage.
const USAGE: u8 = 1;
/// An input that cannot be used, no finite answer, or an output that cannot be written.
const INPUT: u8 = 2;
/// A verification that failed.
const VERIFICATION: u8 = 3;

fn main() -> ExitCode {
    // A reader that closes the pipe early (`coda inspect ... | head`) ends the program quietly.
    sigpipe::reset();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return print_usage(&error),
    };
    if let Err(error) = coda_converter::output::clean_up_on_interrupt() {
        warn!("warning: Ctrl-C will not clean up: {error}");
    }
    let status = match arguments.command.run() {
        Ok(true) => 0,
        Ok(false) => VERIFICATION,
        Err(error) => {
            warn!("error: {}", one_line(&error));
            INPUT
        }
    };
    finish(status)
}

/// Help, the version, or what was wrong with the arguments.
fn print_usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return USAGE.into();
    }
    say::keep(printed);
    finish(0)
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

/// The chain of causes on one line; a cause that its effect has already told is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if !line.contains(&cause) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&cause);
        }
    }
    line
}
