//! `coda pack`: weights to packages.

use super::table::{grouped, hex, plan_table, table};
use anyhow::{Context, Result, bail, ensure};
use coda_converter::output::{check_output, write_whole};
use coda_converter::pack::{PackageBytes, TensorReport, WeightType, bundle, pack_base, pack_task};
use coda_converter::shortlist;
use coda_converter::smooth::smooth;
use coda_converter::source::{Base, Language, Opening, Speech, Task, Tower};
use coda_converter::{say, warn};
use coda_runtime::format::PackageKind;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use comfy_table::ContentArrangement;
use indicatif::ProgressBar;
use serde_json::json;
use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Columns of a terminal.
const WIDTH: u16 = 80;

/// Pack a frozen transformer and a CoDA task
///
/// Without --task it writes a base package. With --task it writes a bundle of both in one file, or
/// with --only task the task package alone, for a base package made with the same --weights.
#[derive(Debug, clap::Args)]
pub(crate) struct Pack {
    /// Hugging Face model directory: config.json, model.safetensors, tokenizer files
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// CoDA task safetensors
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
    /// The tokens that an answer may hold, of a task for a model that writes: ids or texts, one a line. A line
    /// in quotes is a text, whatever it is. The others are not computed
    #[arg(long, value_name = "FILE", requires = "task")]
    shortlist: Option<PathBuf>,
    /// How the frozen weights are stored
    #[arg(long, value_enum, default_value_t = WeightType::Int8)]
    weights: WeightType,
    /// Keep attention in f32; with int8 and int4 weights its products are int8 otherwise
    #[arg(long)]
    float_attention: bool,
    /// Write one part instead of a bundle
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Part>,
    /// Image side in pixels, if another than the model was trained with: positions are resized
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// The encoder of a directory of two, as of CLIP; that of images if not given
    #[arg(long, value_enum, value_name = "TOWER")]
    tower: Option<Tower>,
    /// The language that is spoken, of a model of speech that knows several: en, de, ...; what its directory
    /// says, or else English
    #[arg(long, value_name = "CODE")]
    language: Option<Language>,
    /// Write English whatever is spoken, of a model of speech that knows several languages
    #[arg(long)]
    translate: bool,
    /// Where the weights come from: a text that the package carries
    #[arg(long, default_value = "")]
    provenance: String,
    /// Longest input to print the plan for; the model's own bound, at most 256, if not given
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// The package to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// List every tensor, not only those wider than asked for
    #[arg(long)]
    tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The frozen weights
    Base,
    /// Adapters, routers, norms, head
    Task,
}

/// What was packed.
pub(super) struct Packages {
    pub(super) base: PackageBytes,
    pub(super) task: Option<PackageBytes>,
    base_tensors: Vec<TensorReport>,
    task_tensors: Vec<TensorReport>,
    unused: Vec<String>,
    notes: Vec<String>,
}

/// Reads and packs a base and a task.
pub(super) fn pack(
    base: &Path,
    task: Option<&Path>,
    weights: WeightType,
    image_size: Option<usize>,
    provenance: &str,
) -> Result<Packages> {
    pack_source(&Base::open(base, image_size)?, task, weights, provenance)
}

/// Packs a base that was read, and a task.
pub(super) fn pack_source(
    source: &Base,
    task: Option<&Path>,
    weights: WeightType,
    provenance: &str,
) -> Result<Packages> {
    pack_listed(source, task, None, weights, provenance)
}

/// The same with a shortlist of the task's answers.
fn pack_listed(
    source: &Base,
    task: Option<&Path>,
    shortlist: Option<&Path>,
    weights: WeightType,
    provenance: &str,
) -> Result<Packages> {
    let packed = pack_base(smooth(source, weights)?.as_ref(), weights, provenance)?;
    let (base, base_tensors) = (packed.bytes, packed.tensors);
    let (unused, notes) = (source.unused.clone(), source.notes.clone());
    let mut packages =
        Packages { base, task: None, base_tensors, task_tensors: Vec::new(), unused, notes };
    if let Some(path) = task {
        let (mut task, base) = (Task::open(path, source)?, packages.base.parse()?);
        if let Some(path) = shortlist {
            let ids = shortlist::read(path, &Model::dense(&base)?)?;
            task.decoder.get_or_insert_default().shortlist = ids;
        }
        let packed = pack_task(&task, &base, weights, provenance)?;
        packages.task_tensors = packed.tensors;
        packages.task = Some(packed.bytes);
    }
    Ok(packages)
}

impl Pack {
    pub(super) fn run(&self) -> Result<()> {
        ensure!(
            self.only != Some(Part::Task) || self.task.is_some(),
            "--only task needs a --task FILE"
        );
        let spinner = ProgressBar::new_spinner().with_message("packing");
        spinner.enable_steady_tick(Duration::from_millis(200));
        let task = self.task.as_deref().filter(|_| self.only != Some(Part::Base));
        let speech = Speech { language: self.language, translate: self.translate };
        let opening = Opening { image_size: self.image_size, tower: self.tower, speech };
        let source = Base::open_as(&self.base, opening)?;
        let source = Base { float_attention: self.float_attention, ..source };
        let files = [&self.task, &self.shortlist].into_iter().flatten();
        let inputs: Vec<&Path> = iter::once(&*self.base).chain(files.map(|path| &**path)).collect();
        check_output(&self.output, &inputs)?;
        let shortlist = self.shortlist.as_deref();
        let packed = pack_listed(&source, task, shortlist, self.weights, &self.provenance)?;
        let written = self.choose(&packed)?;
        write_whole(&self.output, &written)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        spinner.finish_and_clear();
        if let Some(why) = &source.ids_only {
            warn!("note: the package reads token ids and no texts: {why}");
        }
        self.report(&packed, &written)
    }

    /// The package that was asked for.
    fn choose(&self, packed: &Packages) -> Result<PackageBytes> {
        match (self.only, &packed.task) {
            (Some(Part::Task), Some(task)) => Ok(task.clone()),
            (Some(Part::Task), None) => bail!("there is no task"),
            (Some(Part::Base), _) | (None, None) => Ok(packed.base.clone()),
            (None, Some(task)) => Ok(bundle(&packed.base.parse()?, &task.parse()?)?),
        }
    }

    /// The memory of the longest input and any budget.
    fn plan(&self, packed: &Packages) -> Result<Plan> {
        let base = packed.base.parse()?;
        let task = packed.task.as_ref().map(PackageBytes::parse).transpose()?;
        let model = match &task {
            Some(task) => Model::bind(&base, task)?,
            None => Model::dense(&base)?,
        };
        let tokens = self.max_tokens.or(model.max_tokens().map(|n| n.min(256))).unwrap_or(256);
        Ok(Plan::new(&model.dimensions(), Capacity::any_budget(tokens))?)
    }

    fn report(&self, packed: &Packages, written: &PackageBytes) -> Result<()> {
        let package = written.parse()?;
        let plan = self.plan(packed)?;
        let tokens = plan.capacity().tokens;
        let kind = package.kind();
        let base = packed.base_tensors.iter().filter(|_| kind != PackageKind::Task);
        let tensors: Vec<&TensorReport> = base.chain(&packed.task_tensors).collect();
        if self.json {
            let object = json!({
                "output": self.output.display().to_string(),
                "kind": kind.name(),
                "bytes": written.len(),
                "content_id": hex(&package.content_id()),
                "tensors": tensors,
                "unused": packed.unused,
                "notes": packed.notes,
                "plan": { "tokens": tokens, "selected": tokens, "arena_bytes": plan.arena_bytes() },
            });
            say!("{object}");
            return Ok(());
        }
        let (file, name, bytes) = (self.output.display(), kind.name(), grouped(written.len()));
        say!("wrote {file}: a {name}, {bytes} bytes");
        say!("content id {}", hex(&package.content_id()));
        print_parts(packed, kind);
        print_tensors(&tensors, self.tensors);
        print_unused(packed, kind);
        packed.notes.iter().for_each(|note| say!("note: {note}"));
        say!("\nplan for up to {tokens} tokens and any budget (`coda plan` for others):");
        say!("{}", plan_table(&plan));
        if package.base().is_some_and(|base| base.decoder().is_some()) {
            say!("this is the encoder's part: `coda plan` adds that of the answer");
        }
        Ok(())
    }
}

fn print_unused(packed: &Packages, kind: PackageKind) {
    if kind != PackageKind::Task && !packed.unused.is_empty() {
        say!("not used by the encoder: {}", packed.unused.join(", "));
    }
}

fn print_parts(packed: &Packages, kind: PackageKind) {
    if kind == PackageKind::Bundle {
        let task = packed.task.as_ref().map_or(0, |task| task.len());
        say!("base {} bytes, task {} bytes", grouped(packed.base.len()), grouped(task));
    }
}

fn print_tensors(tensors: &[&TensorReport], all: bool) {
    let mut summary: Vec<[String; 4]> = Vec::new();
    for of in grouped_by(tensors, |tensor| tensor.encoding) {
        summary.push([
            of.first().map_or("", |tensor| tensor.encoding).to_owned(),
            of.len().to_string(),
            grouped(of.iter().map(|tensor| tensor.shape.0 * tensor.shape.1).sum()),
            grouped(of.iter().map(|tensor| tensor.bytes).sum()),
        ]);
    }
    say!("{}", table(["stored as", "tensors", "weights", "bytes"], summary));
    if all {
        let rows = tensors.iter().map(|tensor| tensor_row(tensor)).collect();
        let mut every = table(["tensor", "shape", "bits", "bytes"], rows);
        every.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        say!("every tensor:\n{every}");
    }
    let wider: Vec<&TensorReport> =
        tensors.iter().copied().filter(|tensor| !tensor.reason.is_empty()).collect();
    if !wider.is_empty() {
        let listed = if all { "" } else { " (--tensors lists every tensor)" };
        say!("wider than asked for, and why{listed}:");
    }
    for of in grouped_by(&wider, |tensor| (tensor.reason, tensor.bits)) {
        let bytes = grouped(of.iter().map(|tensor| tensor.bytes).sum());
        let (first, others) = (of.first().map_or("", |tensor| &tensor.name), of.len() - 1);
        let (why, bits) = of.first().map_or(("", 0), |tensor| (tensor.reason, tensor.bits));
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        say!("  {bits} bits: {why}\n    {first}{more} ({bytes} bytes)");
    }
}

/// Tensors with one key, in the order of the keys.
fn grouped_by<'a, K: Ord>(
    tensors: &[&'a TensorReport],
    key: impl Fn(&TensorReport) -> K,
) -> Vec<Vec<&'a TensorReport>> {
    let mut groups = BTreeMap::<K, Vec<&TensorReport>>::new();
    for tensor in tensors {
        groups.entry(key(tensor)).or_default().push(tensor);
    }
    groups.into_values().collect()
}

fn tensor_row(tensor: &TensorReport) -> [String; 4] {
    [
        tensor.name.clone(),
        format!("{} x {}", tensor.shape.0, tensor.shape.1),
        tensor.bits.to_string(),
        grouped(tensor.bytes),
    ]
}
