//! The subcommands.

mod arguments;
mod collect;
mod examples;
mod files;
mod finish;
mod report;
mod summary;
mod train;
mod watch;

use anyhow::{Result, bail};
use arguments::Training;
use coda_trainer::train::Objective;
use std::sync::atomic::Ordering;
use train::INTERRUPTED;

/// A subcommand.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Train a task on a frozen base, or with `--method full` a base of your own
    Train(Training),
    /// Teach adapters and routers the hidden states of the dense base, without labels
    ///
    /// The result is a task without head that many trainings can begin from (`train --init`).
    Pretrain(Training),
    Examples(examples::Examples),
    Collect(collect::Collect),
    Report(report::Report),
    /// Gone; it says so for one release
    #[command(hide = true)]
    Schedule {
        /// Whatever it was called with
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        // A second Ctrl-C finds the flag set and ends the program at once.
        let handler = || {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("\nwriting a checkpoint; Ctrl-C again to stop at once");
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            eprintln!("warning: Ctrl-C will not write a checkpoint: {error}");
        }
        match self {
            Self::Train(training) => training.run(Objective::Labels),
            Self::Pretrain(training) => training.run(Objective::Pretrain),
            Self::Examples(examples) => examples.run(),
            Self::Collect(collect) => collect.run(),
            Self::Report(report) => report.run(),
            Self::Schedule { .. } => bail!(
                "removed in 0.2: schedules were no better than one r for all layers at the same speed; \
                 train with --layer-factors instead"
            ),
        }
    }
}
