//! ViT: pre-norm, patches, learned positions.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::entry::Stored;
use crate::source::error::SourceError;
use crate::source::positions::Grid;
use crate::source::roles::{EMBEDDING_NORM, FINAL_NORM, PATCH};
use crate::source::rotary::Places;
use coda_runtime::config::{Config, Embedding, NormPlacement};
use coda_runtime::format::Role;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    model_types: &["vit", "vit_msn", "vit_mae", "ijepa"],
    prefixes: &["vit.", "ijepa.", ""],
    probe: "embeddings.patch_embeddings.projection.weight",
    config: |checkpoint| config(checkpoint, &NAMES),
    tensors: |checkpoint, entries| tensors(checkpoint, entries, &NAMES),
    classifier: true,
    head: None,
};

/// Where the tensors of a ViT are in a family's names.
pub(super) struct ImageNames {
    pub(super) patch: &'static str,
    /// The learned tokens before the patches, in order.
    pub(super) tokens: &'static [&'static str],
    pub(super) positions: &'static str,
    /// The norm between embedding and layers.
    pub(super) norm_before: Option<&'static str>,
    pub(super) norm: &'static str,
    pub(super) layers: &'static str,
    pub(super) layer: LayerNames,
}

pub(super) const NAMES: ImageNames = ImageNames {
    patch: "embeddings.patch_embeddings.projection",
    tokens: &[CLASS_TOKEN],
    positions: "embeddings.position_embeddings",
    norm_before: None,
    norm: "layernorm",
    layers: "encoder.layer",
    layer: LayerNames {
        attention_norm: "layernorm_before",
        query: "attention.attention.query",
        key: "attention.attention.key",
        value: "attention.attention.value",
        feed_forward_norm: "layernorm_after",
        ..bert::LAYER
    },
};

pub(super) const CLASS_TOKEN: &str = "embeddings.cls_token";
/// Learned tokens that have no positions.
pub(super) const REGISTERS: &str = "embeddings.register_tokens";

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

/// What a file of two towers says of the vision tower.
pub(super) fn tower<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    checkpoint.within("vision_config").unwrap_or_else(|| checkpoint.with_defaults(&Value::Null))
}

/// The learned tokens of which there are tensors, each with its rows.
fn prefix_tokens(
    checkpoint: &Checkpoint<'_>,
    names: &ImageNames,
) -> Result<Vec<(&'static str, usize)>, SourceError> {
    let there = names.tokens.iter().copied().filter(|name| checkpoint.has(name));
    let rows = |name| match name {
        REGISTERS => checkpoint.need::<u16>("num_register_tokens").map(usize::from),
        _ => Ok(1),
    };
    there.map(|name| Ok((name, rows(name)?))).collect()
}

/// An encoder without the tensor of a class token has no such token.
pub(super) fn config(
    checkpoint: &Checkpoint<'_>,
    names: &ImageNames,
) -> Result<Config, SourceError> {
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
    let prefix = prefix_tokens(checkpoint, names)?;
    let prefix_tokens = prefix.iter().map(|(_, rows)| rows).sum();
    let norm = names.norm_before.is_some();
    let embedding = Embedding::Patches { height, width, channels, patch, prefix_tokens, norm };
    Ok(Config {
        norm_eps: checkpoint.get("layer_norm_eps")?.unwrap_or(1e-12) as f32,
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

/// Where the tokens of an image stand.
pub(super) const fn places(config: &Config) -> Option<Places> {
    let Embedding::Patches { height, width, patch, prefix_tokens, .. } = config.embedding else {
        return None;
    };
    let grid = Grid { rows: height / patch, columns: width / patch };
    Some(Places::Patches { grid, prefix: prefix_tokens })
}

pub(super) fn tensors(
    checkpoint: &Checkpoint<'_>,
    entries: &mut Entries<'_>,
    names: &ImageNames,
) -> Result<(), SourceError> {
    let config = entries.config();
    let Embedding::Patches { height, width, channels, patch, .. } = config.embedding else {
        return Ok(());
    };
    entries.global_linear(PATCH, names.patch, [config.hidden, channels * patch * patch]);
    let prefix = prefix_tokens(checkpoint, names)?;
    entries.prefix_tokens(&prefix);
    let grid = |[height, width]: [usize; 2]| Grid { rows: height / patch, columns: width / patch };
    let to = grid([height, width]);
    let from = match checkpoint.image_size() {
        None => to,
        Some(_) => grid(trained_sides(checkpoint)?),
    };
    let without = prefix.iter().filter(|(name, _)| *name == REGISTERS).map(|(_, rows)| rows).sum();
    let rows = config.max_tokens().unwrap_or(0);
    let stored = Stored::Positions { from, to, without };
    // Positions without a name are none: the encoder has a relative bias in their place, or rotary ones.
    let stored = if names.positions.is_empty() { Stored::Zeros } else { stored };
    if config.rotary.columns == 0 {
        entries.rows(Role::PositionEmbedding, names.positions, rows, stored);
    }
    if let Some(name) = names.norm_before {
        entries.global_norm(EMBEDDING_NORM, name);
    }
    if config.final_norm {
        entries.global_norm(FINAL_NORM, names.norm);
    }
    entries.layers(names.layers, &names.layer);
    Ok(())
}
