//! The `coda` command.
//!
//! Exit status: 0 done, 1 wrong usage, 2 an input that cannot be used, 3 a verification that failed,
//! 130 interrupted.

mod command;

use clap::Parser;
use command::Command;
use std::process::ExitCode;

/// Packs transformers with CoDA weights, runs them with learned token routing, and checks them.
#[derive(Debug, Parser)]
#[command(name = "coda", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Wrong usage.
const USAGE: u8 = 1;
/// An input that cannot be used.
const INPUT: u8 = 2;
/// A verification that failed.
const VERIFICATION: u8 = 3;

fn main() -> ExitCode {
    // A reader that closes the pipe early (`coda inspect ... | head`) ends the program quietly.
    sigpipe::reset();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; a closed pipe is no reason to fail either.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    if let Err(error) = coda_converter::output::clean_up_on_interrupt() {
        eprintln!("warning: Ctrl-C will not clean up: {error}");
    }
    match arguments.command.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => VERIFICATION.into(),
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            INPUT.into()
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
