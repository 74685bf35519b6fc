//! The vision tower of `SigLIP`: a ViT without a class token.

use super::checkpoint::Checkpoint;
use super::clip;
use super::definition::{Family, pooled_by_attention};
use super::entries::Entries;
use super::vit::{self, ImageNames};
use crate::source::error::SourceError;
use coda_runtime::config::{Config, Named};
use serde_json::json;

pub(super) const FAMILY: Family = Family {
    model_types: &["siglip", "siglip_vision_model"],
    config,
    tensors,
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

/// The file has the pooling by attention of a learned query, and it is used.
fn has_probe(checkpoint: &Checkpoint<'_>) -> Result<bool, SourceError> {
    let used = tower(checkpoint).get("vision_use_head")?.unwrap_or(true);
    Ok(used && checkpoint.has("head.probe"))
}

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let config = vit::config(&tower(checkpoint), &NAMES)?;
    if has_probe(checkpoint)? && pooled_by_attention(config.activation).is_none() {
        let supported = "supported with the pooling by attention are gelu, gelu_new and relu";
        return Err(checkpoint.refuse("hidden_act", config.activation.name(), supported));
    }
    Ok(config)
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    vit::tensors(&tower(checkpoint), entries, &NAMES)?;
    if has_probe(checkpoint)? {
        entries.probe("head.");
    }
    Ok(())
}
