//! ViT: pre-norm, patches, learned positions.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames, Stored};
use crate::source::error::SourceError;
use crate::source::positions::Grid;
use crate::source::roles::{FINAL_NORM, PATCH};
use coda_runtime::config::{Config, Embedding, NormPlacement};
use coda_runtime::format::Role;
use serde::Deserialize;

pub(super) const FAMILY: Family = Family {
    model_types: &["vit"],
    prefixes: &["vit.", ""],
    probe: "embeddings.patch_embeddings.projection.weight",
    config: |checkpoint| config(checkpoint, 1e-12),
    tensors: |checkpoint, entries| tensors(checkpoint, entries, &LAYER),
    classifier: true,
    head: None,
};

pub(super) const LAYER: LayerNames = LayerNames {
    attention_norm: "layernorm_before",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
    attention_scale: None,
    feed_forward_norm: "layernorm_after",
    gate: "",
    expand: "intermediate.dense",
    contract: "output.dense",
    feed_forward_scale: None,
};

const CLASS_TOKEN: &str = "embeddings.cls_token";

/// A side, or height and width.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Sides {
    Square(usize),
    Rectangle([usize; 2]),
}

impl Sides {
    const fn height_and_width(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side; 2],
            Self::Rectangle(sides) => sides,
        }
    }
}

/// An encoder without the tensor of a class token has no such token.
pub(super) fn config(checkpoint: &Checkpoint<'_>, norm_eps: f64) -> Result<Config, SourceError> {
    let patch = patch(checkpoint)?;
    let [height, width] = match checkpoint.image_size() {
        Some(side) => [side; 2],
        None => trained_sides(checkpoint)?,
    };
    for side in [height, width] {
        if side == 0 || !side.is_multiple_of(patch) {
            let supported = "it must be a multiple of patch_size";
            return Err(checkpoint.refuse("image_size", side, supported));
        }
    }
    let channels = checkpoint.get("num_channels")?.unwrap_or(3);
    let class_token = checkpoint.has(CLASS_TOKEN);
    let embedding = Embedding::Patches { height, width, channels, patch, class_token };
    Ok(Config {
        norm_eps: checkpoint.get("layer_norm_eps")?.unwrap_or(norm_eps) as f32,
        activation: checkpoint.activation("hidden_act")?,
        placement: NormPlacement::Pre,
        final_norm: true,
        ..checkpoint.encoder(embedding, &bert::SIZES)?
    })
}

fn trained_sides(checkpoint: &Checkpoint<'_>) -> Result<[usize; 2], SourceError> {
    Ok(checkpoint.need::<Sides>("image_size")?.height_and_width())
}

fn patch(checkpoint: &Checkpoint<'_>) -> Result<usize, SourceError> {
    let [height, width] = checkpoint.need::<Sides>("patch_size")?.height_and_width();
    if height != width || height == 0 {
        let found = format!("{height} x {width}");
        return Err(checkpoint.refuse("patch_size", found, "patches must be square"));
    }
    Ok(height)
}

pub(super) fn tensors(
    checkpoint: &Checkpoint<'_>,
    entries: &mut Entries<'_>,
    layer: &LayerNames,
) -> Result<(), SourceError> {
    let config = entries.config();
    let Embedding::Patches { height, width, channels, patch, class_token } = config.embedding
    else {
        return Ok(());
    };
    let inputs = [config.hidden, channels * patch * patch];
    entries.global_linear(PATCH, "embeddings.patch_embeddings.projection", inputs);
    if class_token {
        entries.table(Role::ClassToken, CLASS_TOKEN, 1);
    }
    let to = Grid { rows: height / patch, columns: width / patch };
    let from = match checkpoint.image_size() {
        None => to,
        Some(_) => {
            let [height, width] = trained_sides(checkpoint)?;
            Grid { rows: height / patch, columns: width / patch }
        }
    };
    let stored = if from == to { Stored::Same } else { Stored::Resized { from, to } };
    let shape = [to.patches() + usize::from(class_token), config.hidden];
    entries.stored(Role::PositionEmbedding, "embeddings.position_embeddings", shape, stored);
    entries.global_norm(FINAL_NORM, "layernorm");
    entries.layers("encoder.layer", layer);
    Ok(())
}
