//! DINOv2: a ViT with LayerScale; also with registers, and with a gated feed-forward layer.

use super::checkpoint::Checkpoint;
use super::definition::{Family, embedding};
use super::entries::LayerNames;
use super::vit::{self, CLASS_TOKEN, ImageNames, REGISTERS};
use crate::source::error::SourceError;
use crate::source::roles::{EXPAND, GATE};
use coda_runtime::config::{Activation, Config, Pooling};
use serde_json::json;

pub(super) const FAMILY: Family = Family {
    model_types: &["dinov2"],
    prefixes: &["dinov2.", "backbone.", ""],
    config: |checkpoint| config(checkpoint, &NAMES),
    tensors: |checkpoint, entries| {
        vit::tensors(checkpoint, entries, names(checkpoint, [&NAMES, &SWIGLU])?)
    },
    head: Some(embedding(Pooling::ClassToken)),
    ..vit::FAMILY
};

pub(super) const WITH_REGISTERS: Family = Family {
    model_types: &["dinov2_with_registers"],
    prefixes: &["dinov2_with_registers.", "backbone.", ""],
    config: |checkpoint| config(checkpoint, &REGISTER_NAMES),
    tensors: |checkpoint, entries| {
        let names = names(checkpoint, [&REGISTER_NAMES, &REGISTER_SWIGLU])?;
        vit::tensors(checkpoint, entries, names)
    },
    ..FAMILY
};

const NAMES: ImageNames = ImageNames {
    layer: LayerNames {
        attention_norm: "norm1",
        attention_scale: Some("layer_scale1.lambda1"),
        feed_forward_norm: "norm2",
        expand: "mlp.fc1",
        contract: "mlp.fc2",
        feed_forward_scale: Some("layer_scale2.lambda1"),
        ..vit::NAMES.layer
    },
    ..vit::NAMES
};

const TOKENS: &[&str] = &[CLASS_TOKEN, REGISTERS];
const REGISTER_NAMES: ImageNames = ImageNames { tokens: TOKENS, ..NAMES };
const REGISTER_SWIGLU: ImageNames = ImageNames { tokens: TOKENS, ..SWIGLU };
const SWIGLU: ImageNames = ImageNames {
    layer: LayerNames {
        expand: "mlp.weights_in",
        fused: &[GATE, EXPAND],
        contract: "mlp.weights_out",
        ..NAMES.layer
    },
    ..NAMES
};

/// The names without a gated feed-forward layer, or with one.
fn names<'n>(
    checkpoint: &Checkpoint<'_>,
    [plain, gated]: [&'n ImageNames; 2],
) -> Result<&'n ImageNames, SourceError> {
    Ok(if is_gated(checkpoint)? { gated } else { plain })
}

fn is_gated(checkpoint: &Checkpoint<'_>) -> Result<bool, SourceError> {
    Ok(checkpoint.get("use_swiglu_ffn")?.unwrap_or(false))
}

/// The width of the feed-forward layer is a multiple of the model's; of that, a gated one has two thirds.
fn config(checkpoint: &Checkpoint<'_>, names: &ImageNames) -> Result<Config, SourceError> {
    let ratio = checkpoint.get::<f64>("mlp_ratio")?.unwrap_or(4.0);
    let width = (f64::from(checkpoint.need::<u32>("hidden_size")?) * ratio) as u32 as usize;
    let gated = is_gated(checkpoint)?;
    let width = if gated { (width * 2 / 3).next_multiple_of(8) } else { width };
    let defaults = json!({ "intermediate_size": width, "layer_norm_eps": 1e-6 });
    let config = vit::config(&checkpoint.with_defaults(&defaults), names)?;
    let activation = if gated { Activation::Silu } else { config.activation };
    Ok(Config { gated, activation, ..config })
}
