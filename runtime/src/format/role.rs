//! What a tensor is for. A role is stored as a number that never changes its meaning.

/// Every role with its code, scope, holder and name.
macro_rules! roles {
    ($(
        $(#[$doc:meta])*
        $name:ident = $code:literal, $scope:ident, $holder:ident, $text:literal;
    )*) => {
        /// What a tensor is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Role {
            $($(#[$doc])* $name = $code,)*
        }

        impl Role {
            /// Every role, ascending by code.
            pub const ALL: &'static [Role] = &[$(Role::$name,)*];

            /// The role of a stored code. A build without the feature `decoder` knows none of a
            /// decoder's own, one without `frames` none of a convolution.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Role> {
                match code {
                    28..=31 | 80..=89 | 96 if !cfg!(feature = "decoder") => None,
                    90..=93 if !cfg!(feature = "frames") => None,
                    $($code => Some(Role::$name),)*
                    _ => None,
                }
            }

            const fn scope(self) -> Scope {
                match self {
                    $(Role::$name => Scope::$scope,)*
                }
            }

            const fn holder(self) -> Holder {
                match self {
                    $(Role::$name => Holder::$holder,)*
                }
            }

            /// Name for people, as the inspection tables print it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Role::$name => $text,)*
                }
            }
        }
    };
}

roles! {
    /// Token embedding table `[vocabulary, d]`.
    TokenEmbedding = 1, Global, Base, "token embedding";
    /// Absolute position table `[positions, d]`.
    PositionEmbedding = 2, Global, Base, "position embedding";
    /// Token type table `[token types, d]`.
    TokenTypeEmbedding = 3, Global, Base, "token type embedding";
    /// Weight of the norm after the embedding sum `[d]`.
    EmbeddingNormWeight = 4, Global, Both, "embedding norm weight";
    /// Bias of the norm after the embedding sum `[d]`.
    EmbeddingNormBias = 5, Global, Both, "embedding norm bias";
    /// Patch projection `[d, channels * patch * patch]`.
    PatchWeight = 6, Global, Base, "patch weight";
    /// Patch projection bias `[d]`.
    PatchBias = 7, Global, Base, "patch bias";
    /// Learned tokens before the patches, the class token first `[prefix tokens, d]`.
    ClassToken = 8, Global, Base, "class token";
    /// Relative position bias by distance `[heads, 2 D + 1]`.
    RelativeBias = 9, Global, Base, "relative bias";
    /// Weight of the norm after the last layer `[d]`.
    FinalNormWeight = 10, Global, Both, "final norm weight";
    /// Bias of the norm after the last layer `[d]`.
    FinalNormBias = 11, Global, Both, "final norm bias";
    /// Classifier `[labels, e]`, e being the width of the last dense stage or of the pooled vector.
    HeadWeight = 12, Global, Both, "head weight";
    /// Classifier bias `[labels]`.
    HeadBias = 13, Global, Both, "head bias";
    /// First dense stage of the head `[e, pooled]`.
    FirstStage = 14, Global, Both, "first stage weight";
    /// Bias of the first dense stage `[e]`.
    FirstStageBias = 15, Global, Both, "first stage bias";
    /// Second dense stage of the head `[e, first stage]`.
    SecondStage = 16, Global, Both, "second stage weight";
    /// Bias of the second dense stage `[e]`.
    SecondStageBias = 17, Global, Both, "second stage bias";
    /// What each head of a pooling by attention multiplies a vector by for its score `[heads, d]`.
    Probe = 18, Global, Base, "probe";
    /// Values of a pooling by attention `[attention width, d]`.
    ProbeValue = 19, Global, Base, "probe value weight";
    /// Output of a pooling by attention `[d, attention width]`.
    ProbeOutput = 20, Global, Base, "probe output weight";
    /// Bias of that output `[d]`.
    ProbeOutputBias = 21, Global, Base, "probe output bias";
    /// Weight of the norm of the pooled vector `[d]`.
    PooledNormWeight = 22, Global, Base, "pooled norm weight";
    /// Bias of the norm of the pooled vector `[d]`.
    PooledNormBias = 23, Global, Base, "pooled norm bias";
    /// From the columns of the token tables to the model dimension `[d, projected]`.
    ProjectionWeight = 24, Global, Base, "embedding projection weight";
    /// Bias of that map `[d]`.
    ProjectionBias = 25, Global, Base, "embedding projection bias";
    /// Cosines, then sines of each position `[positions, rotated columns]`.
    Rotary = 26, Global, Base, "rotary table";
    /// The same of layers of local attention.
    LocalRotary = 27, Global, Base, "local rotary table";
    /// Output map of a decoder that has one beside its token table `[vocabulary, d]`.
    LogitWeight = 28, Global, Base, "logit weight";
    /// Bias of the output map `[vocabulary]`.
    LogitBias = 29, Global, Base, "logit bias";
    /// From the encoder's states to what a decoder attends to `[d, d of the encoder]`.
    MemoryWeight = 30, Global, Base, "memory weight";
    /// Bias of that map `[d]`.
    MemoryBias = 31, Global, Base, "memory bias";
    /// Query projection `[attention width, d]`.
    Query = 32, Layer, Base, "query weight";
    /// Query bias `[attention width]`.
    QueryBias = 33, Layer, Base, "query bias";
    /// Key projection `[attention width, d]`.
    Key = 34, Layer, Base, "key weight";
    /// Key bias `[attention width]`.
    KeyBias = 35, Layer, Base, "key bias";
    /// Value projection `[attention width, d]`.
    Value = 36, Layer, Base, "value weight";
    /// Value bias `[attention width]`.
    ValueBias = 37, Layer, Base, "value bias";
    /// Attention output projection `[d, attention width]`.
    AttentionOutput = 38, Layer, Base, "attention output weight";
    /// Attention output bias `[d]`.
    AttentionOutputBias = 39, Layer, Base, "attention output bias";
    /// Weight of the attention norm `[d]`.
    AttentionNormWeight = 40, Layer, Both, "attention norm weight";
    /// Bias of the attention norm `[d]`.
    AttentionNormBias = 41, Layer, Both, "attention norm bias";
    /// LayerScale of the attention update `[d]`.
    AttentionScale = 42, Layer, Base, "attention layer scale";
    /// Factor on each input of the query, key and value projections `[d]`; their weights are
    /// divided by it.
    AttentionInputScale = 43, Layer, Base, "attention input scale";
    /// Relative position bias by distance, of one layer `[heads, 2 D + 1]`.
    LayerRelativeBias = 44, Layer, Base, "relative bias of a layer";
    /// Feed-forward expansion `[feed-forward width, d]`.
    FeedForwardIn = 48, Layer, Base, "feed-forward in weight";
    /// Feed-forward expansion bias `[feed-forward width]`.
    FeedForwardInBias = 49, Layer, Base, "feed-forward in bias";
    /// Feed-forward gate `[feed-forward width, d]`.
    FeedForwardGate = 50, Layer, Base, "feed-forward gate weight";
    /// Feed-forward gate bias `[feed-forward width]`.
    FeedForwardGateBias = 51, Layer, Base, "feed-forward gate bias";
    /// Feed-forward contraction `[d, feed-forward width]`.
    FeedForwardOut = 52, Layer, Base, "feed-forward out weight";
    /// Feed-forward contraction bias `[d]`.
    FeedForwardOutBias = 53, Layer, Base, "feed-forward out bias";
    /// Weight of the feed-forward norm `[d]`.
    FeedForwardNormWeight = 54, Layer, Both, "feed-forward norm weight";
    /// Bias of the feed-forward norm `[d]`.
    FeedForwardNormBias = 55, Layer, Both, "feed-forward norm bias";
    /// LayerScale of the feed-forward update `[d]`.
    FeedForwardScale = 56, Layer, Base, "feed-forward layer scale";
    /// Factor on each input of the feed-forward expansion and gate `[d]`; their weights are divided
    /// by it.
    FeedForwardInputScale = 57, Layer, Base, "feed-forward input scale";
    /// Adapter down projection `[h, d]`.
    AdapterDown = 64, Layer, Task, "adapter down weight";
    /// Adapter down bias `[h]`.
    AdapterDownBias = 65, Layer, Task, "adapter down bias";
    /// Adapter up projection `[d, h]`.
    AdapterUp = 66, Layer, Task, "adapter up weight";
    /// Adapter up bias `[d]`.
    AdapterUpBias = 67, Layer, Task, "adapter up bias";
    /// Router vector `[d]`.
    Router = 68, Layer, Task, "router";
    /// k-to-low-rank down projection `[rank, d]`.
    LowRankDown = 69, Layer, Task, "low-rank down weight";
    /// k-to-low-rank keys from the down projection `[attention width, rank]`.
    LowRankKey = 70, Layer, Task, "low-rank key weight";
    /// k-to-low-rank key bias `[attention width]`.
    LowRankKeyBias = 71, Layer, Task, "low-rank key bias";
    /// k-to-low-rank values from the down projection `[attention width, rank]`.
    LowRankValue = 72, Layer, Task, "low-rank value weight";
    /// k-to-low-rank value bias `[attention width]`.
    LowRankValueBias = 73, Layer, Task, "low-rank value bias";
    /// Queries of a decoder's attention to the encoder's states `[attention width, d]`.
    CrossQuery = 80, Layer, Base, "cross query weight";
    /// Their bias `[attention width]`.
    CrossQueryBias = 81, Layer, Base, "cross query bias";
    /// Keys of the encoder's states `[attention width, d of the memory]`.
    CrossKey = 82, Layer, Base, "cross key weight";
    /// Their bias `[attention width]`.
    CrossKeyBias = 83, Layer, Base, "cross key bias";
    /// Values of the encoder's states `[attention width, d of the memory]`.
    CrossValue = 84, Layer, Base, "cross value weight";
    /// Their bias `[attention width]`.
    CrossValueBias = 85, Layer, Base, "cross value bias";
    /// Output projection of that attention `[d, attention width]`.
    CrossOutput = 86, Layer, Base, "cross output weight";
    /// Its bias `[d]`.
    CrossOutputBias = 87, Layer, Base, "cross output bias";
    /// Weight of the norm of that attention `[d]`.
    CrossNormWeight = 88, Layer, Both, "cross norm weight";
    /// Bias of the norm of that attention `[d]`.
    CrossNormBias = 89, Layer, Both, "cross norm bias";
    /// First convolution of an embedding of frames, the bins of the earliest of three frames first
    /// `[d, 3 bins]`.
    FirstConvolution = 90, Global, Base, "first convolution weight";
    /// Its bias `[d]`.
    FirstConvolutionBias = 91, Global, Base, "first convolution bias";
    /// Second convolution of an embedding of frames, in the same order `[d, 3 d]`.
    SecondConvolution = 92, Global, Base, "second convolution weight";
    /// Its bias `[d]`.
    SecondConvolutionBias = 93, Global, Base, "second convolution bias";
    /// Rows that a decoder finds behind the encoder's states `[rows, d of the encoder]`.
    AppendedStates = 96, Global, Task, "appended states";
}

impl Role {
    /// The stored code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The tensor belongs to one layer; otherwise it is stored under
    /// [`GLOBAL_LAYER`](super::GLOBAL_LAYER).
    #[must_use]
    pub const fn is_per_layer(self) -> bool {
        matches!(self.scope(), Scope::Layer)
    }

    /// A base package may hold it.
    #[must_use]
    pub const fn belongs_to_base(self) -> bool {
        matches!(self.holder(), Holder::Base | Holder::Both)
    }

    /// A task package may hold it: adapters, routers, norms and the head; never a frozen weight.
    #[must_use]
    pub const fn belongs_to_task(self) -> bool {
        matches!(self.holder(), Holder::Task | Holder::Both)
    }
}

/// How often a model has a tensor: once, or once in each layer.
enum Scope {
    Global,
    Layer,
}

/// Which packages hold a tensor.
enum Holder {
    Base,
    Task,
    Both,
}
