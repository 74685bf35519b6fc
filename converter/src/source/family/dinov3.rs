//! `DINOv3`: a ViT with registers whose patches have rotary positions, by line and column.

use super::checkpoint::Checkpoint;
use super::definition::{Family, embedding};
use super::entries::LayerNames;
use super::rope;
use super::vit::{self, CLASS_TOKEN, ImageNames, REGISTERS};
use crate::source::error::SourceError;
use crate::source::rotary::Scaling;
use coda_runtime::config::{Config, Pooling, Rotary};
use coda_runtime::format::Role;
use serde_json::json;

pub(super) const FAMILY: Family = Family {
    model_types: &["dinov3_vit"],
    prefixes: &["dinov3_vit.", "backbone.", ""],
    probe: "embeddings.patch_embeddings.weight",
    config,
    tensors: |checkpoint, entries| {
        vit::tensors(checkpoint, entries, &NAMES)?;
        let otherwise = checkpoint.get("rope_theta")?.unwrap_or(100.0);
        let columns = entries.config().rotary.columns;
        let rates = rope::rates(checkpoint, None, otherwise, columns)?;
        if rates.scaling != Scaling::None {
            let supported = "supported are angles that are not scaled";
            return Err(checkpoint.refuse("rope_parameters", "scaled", supported));
        }
        if let Some(places) = vit::places(entries.config()) {
            entries.rotary(Role::Rotary, rates, places);
        }
        Ok(())
    },
    head: Some(embedding(Pooling::ClassToken)),
    ..vit::FAMILY
};

const NAMES: ImageNames = ImageNames {
    patch: "embeddings.patch_embeddings",
    tokens: &[CLASS_TOKEN, REGISTERS],
    norm: "norm",
    layers: "layer",
    layer: LayerNames {
        attention_norm: "norm1",
        query: "attention.q_proj",
        key: "attention.k_proj",
        value: "attention.v_proj",
        output: "attention.o_proj",
        attention_scale: Some("layer_scale1.lambda1"),
        feed_forward_norm: "norm2",
        gate: "mlp.gate_proj",
        expand: "mlp.up_proj",
        contract: "mlp.down_proj",
        feed_forward_scale: Some("layer_scale2.lambda1"),
        ..vit::NAMES.layer
    },
    ..vit::NAMES
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let defaults = json!({ "layer_norm_eps": 1e-5 });
    let config = vit::config(&checkpoint.with_defaults(&defaults), &NAMES)?;
    if !config.head_dim.is_multiple_of(4) {
        let supported =
            "the columns of a head must be a multiple of 4: pairs for lines and for columns";
        return Err(checkpoint.refuse("num_attention_heads", config.heads, supported));
    }
    let positions = config.max_tokens().unwrap_or(0);
    let rotary = Rotary { columns: config.head_dim, positions, own_of_local: false };
    let gated = checkpoint.get("use_gated_mlp")?.unwrap_or(false);
    Ok(Config { rotary, gated, ..config })
}
