//! `coda bench`: latency at several reductions.

use super::shared::{Compute, PackageFiles, check_reduction, cpu_name, progress, removed};
use super::table::{grouped, table};
use anyhow::{Context, Result, ensure};
use coda_converter::bench::{self, ReductionTiming};
use coda_converter::calibrate::{self, Costs, DeadlineCheck, Fitted};
use coda_converter::output::write_whole;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::{CostModel, token_step};
use serde_json::json;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Inferences at each of ten deadlines.
const DEADLINE_RUNS: usize = 20;

/// Measure latency at several reductions, side by side
///
/// The reductions of a round are run one after the other, and ratios are taken round by round, so
/// that a change of the machine's speed meets all of them. The input is made up. Kernels take the same
/// time whatever the values are, with one exception: int8 products of avx2 take up to a third longer
/// where the values of a row are spread evenly, which those of a model are not.
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
    /// Measure what an inference costs here, store it beside the package for deadlines, and check
    /// it: 200 inferences at ten deadlines
    #[arg(long, conflicts_with = "reductions")]
    calibrate: bool,
    #[arg(long, hide = true, num_args = 0, default_missing_value = "", value_parser = removed(
        "`load_ms` of --json is the time to map and check a package"
    ))]
    cold: Option<Infallible>,
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
        let model = self.files.bind(&files)?;
        let load_ms = start.elapsed().as_secs_f64() * 1000.0;
        let input = bench::input(&model, self.tokens)?;
        let tokens = input.tokens(&model);
        if self.calibrate {
            return self.calibrate(&model, tokens);
        }
        ensure!(!self.reductions.is_empty(), "give at least one reduction");
        self.reductions.iter().try_for_each(|reduction| check_reduction(*reduction, tokens))?;
        let mut session = self.compute.session(&model, Capacity::any_budget(tokens))?;
        let runs = self.runs.get();
        let bar = progress("timing", runs as u64);
        let lines = bench::measure(&mut session, &input, &self.reductions, runs, || bar.inc(1))?;
        bar.finish_and_clear();
        self.print_lines(&lines, session.plan(), load_ms)
    }

    fn print_lines(&self, lines: &[ReductionTiming], plan: &Plan, load_ms: f64) -> Result<()> {
        let (tokens, arena_bytes) = (plan.capacity().tokens, plan.arena_bytes());
        let (runs, threads) = (self.runs, self.compute.threads);
        let kernels = self.compute.kernels()?.name;
        if self.json {
            let object = json!({
                "tokens": tokens,
                "threads": threads,
                "kernels": kernels,
                "cpu": cpu_name(),
                "runs": runs,
                "load_ms": load_ms,
                "arena_bytes": arena_bytes,
                "reductions": lines,
            });
            println!("{object}");
            return Ok(());
        }
        print_table(lines);
        println!(
            "{runs} rounds of {tokens} tokens, {threads} thread(s), arena {} bytes, {kernels} kernels \
             on {}",
            grouped(arena_bytes),
            cpu_name()
        );
        Ok(())
    }

    /// Measures, stores and checks the costs.
    fn calibrate(&self, model: &Model<'_>, tokens: usize) -> Result<()> {
        let mut session = self.compute.session(model, Capacity::any_budget(tokens))?;
        let rounds = self.runs.get().div_ceil(4);
        let steps = calibrate::steps(model, tokens, rounds);
        let bar = progress("measuring", steps as u64);
        let fitted = calibrate::calibrate(&mut session, tokens, rounds, || bar.inc(1))?;
        bar.finish_and_clear();
        let stored = self.stored(&fitted)?;
        let path = Costs::path(self.files.first());
        write_whole(&path, (serde_json::to_string_pretty(&stored)? + "\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut session = session.with_costs(fitted.costs);
        let bar = progress("checking", (DEADLINE_RUNS * 10) as u64);
        let checks =
            calibrate::check_deadlines(&mut session, tokens, DEADLINE_RUNS, || bar.inc(1))?;
        bar.finish_and_clear();
        if self.json {
            let file = path.display().to_string();
            println!("{}", json!({ "costs": stored, "file": file, "deadlines": checks }));
            return Ok(());
        }
        println!("const COSTS: CostModel = {:?};", fitted.costs);
        println!("largest error of the prediction: {:.1} %", fitted.worst_error * 100.0);
        println!("wrote {}", path.display());
        print_deadlines(&checks);
        Ok(())
    }

    /// The costs with what they were measured on.
    fn stored(&self, fitted: &Fitted) -> Result<Costs> {
        let CostModel { fixed, token, frozen, attention, task, margin } = fitted.costs;
        Ok(Costs {
            cpu: cpu_name(),
            kernels: self.compute.kernels()?.name.to_owned(),
            threads: self.compute.threads.get(),
            fixed,
            token,
            frozen,
            attention,
            task,
            margin,
            worst_error: fitted.worst_error,
        })
    }
}

fn print_deadlines(checks: &[DeadlineCheck]) {
    let rows = checks.iter().map(|check| {
        let step = if check.layers > 0 {
            format!("+{} in {}", token_step(check.tokens), check.layers)
        } else {
            String::new()
        };
        [
            format!("{:.3} ms", check.deadline_ms),
            format!("{} {step}", check.tokens),
            format!("{:.3} ms", check.predicted_ms),
            format!("{:.3} ms", check.median_ms),
            format!("{:.0} %", 100.0 * check.median_ms / check.deadline_ms),
            format!("{:.1} %", 100.0 * check.late),
            format!("{:.1} %", 100.0 * check.noise),
        ]
    });
    let header = ["deadline", "k", "predicted", "median", "used", "late", "by noise"];
    println!("{}", table(header, rows.collect()));
    let share = |of: fn(&DeadlineCheck) -> f64| {
        100.0 * checks.iter().map(of).sum::<f64>() / checks.len() as f64
    };
    println!(
        "late {:.1} % of all runs, {:.1} % by the noise that runs of the same k show without a deadline",
        share(|check| check.late),
        share(|check| check.noise)
    );
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
