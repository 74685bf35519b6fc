//! The decoder of `Pix2Struct`: of T5's kind, with names and an output map of its own.

use super::definition::DecoderFamily;
use crate::source::error::SourceError;
use crate::source::family::checkpoint::Checkpoint;
use crate::source::family::entries::{CrossNames, Entries, LayerNames};
use crate::source::family::entry::Stored;
use crate::source::family::{pix2struct, t5};
use crate::source::roles::FINAL_NORM;
use coda_runtime::config::Embedding;
use coda_runtime::format::Role;

pub(super) const FAMILY: DecoderFamily = DecoderFamily {
    model_types: &["pix2struct"],
    probe: "decoder.layer.0.self_attention.attention.query.weight",
    prefixes: &[""],
    config: |checkpoint| t5::config(&own(checkpoint)?),
    tensors,
    settle: |_, _, _, _| Ok(()),
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "self_attention.layer_norm",
    query: "self_attention.attention.query",
    key: "self_attention.attention.key",
    value: "self_attention.attention.value",
    output: "self_attention.attention.output",
    feed_forward_norm: "mlp.layer_norm",
    gate: "mlp.DenseReluDense.wi_0",
    expand: "mlp.DenseReluDense.wi_1",
    contract: "mlp.DenseReluDense.wo",
    ..t5::GATED_LAYER
};

const CROSS: CrossNames = CrossNames {
    norm: "encoder_decoder_attention.layer_norm",
    query: "encoder_decoder_attention.attention.query",
    key: "encoder_decoder_attention.attention.key",
    value: "encoder_decoder_attention.attention.value",
    output: "encoder_decoder_attention.attention.output",
};

/// Where the layers are.
const LAYERS: &str = "decoder.layer";

/// The decoder's part of a `config.json`, with T5's names.
fn own<'f>(checkpoint: &Checkpoint<'f>) -> Result<Checkpoint<'f>, SourceError> {
    pix2struct::as_t5(&checkpoint.within("text_config").unwrap_or_else(|| checkpoint.clone()))
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let buckets = t5::buckets(&own(checkpoint)?)?;
    let shape = [config.heads, 2 * config.relative_distance + 1];
    let name = format!("{LAYERS}.0.self_attention.attention.relative_attention_bias.weight");
    entries.stored(Role::RelativeBias, &name, shape, Stored::CausalBuckets(buckets));
    entries.global_norm(FINAL_NORM, "decoder.final_layer_norm");
    entries.layers(LAYERS, &LAYER);
    let memory = match checkpoint.within("vision_config") {
        Some(encoder) => encoder.get("hidden_size")?.unwrap_or(768),
        None => config.hidden,
    };
    entries.cross_layers(LAYERS, &CROSS, memory);
    let Embedding::Tokens { vocabulary, .. } = config.embedding else { return Ok(()) };
    entries.table(Role::TokenEmbedding, "decoder.embed_tokens.weight", vocabulary);
    // Without one of its own the token table serves.
    let name = "decoder.lm_head.weight";
    if checkpoint.has(name) {
        entries.own(Role::LogitWeight, name, [vocabulary, config.hidden]);
    }
    Ok(())
}
