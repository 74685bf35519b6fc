//! `Pix2Struct`: images of any size as patches with their row and column; layers of T5's kind without a
//! position bias.

use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::{t5, vit};
use crate::source::error::SourceError;
use crate::source::roles::{FINAL_NORM, PATCH};
use coda_runtime::config::{Config, Embedding};
use serde_json::json;

pub(super) const FAMILY: Family = Family {
    model_types: &["pix2struct", "pix2struct_vision_model"],
    prefixes: &["encoder.", ""],
    probe: "embeddings.patch_projection.weight",
    config: |checkpoint| config(&own(checkpoint)),
    tensors,
    classifier: false,
    head: None,
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "pre_attention_layer_norm",
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    output: "attention.output",
    feed_forward_norm: "pre_mlp_layer_norm",
    gate: "mlp.wi_0",
    expand: "mlp.wi_1",
    contract: "mlp.wo",
    ..t5::GATED_LAYER
};

/// Colour channels: the image processor makes every picture one of red, green and blue.
const CHANNELS: usize = 3;
/// Places of each axis where the fields do not say it, that of padding among them.
const PLACES: usize = 4096;
/// Most patches where `preprocessor_config.json` does not say it.
pub(in crate::source) const PATCHES: usize = 2048;

/// The encoder's part of a `config.json`.
fn own<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    match checkpoint.within("vision_config") {
        Some(own) => own,
        None => checkpoint.clone(),
    }
}

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let places: usize = checkpoint.get("seq_len")?.unwrap_or(PLACES);
    let Some(places) = places.checked_sub(1).filter(|places| *places > 0) else {
        return Err(checkpoint.refuse("seq_len", places, "it must be at least 2"));
    };
    let embedding = Embedding::Grid {
        rows: places,
        columns: places,
        channels: CHANNELS,
        patch: patch(checkpoint)?,
        patches: PATCHES.min(places.saturating_mul(places)),
    };
    let sizes = json!({
        "num_layers": checkpoint.get::<usize>("num_hidden_layers")?,
        "num_heads": checkpoint.get::<usize>("num_attention_heads")?,
        "layer_norm_epsilon": checkpoint.get::<f64>("layer_norm_eps")?,
    });
    let config = t5::config(&as_t5(&checkpoint.with_defaults(&sizes))?)?;
    Ok(Config { embedding, relative_distance: 0, ..config })
}

/// The same fields with T5's names, and the values of those that are not there.
pub(super) fn as_t5<'f>(checkpoint: &Checkpoint<'f>) -> Result<Checkpoint<'f>, SourceError> {
    let hidden: usize = checkpoint.get("hidden_size")?.unwrap_or(768);
    Ok(checkpoint.with_defaults(&json!({
        "d_model": hidden,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 12,
        "num_heads": 12,
        "vocab_size": 50_244,
        "feed_forward_proj": "gated-gelu",
    })))
}

/// The side of a patch, of which the fields say how many values it has.
fn patch(checkpoint: &Checkpoint<'_>) -> Result<usize, SourceError> {
    let values: usize = checkpoint.get("patch_embed_hidden_size")?.unwrap_or(768);
    let side = (values / CHANNELS).isqrt();
    if side == 0 || side * side * CHANNELS != values {
        let supported = "it must be three times a square: the values of a patch";
        return Err(checkpoint.refuse("patch_embed_hidden_size", values, supported));
    }
    Ok(side)
}

fn tensors(_: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let Embedding::Grid { rows, columns, channels, patch, .. } = config.embedding else {
        return Ok(());
    };
    let shape = [config.hidden, channels * patch * patch];
    entries.global_linear(PATCH, "embeddings.patch_projection", shape);
    let (row, column) = ("embeddings.row_embedder.weight", "embeddings.column_embedder.weight");
    entries.places([(row, rows), (column, columns)]);
    entries.global_norm(FINAL_NORM, "layernorm");
    entries.layers(vit::NAMES.layers, &LAYER);
    Ok(())
}
