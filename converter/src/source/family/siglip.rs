//! The vision tower of `SigLIP`: a ViT without a class token.

use super::checkpoint::Checkpoint;
use super::clip;
use super::definition::Family;
use super::vit::{self, ImageNames};
use crate::source::error::SourceError;
use coda_runtime::config::Config;
use serde_json::json;

pub(super) const FAMILY: Family = Family {
    model_types: &["siglip", "siglip_vision_model"],
    config,
    tensors: |checkpoint, entries| vit::tensors(&tower(checkpoint), entries, &NAMES),
    head: None,
    ..clip::FAMILY
};

const NAMES: ImageNames = ImageNames { tokens: &[], norm_before: None, ..clip::NAMES };

fn tower<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    let usual = json!({
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "image_size": 224, "patch_size": 16,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    });
    vit::tower(checkpoint).with_defaults(&usual)
}

/// Its pooled answer comes from an attention of one learned query, which no package can say.
fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let tower = tower(checkpoint);
    if tower.get("vision_use_head")?.unwrap_or(true) && checkpoint.has("head.probe") {
        let supported =
            "the pooling by attention cannot be packed; with false the hidden states are";
        return Err(checkpoint.refuse("vision_use_head", true, supported));
    }
    vit::config(&tower, &NAMES)
}
