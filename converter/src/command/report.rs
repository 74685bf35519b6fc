//! `coda report`: a page to look at.

use super::eval::{Data, check_reductions};
use super::head::label_name;
use super::shared::{Compute, PackageFiles, cpu_name, no_routing, print_notes, progress};
use anyhow::{Context, Result};
use coda_converter::dataset::Sample;
use coda_converter::evaluate::{Evaluation, Settings, evaluate};
use coda_converter::output::{check_output, write_whole};
use coda_converter::report::{Confusion, MOST_LABELS, Report, plan, shown, stages};
use coda_converter::say;
use coda_runtime::config::HeadKind;
use coda_runtime::model::Model;
use std::path::{Path, PathBuf};

/// Write a page about a package: accuracy, latency, memory, routing, confusion
///
/// One HTML file that needs nothing else. It measures as `coda eval` does.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportCommand {
    #[command(flatten)]
    files: PackageFiles,
    #[command(flatten)]
    data: Data,
    /// Reduction factors; speed-ups are against the first
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 4.0, 8.0])]
    reductions: Vec<f32>,
    /// The page to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    compute: Compute,
}

impl ReportCommand {
    pub(super) fn run(&self) -> Result<()> {
        check_reductions(&self.reductions)?;
        let inputs = self.files.packages.iter().map(PathBuf::as_path);
        let inputs: Vec<&Path> = inputs.chain([self.data.path()]).collect();
        check_output(&self.output, &inputs)?;
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        let set = self.data.read(&model, &self.files.preparation(&files)?)?;
        let dense = no_routing(&model, "--reductions");
        let asked = self.reductions.iter().copied().map(Some).collect();
        let reductions = if dense.is_some() { vec![Some(1.0)] } else { asked };
        let report = Report {
            flash_bytes: files.iter().map(|file| file.len()).sum(),
            notes: dense.into_iter().chain(set.notes()).collect(),
            ..self.measure(&model, &set.samples, &reductions)?
        };
        write_whole(&self.output, report.html().as_bytes())
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        print_notes(&report.notes);
        say!("wrote {}", self.output.display());
        Ok(())
    }

    /// All of the page but what the files say.
    fn measure(
        &self,
        model: &Model<'_>,
        samples: &[Sample],
        reductions: &[Option<f32>],
    ) -> Result<Report> {
        let kernels = self.compute.kernels()?;
        let settings =
            Settings { reductions, layer_factors: &[], kernels, threads: self.compute.threads() };
        let bar = progress("evaluating", samples.len() as u64);
        let evaluation = evaluate(model, samples, settings, || bar.inc(1))?;
        bar.finish_and_clear();
        let plans = reductions.iter().map(|reduction| plan(model, evaluation.tokens, *reduction));
        let plans = plans.collect::<Result<Vec<_>>>()?;
        let buffers = plans.first().map(|plan| plan.buffers().iter().map(|b| (b.name, b.bytes)));
        let ends = ends(reductions);
        let timed = ends.iter().map(|at| stages(model, samples, kernels, reductions[*at]));
        Ok(Report {
            packages: self.files.packages.iter().map(|path| name(path)).collect(),
            data: name(self.data.path()),
            cpu: cpu_name(),
            version: env!("CARGO_PKG_VERSION"),
            labels: (0..labels(model)).map(|index| label_name(model, index)).collect(),
            arenas: plans.iter().map(coda_runtime::memory::Plan::arena_bytes).collect(),
            confusion: confusion(model, samples, &evaluation),
            stages: timed.collect::<Result<_>>()?,
            buffers: buffers.into_iter().flatten().collect(),
            samples: shown(model, samples, kernels, reductions.last().copied().flatten())?,
            evaluation,
            flash_bytes: 0,
            notes: Vec::new(),
        })
    }
}

/// A page that is passed on names no folder of this machine.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Where the first and the last of the reductions stand.
fn ends(reductions: &[Option<f32>]) -> Vec<usize> {
    let last = reductions.len().saturating_sub(1);
    if last == 0 { vec![0] } else { vec![0, last] }
}

fn labels(model: &Model<'_>) -> usize {
    match model.head().map(|head| head.kind) {
        Some(HeadKind::Classification { labels }) => labels,
        _ => 0,
    }
}

/// The confusion at the first and the last reduction; none with very many labels.
fn confusion(model: &Model<'_>, samples: &[Sample], evaluation: &Evaluation) -> Vec<Confusion> {
    let count = labels(model);
    if count > MOST_LABELS {
        return Vec::new();
    }
    let at = |index: usize| {
        let line = &evaluation.reductions[index];
        Confusion::new(line.reduction, count, samples, &line.answers)
    };
    let reductions: Vec<_> = evaluation.reductions.iter().map(|line| line.reduction).collect();
    ends(&reductions).into_iter().map(at).collect()
}
