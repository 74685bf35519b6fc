//! Weights and biases that go together.

use coda_runtime::format::Role;

/// The tensors of a norm or of a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// The weight.
    pub(crate) weight: Role,
    /// The bias.
    pub(crate) bias: Role,
}

macro_rules! roles {
    ($($(#[$attribute:meta])* $name:ident = $weight:ident, $bias:ident;)+) => {
        $($(#[$attribute])* pub(crate) const $name: Roles = Roles { weight: Role::$weight, bias: Role::$bias };)+
    };
}

roles! {
    EMBEDDING_NORM = EmbeddingNormWeight, EmbeddingNormBias;
    FINAL_NORM = FinalNormWeight, FinalNormBias;
    ATTENTION_NORM = AttentionNormWeight, AttentionNormBias;
    FEED_FORWARD_NORM = FeedForwardNormWeight, FeedForwardNormBias;
    PATCH = PatchWeight, PatchBias;
    FIRST_CONVOLUTION = FirstConvolution, FirstConvolutionBias;
    SECOND_CONVOLUTION = SecondConvolution, SecondConvolutionBias;
    PROJECTION = ProjectionWeight, ProjectionBias;
    MEMORY = MemoryWeight, MemoryBias;
    CROSS_NORM = CrossNormWeight, CrossNormBias;
    CROSS_QUERY = CrossQuery, CrossQueryBias;
    CROSS_KEY = CrossKey, CrossKeyBias;
    CROSS_VALUE = CrossValue, CrossValueBias;
    CROSS_OUTPUT = CrossOutput, CrossOutputBias;
    QUERY = Query, QueryBias;
    KEY = Key, KeyBias;
    VALUE = Value, ValueBias;
    OUTPUT = AttentionOutput, AttentionOutputBias;
    EXPAND = FeedForwardIn, FeedForwardInBias;
    GATE = FeedForwardGate, FeedForwardGateBias;
    CONTRACT = FeedForwardOut, FeedForwardOutBias;
    FIRST_STAGE = FirstStage, FirstStageBias;
    SECOND_STAGE = SecondStage, SecondStageBias;
    HEAD = HeadWeight, HeadBias;
    #[cfg(feature = "verify")]
    PROBE_OUTPUT = ProbeOutput, ProbeOutputBias;
    #[cfg(feature = "verify")]
    ADAPTER_DOWN = AdapterDown, AdapterDownBias;
    #[cfg(feature = "verify")]
    ADAPTER_UP = AdapterUp, AdapterUpBias;
    #[cfg(feature = "verify")]
    LOGITS = LogitWeight, LogitBias;
    POOLED_NORM = PooledNormWeight, PooledNormBias;
}
