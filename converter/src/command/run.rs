//! `coda run`: one input through a package.

use super::head::{label_name, print_readings, prompted, readings};
use super::shared::{Compute, PackageFiles, check_reduction};
use anyhow::{Context, Result, bail, ensure};
use coda_converter::calibrate::Costs;
use coda_converter::dataset::{SampleInput, tokenize, tokenize_pair};
use coda_converter::draw::{self, Trace};
use coda_converter::picture;
use coda_converter::preparation::Preparation;
use coda_runtime::config::{Embedding, HeadKind};
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, DeadlineChoice, token_step};
use coda_runtime::text::Encoding;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Run one text, image or list of token ids
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    files: PackageFiles,
    #[command(flatten)]
    input: InputArguments,
    /// Reduction factor r: k = ceil(n / r) tokens pass each routed layer; the task's if not given
    #[arg(long, value_name = "R", conflicts_with = "selected", allow_negative_numbers = true)]
    reduction: Option<f32>,
    /// k itself: so many tokens pass each routed layer
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    selected: Option<i64>,
    /// The old spelling of `--selected`
    #[arg(
        long,
        hide = true,
        value_name = "K",
        allow_negative_numbers = true,
        conflicts_with_all = ["selected", "reduction", "deadline_ms"]
    )]
    tokens: Option<i64>,
    /// As many tokens as are done within so many milliseconds (`coda bench --calibrate` first)
    #[arg(long, value_name = "MS", conflicts_with_all = ["reduction", "selected"])]
    deadline_ms: Option<f64>,
    /// The prompt of the package that is put before the text, by name; "" for none
    #[arg(long, value_name = "NAME", requires = "text")]
    prompt: Option<String>,
    /// Draw the tokens or patches routed in each layer
    #[arg(long)]
    trace: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

/// The input: exactly one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct InputArguments {
    /// A text; given twice, a pair of texts
    #[arg(long)]
    text: Vec<String>,
    /// An image file: PNG, JPEG or PGM
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// An image file that is resized and cut as the base's preprocessor_config.json says
    #[arg(long, value_name = "FILE")]
    image_resized: Option<PathBuf>,
    /// Token ids
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',')]
    ids: Vec<u32>,
}

/// The answer of a run.
struct Answer {
    values: Vec<f32>,
    choice: Option<DeadlineChoice>,
    trace: Trace,
    milliseconds: f64,
}

impl Run {
    pub(super) fn run(&self) -> Result<()> {
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        ensure!(
            model.head().is_some(),
            "the package has no head, so it has no answer: give a task for it, or pack a model with \
             a classifier or a pooling"
        );
        let how = self.files.preparation(&files)?;
        let (input, note) = self.input.read(&model, self.prompt.as_deref(), &how)?;
        let tokens = input.tokens(&model);
        let answer = self.infer(&model, &input, self.budget(tokens)?)?;
        if self.json {
            println!("{}", self.to_json(&model, tokens, &answer));
            return Ok(());
        }
        if let Some(note) = note {
            println!("note: {note}");
        }
        print_values(&model, &answer.values);
        let ms = answer.milliseconds;
        println!("{tokens} tokens, {} kernels, {ms:.2} ms (one run)", self.compute.kernels()?.name);
        answer.choice.iter().for_each(print_choice);
        if self.trace {
            print!("{}", drawing(&model, &input, &answer.trace));
        }
        Ok(())
    }

    fn budget(&self, tokens: usize) -> Result<Budget<'static>> {
        if let Some(reduction) = self.reduction {
            check_reduction(reduction, tokens)?;
            return Ok(Budget::Reduction(reduction));
        }
        if let Some(milliseconds) = self.deadline_ms {
            let deadline = Duration::try_from_secs_f64(milliseconds / 1000.0);
            let deadline = deadline.with_context(|| format!("--deadline-ms {milliseconds}"))?;
            return Ok(Budget::Deadline(deadline));
        }
        if self.tokens.is_some() {
            eprintln!("warning: --tokens is called --selected now; the old spelling goes in 0.3");
        }
        let Some(k) = self.selected.or(self.tokens) else { return Ok(Budget::Task) };
        match usize::try_from(k) {
            Ok(k) if k >= 1 && k <= tokens => Ok(Budget::Selected(k)),
            _ => bail!("--selected {k} must be between 1 and the {tokens} tokens of the input"),
        }
    }

    fn infer(&self, model: &Model<'_>, input: &SampleInput, budget: Budget<'_>) -> Result<Answer> {
        let capacity = Capacity::any_budget(input.tokens(model));
        let mut session = self.compute.session(model, capacity)?;
        if self.deadline_ms.is_some() {
            session = session.with_costs(self.costs()?.model());
        }
        let mut trace = Trace::default();
        let start = Instant::now();
        let (values, choice) = session.run(input.as_input(), budget, &mut trace, |output| {
            (output.values.to_vec(), output.choice)
        })?;
        let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
        Ok(Answer { values, choice, trace, milliseconds })
    }

    /// The costs beside the package, if they were measured with what runs now.
    fn costs(&self) -> Result<Costs> {
        let costs = Costs::read(self.files.first())?;
        let (kernels, threads) = (self.compute.kernels()?.name, self.compute.threads.get());
        ensure!(
            costs.kernels == kernels && costs.threads == threads,
            "the costs beside the package are those of {} kernels and {} thread(s), not of {kernels} \
             and {threads}: run `coda bench --calibrate` again",
            costs.kernels,
            costs.threads
        );
        Ok(costs)
    }

    fn to_json(&self, model: &Model<'_>, tokens: usize, answer: &Answer) -> serde_json::Value {
        let label = is_classifier(model).then(|| best(&answer.values)).flatten();
        let readings = readings(model, &answer.values);
        let label = label.filter(|_| readings.is_none());
        json!({
            "tokens": tokens,
            "label": label.map(|index| label_name(model, index)),
            "values": answer.values,
            "readings": readings,
            "selected": self.trace.then_some(&answer.trace.layers),
            "milliseconds": answer.milliseconds,
            "choice": answer.choice.map(|choice| json!({
                "k": choice.tokens,
                "layers_with_more": choice.layers,
                "tokens_more": token_step(choice.tokens),
                "predicted_ms": choice.predicted.as_secs_f64() * 1000.0,
            })),
        })
    }
}

impl InputArguments {
    /// The input, and a note if it had to be cut or was resized, as `how` says.
    fn read(
        &self,
        model: &Model<'_>,
        prompt: Option<&str>,
        how: &Preparation,
    ) -> Result<(SampleInput, Option<String>)> {
        if let [first, second @ ..] = &self.text[..] {
            let mut texts = vec![prompted(model, first, prompt)?];
            texts.extend_from_slice(second);
            return read_text(model, &texts);
        }
        if let Some(path) = &self.image {
            return Ok((SampleInput::Pixels(read_image(path, model, None)?), None));
        }
        if let Some(path) = &self.image_resized {
            let pixels = read_image(path, model, Some(how))?;
            return Ok((
                SampleInput::Pixels(pixels),
                Some(format!("the image was read with {how}")),
            ));
        }
        if let Some(limit) = model.max_tokens() {
            let found = self.ids.len();
            ensure!(found <= limit, "{found} token ids for a model of at most {limit} tokens");
        }
        Ok((SampleInput::Tokens(self.ids.clone()), None))
    }
}

fn read_text(model: &Model<'_>, texts: &[String]) -> Result<(SampleInput, Option<String>)> {
    let limit = model.max_tokens().unwrap_or(usize::MAX);
    let (input, encoding) = match texts {
        [text] => {
            let (ids, encoding) = tokenize(model, text, limit)?;
            (SampleInput::Tokens(ids), encoding)
        }
        [first, second] => tokenize_pair(model, [first, second], limit)?,
        _ => bail!("--text {} times: give it once, or twice for a pair", texts.len()),
    };
    let note = encoding.truncated.then(|| {
        let (what, Encoding { total, len, .. }) = (["text has", "texts have"], encoding);
        let what = what[usize::from(texts.len() == 2)];
        format!(
            "the {what} {total} tokens, the model reads {len}: the last {} were cut",
            total - len
        )
    });
    Ok((input, note))
}

/// Reads an image as the model's pixels.
pub(super) fn read_image(
    path: &Path,
    model: &Model<'_>,
    how: Option<&Preparation>,
) -> Result<Vec<u8>> {
    picture::read(path, model.patch_grid().context("the model reads texts, not images")?, how)
}

fn is_classifier(model: &Model<'_>) -> bool {
    matches!(model.head().map(|head| head.kind), Some(HeadKind::Classification { .. }))
}

/// Index of the largest value.
pub(super) fn best(values: &[f32]) -> Option<usize> {
    let pairs = values.iter().enumerate();
    pairs.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map(|(index, _)| index)
}

/// What a deadline was answered with.
fn print_choice(choice: &DeadlineChoice) {
    let DeadlineChoice { tokens: k, layers, predicted } = choice;
    let (more, predicted) = (token_step(*k), predicted.as_secs_f64() * 1000.0);
    println!("k = {k}, {more} more in the first {layers} layers: {predicted:.2} ms predicted");
}

fn print_values(model: &Model<'_>, values: &[f32]) {
    const SHOWN: usize = 8;
    if !is_classifier(model) {
        let first: Vec<String> = values.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
        println!("embedding of {} values: {} ...", values.len(), first.join(" "));
        return;
    }
    if let Some(readings) = readings(model, values) {
        return print_readings(&readings);
    }
    let largest = best(values).and_then(|index| values.get(index)).copied().unwrap_or(0.0);
    let total: f32 = values.iter().map(|x| (x - largest).exp()).sum();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    for index in order.into_iter().take(3) {
        let probability = 100.0 * (values[index] - largest).exp() / total;
        println!("{probability:5.1} %  {}", label_name(model, index));
    }
}

/// What each layer routed.
pub(super) fn drawing(model: &Model<'_>, input: &SampleInput, trace: &Trace) -> String {
    match (input, model.patch_grid(), model.config().embedding) {
        (SampleInput::Pixels(pixels), Some(grid), Embedding::Patches { prefix_tokens, .. }) => {
            draw::patches(pixels, &grid, prefix_tokens, trace)
        }
        (SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. }, ..) => {
            draw::tokens(ids, model.vocabulary().as_ref(), trace)
        }
        _ => String::new(),
    }
}
