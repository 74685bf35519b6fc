//! `coda verify`: a model against the oracle, a quantised one against the float one.

use super::pack::pack;
use super::table::table;
use super::{progress, run};
use anyhow::{Context, Result, bail};
use coda_converter::dataset::{self, SampleInput};
use coda_converter::pack::WeightType;
use coda_converter::source::Base;
use coda_converter::verify::{Comparison, against_float, against_oracle};
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
        let bound = match &tasks {
            None => None,
            Some((float, packed)) => {
                Some((Model::bind(&float_base, float)?, Model::bind(&packed_base, packed)?))
            }
        };
        let inputs = self.inputs(bound.as_ref().map_or(&float_dense, |(float, _)| float))?;
        let routed = if bound.is_some() { self.reductions.len() } else { 0 };
        let bar = progress("verifying", ((2 + routed) * inputs.len()) as u64);
        let oracle = against_oracle(&source, &float_dense, &inputs, || bar.inc(1))?;
        let title = format!("{:?} weights against f32, dense", self.weights);
        let mut comparisons = Vec::new();
        let pair = (&dense, &float_dense);
        comparisons.push(against_float(&title, pair, &inputs, Budget::Task, || bar.inc(1))?);
        if let Some((float, packed)) = &bound {
            for reduction in &self.reductions {
                let title = format!("{:?} weights against f32, r = {reduction}", self.weights);
                let budget = Budget::Reduction(*reduction);
                let tick = || bar.inc(1);
                comparisons.push(against_float(&title, (packed, float), &inputs, budget, tick)?);
            }
        }
        bar.finish_and_clear();
        self.judge(&oracle, &comparisons)
    }

    fn inputs(&self, model: &Model<'_>) -> Result<Vec<SampleInput>> {
        if let Some(path) = &self.data {
            let samples = dataset::read(path, None, model, Some(self.limit))?;
            return Ok(samples.into_iter().map(|sample| sample.input).collect());
        }
        if let Some(grid) = model.patch_grid() {
            if !self.images.is_empty() {
                let images = self.images.iter().map(|path| run::read_image(path, model, true));
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
        let share = |error: f64, scale: f64| error / scale.max(1e-12);
        let worst = oracle.stages.iter().map(|stage| share(stage.worst, stage.scale));
        let worst = worst.fold(0.0, f64::max);
        let stages = packed.iter().flat_map(|comparison| &comparison.stages);
        let mean = stages.map(|stage| share(stage.mean, stage.scale)).fold(0.0, f64::max);
        let agreement = packed.iter().filter_map(|comparison| comparison.agreement);
        let agreement = agreement.fold(100.0, f64::min);
        let cosine = packed.iter().map(|comparison| comparison.cosine).fold(1.0, f64::min);
        let holds = worst <= self.float_bound
            && cosine >= self.cosine_bound
            && mean <= self.packed_bound
            && agreement >= self.agreement_bound;
        if self.json {
            let object = json!({
                "oracle": oracle,
                "packed": packed,
                "float_error": worst,
                "packed_error": mean,
                "agreement": agreement,
                "cosine": cosine,
                "holds": holds,
            });
            println!("{object}");
            return Ok(holds);
        }
        for comparison in std::iter::once(oracle).chain(packed) {
            print_comparison(comparison);
        }
        println!(
            "float path: worst error {worst:.2e} of a stage's scale, bound {:.0e}",
            self.float_bound
        );
        println!(
            "packed weights: mean error {mean:.4} of a stage's scale, bound {}",
            self.packed_bound
        );
        if packed.iter().any(|comparison| comparison.agreement.is_some()) {
            let bound = self.agreement_bound;
            println!("packed weights: {agreement:.1} % same labels, bound {bound} %");
        }
        println!("packed weights: smallest cosine {cosine:.6}, bound {}", self.cosine_bound);
        println!("{}", if holds { "every bound holds" } else { "a bound is exceeded" });
        Ok(holds)
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
