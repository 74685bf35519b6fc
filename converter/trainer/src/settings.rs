//! Everything that decides a training, as arguments and as the record of it.

use crate::data::Augmentation;
use crate::loss::LossWeights;
use crate::model::{Method, Selector, TaskSpec, untrained};
use crate::number::number;
use crate::ops::SoftTopK;
use crate::optimizer::AdamW;
use anyhow::{Result, bail, ensure};
use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use coda_converter::evaluate::check_layer_factors;
use coda_converter::source::Base;
use coda_runtime::config::{
    Activation, AttentionMode, Embedding, Gate, Named, Pooling, RouterInput, Stages,
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// An argument that names a setting; each value with what it means.
fn named<T: Named + Send + Sync>(
    values: impl IntoIterator<Item = (T, &'static str)>,
) -> impl TypedValueParser<Value = T> {
    let values = values.into_iter().map(|(value, help)| {
        // The older spelling of the one value that has been renamed on the command line.
        let old = (value.name() == "k-to-low-rank").then_some("k-to-light");
        PossibleValue::new(value.name()).help(help).aliases(old)
    });
    PossibleValuesParser::new(values)
        .try_map(|name| T::from_name(&name).ok_or("the setting has no such value"))
}

/// Writes a setting by its name.
fn by_name<T: Named, S: Serializer>(
    value: &T,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

fn attention() -> impl TypedValueParser<Value = AttentionMode> {
    named([
        (AttentionMode::KToK, "Those of the selected tokens"),
        (AttentionMode::KToAll, "Those of all tokens"),
        (AttentionMode::KToLowRank, "Exact ones of the selected tokens, low-rank ones of the rest"),
    ])
}

fn router_input() -> impl TypedValueParser<Value = RouterInput> {
    named([
        (RouterInput::Norm, "The layer's normalised input"),
        (RouterInput::Raw, "The layer's input"),
        (RouterInput::Rms, "The layer's input divided by its root mean square"),
    ])
}

fn adapter_activation() -> impl TypedValueParser<Value = Activation> {
    named([(Activation::Relu, "max(x, 0)"), (Activation::GeluErf, "The erf form")])
}

/// How router scores become gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// 1, with the gradient of the exact soft top-k
    StraightThrough,
    /// Soft top-k, exact maximiser
    Exact,
    /// Soft top-k, coordinate ascent
    Iterated,
    /// Each token alone
    Sigmoid,
}

/// How token vectors become the one that the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PoolingChoice {
    /// As the base's own head; else the class token of images, the mean of texts
    Base,
    /// The mean of all tokens
    Mean,
    /// The first token
    ClassToken,
}

/// What the routers begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RouterStart {
    /// Random directions
    #[default]
    Random,
    /// What skipping a layer would do to each token of the dense model (ours)
    Saliency,
}

impl RouterStart {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    const fn is_random(&self) -> bool {
        matches!(self, Self::Random)
    }
}

/// Type of the written weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 16 bits
    F16,
    /// 32 bits
    F32,
}

/// Every hyper-parameter.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[command(next_help_heading = "Hyper-parameters")]
pub struct Settings {
    /// What is trained
    #[arg(long, value_enum, default_value_t = Method::Coda)]
    pub method: Method,
    /// Hidden units of the adapters
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub adapter_hidden: usize,
    /// Activation inside the adapters
    #[arg(long, value_parser = adapter_activation(), default_value = Activation::Relu.name())]
    #[serde(serialize_with = "by_name")]
    pub adapter_activation: Activation,
    /// Optimiser steps
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub steps: u64,
    /// Samples of a step
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: usize,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What the head reads
    #[arg(long, value_enum, default_value_t = PoolingChoice::Base)]
    pub pooling: PoolingChoice,
    /// Part of the training data that is held out for validation
    #[arg(long, value_name = "PART", default_value_t = 0.05, value_parser = number::<f64>)]
    pub validation: f64,
    /// Steps between two validations; 0: a tenth of all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub evaluate_every: u64,
    /// Stop after so many validations without a better one; 0: never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub patience: u64,
    /// Longest text in tokens; 0: what the base reads
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_tokens: usize,
    /// Type of the written weights
    #[arg(long, value_enum, default_value_t = Precision::F16)]
    pub precision: Precision,
    /// How layers are routed
    #[command(flatten)]
    #[serde(flatten)]
    pub routing: Routing,
    /// How weights are changed
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: AdamW,
    /// What is minimised
    #[command(flatten)]
    #[serde(flatten)]
    pub loss: LossWeights,
    /// How images are read and varied
    #[command(flatten)]
    #[serde(flatten)]
    pub images: Images,
}

/// How layers are routed.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[command(next_help_heading = "Routing")]
pub struct Routing {
    /// Attention of routed layers
    #[arg(long, value_parser = attention(), default_value = AttentionMode::KToLowRank.name())]
    #[serde(serialize_with = "by_name")]
    pub attention: AttentionMode,
    /// Rank of low-rank keys and values; 0: an eighth of the model dimension
    #[arg(long, alias = "light-rank", value_name = "N", default_value_t = 0)]
    pub low_rank: usize,
    /// Gates
    #[arg(long, value_enum, default_value_t = GateKind::StraightThrough)]
    pub gate: GateKind,
    /// Who selects tokens
    #[arg(long, value_enum, default_value_t = Selector::Learned)]
    pub selection: Selector,
    /// What the routers begin with
    #[arg(long, value_enum, default_value_t = RouterStart::Random)]
    #[serde(skip_serializing_if = "RouterStart::is_random")]
    pub router_start: RouterStart,
    /// Entropy weight of the soft top-k
    #[arg(long, value_name = "X", default_value_t = 0.3, value_parser = number::<f32>)]
    pub eps: f32,
    /// Sweeps of the iterated solver
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub sweeps: u32,
    /// Entropy weight of its first sweep
    #[arg(long, value_name = "X", default_value_t = 4.0, value_parser = number::<f32>)]
    pub eps_start: f32,
    /// Factor on it after each sweep
    #[arg(long, value_name = "X", default_value_t = 0.7, value_parser = number::<f32>)]
    pub eps_decay: f32,
    /// What routers read
    #[arg(long, value_parser = router_input(), default_value = RouterInput::Rms.name())]
    #[serde(serialize_with = "by_name")]
    pub router_input: RouterInput,
    /// Layers that stay dense, counted from 0
    #[arg(long, value_name = "I,I,...", value_delimiter = ',')]
    pub dense_layers: Vec<usize>,
    /// Positions always selected; for images the class token unless others are given
    #[arg(long, value_name = "I,I,...", value_delimiter = ',')]
    pub pinned: Vec<u32>,
    /// Reduction factors; one is drawn for each batch
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 4.0, 8.0], value_parser = number::<f32>)]
    pub reductions: Vec<f32>,
    /// Draw a reduction for each layer, not one for all: layers may have different ones afterwards
    #[arg(long)]
    pub mix_layers: bool,
    /// Factor on the reduction of each layer, which is never below 1 (ours): some layers bear more of it
    #[arg(long, value_name = "F,F,...", value_delimiter = ',', value_parser = number::<f32>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layer_factors: Vec<f32>,
    /// With `--method full`: tokens drawn at random skip each layer, as many as the drawn reduction says
    /// (random-LTD, Yao et al. 2022, with keys and values of all tokens): a base that bears routing
    #[arg(long)]
    pub skip_layers: bool,
    /// Part of the training in which the reduction grows from 1 to its value
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = number::<f64>)]
    pub anneal: f64,
}

/// How images are read and varied.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[command(next_help_heading = "Images")]
pub struct Images {
    /// Side of the images in pixels, if it is another than the base's: its positions are resized
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Mirror every second image
    #[arg(long)]
    pub flip: bool,
    /// Shift images by up to so many pixels
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shift: usize,
    /// Part of the patches that a training step sees (patch dropout); 0: all
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = number::<f64>)]
    pub keep_patches: f64,
    /// Part of the steps after which every patch is seen
    #[arg(long, value_name = "PART", default_value_t = 0.8, value_parser = number::<f64>)]
    pub keep_until: f64,
}

/// A command that has the settings alone: its arguments state their defaults.
#[derive(clap::Parser)]
struct Defaults {
    #[command(flatten)]
    settings: Settings,
}

impl Settings {
    /// The settings by name, as a record has them.
    ///
    /// # Errors
    /// Never: every setting is a number, a name or a list.
    pub fn recorded(&self) -> Result<Map<String, Value>> {
        // By way of text: an f32 is as it was given, not with the digits of an f64.
        Ok(serde_json::from_str(&serde_json::to_string(self)?)?)
    }

    /// What a record has where no option was given.
    ///
    /// # Errors
    /// Never: no option is required.
    pub fn defaults() -> Result<Map<String, Value>> {
        Defaults::try_parse_from(["coda-trainer"])?.settings.recorded()
    }

    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<()> {
        ensure!(self.steps > 0 && self.batch > 0, "--steps and --batch must be at least 1");
        ensure!(!self.routing.reductions.is_empty(), "--reductions needs at least one factor");
        for r in &self.routing.reductions {
            ensure!(r.is_finite() && *r >= 1.0, "a reduction must be at least 1, not {r}");
        }
        ensure!(self.routing.eps > 0.0 && self.routing.eps.is_finite(), "--eps must be above 0");
        ensure!(self.loss.temperature > 0.0, "--temperature must be above 0");
        ensure!(self.optimizer.clip > 0.0, "--clip must be above 0");
        self.check_parts()?;
        let full = self.method == Method::Full;
        ensure!(full || !self.routing.skip_layers, "--skip-layers needs --method full");
        let routed = self.method == Method::Coda && self.routing.selection == Selector::Learned;
        ensure!(
            routed || self.routing.router_start.is_random(),
            "--router-start saliency needs --method coda and --selection learned"
        );
        let adapted = matches!(self.method, Method::Coda | Method::ParallelAdapter);
        ensure!(!adapted || self.adapter_hidden > 0, "--adapter-hidden must be at least 1");
        Ok(())
    }

    /// Refuses a part that is not below 1.
    fn check_parts(&self) -> Result<()> {
        let parts = [
            ("--validation", self.validation),
            ("--warm-up", self.optimizer.warm_up),
            ("--anneal", self.routing.anneal),
            ("--smoothing", self.loss.smoothing),
            ("--soft-labels", self.loss.soft_labels),
            ("--average", self.optimizer.average),
            ("--beta1", self.optimizer.beta1),
            ("--beta2", self.optimizer.beta2),
            ("--keep-patches", self.images.keep_patches),
            ("--keep-until", self.images.keep_until),
        ];
        for (name, part) in parts {
            ensure!(
                (0.0..1.0).contains(&part),
                "{name} must be at least 0 and below 1, not {part}"
            );
        }
        Ok(())
    }

    /// The shape of the task for a base and a number of labels (0: no head).
    ///
    /// # Errors
    /// A layer that is not there, or a method that the base cannot be trained with.
    pub fn spec(&self, base: &Base, labels: usize) -> Result<TaskSpec> {
        self.check_base(base)?;
        let dense = TaskSpec::dense(self.pooling(base), labels);
        let pinned = self.pinned(base);
        if self.routing.skip_layers {
            let (selection, attention) = (Selector::Random, Some(AttentionMode::KToAll));
            return Ok(TaskSpec { selection, attention, pinned, ..dense });
        }
        if matches!(self.method, Method::Full | Method::LinearProbe) {
            return Ok(dense);
        }
        let rank =
            if self.routing.low_rank == 0 { base.config.hidden / 8 } else { self.routing.low_rank };
        ensure!(rank > 0 && rank <= base.config.hidden, "--low-rank {rank} makes no sense here");
        let routed = self.method == Method::Coda;
        Ok(TaskSpec {
            adapter_hidden: self.adapter_hidden,
            adapter_activation: self.adapter_activation,
            router_input: self.routing.router_input,
            gate: self.gate(),
            selection: self.routing.selection,
            attention: routed.then_some(self.routing.attention),
            low_rank: rank,
            dense_layers: self.routing.dense_layers.iter().copied().collect(),
            pinned: if routed { pinned } else { Vec::new() },
            ..dense
        })
    }

    fn check_base(&self, base: &Base) -> Result<()> {
        if let Some(why) = untrained(&base.config) {
            bail!("{}: {why}", base.path.display());
        }
        let layers = base.config.layers;
        if let Some(layer) = self.routing.dense_layers.iter().find(|layer| **layer >= layers) {
            bail!("--dense-layers names layer {layer}, the base has {layers}");
        }
        check_layer_factors(&self.routing.layer_factors, layers)?;
        if self.method == Method::LinearProbe && base.decoder.is_some() {
            bail!(
                "--method linear-probe trains a head, and a model that writes has none: take \
                 another method, or --tower encoder"
            );
        }
        if self.method == Method::Full && base.head.is_some_and(|head| head.stages != Stages::NONE)
        {
            bail!(
                "--method full does not train the dense stages of a head (pooler, pre-classifier)"
            );
        }
        Ok(())
    }

    fn pooling(&self, base: &Base) -> Pooling {
        let usual = if reads_images(base) { Pooling::ClassToken } else { Pooling::Mean };
        match self.pooling {
            PoolingChoice::Base => {
                let own = base.head.and_then(|head| head.pooling.single());
                let trained = |own: &Pooling| matches!(own, Pooling::ClassToken | Pooling::Mean);
                own.filter(trained).unwrap_or(usual)
            }
            PoolingChoice::Mean => Pooling::Mean,
            PoolingChoice::ClassToken => Pooling::ClassToken,
        }
    }

    fn pinned(&self, base: &Base) -> Vec<u32> {
        let mut pinned = self.routing.pinned.clone();
        if pinned.is_empty() && reads_images(base) {
            pinned.push(0);
        }
        pinned.sort_unstable();
        pinned.dedup();
        pinned
    }

    const fn gate(&self) -> SoftTopK {
        let Routing { eps, sweeps, eps_start, eps_decay: decay, .. } = self.routing;
        let gate = match self.routing.gate {
            GateKind::StraightThrough => Gate::Ones,
            GateKind::Exact => Gate::Exact { eps },
            GateKind::Iterated => Gate::Iterated { sweeps, eps, eps_start, decay },
            GateKind::Sigmoid => Gate::Sigmoid,
        };
        SoftTopK { gate, eps }
    }

    /// How images are varied in a step.
    #[must_use]
    pub fn augmentation(&self, step: u64) -> Augmentation {
        let early = (step as f64) < self.images.keep_until * self.steps as f64;
        let keep = if early { self.images.keep_patches } else { 0.0 };
        Augmentation { flip: self.images.flip, shift: self.images.shift, keep }
    }

    /// The factor on every rate in a step, counted from 0.
    #[must_use]
    pub fn rate_factor(&self, step: u64) -> f64 {
        let (at, all) = (step as f64 + 1.0, self.steps as f64);
        let warm = (self.optimizer.warm_up * all).max(1.0);
        let falling = (all - step as f64) / (all - warm).max(1.0);
        (at / warm).min(falling).clamp(0.0, 1.0)
    }

    /// The reduction of a step whose drawn factor is `reduction`.
    #[must_use]
    pub fn annealed(&self, reduction: f32, step: u64) -> f32 {
        let end = self.routing.anneal * self.steps as f64;
        if end <= step as f64 {
            return reduction;
        }
        1.0 + (reduction - 1.0) * (step as f64 / end) as f32
    }

    /// The reduction that a written task has by default: the largest trained one up to 4, else the smallest.
    #[must_use]
    pub fn default_reduction(&self) -> f32 {
        let all = self.routing.reductions.iter().copied();
        let mild = all.clone().filter(|reduction| *reduction <= 4.0).reduce(f32::max);
        mild.or_else(|| all.reduce(f32::min)).unwrap_or(1.0)
    }

    /// Steps between two validations.
    #[must_use]
    pub fn evaluation_interval(&self) -> u64 {
        if self.evaluate_every > 0 { self.evaluate_every } else { (self.steps / 10).max(1) }
    }

    /// Steps between two points of the curve.
    #[must_use]
    pub fn curve_interval(&self) -> u64 {
        (self.steps / 200).max(1)
    }
}

const fn reads_images(base: &Base) -> bool {
    matches!(base.config.embedding, Embedding::Patches { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Settings {
        let line = std::iter::once(&"test").chain(arguments);
        Defaults::try_parse_from(line).unwrap().settings
    }

    #[test]
    fn rates_grow_in_the_warm_up_and_fall_to_nothing() {
        let settings = settings(&["--steps", "100", "--warm-up", "0.1"]);
        assert!((settings.rate_factor(0) - 0.1).abs() < 1e-12);
        assert!((settings.rate_factor(9) - 1.0).abs() < 1e-12);
        assert!(settings.rate_factor(99) > 0.0 && settings.rate_factor(99) < 0.02);
        let factors: Vec<f64> = (10..100).map(|step| settings.rate_factor(step)).collect();
        assert!(factors.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn annealing_goes_from_one_to_the_drawn_reduction() {
        let settings = settings(&["--steps", "100", "--anneal", "0.5"]);
        assert_eq!(settings.annealed(4.0, 0), 1.0);
        assert_eq!(settings.annealed(4.0, 25), 2.5);
        assert_eq!(settings.annealed(4.0, 50), 4.0);
    }

    #[test]
    fn a_task_is_written_for_the_largest_mild_reduction() {
        let default = |reductions| settings(&["--reductions", reductions]).default_reduction();
        assert_eq!((default("1,2,4,8"), default("2,3"), default("18,9")), (4.0, 3.0, 9.0));
    }

    #[test]
    fn senseless_settings_are_refused() {
        for arguments in [
            ["--steps", "0"],
            ["--reductions", "0.5"],
            ["--validation", "1"],
            ["--eps", "0"],
            ["--adapter-hidden", "0"],
        ] {
            assert!(settings(&arguments).check().is_err(), "{arguments:?}");
        }
        assert!(settings(&[]).check().is_ok());
    }
}
