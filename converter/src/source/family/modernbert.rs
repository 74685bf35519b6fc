//! `ModernBERT`: pre-norm, rotary positions, gated feed-forward layers; most layers attend locally.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::rope;
use crate::source::error::SourceError;
use crate::source::roles::{EMBEDDING_NORM, EXPAND, FINAL_NORM, GATE};
use crate::source::rotary::Rates;
use coda_runtime::config::{Config, Embedding, LocalAttention, NormPlacement, Rotary};
use coda_runtime::format::{Role, limits};

pub(super) const FAMILY: Family = Family {
    model_types: &["modernbert"],
    prefixes: &["model.", ""],
    probe: "embeddings.tok_embeddings.weight",
    config,
    tensors,
    classifier: false,
    head: None,
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "attn_norm",
    query: "attn.Wqkv",
    key: "attn.Wqkv",
    value: "attn.Wqkv",
    output: "attn.Wo",
    feed_forward_norm: "mlp_norm",
    expand: "mlp.Wi",
    fused: &[GATE, EXPAND],
    contract: "mlp.Wo",
    ..bert::LAYER
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions: 0,
        token_types: 0,
        norm: true,
        projected: 0,
    };
    let config = rope::turned(checkpoint, checkpoint.encoder(embedding, &bert::SIZES)?)?;
    let local = local(checkpoint)?;
    let [global, near] = rates(checkpoint, config.rotary.columns)?;
    let own_of_local = local.distance > 0 && global != near;
    Ok(Config {
        norm_eps: checkpoint.get("norm_eps")?.unwrap_or(1e-5_f64) as f32,
        placement: NormPlacement::Pre,
        activation: checkpoint.activation("hidden_activation")?,
        gated: true,
        final_norm: true,
        rotary: Rotary { own_of_local, ..config.rotary },
        local,
        bare_first_layer: true,
        ..config
    })
}

/// How fast pairs turn where layers attend to all, and locally.
fn rates(checkpoint: &Checkpoint<'_>, columns: usize) -> Result<[Rates; 2], SourceError> {
    let otherwise = checkpoint.get("global_rope_theta")?.unwrap_or(160_000.0);
    let global = rope::rates(checkpoint, Some("full_attention"), otherwise, columns)?;
    let otherwise = checkpoint.get("local_rope_theta")?.unwrap_or(10_000.0);
    Ok([global, rope::rates(checkpoint, Some("sliding_attention"), otherwise, columns)?])
}

/// Half the window, which both its ends belong to.
fn local(checkpoint: &Checkpoint<'_>) -> Result<LocalAttention, SourceError> {
    let window: usize = checkpoint.get("local_attention")?.unwrap_or(128);
    let period = match checkpoint.get::<Vec<String>>("layer_types")? {
        None => checkpoint.get("global_attn_every_n_layers")?.unwrap_or(3),
        Some(types) => period_of(&types).ok_or_else(|| {
            let supported = "supported is full_attention in the first layer, then in every n-th, and \
                             sliding_attention in the others";
            checkpoint.refuse("layer_types", types.join(", "), supported)
        })?,
    };
    match (window / 2, period) {
        (_, 1) => Ok(LocalAttention::default()),
        (_, 0) => Err(checkpoint.refuse("global_attn_every_n_layers", 0, "it must be at least 1")),
        (0, _) => Err(checkpoint.refuse("local_attention", window, "it must be at least 2")),
        (distance, _) => Ok(LocalAttention { distance, period: period.min(limits::LAYERS) }),
    }
}

/// The n of layers of which the first and every n-th attend to all tokens.
fn period_of(types: &[String]) -> Option<usize> {
    let is_full = |kind: &String| kind == "full_attention";
    let others = types.iter().skip(1);
    let period = others.clone().position(is_full).map_or(types.len().max(2), |at| at + 1);
    let mut pairs = types.iter().enumerate();
    let fits = pairs.all(|(index, kind)| match index.is_multiple_of(period) {
        true => is_full(kind),
        false => kind == "sliding_attention",
    });
    fits.then_some(period)
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    if !checkpoint.get("norm_bias")?.unwrap_or(false) {
        entries.without_norm_biases();
    }
    if let Embedding::Tokens { vocabulary, .. } = config.embedding {
        entries.table(Role::TokenEmbedding, "embeddings.tok_embeddings.weight", vocabulary);
    }
    entries.global_norm(EMBEDDING_NORM, "embeddings.norm");
    entries.global_norm(FINAL_NORM, "final_norm");
    entries.layers("layers", &LAYER);
    let [global, near] = rates(checkpoint, config.rotary.columns)?;
    rope::table(entries, Role::Rotary, global);
    if config.rotary.own_of_local {
        rope::table(entries, Role::LocalRotary, near);
    }
    Ok(())
}
