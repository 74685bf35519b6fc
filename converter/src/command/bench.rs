//! `coda bench`: latency at several reductions.

use super::shared::{
    Compute, PackageFiles, check_reduction, cpu_name, no_routing, print_notes, progress, removed,
    threads,
};
use super::table::{grouped, table};
use super::write::WriteArguments;
use anyhow::{Context, Result, ensure};
use coda_converter::answer::Writer;
use coda_converter::bench::{self, ReductionTiming};
use coda_converter::bench_writer::{self, Bandwidth, WritingTiming};
use coda_converter::calibrate::{self, Costs, DeadlineCheck, Fitted, TokenCosts};
use coda_converter::calibrate_writer;
use coda_converter::dataset::SampleInput;
use coda_converter::output::write_whole;
use coda_converter::say;
use coda_runtime::memory::{AnswerCapacity, Capacity, Plan};
use coda_runtime::model::{Decoder, Model};
use coda_runtime::routing::{CostModel, token_step};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Inferences at each of ten deadlines.
const DEADLINE_RUNS: usize = 20;
/// A speed-up of so many times the predicted one gets a remark: caches explain less.
const BEYOND_MACS: f64 = 1.25;

/// Measure latency at several reductions, side by side
///
/// The reductions of a round are run one after the other, so that a change of the machine's speed meets
/// all of them; a speed-up is the ratio of two medians. The input is made up. Kernels take the same
/// time whatever the values are, with one exception: int8 products of avx2 take up to a third longer
/// where the values of a row are spread evenly, which those of a model are not.
///
/// Of a model that writes, whole answers are measured: the time to the first token, tokens a second, and
/// the share of the memory's bandwidth that its steps use, which is above 100 % where caches hold weights.
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
    writing: WriteArguments,
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
        let dense = no_routing(&model, "--reductions");
        let reductions = if dense.is_some() { &[1.0] } else { &self.reductions[..] };
        let notes: Vec<String> = self.compute.note().into_iter().chain(dense).collect();
        if let Some(decoder) = model.decoder() {
            return self.run_writer(&model, &decoder, &input, reductions, &notes);
        }
        self.writing.refuse_without_decoder()?;
        let mut session = self.compute.session(&model, Capacity::any_budget(tokens))?;
        let runs = self.runs.get();
        let bar = progress("timing", runs as u64);
        let lines = bench::measure(&mut session, &input, reductions, runs, || bar.inc(1))?;
        bar.finish_and_clear();
        self.print_lines(&lines, session.plan(), load_ms, notes)
    }

    /// Answers in place of inferences, and the share of the memory's bandwidth that a step has.
    fn run_writer(
        &self,
        model: &Model<'_>,
        decoder: &Decoder<'_>,
        input: &SampleInput,
        reductions: &[f32],
        notes: &[String],
    ) -> Result<()> {
        let (kernels, answer) = (self.compute.kernels()?, self.writing.capacity(decoder)?);
        let (tokens, used) = (input.tokens(model), self.compute.threads());
        let mut writer = Writer::new(model, kernels, Capacity::any_budget(tokens), answer, used)?;
        let bandwidth = Bandwidth::measure(model)?;
        let (runs, search) = (self.runs.get(), self.writing.search());
        let bar = progress("timing", runs as u64);
        let lines =
            bench_writer::measure(&mut writer, input, reductions, &search, runs, || bar.inc(1))?;
        bar.finish_and_clear();
        let (arena, beams) = (writer.plan().arena_bytes(), answer.beams);
        if self.json {
            let timings = lines.iter().map(|line| {
                let mut fields = json!(line);
                fields["bandwidth_share"] = json!(bandwidth.share(line.step_ms));
                fields
            });
            say!(
                "{}",
                json!({
                    "tokens": tokens, "threads": used, "kernels": kernels.name, "cpu": cpu_name(),
                    "runs": self.runs, "arena_bytes": arena, "beams": beams,
                    "bandwidth": bandwidth, "reductions": timings.collect::<Vec<_>>(),
                    "notes": notes,
                })
            );
            return Ok(());
        }
        print_writing(&lines, &bandwidth);
        say!(
            "{} rounds of {tokens} tokens, {beams} hypotheses, {}, arena {} bytes, {} kernels on {}",
            self.runs,
            threads(used),
            grouped(arena),
            kernels.name,
            cpu_name()
        );
        say!(
            "a step reads {} bytes of weights; one thread reads {:.1} GB a second from memory",
            grouped(bandwidth.step_bytes),
            bandwidth.bytes_per_second / 1e9
        );
        print_notes(notes);
        Ok(())
    }

    fn print_lines(
        &self,
        lines: &[ReductionTiming],
        plan: &Plan,
        load_ms: f64,
        mut notes: Vec<String>,
    ) -> Result<()> {
        notes.extend(disturbed(lines));
        if self.json {
            let mut object = self.to_json(lines, plan)?;
            object["load_ms"] = json!(load_ms);
            object["notes"] = json!(notes);
            say!("{object}");
            return Ok(());
        }
        print_table(lines);
        say!(
            "{} rounds of {} tokens, {}, arena {} bytes, {} kernels on {}",
            self.runs,
            plan.capacity().tokens,
            threads(self.compute.threads()),
            grouped(plan.arena_bytes()),
            self.compute.kernels()?.name,
            cpu_name()
        );
        print_notes(&notes);
        Ok(())
    }

    fn to_json(&self, lines: &[ReductionTiming], plan: &Plan) -> Result<Value> {
        Ok(json!({
            "tokens": plan.capacity().tokens,
            "threads": self.compute.threads(),
            "kernels": self.compute.kernels()?.name,
            "cpu": cpu_name(),
            "runs": self.runs,
            "arena_bytes": plan.arena_bytes(),
            "reductions": lines,
        }))
    }

    /// Measures, stores and checks the costs.
    fn calibrate(&self, model: &Model<'_>, tokens: usize) -> Result<()> {
        let mut session = self.compute.session(model, Capacity::any_budget(tokens))?;
        let rounds = self.runs.get().div_ceil(4);
        let steps = calibrate::steps(model, tokens, rounds);
        let bar = progress("measuring", steps as u64);
        let fitted = calibrate::calibrate(&mut session, tokens, rounds, || bar.inc(1))?;
        bar.finish_and_clear();
        let path = Costs::path(self.files.first());
        fitted.check().with_context(|| format!("{} is not written", path.display()))?;
        let stored = Costs { answer: self.token_costs(model, tokens)?, ..self.stored(&fitted)? };
        write_whole(&path, (serde_json::to_string_pretty(&stored)? + "\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut session = session.with_costs(fitted.costs);
        let bar = progress("checking", (DEADLINE_RUNS * 10) as u64);
        let checks =
            calibrate::check_deadlines(&mut session, tokens, DEADLINE_RUNS, || bar.inc(1))?;
        bar.finish_and_clear();
        self.print_costs(&stored, &fitted, &checks)
    }

    /// The costs of an answer's tokens, of a model that writes.
    fn token_costs(&self, model: &Model<'_>, tokens: usize) -> Result<Option<TokenCosts>> {
        let Some(decoder) = model.decoder() else { return Ok(None) };
        let capacity = Capacity::any_budget(tokens);
        let mut session = self.compute.session(model, capacity)?;
        let answer = self.writing.capacity(&decoder)?;
        // A further hypothesis has a cost too, if any call asks for one.
        let answer = AnswerCapacity { beams: answer.beams.max(2), ..answer };
        let longest = answer.positions - decoder.rules().start.len();
        let (kernels, used) = (self.compute.kernels()?, self.compute.threads());
        let mut writer = Writer::new(model, kernels, capacity, answer, used)?;
        let rounds = self.runs.get().div_ceil(4);
        let bar = progress("answering", calibrate_writer::steps(model, tokens, rounds) as u64);
        let (writer, advance) = (&mut writer, || bar.inc(1));
        let costs =
            calibrate_writer::calibrate(writer, &mut session, tokens, longest, rounds, advance)?;
        bar.finish_and_clear();
        Ok(Some(costs))
    }

    fn print_costs(&self, stored: &Costs, fitted: &Fitted, checks: &[DeadlineCheck]) -> Result<()> {
        let path = Costs::path(self.files.first());
        let notes: Vec<String> = self.compute.note().into_iter().collect();
        if self.json {
            let mut object = json!({ "costs": stored, "deadlines": checks });
            object["noise"] = json!(fitted.noise);
            object["file"] = json!(path.display().to_string());
            object["notes"] = json!(notes);
            say!("{object}");
            return Ok(());
        }
        print_notes(&notes);
        say!("const COSTS: CostModel = {:?};", fitted.costs);
        say!(
            "largest error of the prediction: {:.1} %, noise of the machine: {:.1} %",
            fitted.worst_error * 100.0,
            fitted.noise * 100.0
        );
        if let Some(answer) = &stored.answer {
            say!("const ANSWER_COSTS: AnswerCosts = {:?};", answer.model());
            say!("largest error of its prediction: {:.1} %", answer.worst_error * 100.0);
        }
        say!("wrote {}", path.display());
        print_deadlines(checks);
        Ok(())
    }

    /// The costs with what they were measured on.
    fn stored(&self, fitted: &Fitted) -> Result<Costs> {
        let CostModel { fixed, token, frozen, attention, task, margin } = fitted.costs;
        Ok(Costs {
            cpu: cpu_name(),
            kernels: self.compute.kernels()?.name.to_owned(),
            threads: self.compute.threads(),
            fixed,
            token,
            frozen,
            attention,
            task,
            margin,
            worst_error: fitted.worst_error,
            answer: None,
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
    say!("{}", table(header, rows.collect()));
    let share = |of: fn(&DeadlineCheck) -> f64| {
        100.0 * checks.iter().map(of).sum::<f64>() / checks.len() as f64
    };
    say!(
        "late {:.1} % of all runs, {:.1} % by the noise that runs of the same k show without a deadline",
        share(|check| check.late),
        share(|check| check.noise)
    );
}

/// A note if a speed-up is well beyond what the multiply-accumulates explain.
fn disturbed(lines: &[ReductionTiming]) -> Option<String> {
    let odd = lines.iter().find(|line| line.speed_up > BEYOND_MACS * line.predicted_speed_up)?;
    Some(format!(
        "{:.2}x at r = {} is more than its multiply-accumulates explain ({:.2}x): something slowed the \
         first reduction down; measure again on a quiet machine",
        odd.speed_up, odd.reduction, odd.predicted_speed_up
    ))
}

fn print_writing(lines: &[WritingTiming], bandwidth: &Bandwidth) {
    let rows = lines.iter().map(|line| {
        [
            line.reduction.to_string(),
            format!("{:.2} ms", line.encoder_ms),
            format!("{:.2} ms", line.first_token_ms),
            format!("{:.3} ms", line.step_ms),
            format!("{:.1}", line.tokens_per_second),
            format!("{:.0} %", 100.0 * bandwidth.share(line.step_ms)),
            line.tokens.to_string(),
        ]
    });
    let header = ["reduction", "encoder", "first token", "step", "tokens/s", "of memory", "tokens"];
    say!("{}", table(header, rows.collect()));
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
    say!("{}", table(header, rows.collect()));
}
