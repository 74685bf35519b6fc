//! The decoder of T5: pre-norm, RMS norms, relative positions, the encoder's token table.

use super::definition::DecoderFamily;
use crate::source::error::SourceError;
use crate::source::family::checkpoint::Checkpoint;
use crate::source::family::entries::{CrossNames, Entries, LayerNames};
use crate::source::family::entry::Stored;
use crate::source::family::t5;
use crate::source::generation::Generation;
use crate::source::roles::FINAL_NORM;
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;

pub(super) const FAMILY: DecoderFamily = DecoderFamily {
    model_types: &["t5", "mt5"],
    probe: "decoder.block.0.layer.0.SelfAttention.q.weight",
    prefixes: &["transformer.", ""],
    config,
    tensors,
    settle,
};

const CROSS: CrossNames = CrossNames {
    norm: "layer.1.layer_norm",
    query: "layer.1.EncDecAttention.q",
    key: "layer.1.EncDecAttention.k",
    value: "layer.1.EncDecAttention.v",
    output: "layer.1.EncDecAttention.o",
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let config = t5::config(checkpoint)?;
    let layers = checkpoint.get("num_decoder_layers")?.unwrap_or(config.layers);
    Ok(Config { layers, ..config })
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let buckets = t5::buckets(checkpoint)?;
    let name = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    let shape = [config.heads, 2 * config.relative_distance + 1];
    entries.stored(Role::RelativeBias, name, shape, Stored::CausalBuckets(buckets));
    entries.global_norm(FINAL_NORM, "decoder.final_layer_norm");
    let names = LayerNames {
        feed_forward_norm: "layer.2.layer_norm",
        gate: "layer.2.DenseReluDense.wi_0",
        expand: if config.gated {
            "layer.2.DenseReluDense.wi_1"
        } else {
            "layer.2.DenseReluDense.wi"
        },
        contract: "layer.2.DenseReluDense.wo",
        ..t5::GATED_LAYER
    };
    entries.layers("decoder.block", &names);
    entries.cross_layers("decoder.block", &CROSS, config.hidden);
    if let (false, Embedding::Tokens { vocabulary, .. }) = (tied(checkpoint)?, config.embedding) {
        entries.own(Role::LogitWeight, "lm_head.weight", [vocabulary, config.hidden]);
    }
    Ok(())
}

/// The token table is the output map too, unless the fields say otherwise.
fn tied(checkpoint: &Checkpoint<'_>) -> Result<bool, SourceError> {
    Ok(checkpoint.get("tie_word_embeddings")?.unwrap_or(true))
}

/// A tied map reads states that are scaled by the root of the model dimension.
fn settle(
    _: &Checkpoint<'_>,
    config: &Config,
    tied: bool,
    generation: &mut Generation,
) -> Result<(), SourceError> {
    if tied {
        generation.logit_scale = (1.0 / (config.hidden as f64).sqrt()) as f32;
    }
    Ok(())
}
