//! The vision tower of CLIP: a ViT with a norm before its layers.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::{Family, embedding};
use super::entries::LayerNames;
use super::vit::{self, ImageNames};
use coda_runtime::config::Pooling;
use serde_json::json;

/// The answer is the class token after the last norm, before any projection that is shared with texts.
pub(super) const FAMILY: Family = Family {
    model_types: &["clip", "clip_vision_model"],
    prefixes: &["vision_model.", ""],
    probe: "embeddings.patch_embedding.weight",
    config: |checkpoint| vit::config(&tower(checkpoint), &NAMES),
    tensors: |checkpoint, entries| vit::tensors(&tower(checkpoint), entries, &NAMES),
    classifier: false,
    head: Some(embedding(Pooling::ClassToken)),
};

pub(super) const NAMES: ImageNames = ImageNames {
    patch: "embeddings.patch_embedding",
    tokens: &["embeddings.class_embedding"],
    positions: "embeddings.position_embedding.weight",
    norm_before: Some("pre_layrnorm"),
    norm: "post_layernorm",
    layers: "encoder.layers",
    layer: LayerNames {
        attention_norm: "layer_norm1",
        query: "self_attn.q_proj",
        key: "self_attn.k_proj",
        value: "self_attn.v_proj",
        output: "self_attn.out_proj",
        feed_forward_norm: "layer_norm2",
        expand: "mlp.fc1",
        contract: "mlp.fc2",
        ..bert::LAYER
    },
};

/// The configuration of the tower, which a file of both towers holds in a field without what is as usual.
fn tower<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    let usual = json!({
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "image_size": 224, "patch_size": 32,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    });
    vit::tower(checkpoint).with_defaults(&usual)
}
