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
    /// A norm follows the last layer.
    pub final_norm: bool,
    /// Scores and context of attention are products of int8 values (ours), not of f32 ones.
    pub int8_attention: bool,
    /// Every layer has the weights of layer 0, which alone are stored (ALBERT).
    pub shared_layers: bool,
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

    /// Longest input in tokens, when the architecture bounds it.
    #[must_use]
    pub const fn max_tokens(&self) -> Option<usize> {
        match self.embedding {
            Embedding::Tokens { positions: 0, .. } => None,
            Embedding::Tokens { positions, .. } => Some(positions),
            Embedding::Patches { height, width, patch, prefix_tokens, .. } => {
                let side = if patch == 0 { 1 } else { patch };
                Some((height / side) * (width / side) + prefix_tokens)
            }
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
}

/// What turns the last hidden states into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// What follows the pooling.
    pub kind: HeadKind,
}

/// How token vectors become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's vector.
    ClassToken,
    /// The mean over all tokens.
    Mean,
}

/// What follows the pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A linear map to one logit per label.
    Classification {
        /// Number of labels.
        labels: usize,
    },
    /// The pooled vector itself, scaled to length 1 if `normalize`.
    Embedding {
        /// Divide by the Euclidean norm.
        normalize: bool,
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
    RouterInput is "router_input": Norm "norm", Raw "raw", Rms "rms";
    GateKind is "gate":
        Exact "exact", Iterated "iterated" | "iter20", Sigmoid "sigmoid", Ones "ones";
    AttentionMode is "attention":
        KToK "k-to-k" | "k2k",
        KToAll "k-to-all" | "k2all",
        KToLowRank "k-to-low-rank" | "k-to-light";
}

impl Named for Pooling {
    const WHAT: &'static str = "pooling";
    const ALL: &'static [Self] = &[Self::ClassToken, Self::Mean];

    fn name(self) -> &'static str {
        match self {
            Self::ClassToken => "class token",
            Self::Mean => "mean",
        }
    }

    /// What follows the name's first word is a remark.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            _ if name.starts_with("class") => Some(Self::ClassToken),
            _ if name.starts_with("mean") => Some(Self::Mean),
            _ => None,
        }
    }
}
