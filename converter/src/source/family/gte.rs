//! The encoder of GTE and its kin, `model_type` "new": post-norm, rotary positions, a gated feed-forward layer.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::rope;
use crate::source::error::SourceError;
use crate::source::roles::{EMBEDDING_NORM, EXPAND, GATE};
use crate::source::rotary::{Rates, Scaling};
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    model_types: &["new"],
    prefixes: &["new.", ""],
    probe: "embeddings.word_embeddings.weight",
    config,
    tensors,
    classifier: false,
    head: None,
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "attn_ln",
    query: "attention.qkv_proj",
    key: "attention.qkv_proj",
    value: "attention.qkv_proj",
    output: "attention.o_proj",
    feed_forward_norm: "mlp_ln",
    expand: "mlp.up_gate_proj",
    fused: &[EXPAND, GATE],
    contract: "mlp.down_proj",
    ..bert::LAYER
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    checkpoint.check_code(".New", "supported are the classes New...")?;
    for (field, only) in [("position_embedding_type", "rope"), ("layer_norm_type", "layer_norm")] {
        if let Some(found) = checkpoint.get::<String>(field)?.filter(|found| found != only) {
            return Err(checkpoint.refuse(field, found, "supported are rope and layer_norm"));
        }
    }
    if checkpoint.get("pack_qkv")? == Some(false) {
        return Err(checkpoint.refuse("pack_qkv", false, "supported is true"));
    }
    rope::gated_bert(checkpoint, 1)
}

/// Angles that grow more slowly by a factor (NTK), in texts of any length.
fn rates(checkpoint: &Checkpoint<'_>) -> Result<Rates, SourceError> {
    let theta =
        rope::checked(checkpoint, "rope_theta", checkpoint.get("rope_theta")?.unwrap_or(1e4))?;
    let Some(scaling) = checkpoint.get::<Value>("rope_scaling")? else {
        return Ok(Rates::plain(theta));
    };
    let of = |name| scaling.get(name).filter(|value| !value.is_null());
    let factor = of("factor").and_then(Value::as_f64).filter(|factor| (1.0..=1e6).contains(factor));
    match factor {
        Some(factor) if of("type").is_some_and(|kind| kind == "ntk") && of("mixed_b").is_none() => {
            Ok(Rates { theta, scaling: Scaling::Ntk { factor } })
        }
        _ => {
            let supported = "supported is the type ntk with a factor of at least 1";
            Err(checkpoint.refuse("rope_scaling", scaling, supported))
        }
    }
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    if let Embedding::Tokens { vocabulary, token_types, .. } = entries.config().embedding {
        entries.table(Role::TokenEmbedding, "embeddings.word_embeddings.weight", vocabulary);
        if token_types > 0 {
            let name = "embeddings.token_type_embeddings.weight";
            entries.table(Role::TokenTypeEmbedding, name, token_types);
        }
    }
    entries.global_norm(EMBEDDING_NORM, "embeddings.LayerNorm");
    entries.layers("encoder.layer", &LAYER);
    rope::table(entries, Role::Rotary, rates(checkpoint)?);
    Ok(())
}
