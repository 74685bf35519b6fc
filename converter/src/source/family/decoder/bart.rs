//! Decoders of BART's kind behind an encoder of images (`vision-encoder-decoder`: `TrOCR`, Donut's mBART).

use super::definition::DecoderFamily;
use crate::source::error::SourceError;
use crate::source::family::checkpoint::{Checkpoint, SizeFields};
use crate::source::family::entries::{CrossNames, Entries, LayerNames};
use crate::source::family::entry::Stored;
use crate::source::generation::Generation;
use crate::source::roles::{EMBEDDING_NORM, FINAL_NORM, MEMORY};
use coda_runtime::config::{Config, Embedding, NormPlacement};
use coda_runtime::format::Role;

pub(super) const OF_IMAGES: DecoderFamily = DecoderFamily {
    model_types: &["vision-encoder-decoder"],
    probe: "decoder.model.decoder.embed_tokens.weight",
    prefixes: &[""],
    config: |checkpoint| config(&inner(checkpoint)),
    tensors,
    settle: |checkpoint, config, _, generation| settle(&inner(checkpoint), config, generation),
};

pub(super) const SIZES: SizeFields = SizeFields {
    hidden: "d_model",
    layers: "decoder_layers",
    heads: "decoder_attention_heads",
    feed_forward: "decoder_ffn_dim",
};

pub(in crate::source::family) const LAYER: LayerNames = LayerNames {
    attention_norm: "self_attn_layer_norm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.out_proj",
    attention_scale: None,
    feed_forward_norm: "final_layer_norm",
    gate: "",
    expand: "fc1",
    fused: &[],
    contract: "fc2",
    feed_forward_scale: None,
};

pub(super) const CROSS: CrossNames = CrossNames {
    norm: "encoder_attn_layer_norm",
    query: "encoder_attn.q_proj",
    key: "encoder_attn.k_proj",
    value: "encoder_attn.v_proj",
    output: "encoder_attn.out_proj",
};

/// Rows before the first position, in tables of this kind.
const OFFSET: usize = 2;

/// The decoder's part of a `config.json`.
fn inner<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    checkpoint.within("decoder").unwrap_or_else(|| checkpoint.clone())
}

/// `mbart` norms before its parts and behind the last layer, `trocr` behind its parts.
fn is_pre_norm(checkpoint: &Checkpoint<'_>) -> Result<bool, SourceError> {
    let model_type: String = checkpoint.need("model_type")?;
    match model_type.as_str() {
        "mbart" => Ok(true),
        "trocr" => Ok(false),
        _ => Err(checkpoint.refuse(
            "model_type",
            model_type,
            "supported decoders of images are trocr and mbart",
        )),
    }
}

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let pre_norm = is_pre_norm(checkpoint)?;
    if checkpoint.get("use_learned_position_embeddings")? == Some(false) {
        let supported = "supported are learned positions";
        return Err(checkpoint.refuse("use_learned_position_embeddings", false, supported));
    }
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions: checkpoint.need("max_position_embeddings")?,
        token_types: 0,
        norm: pre_norm || checkpoint.get("layernorm_embedding")?.unwrap_or(true),
        projected: 0,
    };
    Ok(Config {
        norm_eps: 1e-5,
        activation: checkpoint.activation("activation_function")?,
        placement: if pre_norm { NormPlacement::Pre } else { NormPlacement::Post },
        final_norm: pre_norm,
        ..checkpoint.encoder(embedding, &SIZES)?
    })
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let Embedding::Tokens { vocabulary, positions, norm, .. } = config.embedding else {
        return Ok(());
    };
    let of = |name: &str| format!("decoder.model.decoder.{name}");
    entries.table(Role::TokenEmbedding, &of("embed_tokens.weight"), vocabulary);
    let after = Stored::After(OFFSET);
    entries.rows(Role::PositionEmbedding, &of("embed_positions.weight"), positions, after);
    if norm {
        entries.global_norm(EMBEDDING_NORM, &of("layernorm_embedding"));
    }
    if config.final_norm {
        entries.global_norm(FINAL_NORM, &of("layer_norm"));
    }
    entries.layers(&of("layers"), &LAYER);
    let encoder = checkpoint.within("encoder").unwrap_or_else(|| checkpoint.clone());
    let mut memory = encoder.need("hidden_size")?;
    if checkpoint.has("enc_to_dec_proj.weight") {
        entries.global_linear(MEMORY, "enc_to_dec_proj", [config.hidden, memory]);
        memory = config.hidden;
    }
    entries.cross_layers(&of("layers"), &CROSS, memory);
    // One of its own, under any of the names that such a map has; without it the token table serves.
    let names = ["decoder.output_projection.weight", "decoder.lm_head.weight"];
    if let Some(name) = names.into_iter().find(|name| checkpoint.has(name)) {
        entries.own(Role::LogitWeight, name, [vocabulary, config.hidden]);
    }
    Ok(())
}

/// Rows of the table are scaled by the root of the model dimension, where the fields say so.
fn settle(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    generation: &mut Generation,
) -> Result<(), SourceError> {
    if checkpoint.get("scale_embedding")?.unwrap_or(false) {
        generation.embedding_scale = (config.hidden as f64).sqrt() as f32;
    }
    Ok(())
}
