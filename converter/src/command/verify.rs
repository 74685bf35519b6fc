//! `coda verify`: a model against the oracle, a quantised one against the float one.

use super::pack::pack;
use super::run;
use super::shared::progress;
use super::table::table;
use anyhow::{Context, Result, bail};
use coda_converter::dataset::{self, Reading, SampleInput};
use coda_converter::pack::WeightType;
use coda_converter::preparation::Preparation;
use coda_converter::source::Base;
use coda_converter::verify::{Comparison, Pair, against_float, against_oracle};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde_json::json;
use std::path::PathBuf;

/// Check a model: the dense path against an oracle, the packed weights against the float ones
///
/// The oracle is the same encoder built from the same safetensors with tract-core's own graph
/// operators. Exit status 3 if a bound is exceeded.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Hugging Face model directory
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// CoDA task safetensors; its routed path is compared too
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
    /// How the frozen weights are stored
    #[arg(long, value_enum, default_value_t = WeightType::Int8)]
    weights: WeightType,
    /// A labelled set whose inputs are used; built-in ones if not given
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Images to use
    #[arg(long, value_name = "FILE", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Number of inputs of the labelled set
    #[arg(long, default_value_t = 16, value_name = "N")]
    limit: usize,
    /// Image side in pixels, as for `coda pack`
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Reductions at which the task's routed path is compared
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 4.0], value_name = "R,R,...")]
    reductions: Vec<f32>,
    /// Largest error of the float path at any stage, as a share of the stage's root mean square
    #[arg(long, default_value_t = 1e-3, value_name = "SHARE")]
    float_bound: f64,
    /// Largest mean error of the packed weights at any stage, as a share of its root mean square
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    packed_bound: f64,
    /// Smallest label agreement of the packed weights, per cent
    #[arg(long, default_value_t = 90.0, value_name = "PERCENT")]
    agreement_bound: f64,
    /// Smallest cosine of an answer of the packed weights and the float one
    #[arg(long, default_value_t = 0.98, value_name = "COSINE")]
    cosine_bound: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Patterns of pixels that stand in for images: enough that one near tie is within the bound.
const PATTERNS: usize = 24;
/// Texts for a model that reads texts.
const TEXTS: [&str; 4] = [
    "The engine of this car needs a new set of spark plugs.",
    "NASA launched a probe to study the rings of Saturn.",
    "Which graphics card driver works with this monitor?",
    "The goalie stopped every shot in the third period.",
];

impl Verify {
    pub(super) fn run(&self) -> Result<bool> {
        let source = Base::open(&self.base, self.image_size)?;
        let task = self.task.as_deref();
        let float = pack(&self.base, task, WeightType::F32, self.image_size, "")?;
        let packed = pack(&self.base, task, self.weights, self.image_size, "")?;
        let (float_base, packed_base) = (float.base.parse()?, packed.base.parse()?);
        let (float_dense, dense) = (Model::dense(&float_base)?, Model::dense(&packed_base)?);
        let tasks = match (&float.task, &packed.task) {
            (Some(float), Some(packed)) => Some((float.parse()?, packed.parse()?)),
            _ => None,
        };
        let routed = match &tasks {
            None => None,
            Some((float, packed)) => {
                Some((Model::bind(&float_base, float)?, Model::bind(&packed_base, packed)?))
            }
        };
        let float = routed.as_ref().map_or(&float_dense, |(float, _)| float);
        let inputs = self.inputs(float, &source.preparation)?;
        let reductions = routed.as_ref().map_or(0, |_| self.reductions.len());
        let bar = progress("verifying", ((2 + reductions) * inputs.len()) as u64);
        let oracle = against_oracle(&source, &float_dense, &inputs, || bar.inc(1))?;
        let dense = Pair { model: &dense, float: &float_dense };
        let routed = routed.as_ref().map(|(float, model)| Pair { model, float });
        let packed = self.against_float(dense, routed, &inputs, || bar.inc(1))?;
        bar.finish_and_clear();
        self.judge(&oracle, &packed)
    }

    /// The packed weights against the float ones, dense and at every reduction of the routed pair.
    fn against_float(
        &self,
        dense: Pair<'_>,
        routed: Option<Pair<'_>>,
        inputs: &[SampleInput],
        progress: impl Fn(),
    ) -> Result<Vec<Comparison>> {
        let title = |what| format!("{:?} weights against f32, {what}", self.weights);
        let first = title("dense".to_owned());
        let mut found = vec![against_float(&first, dense, inputs, Budget::Task, &progress)?];
        let Some(routed) = routed else { return Ok(found) };
        for r in &self.reductions {
            let title = title(format!("r = {r}"));
            found.push(against_float(&title, routed, inputs, Budget::Reduction(*r), &progress)?);
        }
        Ok(found)
    }

    fn inputs(&self, model: &Model<'_>, how: &Preparation) -> Result<Vec<SampleInput>> {
        if let Some(path) = &self.data {
            let reading =
                Reading { limit: Some(self.limit), unlabelled: true, ..Reading::default() };
            let set = dataset::read(path, reading, model)?;
            return Ok(set.samples.into_iter().map(|sample| sample.input).collect());
        }
        if let Some(grid) = model.patch_grid() {
            if !self.images.is_empty() {
                let images = self.images.iter().map(|path| run::read_image(path, model, Some(how)));
                return images.map(|pixels| Ok(SampleInput::Pixels(pixels?))).collect();
            }
            let pattern = |step: usize| {
                let pixels = (0..grid.image_bytes()).map(|at| (at * step / 7 % 256) as u8);
                SampleInput::Pixels(pixels.collect())
            };
            return Ok((1..=PATTERNS).map(pattern).collect());
        }
        if model.vocabulary().is_none() {
            bail!("the model has no vocabulary: give token ids with --data FILE.safetensors");
        }
        let limit = model.max_tokens().unwrap_or(usize::MAX);
        let ids = TEXTS.iter().map(|text| dataset::tokenize(model, text, limit));
        ids.map(|result| Ok(SampleInput::Tokens(result?.0)))
            .collect::<Result<_>>()
            .context("the built-in texts")
    }

    /// Prints the comparisons and says whether every bound holds.
    fn judge(&self, oracle: &Comparison, packed: &[Comparison]) -> Result<bool> {
        let worst = Worst::of(oracle, packed);
        let holds = worst.float_error <= self.float_bound
            && worst.cosine >= self.cosine_bound
            && worst.packed_error <= self.packed_bound
            && worst.agreement >= self.agreement_bound;
        if self.json {
            let object = json!({
                "oracle": oracle,
                "packed": packed,
                "float_error": worst.float_error,
                "packed_error": worst.packed_error,
                "agreement": worst.agreement,
                "cosine": worst.cosine,
                "holds": holds,
            });
            println!("{object}");
            return Ok(holds);
        }
        std::iter::once(oracle).chain(packed).for_each(print_comparison);
        let labels = packed.iter().any(|comparison| comparison.agreement.is_some());
        self.print(&worst, labels);
        println!("{}", if holds { "every bound holds" } else { "a bound is exceeded" });
        Ok(holds)
    }

    /// The figures that have a bound, that of labels if there are any.
    fn print(&self, worst: &Worst, labels: bool) {
        let Worst { float_error, packed_error, agreement, cosine } = worst;
        println!(
            "float path: worst error {float_error:.2e} of a stage's scale, bound {:.0e}",
            self.float_bound
        );
        println!(
            "packed weights: mean error {packed_error:.4} of a stage's scale, bound {}",
            self.packed_bound
        );
        if labels {
            let bound = self.agreement_bound;
            println!("packed weights: {agreement:.1} % same labels, bound {bound} %");
        }
        println!("packed weights: smallest cosine {cosine:.6}, bound {}", self.cosine_bound);
    }
}

/// The worst figures of all comparisons.
struct Worst {
    /// Largest error of the float path, as a share of its stage's scale.
    float_error: f64,
    /// Largest mean error of the packed weights, likewise.
    packed_error: f64,
    /// Smallest agreement of labels, per cent.
    agreement: f64,
    /// Smallest cosine of two answers.
    cosine: f64,
}

impl Worst {
    fn of(oracle: &Comparison, packed: &[Comparison]) -> Self {
        let share = |error: f64, scale: f64| error / scale.max(1e-12);
        let largest = |shares: &mut dyn Iterator<Item = f64>| shares.fold(0.0, f64::max);
        let stages = packed.iter().flat_map(|comparison| &comparison.stages);
        let agreement = packed.iter().filter_map(|comparison| comparison.agreement);
        Self {
            float_error: largest(&mut oracle.stages.iter().map(|at| share(at.worst, at.scale))),
            packed_error: largest(&mut stages.map(|at| share(at.mean, at.scale))),
            agreement: agreement.fold(100.0, f64::min),
            cosine: packed.iter().map(|comparison| comparison.cosine).fold(1.0, f64::min),
        }
    }
}

fn print_comparison(comparison: &Comparison) {
    println!("{}, {} inputs", comparison.title, comparison.inputs);
    let rows = comparison.stages.iter().filter(|stage| stage.scale > 0.0).map(|stage| {
        [
            stage.stage.clone(),
            format!("{:.2e}", stage.worst),
            format!("{:.2e}", stage.mean),
            format!("{:.3}", stage.scale),
        ]
    });
    println!("{}", table(["after", "worst error", "mean error", "scale"], rows.collect()));
    let agreement = comparison.agreement.map(|same| format!("{same:.1} % same labels, "));
    println!("{}smallest cosine {:.6}\n", agreement.unwrap_or_default(), comparison.cosine);
}
