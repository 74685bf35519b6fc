//! A page about a package: accuracy against latency and memory, what was routed, where the time goes.

use crate::dataset::{Sample, SampleInput};
use crate::draw::Trace;
use crate::evaluate::{Evaluation, median};
use crate::session::Session;
use crate::timeline::{Stage, Timeline};
use anyhow::Result;
use coda_runtime::config::Embedding;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, tokens_for_reduction};
use serde::Serialize;

/// Samples that are shown with what they routed.
const SHOWN: usize = 8;
/// Samples whose stages are timed.
const TIMED: usize = 64;
/// Labels up to which the confusion is shown.
pub const MOST_LABELS: usize = 60;

/// Everything that the page shows.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Names of the package files.
    pub packages: Vec<String>,
    /// Bytes of the packages: flash.
    pub flash_bytes: usize,
    /// The data.
    pub data: String,
    /// The CPU.
    pub cpu: String,
    /// The version of the converter.
    pub version: &'static str,
    /// Names of the labels.
    pub labels: Vec<String>,
    /// Accuracy and latency.
    pub evaluation: Evaluation,
    /// Bytes of arena at each reduction of the evaluation, if no call asks for less.
    pub arenas: Vec<usize>,
    /// For the first and the last reduction, for each label the samples of it that got each label.
    pub confusion: Vec<Confusion>,
    /// For the first and the last reduction the median microseconds of each stage.
    pub stages: Vec<StageMedians>,
    /// Buffers of the arena at the first reduction.
    pub buffers: Vec<(&'static str, usize)>,
    /// Samples with what each layer routed at the last reduction.
    pub samples: Vec<Shown>,
    /// Remarks about the data and the run.
    pub notes: Vec<String>,
}

/// Which labels samples got at one reduction.
#[derive(Debug, Serialize)]
pub struct Confusion {
    /// The reduction.
    pub reduction: Option<f32>,
    /// `rows[label][answer]` samples.
    pub rows: Vec<Vec<u32>>,
}

/// Median times at one reduction.
#[derive(Debug, Serialize)]
pub struct StageMedians {
    /// The reduction.
    pub reduction: Option<f32>,
    /// Name and median microseconds of each stage.
    pub stages: Vec<(String, f64)>,
}

/// A sample, its answer, and what was routed.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The right label.
    pub label: usize,
    /// The answer.
    pub answer: Option<usize>,
    /// Selected tokens of each layer.
    pub selected: Vec<Vec<u32>>,
    /// Pieces of a text, or token ids.
    pub tokens: Vec<String>,
    /// The image, if the model reads images.
    pub image: Option<Picture>,
}

/// Pixels and the grid that they are cut into.
#[derive(Debug, Serialize)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    columns: usize,
    rows: usize,
    /// Tokens before the patches.
    prefix: usize,
    pixels: Vec<u8>,
}

impl Confusion {
    /// The confusion of samples and their answers at one reduction, among `labels`.
    #[must_use]
    pub fn new(
        reduction: Option<f32>,
        labels: usize,
        samples: &[Sample],
        answers: &[Option<usize>],
    ) -> Self {
        let mut rows = vec![vec![0; labels]; labels];
        for (sample, answer) in samples.iter().zip(answers) {
            let row = rows.get_mut(sample.label);
            if let Some(cell) = row.zip(*answer).and_then(|(row, answer)| row.get_mut(answer)) {
                *cell += 1;
            }
        }
        Self { reduction, rows }
    }
}

/// The arena if no call asks for a smaller reduction.
///
/// # Errors
/// The plan does not fit a computer's memory.
pub fn plan(model: &Model<'_>, tokens: usize, reduction: Option<f32>) -> Result<Plan> {
    let selected = reduction.map_or(tokens, |reduction| tokens_for_reduction(tokens, reduction));
    let pinned = model.pinned().filter(|position| *position < tokens).count();
    Ok(Plan::new(&model.dimensions(), Capacity { tokens, selected: selected.max(pinned) })?)
}

fn budget(reduction: Option<f32>) -> Budget<'static> {
    reduction.map_or(Budget::Task, Budget::Reduction)
}

/// The median time of each stage at a reduction, over the first samples.
///
/// # Errors
/// As [`Session::run`].
pub fn stages(
    model: &Model<'_>,
    samples: &[Sample],
    kernels: &'static Kernels,
    reduction: Option<f32>,
) -> Result<StageMedians> {
    let mut runs: Vec<Vec<Stage>> = Vec::new();
    for sample in samples.iter().take(TIMED) {
        let capacity = Capacity::any_budget(sample.input.tokens(model));
        let mut session = Session::new(model, capacity)?.with_kernels(kernels);
        let mut timeline = Timeline::start();
        session.run(sample.input.as_input(), budget(reduction), &mut timeline, |_| ())?;
        runs.push(timeline.finish());
    }
    let Some(first) = runs.first() else { return Ok(StageMedians { reduction, stages: vec![] }) };
    let times = |at: usize| runs.iter().filter_map(|run| Some(run.get(at)?.us)).collect();
    let named = first.iter().enumerate().map(|(at, stage)| (stage.name.clone(), median(times(at))));
    Ok(StageMedians { reduction, stages: named.collect() })
}

/// The first sample of each label, and what it routed.
///
/// # Errors
/// As [`Session::run`].
pub fn shown(
    model: &Model<'_>,
    samples: &[Sample],
    kernels: &'static Kernels,
    reduction: Option<f32>,
) -> Result<Vec<Shown>> {
    let mut labels = Vec::new();
    let mut all = Vec::new();
    for sample in samples {
        if labels.contains(&sample.label) || all.len() == SHOWN {
            continue;
        }
        labels.push(sample.label);
        let capacity = Capacity::any_budget(sample.input.tokens(model));
        let mut session = Session::new(model, capacity)?.with_kernels(kernels);
        let mut trace = Trace::default();
        let input = sample.input.as_input();
        let answer = session.run(input, budget(reduction), &mut trace, |output| output.label())?;
        all.push(Shown {
            label: sample.label,
            answer,
            selected: trace.layers,
            tokens: pieces(model, &sample.input),
            image: picture(model, &sample.input),
        });
    }
    Ok(all)
}

/// The tokens of a text, as words if the package has a vocabulary.
fn pieces(model: &Model<'_>, input: &SampleInput) -> Vec<String> {
    let (SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. }) = input else { return vec![] };
    let words = model.tokenizer();
    let word = |id: u32| Some(String::from_utf8_lossy(words.as_ref()?.token(id)?).into_owned());
    ids.iter().map(|id| word(*id).unwrap_or_else(|| id.to_string())).collect()
}

fn picture(model: &Model<'_>, input: &SampleInput) -> Option<Picture> {
    let SampleInput::Pixels(pixels) = input else { return None };
    let grid = model.patch_grid()?;
    let Embedding::Patches { prefix_tokens, .. } = model.config().embedding else { return None };
    Some(Picture {
        width: grid.columns * grid.side,
        height: grid.rows * grid.side,
        channels: grid.channels,
        columns: grid.columns,
        rows: grid.rows,
        prefix: prefix_tokens,
        pixels: pixels.clone(),
    })
}

impl Report {
    /// The page: one HTML file that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        // Serialising plain data cannot fail. What a file brought is text for the page, never markup.
        let data = serde_json::to_string(self).unwrap_or_default().replace('<', "\\u003c");
        include_str!("report.html").replace("\"__DATA__\"", &data)
    }
}
