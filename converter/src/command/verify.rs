//! `coda verify`: a model against the oracle, a quantised one against the float one.

use super::pack::pack_source;
use super::run;
use super::shared::progress;
use super::table::table;
use anyhow::{Context, Result, bail};
use coda_converter::bench;
use coda_converter::dataset::{self, Encoder, Reading, SampleInput, reads_images};
use coda_converter::pack::WeightType;
use coda_converter::preparation::Preparation;
use coda_converter::say;
use coda_converter::session::worse;
use coda_converter::source::{Base, Opening, Task, Tower};
use coda_converter::verify::{
    Comparison, Lesson, Pair, against_float, against_oracle, decoder_against_float,
    decoder_against_oracle,
};
use coda_runtime::config::Embedding;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde_json::json;
use std::path::PathBuf;

/// Check a model: the dense path against an oracle, the packed weights against the float ones
///
/// The oracle is the same encoder, and decoder of a model that writes, built from the same safetensors with
/// tract-core's own graph operators. Of a decoder every position of a greedy answer and of fixed ids is compared,
/// a task's adapters with it. A classifier is judged by its labels, and a decoder by its tokens: another one than the float
/// model's counts where that prefers its own by more than --packed-bound of the scale of its logits. An embedding is judged by its
/// cosine. Exit status 3 if a bound is exceeded or a value is not finite.
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
    /// The encoder of a directory of two, as for `coda pack`
    #[arg(long, value_enum, value_name = "TOWER")]
    tower: Option<Tower>,
    /// Reductions at which the task's routed path is compared
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 4.0], value_name = "R,R,...")]
    reductions: Vec<f32>,
    /// Largest error of the float path at any stage, as a share of the stage's root mean square
    #[arg(long, default_value_t = 1e-3, value_name = "SHARE")]
    float_bound: f64,
    /// Largest mean error of the packed weights at any stage, as a share of its root mean square
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    packed_bound: f64,
    /// Smallest agreement of labels or tokens of the packed weights, per cent; for classifiers and decoders
    #[arg(long, default_value_t = 90.0, value_name = "PERCENT")]
    agreement_bound: f64,
    /// Smallest cosine of an embedding of the packed weights and the float one
    #[arg(long, default_value_t = 0.98, value_name = "COSINE")]
    cosine_bound: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Patterns of pixels that stand in for images: enough that one near tie is within the bound.
const PATTERNS: usize = 24;
/// The same for a model that writes: each has a label for each token.
const PATTERNS_OF_WRITERS: usize = 4;
/// Positions of frames that stand in for sound.
const POSITIONS: usize = 64;
/// Most patches of a pattern for a model of images of any size.
const LARGEST_PATTERN: usize = 256;
/// Texts for a model that reads texts.
const TEXTS: [&str; 4] = [
    "The engine of this car needs a new set of spark plugs.",
    "NASA launched a probe to study the rings of Saturn.",
    "Which graphics card driver works with this monitor?",
    "The goalie stopped every shot in the third period.",
];

/// Packings of one model: the encoder, and decoder, alone and with the task.
#[derive(Clone, Copy)]
struct Pairs<'p> {
    dense: Pair<'p>,
    routed: Option<Pair<'p>>,
}

/// A comparison of packed weights with float ones.
struct Call<'p> {
    what: String,
    pair: Pair<'p>,
    budget: Budget<'static>,
}

impl Verify {
    pub(super) fn run(&self) -> Result<bool> {
        let opening =
            Opening { image_size: self.image_size, tower: self.tower, ..Opening::default() };
        let source = Base::open_as(&self.base, opening)?;
        let task = self.task.as_deref();
        let float = pack_source(&source, task, WeightType::F32, "")?;
        let packed = pack_source(&source, task, self.weights, "")?;
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
        let dense = Pair { model: &dense, float: &float_dense };
        let routed = routed.as_ref().map(|(float, model)| Pair { model, float });
        self.compare(&source, Pairs { dense, routed }, &inputs)
    }

    /// Every comparison; says whether every bound holds.
    fn compare(&self, source: &Base, pairs: Pairs<'_>, inputs: &[SampleInput]) -> Result<bool> {
        let reductions = pairs.routed.map_or(0, |_| self.reductions.len());
        let decoders = if source.decoder.is_some() { 2 + reductions } else { 0 };
        let of_task = usize::from(decoders > 0 && pairs.routed.is_some());
        let steps = (2 + reductions + decoders + of_task) * inputs.len();
        let bar = progress("verifying", steps as u64);
        let advance = || bar.inc(1);
        let mut oracle = vec![against_oracle(source, pairs.dense.float, inputs, advance)?];
        let mut packed = self.against_float(pairs, inputs, advance)?;
        if source.decoder.is_some() {
            oracle.extend(self.decoder_against_oracle(source, pairs, inputs, advance)?);
            packed.extend(self.decoder_against_float(pairs, inputs, advance)?);
        }
        bar.finish_and_clear();
        Ok(self.judge(&oracle, &packed))
    }

    /// The float decoder against its oracle, alone and with the task's adapters.
    fn decoder_against_oracle(
        &self,
        source: &Base,
        pairs: Pairs<'_>,
        inputs: &[SampleInput],
        advance: impl Fn() + Copy,
    ) -> Result<Vec<Comparison>> {
        let title = "decoder against the tract oracle";
        let lesson = Lesson { title, inputs, budget: Budget::Task };
        let mut found =
            vec![decoder_against_oracle(source, None, pairs.dense.float, lesson, advance)?];
        if let (Some(routed), Some(path)) = (pairs.routed, &self.task) {
            let task = Task::open(path, source)?;
            let r = self.reductions.last().copied().unwrap_or(1.0);
            let title = format!("decoder with the task against the tract oracle, r = {r}");
            let lesson = Lesson { title: &title, inputs, budget: Budget::Reduction(r) };
            let task = Some(&task);
            found.push(decoder_against_oracle(source, task, routed.float, lesson, advance)?);
        }
        Ok(found)
    }

    /// The decoder's packed weights against the float ones, dense and at every reduction of the routed pair.
    fn decoder_against_float(
        &self,
        pairs: Pairs<'_>,
        inputs: &[SampleInput],
        advance: impl Fn() + Copy,
    ) -> Result<Vec<Comparison>> {
        let compare = |call: Call<'_>| {
            let title = format!("{} weights against f32, decoder, {}", self.name(), call.what);
            let lesson = Lesson { title: &title, inputs, budget: call.budget };
            decoder_against_float(call.pair, lesson, advance)
        };
        self.calls(pairs).into_iter().map(compare).collect()
    }

    /// The packed weights against the float ones, dense and at every reduction of the routed pair.
    fn against_float(
        &self,
        pairs: Pairs<'_>,
        inputs: &[SampleInput],
        advance: impl Fn() + Copy,
    ) -> Result<Vec<Comparison>> {
        let compare = |call: Call<'_>| {
            let title = format!("{} weights against f32, {}", self.name(), call.what);
            against_float(&title, call.pair, inputs, call.budget, advance)
        };
        self.calls(pairs).into_iter().map(compare).collect()
    }

    /// What of packed weights is compared with the float ones.
    fn calls<'p>(&self, pairs: Pairs<'p>) -> Vec<Call<'p>> {
        let dense = Call { what: "dense".to_owned(), pair: pairs.dense, budget: Budget::Task };
        let reductions = pairs.routed.into_iter().flat_map(|pair| {
            self.reductions.iter().map(move |r| {
                let what = format!("r = {r}");
                Call { what, pair, budget: Budget::Reduction(*r) }
            })
        });
        std::iter::once(dense).chain(reductions).collect()
    }

    /// The word of `--weights`.
    fn name(&self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self.weights);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
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
            let count = if model.decoder().is_some() { PATTERNS_OF_WRITERS } else { PATTERNS };
            return Ok((1..=count).map(pattern).collect());
        }
        if let Embedding::Frames { bins, .. } = model.config().embedding {
            let positions = model.max_tokens().map_or(POSITIONS, |most| most.min(POSITIONS));
            let feature = |at: usize, step: usize| (at * step % 251) as f32 / 125.5 - 1.0;
            let pattern = |step| (0..2 * positions * bins).map(|at| feature(at, step)).collect();
            return Ok((1..=PATTERNS_OF_WRITERS).map(pattern).map(SampleInput::Features).collect());
        }
        if reads_images(model) {
            return self.grids(model);
        }
        if model.tokenizer().is_none() {
            bail!("the model has no vocabulary: give token ids with --data FILE.safetensors");
        }
        let encoder = Encoder::of(model)?;
        let inputs = TEXTS.iter().map(|text| Ok(encoder.encode(text, None)?.0));
        inputs.collect::<Result<_>>().context("the built-in texts")
    }

    /// Pictures, or patterns of several numbers of patches, of a model of images of any size.
    fn grids(&self, model: &Model<'_>) -> Result<Vec<SampleInput>> {
        if !self.images.is_empty() {
            let images = self.images.iter();
            return images.map(|path| SampleInput::of_picture(path, model, None)).collect();
        }
        let most = model.max_tokens().unwrap_or(1).min(LARGEST_PATTERN);
        [1, 3, most].into_iter().map(|tokens| bench::input(model, Some(tokens.min(most)))).collect()
    }

    /// Prints the comparisons and says whether every bound holds.
    fn judge(&self, oracle: &[Comparison], packed: &[Comparison]) -> bool {
        let bounds = self.bounds(oracle, packed);
        let failed: Vec<String> = bounds.iter().filter_map(Bound::failure).collect();
        let all = || oracle.iter().chain(packed);
        let places =
            all().filter_map(|one| Some(format!("{}: {}", one.title, one.not_finite.as_ref()?)));
        let not_finite: Vec<String> = places.collect();
        let holds = failed.is_empty() && not_finite.is_empty();
        if self.json {
            let (first, decoders) = oracle.split_first().unzip();
            let mut object = json!({ "oracle": first, "packed": packed, "holds": holds });
            object["decoder_oracle"] = json!(decoders.unwrap_or_default());
            object["failed"] = json!(failed);
            object["not_finite"] = json!(not_finite);
            bounds.iter().for_each(|bound| object[bound.name] = json!(bound.value));
            object["bounds"] = json!(bounds);
            say!("{object}");
            return holds;
        }
        all().for_each(|comparison| self.print_comparison(comparison));
        bounds.iter().for_each(|bound| say!("{}", bound.sentence()));
        if holds {
            say!("every bound holds");
        }
        if !failed.is_empty() {
            say!("a bound is exceeded: {}", failed.join("; "));
        }
        not_finite.iter().for_each(|place| say!("not finite (NaN or infinity): {place}"));
        holds
    }

    /// What is judged: labels of a classifier, cosines of an embedding, errors of both.
    fn bounds(&self, oracle: &[Comparison], packed: &[Comparison]) -> Vec<Bound> {
        let stages = packed.iter().flat_map(|comparison| &comparison.stages);
        let float_errors = oracle.iter().flat_map(|one| &one.stages);
        let float_errors = float_errors.map(|at| share(at.worst, at.scale));
        let packed_errors = stages.map(|at| share(at.mean, at.scale));
        let agreements = packed.iter().filter_map(|one| one.agreement_within(self.packed_bound));
        let cosines = packed.iter().filter_map(|comparison| comparison.cosine);
        let values = [
            (float_errors.reduce(worse), self.float_bound),
            (packed_errors.reduce(worse), self.packed_bound),
            (lowest(agreements), self.agreement_bound),
            (lowest(cosines), self.cosine_bound),
        ];
        let judged = BOUNDS.iter().zip(values);
        let judged = judged.filter_map(|(kind, (value, bound))| Some((kind, value?, bound)));
        let bound = |(kind, value, bound): (&Kind, f64, f64)| {
            let Kind { name, what, most } = *kind;
            Bound { name, what, value, bound, most }
        };
        judged.map(bound).collect()
    }

    fn print_comparison(&self, comparison: &Comparison) {
        say!("{}, {} inputs", comparison.title, comparison.inputs);
        let rows = comparison.stages.iter().filter(|stage| stage.scale != 0.0).map(|stage| {
            [
                stage.stage.clone(),
                format!("{:.2e}", stage.worst),
                format!("{:.2e}", stage.mean),
                format!("{:.3}", stage.scale),
            ]
        });
        say!("{}", table(["after", "worst error", "mean error", "scale"], rows.collect()));
        if let Some(same) = comparison.agreement {
            let (margins, bound) = (&comparison.margins, self.packed_bound);
            let close = margins.iter().filter(|margin| **margin <= bound).count();
            let others = margins.len() - close;
            let what = if comparison.writes { "tokens" } else { "labels" };
            say!(
                "{same:.1} % same {what}; {close} other {what} where the reference's margin is at most \
                 {bound} of its scale, {others} where it is more"
            );
        }
        comparison.cosine.iter().for_each(|cosine| say!("smallest cosine {cosine:.6}"));
        say!("");
    }
}

/// What is judged, in the order in which it is told.
const BOUNDS: [Kind; 4] = [
    Kind {
        name: "float_error",
        what: "float path, worst error as a share of a stage's scale",
        most: true,
    },
    Kind {
        name: "packed_error",
        what: "packed weights, mean error as a share of a stage's scale",
        most: true,
    },
    Kind {
        name: "agreement",
        what: "packed weights, labels or tokens that agree or are too close to tell, per cent",
        most: false,
    },
    Kind { name: "cosine", what: "packed weights, smallest cosine of two embeddings", most: false },
];

/// A kind of figure; its bound is the largest value allowed (`most`), or the smallest.
struct Kind {
    name: &'static str,
    what: &'static str,
    most: bool,
}

/// A figure that is judged.
#[derive(serde::Serialize)]
struct Bound {
    name: &'static str,
    what: &'static str,
    value: f64,
    bound: f64,
    most: bool,
}

impl Bound {
    fn sentence(&self) -> String {
        let Self { what, value, bound, most, .. } = self;
        match most {
            true => format!("{what}: {value:.2e}, bound at most {bound}"),
            false => format!("{what}: {value:.6}, bound at least {bound}"),
        }
    }

    /// The sentence, if the bound does not hold; of a NaN none does.
    fn failure(&self) -> Option<String> {
        let holds = if self.most { self.value <= self.bound } else { self.value >= self.bound };
        (!holds).then(|| self.sentence())
    }
}

/// An error as a share of the scale of its stage.
fn share(error: f64, scale: f64) -> f64 {
    if scale.is_nan() { scale } else { error / scale.max(1e-12) }
}

/// The smallest value; a NaN is smaller than any.
fn lowest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.map(|value| -value).reduce(worse).map(|value| -value)
}
