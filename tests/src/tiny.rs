//! Small valid packages of every family, made without files: for tests that try every byte.

pub mod edit;
pub mod golden;

use crate::hostile::read_everything;
use anyhow::{Result, ensure};
use coda_converter::pack::{PackageBytes, WeightType, bundle, pack_base, pack_task};
use coda_converter::preparation::Preparation;
use coda_converter::session::Session;
use coda_converter::similarity::Similarity;
use coda_converter::smooth::smooth;
use coda_converter::source::{Base, FloatTensor, Task, TextSettings, TokenizerFiles};
use coda_runtime::config::{
    Activation, AttentionMode, Config, Embedding, Gate, Head, HeadKind, LayerPlan, LocalAttention,
    Norm, NormPlacement, Pooling, Poolings, Reading, Rotary, RouterInput, Routing, StageActivation,
    Stages, TaskConfig,
};
use coda_runtime::executor::{Input, Output};
use coda_runtime::format::{GLOBAL_LAYER, PackageKind, Role};
use coda_runtime::image::{InputNormalization, PatchGrid};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::text::{Options, SpecialIds};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Sizes of what a task adds to a tiny model.
const TINY: TaskSizes = TaskSizes { adapter: 4, low_rank: 2 };
/// The same at the size of a real one.
const REAL: TaskSizes = TaskSizes { adapter: 64, low_rank: 32 };
/// What the tasks have in common.
const TASK: TaskConfig = TaskConfig {
    adapter_activation: Activation::Relu,
    router_input: RouterInput::Norm,
    gate: Gate::Exact { eps: 0.05 },
    reduction: 2.0,
    max_tokens: 0,
};
/// What the encoders have in common.
pub const ENCODER: Config = Config {
    embedding: Embedding::Tokens {
        vocabulary: TOKENS.len(),
        positions: 0,
        token_types: 0,
        norm: false,
        projected: 0,
    },
    hidden: 8,
    layers: 2,
    heads: 2,
    head_dim: 4,
    feed_forward: 12,
    norm: Norm::LayerNorm,
    norm_eps: 1e-6,
    placement: NormPlacement::Pre,
    activation: Activation::GeluErf,
    gated: false,
    attention_scale: 0.5,
    relative_distance: 0,
    layer_bias: false,
    grid_bias: false,
    causal: false,
    final_norm: true,
    int8_attention: false,
    shared_layers: false,
    rotary: NOT_TURNED,
    local: EVERYWHERE,
    bare_first_layer: false,
};
/// No rotary positions.
const NOT_TURNED: Rotary = Rotary { columns: 0, positions: 0, own_of_local: false };
/// No local attention.
const EVERYWHERE: LocalAttention = LocalAttention { distance: 0, period: 0 };
/// Class names of every classifier.
const LABELS: [&str; 3] = ["yes", "no", "perhaps"];
/// Tokens of the vocabulary, by id.
pub const TOKENS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "on", "mat", "."];
/// A mutated package whose plan is larger than this is not run.
const LARGEST_ARENA: usize = 64 << 20;

/// Where the provenance of a tiny package says it comes from.
pub const PROVENANCE: &str = "tests/src/tiny.rs";

/// What a tiny model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum TinyInput {
    /// Token ids and their types (empty: all 0).
    Tokens {
        /// Ids.
        ids: Vec<u32>,
        /// Types.
        types: Vec<u8>,
    },
    /// An image.
    Pixels(Vec<u8>),
    /// Log-mel features.
    Features(Vec<f32>),
    /// An image of any size.
    Grid {
        /// Patches from left to right.
        columns: usize,
        /// Pixels.
        pixels: Vec<u8>,
    },
}

impl TinyInput {
    /// The input as an executor reads it.
    #[must_use]
    pub fn view(&self) -> Input<'_> {
        match self {
            Self::Tokens { ids, types } => Input::typed(ids, types),
            Self::Pixels(pixels) => Input::Pixels(pixels),
            Self::Features(values) => Input::Features(values),
            Self::Grid { columns, pixels } => Input::Grid { columns: *columns, pixels },
        }
    }
}

/// A small model: an encoder, a task for it and an input.
#[derive(Clone, Debug)]
pub struct Tiny {
    /// Name of the family.
    pub name: &'static str,
    /// The encoder.
    pub base: Base,
    /// A task for it.
    pub task: Task,
    /// An input.
    pub input: TinyInput,
    /// Tokens of the input.
    pub tokens: usize,
}

/// The packages of a model.
#[derive(Clone, Debug)]
pub struct Packages {
    /// The base.
    pub base: PackageBytes,
    /// The task.
    pub task: PackageBytes,
    /// Both in one file.
    pub bundle: PackageBytes,
}

impl Packages {
    /// Packs base, task and bundle.
    ///
    /// # Errors
    /// One cannot be packed.
    pub fn of(base: &Base, task: &Task, weights: WeightType, provenance: &str) -> Result<Self> {
        let base = pack_base(smooth(base, weights)?.as_ref(), weights, provenance)?.bytes;
        let task = pack_task(task, &base.parse()?, weights, provenance)?.bytes;
        let bundle = bundle(&base.parse()?, &task.parse()?)?;
        Ok(Self { base, task, bundle })
    }

    /// The model of the bundle.
    ///
    /// # Errors
    /// Base and task do not belong together.
    pub fn model(&self) -> Result<Model<'_>> {
        Ok(Model::from_package(&self.bundle.parse()?)?)
    }
}

impl Tiny {
    /// Every family.
    #[must_use]
    pub fn all() -> [Self; 13] {
        [
            Self::bert(),
            Self::vit(),
            Self::t5(),
            Self::t5_plain(),
            Self::albert(),
            Self::clip(),
            Self::umt5(),
            Self::clip_text(),
            Self::beit(),
            Self::modernbert(),
            Self::dinov3(),
            Self::whisper(),
            Self::pix2struct(),
        ]
    }

    /// [`Self::bert`] with tables of a width of their own, layers that share their weights, SiLU.
    #[must_use]
    pub fn albert() -> Self {
        let Config { mut embedding, .. } = bert_config();
        if let Embedding::Tokens { projected, .. } = &mut embedding {
            *projected = 5;
        }
        let activation = Activation::Silu;
        let config = Config { embedding, activation, shared_layers: true, ..bert_config() };
        Self { name: "albert", ..Self::bert_of(config) }
    }

    /// [`Self::vit`] with three prefix tokens, a norm before the layers, the quick GELU.
    #[must_use]
    pub fn clip() -> Self {
        let Config { mut embedding, .. } = vit_config();
        if let Embedding::Patches { prefix_tokens, norm, .. } = &mut embedding {
            (*prefix_tokens, *norm) = (3, true);
        }
        let config = Config { embedding, activation: Activation::GeluQuick, ..vit_config() };
        Self { name: "clip", ..Self::vit_of(config) }
    }

    /// [`Self::vit`] with a relative bias over the patches of each layer, and the norm of their mean.
    #[must_use]
    pub fn beit() -> Self {
        let mut config = vit_config();
        config.relative_distance = config.grid_distance();
        (config.layer_bias, config.grid_bias) = (true, true);
        let mut tiny = Self { name: "beit", ..Self::vit_of(config) };
        let mut maker = Maker::new(&config, 14);
        maker.add_norm(GLOBAL_LAYER, Role::PooledNormWeight, Role::PooledNormBias);
        tiny.base.tensors.append(&mut maker.tensors);
        if let Some(head) = &mut tiny.base.head {
            head.pooling = Pooling::MeanOfRest.alone().with_norm();
        }
        tiny
    }

    /// A pre-norm [`Self::bert`] whose tokens see those before them alone.
    #[must_use]
    pub fn clip_text() -> Self {
        let placement = NormPlacement::Pre;
        let config = Config { placement, final_norm: true, causal: true, ..bert_config() };
        Self { name: "clip-text", ..Self::bert_of(config) }
    }

    /// Post-norm, token types, absolute positions, a vocabulary; k-to-k and k-to-low-rank.
    #[must_use]
    pub fn bert() -> Self {
        Self::bert_of(bert_config())
    }

    fn bert_of(config: Config) -> Self {
        let mut base = base(config, Extras { biases: true, layer_scale: false }, 1);
        let kind = HeadKind::Embedding { normalize: true };
        base.head = Some(Head::new(Pooling::ClassToken, kind));
        base.tokenizer = Some(tokenizer());
        let settings =
            TaskConfig { router_input: RouterInput::Raw, reduction: 3.0, max_tokens: 8, ..TASK };
        let low_rank = Routing { attention: AttentionMode::KToLowRank, reduction: Some(2.0) };
        let layers = [Some(routing(AttentionMode::KToK)), Some(low_rank)];
        let task = task(&config, settings, &layers, TINY, Pooling::Mean, 2);
        let ids = vec![2, 5, 6, 7, 9, 10, 3];
        let input = TinyInput::Tokens { ids, types: vec![0, 0, 0, 0, 1, 1, 1] };
        Self { name: "bert", base, task, input, tokens: 7 }
    }

    /// The same with every pooling, two dense stages and prompts, and without a head in its task.
    #[must_use]
    pub fn bert_heads() -> Self {
        let mut tiny = Self::bert();
        // Those of the first packages: golden files hold it.
        let poolings = Poolings::ORDER.into_iter().take(7);
        let pooling = poolings.fold(Pooling::Mean.alone(), Poolings::with);
        tiny.set_head(pooling, &[StageActivation::GeluErf, StageActivation::Tanh], Some(3));
        tiny.base.texts = TextSettings {
            longest: 7,
            prompts: [("query", "the "), ("none", "")].map(|(a, b)| (a.into(), b.into())).to_vec(),
            default_prompt: Some(0),
            similarity: Similarity::Cosine,
        };
        tiny.drop_task_head();
        Self { name: "bert-heads", ..tiny }
    }

    /// The same with a label for each token, and without a head in its task.
    #[must_use]
    pub fn bert_tokens() -> Self {
        let mut tiny = Self::bert();
        let mut maker = Maker::new(&tiny.base.config, 12);
        maker.add_classifier();
        tiny.base.tensors.append(&mut maker.tensors);
        tiny.base.head = Some(Head::of_each_token(LABELS.len()));
        tiny.base.labels = LABELS.map(str::to_owned).to_vec();
        tiny.drop_task_head();
        Self { name: "bert-tokens", ..tiny }
    }

    /// [`Self::clip`] with the pooling of `SigLIP`: attention of a learned query, and two stages behind it.
    #[must_use]
    pub fn siglip() -> Self {
        let mut tiny = Self::clip();
        let config = tiny.base.config;
        let mut maker = Maker::new(&config, 13);
        let (d, wide) = (config.hidden, config.feed_forward);
        for (role, rows, columns, range) in [
            (Role::Probe, config.heads, d, 1.0),
            (Role::ProbeValue, config.attention_width(), d, 0.75),
            (Role::ProbeOutput, d, config.attention_width(), 0.75),
            (Role::ProbeOutputBias, 1, d, 0.1),
            (Role::FirstStage, wide, d, 0.75),
            (Role::FirstStageBias, 1, wide, 0.1),
            (Role::SecondStage, d, wide, 0.75),
            (Role::SecondStageBias, 1, d, 0.1),
        ] {
            maker.add(GLOBAL_LAYER, role, rows, columns, range);
        }
        maker.add_norm(GLOBAL_LAYER, Role::PooledNormWeight, Role::PooledNormBias);
        tiny.base.tensors.append(&mut maker.tensors);
        let stages = Stages::NONE.then(StageActivation::GeluTanh);
        let stages = stages.and_then(|stages| stages.then(StageActivation::Identity));
        let kind = HeadKind::Embedding { normalize: false };
        let stages = stages.unwrap_or_default();
        tiny.base.head = Some(Head { stages, ..Head::new(Pooling::Attention, kind) });
        tiny.base.labels = Vec::new();
        tiny.drop_task_head();
        Self { name: "siglip", ..tiny }
    }

    /// Takes the head out of the task, so that the base's is used.
    fn drop_task_head(&mut self) {
        self.task.head = None;
        self.task.labels = Vec::new();
        self.task.tensors.retain(|(_, role), _| !matches!(role, Role::HeadWeight | Role::HeadBias));
    }

    /// Gives the base another head: the first stage has a bias and 5 values, the second none and 9;
    /// a classifier of `labels`, or a normalised embedding.
    pub fn set_head(
        &mut self,
        pooling: Poolings,
        activations: &[StageActivation],
        labels: Option<usize>,
    ) {
        let config = self.base.config;
        let mut maker = Maker::new(&config, 11);
        let mut width = config.hidden * pooling.count();
        let mut stages = Stages::NONE;
        let places =
            [(Role::FirstStage, Some(Role::FirstStageBias), 5), (Role::SecondStage, None, 9)];
        for ((weight, bias, rows), activation) in places.into_iter().zip(activations) {
            maker.add(GLOBAL_LAYER, weight, rows, width, 1.0);
            if let Some(bias) = bias {
                maker.add(GLOBAL_LAYER, bias, 1, rows, 0.5);
            }
            stages = stages.then(*activation).unwrap_or(stages);
            width = rows;
        }
        if let Some(labels) = labels {
            maker.add(GLOBAL_LAYER, Role::HeadWeight, labels, width, 1.0);
            maker.add(GLOBAL_LAYER, Role::HeadBias, 1, labels, 0.1);
        }
        let kind = match labels {
            Some(labels) => HeadKind::Classification { labels },
            None => HeadKind::Embedding { normalize: true },
        };
        self.base.tensors.append(&mut maker.tensors);
        self.base.head = Some(Head { pooling, stages, kind, reading: Reading::Largest });
        self.base.labels = Vec::new();
    }

    /// Pixels, a class token that is pinned, LayerScale, a classifier of its own; k-to-low-rank and
    /// k-to-all.
    #[must_use]
    pub fn vit() -> Self {
        Self::vit_of(vit_config())
    }

    /// The same with heads that are wide enough, so that int8 queries meet low-rank keys by their rank.
    #[must_use]
    pub fn vit_low_rank() -> Self {
        Self::vit_of(Config { hidden: 16, head_dim: 64, ..vit_config() })
    }

    fn vit_of(config: Config) -> Self {
        let mut base = base(config, Extras { biases: true, layer_scale: true }, 3);
        let mut head = Maker::new(&config, 4);
        head.add_classifier();
        base.tensors.append(&mut head.tensors);
        base.head = Some(classifier(Pooling::ClassToken));
        base.labels = LABELS.map(str::to_owned).to_vec();
        base.image = Some(InputNormalization {
            channels: 3,
            rescale: 1.0 / 255.0,
            mean: [0.5, 0.25, 0.75, 0.0],
            std: [0.5, 0.25, 1.0, 1.0],
        });
        let settings = TaskConfig {
            adapter_activation: Activation::GeluErf,
            router_input: RouterInput::Norm,
            gate: Gate::Iterated { sweeps: 20, eps: 0.03, eps_start: 4.0, decay: 0.7 },
            reduction: 4.0,
            max_tokens: 0,
        };
        let layers =
            [AttentionMode::KToLowRank, AttentionMode::KToAll].map(|mode| Some(routing(mode)));
        let mut task = task(&config, settings, &layers, TINY, Pooling::ClassToken, 5);
        task.pinned = vec![0, 3];
        let pixels = (0..6 * 8 * 3).map(|index: u32| (index * 37 % 251) as u8).collect();
        Self {
            name: "vit",
            base,
            task,
            input: TinyInput::Pixels(pixels),
            tokens: config.max_tokens().unwrap_or(0),
        }
    }

    /// `RMSNorm`, relative positions, a gated feed-forward layer, an attention width that is not d;
    /// one dense layer and one k-to-k.
    #[must_use]
    pub fn t5() -> Self {
        Self::t5_of(true)
    }

    /// Tokens without positions, so of any length: k-to-all, and low-rank keys of the model's attention width,
    /// whose rule counts beyond 32 bits on long inputs.
    #[must_use]
    pub fn long() -> Self {
        let config = Config {
            hidden: 16,
            heads: 16,
            head_dim: 8,
            norm: Norm::RmsNorm,
            attention_scale: 0.35,
            ..ENCODER
        };
        let modes = [AttentionMode::KToLowRank, AttentionMode::KToAll];
        let layers = modes.map(|mode| Some(routing(mode)));
        let base = base(config, Extras { biases: false, layer_scale: false }, 14);
        let sizes = TaskSizes { adapter: 4, low_rank: 128 };
        let task = task(&config, TASK, &layers, sizes, Pooling::Mean, 15);
        let input = TinyInput::Tokens { ids: vec![5, 6, 7, 8, 9, 5, 10, 11, 1], types: Vec::new() };
        Self { name: "long", base, task, input, tokens: 9 }
    }

    /// The same as [`Self::t5`] with a plain feed-forward layer.
    #[must_use]
    pub fn t5_plain() -> Self {
        Self::t5_of(false)
    }

    /// A gated [`Self::t5`] whose layers have a relative bias each.
    #[must_use]
    pub fn umt5() -> Self {
        let config = Config { layer_bias: true, ..Self::t5().base.config };
        let base = base(config, Extras { biases: false, layer_scale: false }, 6);
        Self { name: "umt5", base, ..Self::t5() }
    }

    fn t5_of(gated: bool) -> Self {
        let config = Config {
            head_dim: 6,
            norm: Norm::RmsNorm,
            activation: if gated { Activation::GeluTanh } else { Activation::Relu },
            gated,
            attention_scale: 1.0,
            relative_distance: 3,
            ..ENCODER
        };
        let base = base(config, Extras { biases: false, layer_scale: false }, 6);
        let settings = TaskConfig {
            router_input: RouterInput::Rms,
            gate: if gated { Gate::Sigmoid } else { Gate::Ones },
            ..TASK
        };
        let layers = [None, Some(routing(AttentionMode::KToK))];
        let task = task(&config, settings, &layers, TINY, Pooling::Mean, 7);
        let input = TinyInput::Tokens { ids: vec![5, 6, 7, 8, 9, 5, 10, 11, 1], types: Vec::new() };
        let name = if gated { "t5" } else { "t5-plain" };
        Self { name, base, task, input, tokens: 9 }
    }

    /// Rotary positions of some columns, a layer that attends to all, without a norm before its attention,
    /// and one that attends locally with angles of its own; k-to-all and k-to-k.
    #[must_use]
    pub fn modernbert() -> Self {
        let config = Config {
            gated: true,
            rotary: Rotary { columns: 2, positions: 12, own_of_local: true },
            local: LocalAttention { distance: 2, period: 2 },
            bare_first_layer: true,
            ..ENCODER
        };
        let layers = [AttentionMode::KToAll, AttentionMode::KToK].map(|mode| Some(routing(mode)));
        let base = base(config, Extras { biases: false, layer_scale: false }, 12);
        let task = task(&config, TASK, &layers, TINY, Pooling::Mean, 13);
        let input = TinyInput::Tokens { ids: vec![5, 6, 7, 8, 9, 5, 10, 11, 1], types: Vec::new() };
        Self { name: "modernbert", base, task, input, tokens: 9 }
    }

    /// [`Self::vit`] with rotary positions in place of a table, and without low-rank keys.
    #[must_use]
    pub fn dinov3() -> Self {
        let config = vit_config();
        let positions = config.max_tokens().unwrap_or(0);
        let rotary = Rotary { columns: config.head_dim, positions, own_of_local: false };
        let mut tiny = Self::vit_of(Config { rotary, ..config });
        let layers = [AttentionMode::KToK, AttentionMode::KToAll].map(|mode| Some(routing(mode)));
        let (settings, pinned) = (tiny.task.config, tiny.task.pinned);
        tiny.task = task(&tiny.base.config, settings, &layers, TINY, Pooling::ClassToken, 14);
        tiny.task.pinned = pinned;
        Self { name: "dinov3", ..tiny }
    }

    /// Log-mel frames, more than a tile and fewer than the model has positions for; k-to-k and k-to-low-rank.
    #[must_use]
    pub fn whisper() -> Self {
        let config = Config { embedding: Embedding::Frames { bins: 5, positions: 40 }, ..ENCODER };
        let base = base(config, Extras { biases: true, layer_scale: false }, 16);
        let layers =
            [AttentionMode::KToK, AttentionMode::KToLowRank].map(|mode| Some(routing(mode)));
        let task = task(&config, TASK, &layers, TINY, Pooling::Mean, 17);
        let tokens = 37;
        let features = Random::new(18).tensor(2 * tokens, 5, 0.25, 1.0).values;
        let input = TinyInput::Features(features);
        Self { name: "whisper", base, task, input, tokens }
    }

    /// Patches of an image of any size, `RMSNorm`, gated layers without a bias; k-to-low-rank and k-to-all.
    #[must_use]
    pub fn pix2struct() -> Self {
        let config = Config {
            embedding: Embedding::Grid { rows: 5, columns: 4, channels: 3, patch: 2, patches: 12 },
            norm: Norm::RmsNorm,
            activation: Activation::GeluTanh,
            gated: true,
            attention_scale: 1.0,
            ..ENCODER
        };
        let layers =
            [AttentionMode::KToLowRank, AttentionMode::KToAll].map(|mode| Some(routing(mode)));
        let base = base(config, Extras { biases: false, layer_scale: false }, 16);
        let task = task(&config, TASK, &layers, TINY, Pooling::Mean, 17);
        let (rows, columns) = (3, 4);
        let pixels =
            (0..rows * columns * 12).map(|index: usize| (index * 37 % 251) as u8).collect();
        let input = TinyInput::Grid { columns, pixels };
        Self { name: "pix2struct", base, task, input, tokens: rows * columns }
    }

    /// Not tiny: one layer of the size of MiniLM-L6's, routed, and a full input; for benchmarks.
    #[must_use]
    pub fn minilm_layer(tokens: usize, attention: AttentionMode) -> Self {
        let config = Config {
            embedding: Embedding::Tokens {
                vocabulary: TOKENS.len(),
                positions: tokens,
                token_types: 0,
                norm: true,
                projected: 0,
            },
            hidden: 384,
            layers: 1,
            heads: 12,
            head_dim: 32,
            feed_forward: 1536,
            norm_eps: 1e-12,
            placement: NormPlacement::Post,
            attention_scale: 0.176_776_7,
            final_norm: false,
            ..ENCODER
        };
        let base = base(config, Extras { biases: true, layer_scale: false }, 8);
        let settings = TaskConfig { router_input: RouterInput::Raw, reduction: 4.0, ..TASK };
        let layers = [Some(routing(attention))];
        let task = task(&config, settings, &layers, REAL, Pooling::Mean, 9);
        let ids = (0..tokens).map(|index| (index * 7 % TOKENS.len()) as u32).collect();
        let input = TinyInput::Tokens { ids, types: Vec::new() };
        Self { name: "minilm-layer", base, task, input, tokens }
    }

    /// Packs base, task and bundle.
    ///
    /// # Errors
    /// One cannot be packed.
    pub fn pack(&self, weights: WeightType) -> Result<Packages> {
        Packages::of(&self.base, &self.task, weights, PROVENANCE)
    }

    /// Runs the input through `model` at reduction `r` with `kernels`; `read` sees the answer.
    ///
    /// # Errors
    /// The model does not read the input.
    pub fn run<T: Send>(
        &self,
        model: &Model<'_>,
        kernels: &'static Kernels,
        budget: Budget<'_>,
        read: impl FnOnce(Output<'_>) -> T + Send,
    ) -> Result<T> {
        run(model, &self.input, self.tokens, kernels, budget, read)
    }

    /// Does with bytes from anywhere all that a program does: parse, read every accessor, bind to
    /// the partner in `packages`, tokenise, run twice. Any error is fine, a panic is not.
    ///
    /// # Errors
    /// The first thing that a program would refuse.
    pub fn exercise(&self, bytes: &[u8], packages: &Packages) -> Result<()> {
        let bytes = PackageBytes::new(bytes);
        let package = bytes.parse()?;
        read_everything(&package);
        match package.kind() {
            PackageKind::Task => {
                let base = packages.base.parse()?;
                self.exercise_model(&Model::bind(&base, &package)?)
            }
            PackageKind::Bundle => self.exercise_model(&Model::from_package(&package)?),
            PackageKind::Base => {
                let task = packages.task.parse()?;
                let bound = Model::bind(&package, &task).map_err(Into::into);
                let bound = bound.and_then(|model| self.exercise_model(&model));
                self.exercise_model(&Model::dense(&package)?)?;
                bound
            }
        }
    }

    fn exercise_model(&self, model: &Model<'_>) -> Result<()> {
        if let Some(tokenizer) = model.tokenizer() {
            let (mut ids, mut types) = ([0; 9], [0; 9]);
            tokenizer.encode("The cats sat on Ünïts.", &mut ids);
            tokenizer.encode_pair("the cat", "sat on the mat", &mut ids, &mut types);
        }
        for budget in [Budget::Task, Budget::Reduction(2.0)] {
            self.run(model, Kernels::best(), budget, |output| output.label())?;
        }
        Ok(())
    }
}

fn run<T: Send>(
    model: &Model<'_>,
    input: &TinyInput,
    tokens: usize,
    kernels: &'static Kernels,
    budget: Budget<'_>,
    read: impl FnOnce(Output<'_>) -> T + Send,
) -> Result<T> {
    let capacity = Capacity::any_budget(tokens);
    let plan = Plan::new(&model.dimensions(), capacity)?;
    let bytes = plan.arena_bytes();
    ensure!(bytes <= LARGEST_ARENA, "an arena of {bytes} bytes for a tiny model");
    let mut session = Session::new(model, capacity)?.with_kernels(kernels);
    session.run(input.view(), budget, &mut (), read)
}

/// Numbers that are the same on every machine and in every version of this file.
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in [-1, 1) with 16 random bits, exact in f32.
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 48) as f32 - 32_768.0) / 32_768.0
    }

    fn tensor(&mut self, rows: usize, columns: usize, offset: f32, range: f32) -> FloatTensor {
        let values = (0..rows * columns).map(|_| offset + range * self.next()).collect();
        FloatTensor { shape: vec![rows, columns], values }
    }
}

/// Sizes of what a task adds.
#[derive(Clone, Copy, Debug)]
pub struct TaskSizes {
    /// Hidden width of the adapters.
    pub adapter: usize,
    /// Rank of the low-rank keys.
    pub low_rank: usize,
}

/// Optional tensors of a family.
#[derive(Clone, Copy, Debug)]
pub struct Extras {
    /// Every map has a bias.
    pub biases: bool,
    /// Factors on what attention and the feed-forward layer add.
    pub layer_scale: bool,
}

type Tensors = BTreeMap<(u16, Role), FloatTensor>;

fn bert_config() -> Config {
    Config {
        embedding: Embedding::Tokens {
            vocabulary: TOKENS.len(),
            positions: 8,
            token_types: 2,
            norm: true,
            projected: 0,
        },
        norm_eps: 1e-5,
        placement: NormPlacement::Post,
        final_norm: false,
        ..ENCODER
    }
}

fn vit_config() -> Config {
    Config {
        embedding: Embedding::Patches {
            height: 6,
            width: 8,
            channels: 3,
            patch: 2,
            prefix_tokens: 1,
            norm: false,
        },
        ..ENCODER
    }
}

/// A base with every tensor that `config` asks for.
#[must_use]
pub fn base(config: Config, extras: Extras, seed: u64) -> Base {
    let mut maker = Maker::new(&config, seed);
    maker.add_embedding();
    maker.add_global_norms();
    for layer in 0..config.layers as u16 {
        maker.add_layer(extras, layer);
    }
    let mut tensors = maker.tensors;
    if config.shared_layers {
        let first = tensors.clone();
        let own = |(layer, role)| if layer == GLOBAL_LAYER { (layer, role) } else { (0, role) };
        tensors.iter_mut().for_each(|(place, tensor)| tensor.clone_from(&first[&own(*place)]));
    }
    Base {
        path: PathBuf::new(),
        config,
        tensors,
        decoder: None,
        head: None,
        labels: Vec::new(),
        image: None,
        preparation: Preparation::default(),
        tokenizer: None,
        pieces: None,
        texts: TextSettings::default(),
        ids_only: None,
        unused: Vec::new(),
        names: BTreeMap::new(),
        entries: Vec::new(),
        notes: Vec::new(),
        float_attention: false,
    }
}

/// Makes the tensors of a model, one after the other: the order decides their values.
struct Maker<'c> {
    config: &'c Config,
    random: Random,
    tensors: Tensors,
}

impl<'c> Maker<'c> {
    fn new(config: &'c Config, seed: u64) -> Self {
        Self { config, random: Random::new(seed), tensors: Tensors::new() }
    }

    /// Values within `range` of 0.
    fn add(&mut self, layer: u16, role: Role, rows: usize, columns: usize, range: f32) {
        self.tensors.insert((layer, role), self.random.tensor(rows, columns, 0.0, range));
    }

    fn add_norm(&mut self, layer: u16, weight: Role, bias: Role) {
        self.add_norm_of(layer, [weight, bias], self.config.hidden);
    }

    fn add_norm_of(&mut self, layer: u16, [weight, bias]: [Role; 2], d: usize) {
        self.tensors.insert((layer, weight), self.random.tensor(1, d, 1.0, 0.2));
        if self.config.norm == Norm::LayerNorm {
            self.add(layer, bias, 1, d, 0.2);
        }
    }

    fn add_embedding(&mut self) {
        let config = self.config;
        let d = config.hidden;
        let mut add = |role, rows, columns, range| {
            self.add(GLOBAL_LAYER, role, rows, columns, range);
        };
        match config.embedding {
            Embedding::Tokens { vocabulary, positions, token_types, projected, .. } => {
                let width = if projected > 0 { projected } else { d };
                add(Role::TokenEmbedding, vocabulary, width, 1.0);
                if positions > 0 {
                    add(Role::PositionEmbedding, positions, width, 0.5);
                }
                if token_types > 0 {
                    add(Role::TokenTypeEmbedding, token_types, width, 0.5);
                }
                if projected > 0 {
                    add(Role::ProjectionWeight, d, projected, 0.75);
                    add(Role::ProjectionBias, 1, d, 0.1);
                }
            }
            Embedding::Patches { prefix_tokens, .. } => {
                let inputs = PatchGrid::of(&config.embedding).map_or(0, |grid| grid.inputs());
                add(Role::PatchWeight, d, inputs, 0.5);
                add(Role::PatchBias, 1, d, 0.1);
                if config.rotary == NOT_TURNED {
                    add(Role::PositionEmbedding, config.max_tokens().unwrap_or(0), d, 0.5);
                }
                if prefix_tokens > 0 {
                    add(Role::ClassToken, prefix_tokens, d, 1.0);
                }
            }
            Embedding::Frames { bins, positions } => {
                add(Role::FirstConvolution, d, 3 * bins, 0.5);
                add(Role::FirstConvolutionBias, 1, d, 0.1);
                add(Role::SecondConvolution, d, 3 * d, 0.5);
                add(Role::SecondConvolutionBias, 1, d, 0.1);
                add(Role::PositionEmbedding, positions, d, 0.5);
            }
            Embedding::Grid { rows, columns, channels, patch, .. } => {
                add(Role::PatchWeight, d, channels * patch * patch, 0.5);
                add(Role::PatchBias, 1, d, 0.1);
                add(Role::PositionEmbedding, rows + columns, d, 0.5);
            }
        }
        let Rotary { columns, positions, own_of_local } = config.rotary;
        if columns > 0 {
            add(Role::Rotary, positions, columns, 1.0);
        }
        if own_of_local {
            add(Role::LocalRotary, positions, columns, 1.0);
        }
        if config.relative_distance > 0 && !config.layer_bias {
            add(Role::RelativeBias, config.heads, config.bias_entries(), 1.0);
        }
    }

    fn add_global_norms(&mut self) {
        let roles = [Role::EmbeddingNormWeight, Role::EmbeddingNormBias];
        match self.config.embedding {
            Embedding::Tokens { norm: true, projected: width @ 1.., .. } => {
                self.add_norm_of(GLOBAL_LAYER, roles, width);
            }
            Embedding::Tokens { norm: true, .. } | Embedding::Patches { norm: true, .. } => {
                self.add_norm_of(GLOBAL_LAYER, roles, self.config.hidden);
            }
            _ => {}
        }
        if self.config.final_norm {
            self.add_norm(GLOBAL_LAYER, Role::FinalNormWeight, Role::FinalNormBias);
        }
    }

    fn add_layer(&mut self, extras: Extras, layer: u16) {
        let config = self.config;
        let (d, width, wide) = (config.hidden, config.attention_width(), config.feed_forward);
        let gate = (Role::FeedForwardGate, Role::FeedForwardGateBias, wide, d);
        let maps = [
            (Role::Query, Role::QueryBias, width, d),
            (Role::Key, Role::KeyBias, width, d),
            (Role::Value, Role::ValueBias, width, d),
            (Role::AttentionOutput, Role::AttentionOutputBias, d, width),
            (Role::FeedForwardIn, Role::FeedForwardInBias, wide, d),
            (Role::FeedForwardOut, Role::FeedForwardOutBias, d, wide),
        ];
        for (weight, bias, rows, columns) in maps.into_iter().chain(config.gated.then_some(gate)) {
            self.add(layer, weight, rows, columns, 0.75);
            if extras.biases {
                self.add(layer, bias, 1, rows, 0.1);
            }
        }
        if config.layer_bias {
            let entries = config.bias_entries();
            self.add(layer, Role::LayerRelativeBias, config.heads, entries, 1.0);
        }
        if layer > 0 || !config.bare_first_layer {
            self.add_norm(layer, Role::AttentionNormWeight, Role::AttentionNormBias);
        }
        self.add_norm(layer, Role::FeedForwardNormWeight, Role::FeedForwardNormBias);
        if extras.layer_scale {
            for role in [Role::AttentionScale, Role::FeedForwardScale] {
                self.tensors.insert((layer, role), self.random.tensor(1, d, 0.5, 0.25));
            }
        }
    }

    fn add_task_layer(&mut self, sizes: TaskSizes, layer: u16, routing: Option<Routing>) {
        let TaskSizes { adapter, low_rank } = sizes;
        let (d, width) = (self.config.hidden, self.config.attention_width());
        let mut add = |role, rows, columns, range| self.add(layer, role, rows, columns, range);
        add(Role::AdapterDown, adapter, d, 0.5);
        add(Role::AdapterDownBias, 1, adapter, 0.1);
        add(Role::AdapterUp, d, adapter, 0.25);
        add(Role::AdapterUpBias, 1, d, 0.1);
        let Some(routing) = routing else { return };
        add(Role::Router, 1, d, 1.0);
        if routing.attention == AttentionMode::KToLowRank {
            add(Role::LowRankDown, low_rank, d, 0.5);
            add(Role::LowRankKey, width, low_rank, 0.5);
            add(Role::LowRankKeyBias, 1, width, 0.1);
            add(Role::LowRankValue, width, low_rank, 0.5);
            add(Role::LowRankValueBias, 1, width, 0.1);
        }
    }

    fn add_classifier(&mut self) {
        self.add(GLOBAL_LAYER, Role::HeadWeight, LABELS.len(), self.config.hidden, 1.0);
        self.add(GLOBAL_LAYER, Role::HeadBias, 1, LABELS.len(), 0.1);
    }
}

/// A layer that is routed as the call says.
#[must_use]
pub const fn routing(attention: AttentionMode) -> Routing {
    Routing { attention, reduction: None }
}

const fn classifier(pooling: Pooling) -> Head {
    Head::new(pooling, HeadKind::Classification { labels: LABELS.len() })
}

/// A task with adapters in every layer, routers, low-rank keys where they are used, and a head.
pub fn task(
    config: &Config,
    settings: TaskConfig,
    layers: &[Option<Routing>],
    sizes: TaskSizes,
    pooling: Pooling,
    seed: u64,
) -> Task {
    let mut maker = Maker::new(config, seed);
    for (layer, routing) in (0..).zip(layers) {
        maker.add_task_layer(sizes, layer, *routing);
    }
    maker.add_classifier();
    Task {
        config: settings,
        layers: layers.iter().map(|routing| LayerPlan { routing: *routing }).collect(),
        pinned: Vec::new(),
        head: Some(classifier(pooling)),
        labels: LABELS.map(str::to_owned).to_vec(),
        tensors: maker.tensors,
        names: BTreeMap::new(),
        decoder: None,
    }
}

fn tokenizer() -> TokenizerFiles {
    let special = SpecialIds { unknown: 1, classify: 2, separate: 3, pad: 0, mask: Some(4) };
    TokenizerFiles::new(TOKENS.map(str::to_owned).to_vec(), Options::new(special))
}
