//! The encoder of Whisper: pre-norm, log-mel frames through two convolutions, stored positions.

use super::checkpoint::{Checkpoint, SizeFields};
use super::decoder::BART_LAYER;
use super::definition::Family;
use super::entries::Entries;
use crate::source::error::SourceError;
use crate::source::roles::{FINAL_NORM, FIRST_CONVOLUTION, SECOND_CONVOLUTION};
use coda_runtime::config::{Config, Embedding, NormPlacement};
use coda_runtime::format::Role;

pub(super) const FAMILY: Family = Family {
    model_types: &[MODEL_TYPE],
    prefixes: &["model.", ""],
    probe: "encoder.conv1.weight",
    config,
    tensors,
    classifier: false,
    head: None,
};

pub(super) const MODEL_TYPE: &str = "whisper";

const SIZES: SizeFields = SizeFields {
    hidden: "d_model",
    layers: "encoder_layers",
    heads: "encoder_attention_heads",
    feed_forward: "encoder_ffn_dim",
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let embedding = Embedding::Frames {
        bins: checkpoint.get("num_mel_bins")?.unwrap_or(80),
        positions: checkpoint.get("max_source_positions")?.unwrap_or(1500),
    };
    Ok(Config {
        norm_eps: 1e-5,
        activation: checkpoint.activation("activation_function")?,
        placement: NormPlacement::Pre,
        final_norm: true,
        ..checkpoint.encoder(embedding, &SIZES)?
    })
}

fn tensors(_: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let Embedding::Frames { bins, positions } = entries.config().embedding else { return Ok(()) };
    let d = entries.config().hidden;
    entries.convolution(FIRST_CONVOLUTION, "encoder.conv1", [d, bins]);
    entries.convolution(SECOND_CONVOLUTION, "encoder.conv2", [d, d]);
    entries.table(Role::PositionEmbedding, "encoder.embed_positions.weight", positions);
    entries.global_norm(FINAL_NORM, "encoder.layer_norm");
    entries.layers("encoder.layers", &BART_LAYER);
    Ok(())
}
