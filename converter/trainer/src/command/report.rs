//! `coda-trainer report`: the results page.

use anyhow::{Context, Result};
use coda_converter::output::write_whole;
use coda_converter::say;
use coda_trainer::report::{fill, report};
use coda_trainer::results::Results;
use std::path::PathBuf;

/// Write the results page of many trainings: tables, and accuracy against speed-up as a picture
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// The directory of `trainings.jsonl` and `evaluations.jsonl`, as `collect` writes them; titles of
    /// tasks, if wanted, in `titles.json`
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Text that stands before the tables; `{NAME r=R}` in it is the validation accuracy of a trial,
    /// `{NAME new}` the per cent of its new parameters
    #[arg(long, value_name = "FILE")]
    preface: Option<PathBuf>,
    /// The page; the picture stands beside the records, as `accuracy.svg`
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

impl Report {
    pub(super) fn run(&self) -> Result<()> {
        let results = Results::read(&self.directory)?;
        let page = report(&results).with_context(|| self.directory.display().to_string())?;
        let preface = match &self.preface {
            None => String::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                fill(&text, &results).with_context(|| path.display().to_string())?
            }
        };
        let path = self.directory.join("accuracy.svg");
        write_whole(&path, page.picture.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let image = format!("\n![accuracy against speed-up]({})\n", path.display());
        write_whole(&self.out, format!("{preface}{image}{}", page.text).as_bytes())
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        say!("{}", self.out.display());
        Ok(())
    }
}
