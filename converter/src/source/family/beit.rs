//! `BEiT` and data2vec of images: a ViT with a relative bias over the grid of patches.

use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::entry::Stored;
use super::vit::{self, ImageNames};
use crate::source::error::SourceError;
use crate::source::roles::POOLED_NORM;
use coda_runtime::config::Config;
use coda_runtime::format::{GLOBAL_LAYER, Role};

pub(super) const FAMILY: Family = Family {
    model_types: &["beit", "data2vec-vision"],
    prefixes: &["beit.", "data2vec_vision.", ""],
    config,
    tensors,
    ..vit::FAMILY
};

const NAMES: ImageNames = ImageNames {
    layer: LayerNames {
        attention_scale: Some("lambda_1"),
        feed_forward_scale: Some("lambda_2"),
        ..vit::NAMES.layer
    },
    ..vit::NAMES
};
/// The same without absolute positions.
const RELATIVE: ImageNames = ImageNames { positions: "", ..NAMES };

const BIAS: &str = "relative_position_bias.relative_position_bias_table";

fn flag(
    checkpoint: &Checkpoint<'_>,
    field: &'static str,
    usual: bool,
) -> Result<bool, SourceError> {
    Ok(checkpoint.get(field)?.unwrap_or(usual))
}

/// A mean of the patches is normalised in place of the tokens.
fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let own = flag(checkpoint, "use_relative_position_bias", false)?;
    let shared = flag(checkpoint, "use_shared_relative_position_bias", false)?;
    if own && shared {
        let supported = "supported is a bias of each layer, or one of all";
        return Err(checkpoint.refuse("use_shared_relative_position_bias", true, supported));
    }
    if let Some(side) = checkpoint.image_size().filter(|_| own || shared) {
        let supported = "a relative bias over patches is not resized: leave --image-size out";
        return Err(checkpoint.refuse("image_size", side, supported));
    }
    let mut config = vit::config(checkpoint, &NAMES)?;
    config.final_norm = !flag(checkpoint, "use_mean_pooling", true)?;
    let distance = config.grid_distance();
    if (own || shared) && distance > 0 {
        config.relative_distance = distance;
        (config.layer_bias, config.grid_bias) = (own, true);
    }
    Ok(config)
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let absolute = flag(checkpoint, "use_absolute_position_embeddings", false)?;
    vit::tensors(checkpoint, entries, if absolute { &NAMES } else { &RELATIVE })?;
    let shape = [config.heads, config.bias_entries()];
    if config.layer_bias {
        for layer in 0..config.layers as u16 {
            let name = format!("encoder.layer.{layer}.attention.attention.{BIAS}");
            entries.stored_at((layer, Role::LayerRelativeBias), &name, shape, Stored::GridBias);
        }
    } else if config.grid_bias {
        let place = (GLOBAL_LAYER, Role::RelativeBias);
        entries.stored_at(place, &format!("encoder.{BIAS}"), shape, Stored::GridBias);
    }
    if !config.final_norm && checkpoint.has("pooler.layernorm.weight") {
        entries.global_norm(POOLED_NORM, "pooler.layernorm");
    }
    Ok(())
}
