//! `coda bench`: latency at several reductions.

use super::table::{grouped, table};
use super::{Compute, PackageFiles, check_reduction, cpu_name, progress};
use anyhow::{Result, ensure};
use coda_converter::bench::{self, ReductionTiming};
use coda_converter::session::bind;
use coda_runtime::memory::Capacity;
use serde_json::json;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Measure latency at several reductions, side by side
///
/// The reductions of a round are run one after the other, and ratios are taken round by round, so
/// that a change of the machine's speed meets all of them. The input is made up: latency does not
/// depend on its content.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    files: PackageFiles,
    /// Length of the input; the model's longest if not given
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Reduction factors; speed-ups are against the first
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 4.0, 8.0])]
    reductions: Vec<f32>,
    /// Rounds
    #[arg(long, value_name = "N", default_value = "100")]
    runs: NonZeroUsize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

impl Bench {
    pub(super) fn run(&self) -> Result<()> {
        let start = Instant::now();
        let files = self.files.read()?;
        let model = bind(&files)?;
        let load_ms = start.elapsed().as_secs_f64() * 1000.0;
        let input = bench::input(&model, self.tokens)?;
        let tokens = input.tokens(&model);
        ensure!(!self.reductions.is_empty(), "give at least one reduction");
        self.reductions.iter().try_for_each(|reduction| check_reduction(*reduction, tokens))?;
        let mut session = self.compute.session(&model, Capacity::any_budget(tokens))?;
        let runs = self.runs.get();
        let bar = progress("timing", runs as u64);
        let lines = bench::measure(&mut session, &input, &self.reductions, runs, || bar.inc(1))?;
        bar.finish_and_clear();
        let kernels = self.compute.kernels()?.name;
        if self.json {
            let object = json!({
                "tokens": tokens,
                "threads": self.compute.threads,
                "kernels": kernels,
                "cpu": cpu_name(),
                "runs": runs,
                "load_ms": load_ms,
                "arena_bytes": session.plan().arena_bytes(),
                "reductions": lines,
            });
            println!("{object}");
            return Ok(());
        }
        print_table(&lines);
        println!(
            "{runs} rounds of {tokens} tokens, {} thread(s), arena {} bytes, {kernels} kernels on {}",
            self.compute.threads,
            grouped(session.plan().arena_bytes()),
            cpu_name()
        );
        Ok(())
    }
}

fn print_table(lines: &[ReductionTiming]) {
    let rows = lines.iter().map(|line| {
        [
            line.reduction.to_string(),
            format!("{:.3} ms", line.median_ms),
            format!("{:.3} ms", line.p95_ms),
            format!("{:.2}x", line.speed_up),
            format!("{:.1} M", line.macs as f64 / 1e6),
            format!("{:.2}x", line.predicted_speed_up),
        ]
    });
    let header = ["reduction", "median", "95 %", "speed-up", "MAC", "by MAC"];
    println!("{}", table(header, rows.collect()));
}
