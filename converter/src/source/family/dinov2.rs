//! DINOv2: a ViT with LayerScale.

use super::checkpoint::Checkpoint;
use super::definition::{Family, embedding};
use super::entries::LayerNames;
use super::vit;
use crate::source::error::SourceError;
use coda_runtime::config::{Config, Pooling};

pub(super) const FAMILY: Family = Family {
    model_types: &["dinov2"],
    prefixes: &["dinov2.", "backbone.", ""],
    config,
    tensors: |checkpoint, entries| vit::tensors(checkpoint, entries, &LAYER),
    head: Some(embedding(Pooling::ClassToken)),
    ..vit::FAMILY
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "norm1",
    attention_scale: Some("layer_scale1.lambda1"),
    feed_forward_norm: "norm2",
    expand: "mlp.fc1",
    contract: "mlp.fc2",
    feed_forward_scale: Some("layer_scale2.lambda1"),
    ..vit::LAYER
};

/// The width of the feed-forward layer is a multiple of the model's where it is not said.
fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    if checkpoint.get("use_swiglu_ffn")? == Some(true) {
        return Err(checkpoint.refuse("use_swiglu_ffn", true, "supported is false"));
    }
    vit::config(checkpoint, 1e-6)
}
