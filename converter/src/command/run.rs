//! `coda run`: one input through a package.

use super::head::{label_name, print_readings, prompted, readings};
use super::shared::{
    Compute, PackageFiles, check_reduction, no_routing, print_notes, reads, threads,
};
use super::tokens::{print_token_labels, token_labels};
use anyhow::{Context, Result, bail, ensure};
use coda_converter::calibrate::Costs;
use coda_converter::dataset::{SampleInput, tokenize, tokenize_pair};
use coda_converter::draw::{self, Trace};
use coda_converter::picture;
use coda_converter::preparation::Preparation;
use coda_converter::{say, warn};
use coda_runtime::config::{Embedding, HeadKind};
use coda_runtime::executor::largest;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, DeadlineChoice, token_step};
use coda_runtime::text::Encoding;
use serde_json::json;
use std::cmp::Ordering;
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
    /// An image file that is resized and cut as the base's `preprocessor_config.json` says
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
        let (input, cut) = self.input.read(&model, self.prompt.as_deref(), &how)?;
        let tokens = input.tokens(&model);
        let answer = self.infer(&model, &input, self.budget(tokens)?)?;
        let kernels = self.compute.kernels()?.name;
        let of_tokens = token_labels(&model, &input, &answer.values);
        let notes: Vec<String> = cut.iter().cloned().chain(self.notes(&model)).collect();
        if self.json {
            let mut object = self.to_json(&model, tokens, &answer);
            object["kernels"] = json!(kernels);
            object["token_labels"] = json!(of_tokens);
            let is_text = !matches!(input, SampleInput::Pixels(_));
            object["cut"] = json!(is_text && cut.is_some());
            object["notes"] = json!(notes);
            say!("{object}");
            return Ok(());
        }
        print_notes(&notes);
        match of_tokens {
            Some(found) => print_token_labels(&found),
            None => print_values(&model, &answer.values),
        }
        let ms = answer.milliseconds;
        say!("{tokens} tokens, {kernels} kernels, {ms:.2} ms (one run)");
        answer.choice.iter().for_each(print_choice);
        if self.trace {
            say!("{}", drawing(&model, &input, &answer.trace).trim_end());
        }
        Ok(())
    }

    /// What is used otherwise than it was asked for.
    fn notes(&self, model: &Model<'_>) -> impl Iterator<Item = String> {
        let options = [
            ("--reduction", self.reduction.is_some()),
            ("--selected", self.selected.or(self.tokens).is_some()),
            ("--deadline-ms", self.deadline_ms.is_some()),
        ];
        let given = options.into_iter().find(|(_, given)| *given);
        let dense = given.and_then(|(option, _)| no_routing(model, option));
        self.compute.note().into_iter().chain(dense)
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
            warn!("warning: --tokens is called --selected now; the old spelling goes in 0.3");
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
        let (kernels, used) = (self.compute.kernels()?.name, self.compute.threads());
        ensure!(
            costs.kernels == kernels && costs.threads == used,
            "the costs beside the package are those of {} kernels and {}, not of {kernels} and {}: run \
             `coda bench --calibrate` again",
            costs.kernels,
            threads(costs.threads),
            threads(used)
        );
        Ok(costs)
    }

    fn to_json(&self, model: &Model<'_>, tokens: usize, answer: &Answer) -> serde_json::Value {
        let readings = readings(model, &answer.values);
        let chooses = is_classifier(model) && readings.is_none();
        let label = chooses.then(|| largest(&answer.values)).flatten();
        json!({
            "tokens": tokens,
            "label": label.map(|index| label_name(model, index)),
            "values": answer.values,
            "readings": readings,
            "probabilities": chooses.then(|| probabilities(model, &answer.values)),
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
        let image = self.image.is_some() || self.image_resized.is_some();
        ensure!(image == model.patch_grid().is_some(), "{}", reads(model));
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

/// What a deadline was answered with.
fn print_choice(choice: &DeadlineChoice) {
    let DeadlineChoice { tokens: k, layers, predicted } = choice;
    let (more, predicted) = (token_step(*k), predicted.as_secs_f64() * 1000.0);
    let more = match layers {
        0 => String::new(),
        layers => format!(", {more} more in the first {layers} layers"),
    };
    say!("k = {k}{more}: {predicted:.2} ms predicted");
}

fn print_values(model: &Model<'_>, values: &[f32]) {
    const SHOWN: usize = 8;
    if !is_classifier(model) {
        let first: Vec<String> = values.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
        say!("embedding of {} values: {} ...", values.len(), first.join(" "));
        return;
    }
    if let Some(readings) = readings(model, values) {
        return print_readings(&readings);
    }
    for (label, probability) in probabilities(model, values).into_iter().take(3) {
        say!("{:5.1} %  {label}", 100.0 * probability);
    }
}

/// Every label with its probability, the most likely first, of equals the one with the lower index.
fn probabilities(model: &Model<'_>, logits: &[f32]) -> Vec<(String, f32)> {
    let top = largest(logits).and_then(|index| logits.get(index)).copied().unwrap_or(0.0);
    let total: f32 = logits.iter().map(|x| (x - top).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Stable: equals stay in their order. No logit of an answer is NaN.
    order.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).unwrap_or(Ordering::Equal));
    let probability = |index: usize| (logits[index] - top).exp() / total;
    order.into_iter().map(|index| (label_name(model, index), probability(index))).collect()
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
