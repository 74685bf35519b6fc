//! The maps and norms of a model, by the roles of their tensors.

use coda_runtime::format::Role;

/// The tensors of a map or a norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) weight: Role,
    pub(super) bias: Role,
}

const fn affine(weight: Role, bias: Role) -> Affine {
    Affine { weight, bias }
}

pub(super) const QUERY: Affine = affine(Role::Query, Role::QueryBias);
pub(super) const KEY: Affine = affine(Role::Key, Role::KeyBias);
pub(super) const VALUE: Affine = affine(Role::Value, Role::ValueBias);
pub(super) const OUTPUT: Affine = affine(Role::AttentionOutput, Role::AttentionOutputBias);
pub(super) const FEED_FORWARD_IN: Affine = affine(Role::FeedForwardIn, Role::FeedForwardInBias);
pub(super) const FEED_FORWARD_GATE: Affine =
    affine(Role::FeedForwardGate, Role::FeedForwardGateBias);
pub(super) const FEED_FORWARD_OUT: Affine = affine(Role::FeedForwardOut, Role::FeedForwardOutBias);
pub(super) const ADAPTER_DOWN: Affine = affine(Role::AdapterDown, Role::AdapterDownBias);
pub(super) const ADAPTER_UP: Affine = affine(Role::AdapterUp, Role::AdapterUpBias);
pub(super) const LOW_RANK_KEY: Affine = affine(Role::LowRankKey, Role::LowRankKeyBias);
pub(super) const LOW_RANK_VALUE: Affine = affine(Role::LowRankValue, Role::LowRankValueBias);
pub(super) const PATCH: Affine = affine(Role::PatchWeight, Role::PatchBias);
pub(super) const PROJECTION: Affine = affine(Role::ProjectionWeight, Role::ProjectionBias);
pub(super) const HEAD: Affine = affine(Role::HeadWeight, Role::HeadBias);
pub(super) const EMBEDDING_NORM: Affine =
    affine(Role::EmbeddingNormWeight, Role::EmbeddingNormBias);
pub(super) const ATTENTION_NORM: Affine =
    affine(Role::AttentionNormWeight, Role::AttentionNormBias);
pub(super) const FEED_FORWARD_NORM: Affine =
    affine(Role::FeedForwardNormWeight, Role::FeedForwardNormBias);
pub(super) const FINAL_NORM: Affine = affine(Role::FinalNormWeight, Role::FinalNormBias);
pub(super) const CROSS_NORM: Affine = affine(Role::CrossNormWeight, Role::CrossNormBias);
pub(super) const CROSS_QUERY: Affine = affine(Role::CrossQuery, Role::CrossQueryBias);
pub(super) const CROSS_KEY: Affine = affine(Role::CrossKey, Role::CrossKeyBias);
pub(super) const CROSS_VALUE: Affine = affine(Role::CrossValue, Role::CrossValueBias);
pub(super) const CROSS_OUTPUT: Affine = affine(Role::CrossOutput, Role::CrossOutputBias);
pub(super) const MEMORY: Affine = affine(Role::MemoryWeight, Role::MemoryBias);
pub(super) const LOGIT: Affine = affine(Role::LogitWeight, Role::LogitBias);

/// The maps that are no part of a task.
pub(super) const FROZEN_MAPS: [Affine; 13] = [
    QUERY,
    KEY,
    VALUE,
    OUTPUT,
    FEED_FORWARD_IN,
    FEED_FORWARD_GATE,
    FEED_FORWARD_OUT,
    CROSS_QUERY,
    CROSS_KEY,
    CROSS_VALUE,
    CROSS_OUTPUT,
    MEMORY,
    LOGIT,
];
