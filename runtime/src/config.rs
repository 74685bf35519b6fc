//! What a package describes: the frozen base ([`Config`]) and what a task adds to it
//! ([`TaskConfig`]).
//!
//! An encoder family is a point in this space, never a copy of code: BERT, ViT and T5 differ only
//! in the values below and in which optional tensors are present.

/// The frozen pretrained encoder: shapes and choices.
///
/// **Shapes**: `hidden` is the model dimension d; `heads * head_dim` is the attention width, which
/// may differ from d (T5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How a token enters the encoder.
    pub embedding: Embedding,
    /// Model dimension d.
    pub hidden: usize,
    /// Number of encoder layers L.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Kind of every norm in the encoder.
    pub norm: Norm,
    /// Added to the variance (or mean square) inside the root.
    pub norm_eps: f32,
    /// Where the norms of a layer stand.
    pub placement: NormPlacement,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// The feed-forward layer is `out(act(gate(u)) * in(u))` instead of `out(act(in(u)))`.
    pub gated: bool,
    /// Factor on `q k^T`: `1 / sqrt(head_dim)` for most, 1 for T5.
    pub attention_scale: f32,
    /// Largest distance D of the relative position bias (T5); 0 when there is none. The bias tensor
    /// is `[heads, 2 D + 1]`, entry `clamp(j - i, -D, D) + D` for query i and key j.
    pub relative_distance: usize,
    /// Each layer has such a bias of its own (UMT5).
    pub layer_bias: bool,
    /// The bias is of distances in the grid of patches, of which there are (2 rows - 1)(2 columns - 1):
    /// D is the largest of `(2 columns - 1) dy + dx`. Behind those entries stand three: the class
    /// token's query with a patch's key, the reverse, and its own (`BEiT`).
    pub grid_bias: bool,
    /// A token sees itself and those before it alone (the text tower of CLIP). Attention is in f32.
    pub causal: bool,
    /// A norm follows the last layer.
    pub final_norm: bool,
    /// Scores and context of attention are products of int8 values (ours), not of f32 ones.
    pub int8_attention: bool,
    /// Every layer has the weights of layer 0, which alone are stored (ALBERT).
    pub shared_layers: bool,
    /// Queries and keys are turned by angles of their position.
    pub rotary: Rotary,
    /// Layers whose tokens attend to those near them alone.
    pub local: LocalAttention,
    /// The attention of layer 0 reads X itself, in a pre-norm encoder (`ModernBERT`).
    pub bare_first_layer: bool,
}

/// Rotary positions: in each head column i and column `i + columns / 2` of a query or key are one pair,
/// `(a, b)` becoming `(a cos - b sin, b cos + a sin)`. A table has the cosines and sines of each position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotary {
    /// Columns of each head that are turned, the first ones, an even number; 0 for none.
    pub columns: usize,
    /// Rows of the table, also the longest input; 0 for none.
    pub positions: usize,
    /// Layers of local attention have a table of their own.
    pub own_of_local: bool,
}

/// Local attention: in most layers a token attends to those at a distance of at most `distance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAttention {
    /// The largest distance, in tokens; 0 where every layer attends to all tokens.
    pub distance: usize,
    /// Layers 0, `period`, `2 period` and so on attend to all tokens, the others do not; 0 for none.
    pub period: usize,
}

impl LocalAttention {
    /// The largest distance at which tokens of layer `index` attend to each other; `None` for any.
    #[must_use]
    pub const fn distance_of(&self, index: usize) -> Option<usize> {
        let local = self.distance > 0 && !index.is_multiple_of(self.period);
        if local { Some(self.distance) } else { None }
    }
}

/// How a token enters the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedding {
    /// Rows of an embedding table, chosen by token id.
    Tokens {
        /// Rows of the token table; every id is below it.
        vocabulary: usize,
        /// Rows of the absolute position table, also the longest input; 0 when there is none.
        positions: usize,
        /// Rows of the token type table; 0 when there is none.
        token_types: usize,
        /// A norm follows the sum (BERT).
        norm: bool,
        /// Columns of the tables and of that norm, at most the model dimension, to which a linear map
        /// follows (ALBERT); 0 when the tables have the model dimension themselves.
        projected: usize,
    },
    /// Square patches of an image, projected; learned tokens may precede them.
    Patches {
        /// Image height in pixels, a multiple of `patch`.
        height: usize,
        /// Image width in pixels, a multiple of `patch`.
        width: usize,
        /// Colour channels.
        channels: usize,
        /// Side of a patch in pixels.
        patch: usize,
        /// Learned tokens before the patches: the class token first, then others (distillation token,
        /// registers).
        prefix_tokens: usize,
        /// A norm follows the sum with the positions (CLIP).
        norm: bool,
    },
    /// Frames of log-mel features through two convolutions, each over three adjacent ones; the second
    /// takes every other, so that two frames are one token (Whisper).
    #[cfg(feature = "frames")]
    Frames {
        /// Mel bins of a frame.
        bins: usize,
        /// Rows of the position table, also the longest input in tokens.
        positions: usize,
    },
    /// Square patches of an image of any size, projected; to each are added a learned row for the line of
    /// patches that it is in and one for its column (`Pix2Struct`).
    #[cfg(feature = "grid")]
    Grid {
        /// Most lines of patches, each with a row of the position table.
        rows: usize,
        /// Most columns of patches; their rows of the table are behind those.
        columns: usize,
        /// Colour channels.
        channels: usize,
        /// Side of a patch in pixels.
        patch: usize,
        /// Most patches of an image, the longest input.
        patches: usize,
    },
}

/// Kind of norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// `(x - mean) / sqrt(variance + eps) * w + b`, biased variance.
    LayerNorm,
    /// `x / sqrt(mean(x^2) + eps) * w`.
    RmsNorm,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the feed-forward layer (ViT, T5).
    Pre,
    /// After each residual sum (BERT).
    Post,
}

/// Element-wise activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x/2 (1 + erf(x / sqrt 2))`.
    GeluErf,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x / (1 + e^(-1.702 x))` (CLIP).
    GeluQuick,
}

impl Config {
    /// Width of queries, keys and values: `heads * head_dim`.
    #[must_use]
    pub const fn attention_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Entries of the relative bias of a head.
    #[must_use]
    pub const fn bias_entries(&self) -> usize {
        2 * self.relative_distance + if self.grid_bias { 4 } else { 1 }
    }

    /// The largest distance of a relative bias over the grid of patches; 0 where there is no grid behind
    /// one class token.
    #[must_use]
    pub const fn grid_distance(&self) -> usize {
        match self.embedding {
            Embedding::Patches { height, width, patch, prefix_tokens: 1, .. } if patch > 0 => {
                let (rows, columns) = (height / patch, width / patch);
                (rows.saturating_sub(1) * (2 * columns).saturating_sub(1))
                    + columns.saturating_sub(1)
            }
            _ => 0,
        }
    }

    /// Learned tokens before the patches; 0 for an encoder of tokens.
    #[must_use]
    pub const fn prefix_tokens(&self) -> usize {
        match self.embedding {
            Embedding::Patches { prefix_tokens, .. } => prefix_tokens,
            _ => 0,
        }
    }

    /// Longest input in tokens, when the architecture bounds it.
    #[must_use]
    pub const fn max_tokens(&self) -> Option<usize> {
        let turned = if cfg!(feature = "more-families") { self.rotary.positions } else { 0 };
        match self.embedding {
            Embedding::Tokens { positions: 0, .. } if turned == 0 => None,
            Embedding::Tokens { positions: 0, .. } => Some(turned),
            Embedding::Tokens { positions, .. } if turned == 0 || turned > positions => {
                Some(positions)
            }
            Embedding::Tokens { .. } => Some(turned),
            Embedding::Patches { height, width, patch, prefix_tokens, .. } => {
                let side = if patch == 0 { 1 } else { patch };
                Some((height / side) * (width / side) + prefix_tokens)
            }
            #[cfg(feature = "frames")]
            Embedding::Frames { positions, .. } => Some(positions),
            #[cfg(feature = "grid")]
            Embedding::Grid { patches, .. } => Some(patches),
        }
    }
}

/// What a task adds to a frozen base, beside its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskConfig {
    /// Activation between the two linear maps of the adapters.
    pub adapter_activation: Activation,
    /// What the router reads.
    pub router_input: RouterInput,
    /// How scores become gates. A model must run the kind it was trained with.
    pub gate: Gate,
    /// Reduction factor r of a routed layer when the call names no budget; at least 1.
    pub reduction: f32,
    /// Longest input the task was trained for, in tokens; 0 when it sets no bound of its own.
    pub max_tokens: usize,
}

/// What the router's scores are computed from (`docs/method.md`, "One layer").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterInput {
    /// The layer's normalised input (pre-norm), or X itself in a post-norm layer.
    Norm,
    /// The layer's input X.
    Raw,
    /// `X / sqrt(mean(X^2) + 1e-6)`, no weight.
    Rms,
    /// Nothing: k of n tokens stand apart as evenly as they can, whatever they are (ours). There is no
    /// router and every gate is 1.
    Grid,
}

/// How router scores become gates lambda (`docs/method.md`, "Soft top-k").
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// Soft top-k, exact maximiser (ours).
    Exact {
        /// Entropy weight.
        eps: f32,
    },
    /// Soft top-k by coordinate ascent on the dual (paper).
    Iterated {
        /// Number of sweeps T.
        sweeps: u32,
        /// Final entropy weight.
        eps: f32,
        /// Entropy weight of the first sweep (eps-scaling); `eps` when there is no scaling.
        eps_start: f32,
        /// Factor on the entropy weight after each sweep.
        decay: f32,
    },
    /// `1 / (1 + exp(-s))`, each token alone (the paper's ablation).
    Sigmoid,
    /// 1 for every selected token (straight-through training needs no solver at inference).
    Ones,
}

/// A [`Gate`] without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    /// [`Gate::Exact`].
    Exact,
    /// [`Gate::Iterated`].
    Iterated,
    /// [`Gate::Sigmoid`].
    Sigmoid,
    /// [`Gate::Ones`].
    Ones,
}

/// How one layer of a task is executed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerPlan {
    /// Every token passes the frozen layer (`None`), or the selected ones do.
    pub routing: Option<Routing>,
}

/// Routing of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// Whose keys and values the selected tokens attend to.
    pub attention: AttentionMode,
    /// The layer's own reduction factor under [`Budget::Task`](crate::routing::Budget::Task);
    /// `None` follows the task's.
    pub reduction: Option<f32>,
}

/// Whose keys and values the selected tokens attend to; queries are always the selected tokens'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionMode {
    /// Those of the selected tokens (paper).
    KToK,
    /// Those of all tokens (paper).
    KToAll,
    /// Exact ones of the selected tokens, low-rank ones of the rest (ours).
    KToLowRank,
    /// Those of the selected tokens; the others are pruned: this layer leaves them as they are, and the
    /// layers behind it, the head and the decoder see the selected tokens alone (ours).
    Prune,
}

/// What turns the last hidden states into an answer: token vectors become one vector, which passes
/// the dense stages and then the classifier, or is the answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How token vectors become one vector.
    pub pooling: Poolings,
    /// Maps between the pooling and what follows.
    pub stages: Stages,
    /// What follows them.
    pub kind: HeadKind,
    /// What the logits of a classification say.
    pub reading: Reading,
}

impl Head {
    /// A head of one pooling and no stage, whose largest logit is the label.
    #[must_use]
    pub const fn new(pooling: Pooling, kind: HeadKind) -> Self {
        Self { pooling: pooling.alone(), stages: Stages::NONE, kind, reading: Reading::Largest }
    }

    /// A head without pooling that gives each token a label of its own.
    #[must_use]
    pub const fn of_each_token(labels: usize) -> Self {
        Self {
            pooling: Poolings::NONE,
            stages: Stages::NONE,
            kind: HeadKind::TokenClassification { labels },
            reading: Reading::Largest,
        }
    }

    /// Every build of this crate computes it, also one without the feature `heads`.
    pub(crate) const fn is_plain(&self) -> bool {
        self.stages.0 == 0 && self.pooling.0 <= Pooling::Mean as u32
    }

    /// Each token has an answer of its own; never in a build without the feature `heads`.
    #[must_use]
    pub const fn is_of_each_token(&self) -> bool {
        cfg!(feature = "heads") && matches!(self.kind, HeadKind::TokenClassification { .. })
    }
}

/// One way in which token vectors become one vector; its code is a bit of [`Poolings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pooling {
    /// The first token's vector.
    ClassToken = 1,
    /// The mean over all tokens.
    Mean = 2,
    /// The largest value of each column.
    Max = 4,
    /// The sum over all tokens, divided by the root of their number.
    MeanRootLength = 8,
    /// The mean over all tokens, of which token i of n, counted from 1, has weight i.
    WeightedMean = 16,
    /// The last token's vector.
    LastToken = 32,
    /// The mean over all tokens but the first; 0 where there is no other.
    MeanOfRest = 64,
    /// The second token's vector, such as a distillation token's; 0 where there is none.
    SecondToken = 128,
    /// The mean over the patches: all tokens but the prefix tokens (class token, registers).
    MeanOfPatches = 256,
    /// The norm of what a learned query gets from attention to all tokens, which is added again behind
    /// the stages; never beside another pooling (`SigLIP`).
    Attention = 512,
    /// The mean over the prefix tokens (class and distillation token); 0 where there is none. Never beside
    /// another pooling.
    MeanOfPrefix = 2048,
}

impl Pooling {
    /// This one alone.
    #[must_use]
    pub const fn alone(self) -> Poolings {
        Poolings(self as u32)
    }
}

/// One or more poolings, whose vectors stand one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poolings(u32);

impl Poolings {
    /// The bit of a norm of the pooled vector.
    const NORM: u32 = 1024;

    /// No pooling: each token has an answer of its own.
    pub const NONE: Self = Self(0);
    /// Every pooling that may stand beside others, in the order in which their vectors stand.
    pub const ORDER: [Pooling; 9] = [
        Pooling::ClassToken,
        Pooling::Max,
        Pooling::Mean,
        Pooling::MeanRootLength,
        Pooling::WeightedMean,
        Pooling::LastToken,
        Pooling::MeanOfRest,
        Pooling::SecondToken,
        Pooling::MeanOfPatches,
    ];

    /// The poolings of a stored code; `None` for none, or an unknown one.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        let of_others = code >= 1 && code < 1 << Self::ORDER.len();
        let alone = code & !Self::NORM;
        let of_prefix = alone == Pooling::MeanOfPrefix as u32;
        let single = alone.is_power_of_two() && alone < 1 << Self::ORDER.len() || of_prefix;
        let normed = code != alone && single;
        let valid = of_others || normed || of_prefix || code == Pooling::Attention as u32;
        if valid { Some(Self(code)) } else { None }
    }

    /// The stored code.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0
    }

    /// These and another.
    #[must_use]
    pub const fn with(self, pooling: Pooling) -> Self {
        Self(self.0 | pooling as u32)
    }

    /// How many there are. A build without the feature `heads` binds no model with more than one.
    #[must_use]
    pub const fn count(self) -> usize {
        if cfg!(feature = "heads") { (self.0 & !Self::NORM).count_ones() as usize } else { 1 }
    }

    /// The one of a plain head.
    pub(crate) const fn plain(self) -> Pooling {
        if self.0 == Pooling::Mean as u32 { Pooling::Mean } else { Pooling::ClassToken }
    }

    /// Each, in the order in which their vectors stand.
    pub fn iter(self) -> impl Iterator<Item = Pooling> {
        let all = Self::ORDER.into_iter().chain([Pooling::Attention, Pooling::MeanOfPrefix]);
        all.filter(move |pooling| self.0 & *pooling as u32 != 0)
    }

    /// One pooling, whose vector a norm follows.
    #[must_use]
    pub const fn with_norm(self) -> Self {
        Self(self.0 | Self::NORM)
    }

    /// A norm follows; never in a build without the feature `heads`.
    #[must_use]
    pub const fn has_norm(self) -> bool {
        cfg!(feature = "heads") && self.0 & Self::NORM != 0
    }

    /// By attention of a learned query; never in a build without the feature `heads`.
    #[must_use]
    pub const fn is_attention(self) -> bool {
        cfg!(feature = "heads") && self.0 == Pooling::Attention as u32
    }

    /// The one, if there is no other.
    #[must_use]
    pub fn single(self) -> Option<Pooling> {
        self.iter().next().filter(|_| self.count() == 1)
    }
}

/// The dense stages of a head, at most [`Stages::MOST`]: `activation(W x + b)`, one behind the other.
/// The tensors say how wide each is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u32);

impl Stages {
    /// No stage.
    pub const NONE: Self = Self(0);
    /// Most stages of a head.
    pub const MOST: usize = 2;

    /// The stages of a stored code, one byte for each; `None` for an unknown one, or one behind none.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        let (first, second) = (code & 0xff, code >> 8);
        let last = StageActivation::GeluErfNormed as u32;
        let valid = first <= last && second <= last && (first > 0 || second == 0);
        if valid { Some(Self(code)) } else { None }
    }

    /// The stored code.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0
    }

    /// These and one behind them; `None` if there are [`Stages::MOST`] already.
    #[must_use]
    pub const fn then(self, activation: StageActivation) -> Option<Self> {
        match self.0 {
            0 => Some(Self(activation as u32)),
            first if first < 1 << 8 => Some(Self(first | (activation as u32) << 8)),
            _ => None,
        }
    }

    /// A norm follows one of them.
    #[must_use]
    pub fn has_norm(self) -> bool {
        (0..Self::MOST).filter_map(|index| self.get(index)).any(StageActivation::has_norm)
    }

    /// What follows the map of stage `index`; `None` if there is no such stage.
    #[must_use]
    pub fn get(self, index: usize) -> Option<StageActivation> {
        let code = if index < Self::MOST { self.0 >> (8 * index) & 0xff } else { 0 };
        StageActivation::ALL.iter().copied().find(|activation| *activation as u32 == code)
    }
}

/// What follows the map of a dense stage, in each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StageActivation {
    /// Nothing.
    Identity = 1,
    /// As [`Activation::Relu`].
    Relu = 2,
    /// As [`Activation::GeluErf`].
    GeluErf = 3,
    /// As [`Activation::GeluTanh`].
    GeluTanh = 4,
    /// The hyperbolic tangent.
    Tanh = 5,
    /// As [`Activation::GeluErf`], then the norm of what the stage gives, which has d values
    /// (`ModernBERT`).
    GeluErfNormed = 6,
}

impl StageActivation {
    /// A norm follows.
    #[must_use]
    pub const fn has_norm(self) -> bool {
        matches!(self, Self::GeluErfNormed)
    }
}

/// What the logits of a classification say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Reading {
    /// The label is that of the largest: their softmax is a probability of each.
    #[default]
    Largest = 0,
    /// Each label holds or not: the sigmoid of its logit is its probability.
    Each = 1,
    /// Each is a value (regression).
    Value = 2,
}

/// What follows the pooling and the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A linear map to one logit per label.
    Classification {
        /// Number of labels.
        labels: usize,
    },
    /// The vector itself, scaled to length 1 if `normalize`.
    Embedding {
        /// Divide by the Euclidean norm.
        normalize: bool,
    },
    /// A linear map of each token's vector, without pooling or stages, to one logit per label.
    TokenClassification {
        /// Number of labels.
        labels: usize,
    },
}

/// A setting whose values have names: in task files, on command lines, in records.
pub trait Named: Copy + 'static {
    /// What it is called in messages.
    const WHAT: &'static str;
    /// Every value.
    const ALL: &'static [Self];

    /// The name of the value.
    fn name(self) -> &'static str;

    /// The value of a name, older spellings included.
    fn from_name(name: &str) -> Option<Self>;
}

macro_rules! named {
    ($($kind:ident is $what:literal: $($value:ident $name:literal $(| $older:literal)*),+;)+) => {
        $(impl Named for $kind {
            const WHAT: &'static str = $what;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name $(| $older)* => Some(Self::$value),)+
                    _ => None,
                }
            }
        })+
    };
}

named! {
    Activation is "activation":
        Relu "relu",
        GeluErf "gelu" | "gelu_erf" | "gelu_python",
        GeluTanh "gelu_tanh" | "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate",
        Silu "silu" | "swish",
        GeluQuick "gelu_quick" | "quick_gelu";
    RouterInput is "router_input": Norm "norm", Raw "raw", Rms "rms", Grid "grid";
    GateKind is "gate":
        Exact "exact", Iterated "iterated" | "iter20", Sigmoid "sigmoid", Ones "ones";
    StageActivation is "activation of a dense stage":
        Identity "identity" | "linear" | "none",
        Relu "relu",
        GeluErf "gelu",
        GeluTanh "gelu_tanh" | "gelu_new" | "gelu_pytorch_tanh",
        Tanh "tanh",
        GeluErfNormed "gelu and norm";
    Reading is "reading of the logits":
        Largest "single_label_classification",
        Each "multi_label_classification",
        Value "regression";
    AttentionMode is "attention":
        KToK "k-to-k" | "k2k",
        KToAll "k-to-all" | "k2all",
        KToLowRank "k-to-low-rank" | "k-to-light" | "k2light",
        Prune "prune";
}

impl Named for Pooling {
    const WHAT: &'static str = "pooling";
    const ALL: &'static [Self] = &Poolings::ORDER;

    fn name(self) -> &'static str {
        match self {
            Self::ClassToken => "class token",
            Self::Max => "maximum",
            Self::Mean => "mean",
            Self::MeanRootLength => "sum over the root of the length",
            Self::WeightedMean => "weighted mean",
            Self::LastToken => "last token",
            Self::MeanOfRest => "mean of all but the first",
            Self::SecondToken => "second token",
            Self::MeanOfPatches => "mean of the patches",
            Self::MeanOfPrefix => "mean of the prefix tokens",
            Self::Attention => "attention of a learned query",
        }
    }

    /// What follows the first word of the two old names is a remark.
    fn from_name(name: &str) -> Option<Self> {
        let exact = Self::ALL.iter().copied().find(|pooling| pooling.name() == name);
        match name {
            _ if exact.is_some() => exact,
            _ if name.starts_with("class") => Some(Self::ClassToken),
            _ if name.starts_with("mean") => Some(Self::Mean),
            _ => None,
        }
    }
}
