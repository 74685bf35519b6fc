//! `coda eval`: accuracy and latency over a labelled set.

use super::shared::{Compute, PackageFiles, cpu_name, no_routing, print_notes, progress};
use super::table::{grouped, table};
use super::write::WriteArguments;
use anyhow::{Result, ensure};
use coda_converter::answer::Writer;
use coda_converter::dataset::{self, Labelled, Reading};
use coda_converter::evaluate::{Evaluation, ReductionResult, Settings, evaluate};
use coda_converter::evaluate_writer::{self, Questions, WritingResult};
use coda_converter::preparation::Preparation;
use coda_converter::rows::Header;
use coda_converter::say;
use coda_runtime::memory::Capacity;
use coda_runtime::model::{Decoder, Model};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The labelled set of a command.
#[derive(Debug, clap::Args)]
pub(super) struct Data {
    /// The labelled set
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// IDX labels, if they are not found beside the images
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Whether the first line of texts names the columns
    #[arg(long, value_enum, default_value_t = Header::Auto)]
    header: Header,
    /// Resize and cut the pictures of a folder as the base's `preprocessor_config.json` says
    #[arg(long)]
    resize: bool,
    /// Use the first samples only
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Data {
    /// The file or folder.
    pub(super) fn path(&self) -> &Path {
        &self.data
    }

    /// The labelled set.
    pub(super) fn read(&self, model: &Model<'_>, preparation: &Preparation) -> Result<Labelled> {
        let reading = Reading {
            labels: self.labels.as_deref(),
            header: self.header,
            prepare: self.resize.then_some(preparation),
            limit: self.limit,
            unlabelled: false,
        };
        dataset::read(&self.data, reading, model)
    }

    /// Answers and what is asked, for a model that writes.
    fn questions(&self, model: &Model<'_>, preparation: &Preparation) -> Result<Questions> {
        let how = self.resize.then_some(preparation);
        evaluate_writer::read(&self.data, self.header, self.limit, model, how)
    }
}

fn print_writing(lines: &[WritingResult]) {
    let rows = lines.iter().map(|line| {
        [
            line.reduction.map_or("task".to_owned(), |reduction| reduction.to_string()),
            format!("{:.2} %", line.exact),
            format!("{:.2} %", line.character_error),
            format!("{:.2} %", line.word_error),
            format!("{:.2} ms", line.encoder_ms),
            format!("{:.2} ms", line.answer_ms),
        ]
    });
    let header = ["reduction", "exact", "character errors", "word errors", "encoder", "answer"];
    say!("{}", table(header, rows.collect()));
}

/// Refuses reductions that are none.
pub(super) fn check_reductions(reductions: &[f32]) -> Result<()> {
    for reduction in reductions {
        ensure!(
            reduction.is_finite() && *reduction >= 1.0,
            "a reduction must be at least 1, not {reduction}"
        );
    }
    Ok(())
}

/// Measure accuracy and latency at several reductions, side by side
///
/// The data are TSV or CSV of label and text, or of label and the two texts of a pair, safetensors of token
/// ids (`input_ids`, `lengths`, `labels`), IDX images with their IDX labels beside them, or a folder of a
/// folder of pictures for each class; gzip is unpacked. A pair that is too long loses the end of its longer
/// text. Labels are the names of the model, or all of them indices. The reductions of one sample are
/// run one after the other, and ratios are taken sample by sample. A latency is of tokens or pixels to a
/// label; from text, the time of the tokenizer comes on top.
///
/// Of a model that writes, the data are TSV or CSV of the right answer and the text, picture file or
/// sound file that is asked. Answers are right to the character, or have errors of characters and words.
#[derive(Debug, clap::Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    files: PackageFiles,
    #[command(flatten)]
    data: Data,
    /// Reduction factors; speed-ups are against the first
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 4.0, 8.0])]
    reductions: Vec<f32>,
    /// Factor on the reduction of each layer, which is never below 1: as the task was trained
    #[arg(long, value_name = "F,F,...", value_delimiter = ',')]
    layer_factors: Vec<f32>,
    /// Also as the task says: each layer's own reduction, else the task's
    #[arg(long)]
    task_budget: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writing: WriteArguments,
    #[command(flatten)]
    compute: Compute,
}

impl Eval {
    pub(super) fn run(&self) -> Result<()> {
        check_reductions(&self.reductions)?;
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        if let Some(decoder) = model.decoder() {
            return self.run_writer(&model, &decoder, &self.files.preparation(&files)?);
        }
        self.writing.refuse_without_decoder()?;
        let set = self.data.read(&model, &self.files.preparation(&files)?)?;
        let dense = no_routing(&model, "--reductions");
        let notes = self.compute.note().into_iter().chain(dense.clone()).chain(set.notes());
        let notes: Vec<String> = notes.collect();
        let reductions = if dense.is_some() { vec![Some(1.0)] } else { self.asked() };
        let settings = Settings {
            reductions: &reductions,
            layer_factors: &self.layer_factors,
            kernels: self.compute.kernels()?,
            threads: self.compute.threads(),
        };
        let bar = progress("evaluating", set.samples.len() as u64);
        let result = evaluate(&model, &set.samples, settings, || bar.inc(1))?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", self.to_json(&result, &set, &notes));
        } else {
            print_evaluation(&result);
            print_notes(&notes);
        }
        Ok(())
    }

    /// Answers in place of labels.
    fn run_writer(
        &self,
        model: &Model<'_>,
        decoder: &Decoder<'_>,
        how: &Preparation,
    ) -> Result<()> {
        ensure!(self.layer_factors.is_empty(), "--layer-factors are for models without a decoder");
        let questions = self.data.questions(model, how)?;
        let tokens = questions.all.iter().map(|own| own.input.tokens(model)).max().unwrap_or(0);
        let dense = no_routing(model, "--reductions");
        let reductions = if dense.is_some() { vec![Some(1.0)] } else { self.asked() };
        let cut = (questions.cut > 0)
            .then(|| format!("{} inputs are longer than the model reads", questions.cut));
        let notes = self.compute.note().into_iter().chain(dense).chain(cut);
        let notes: Vec<String> = notes.chain(questions.notes.iter().cloned()).collect();
        let (kernels, answer) = (self.compute.kernels()?, self.writing.capacity(decoder)?);
        let capacity = Capacity::any_budget(tokens);
        let mut writer = Writer::new(model, kernels, capacity, answer, self.compute.threads())?;
        let bar = progress("evaluating", questions.all.len() as u64);
        let (all, search) = (&questions.all, self.writing.search());
        let lines =
            evaluate_writer::evaluate(&mut writer, model, all, &reductions, &search, || {
                bar.inc(1);
            })?;
        bar.finish_and_clear();
        if self.json {
            let samples = questions.all.len();
            say!(
                "{}",
                json!({ "samples": samples, "reductions": lines, "cut": questions.cut,
                    "beams": answer.beams, "notes": notes, "cpu": cpu_name() })
            );
            return Ok(());
        }
        print_writing(&lines);
        say!("{} questions, {} kernels on {}", questions.all.len(), kernels.name, cpu_name());
        print_notes(&notes);
        Ok(())
    }

    /// Every reduction that is asked for, and the task's own.
    fn asked(&self) -> Vec<Option<f32>> {
        let own = self.task_budget.then_some(None);
        self.reductions.iter().copied().map(Some).chain(own).collect()
    }

    fn to_json(&self, result: &Evaluation, set: &Labelled, notes: &[String]) -> Value {
        let mut object = json!(result);
        object["cut"] = json!(set.cut);
        object["passed_over"] = json!(set.passed_over);
        object["notes"] = json!(notes);
        object["cpu"] = json!(cpu_name());
        if !self.layer_factors.is_empty() {
            object["layer_factors"] = json!(self.layer_factors);
        }
        object
    }
}

fn print_evaluation(result: &Evaluation) {
    let rows = result.reductions.iter();
    if result.from_text {
        let header = ["reduction", "accuracy", "median", "speed-up", "from text", "speed-up"];
        say!("{}", table(header, rows.map(row_from_text).collect()));
    } else {
        let header = ["reduction", "accuracy", "median", "speed-up"];
        say!("{}", table(header, rows.map(row).collect()));
    }
    if result.reductions.len() > 1 {
        say!("speed-up: the median over samples of the ratio to the first reduction");
    }
    say!(
        "{} samples of up to {} tokens, arena {} bytes, {} kernels on {}",
        result.samples,
        result.tokens,
        grouped(result.arena_bytes),
        result.kernels,
        cpu_name()
    );
}

fn row(line: &ReductionResult) -> [String; 4] {
    let accuracy = format!("{:.2} %", line.accuracy);
    let median = format!("{:.3} ms", line.median_ms);
    [line.name(), accuracy, median, format!("{:.2}x", line.speed_up)]
}

/// The same with the times from text to label.
fn row_from_text(line: &ReductionResult) -> [String; 6] {
    let [reduction, accuracy, median, ratio] = row(line);
    let from_text = format!("{:.3} ms", line.end_to_end_ms);
    [reduction, accuracy, median, ratio, from_text, format!("{:.2}x", line.end_to_end_speed_up)]
}
