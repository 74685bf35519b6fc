//! `coda-trainer collect`: records of trainings into the lines of which the results page is made.

use anyhow::Result;
use coda_trainer::results::Results;
use std::path::PathBuf;

/// Add trainings to the records of which `report` makes the results page
#[derive(Debug, clap::Args)]
pub(crate) struct Collect {
    /// Directories `TASK/METHOD-sSEED` with the `training.json` of a training, and the `eval.json` of
    /// its package if there is one (`coda eval --json`)
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The directory of `trainings.jsonl` and `evaluations.jsonl`; lines of the same name are replaced
    #[arg(long, value_name = "DIR")]
    results: PathBuf,
    /// They are trials, named as their directories: in no table, but text before the tables may have
    /// their figures
    #[arg(long)]
    trials: bool,
}

impl Collect {
    pub(super) fn run(&self) -> Result<()> {
        let mut results = Results::read(&self.results)?;
        for run in &self.runs {
            if self.trials { results.collect_trial(run)? } else { results.collect(run)? }
        }
        results.write(&self.results)
    }
}
