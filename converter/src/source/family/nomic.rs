//! Nomic's BERT: post-norm, rotary positions, a gated feed-forward layer; by the fields of `transformers`
//! or by those of its own code.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::rope;
use crate::source::error::SourceError;
use crate::source::roles::EMBEDDING_NORM;
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;
use serde_json::{Map, Value};

pub(super) const FAMILY: Family = Family {
    model_types: &["nomic_bert"],
    prefixes: &["nomic_bert.", "bert.", ""],
    probe: "embeddings.word_embeddings.weight",
    config: |checkpoint| config(&named(checkpoint)?),
    tensors: |checkpoint, entries| tensors(&named(checkpoint)?, entries),
    classifier: false,
    head: None,
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "norm1",
    query: "attn.Wqkv",
    key: "attn.Wqkv",
    value: "attn.Wqkv",
    output: "attn.out_proj",
    feed_forward_norm: "norm2",
    gate: "mlp.fc12",
    expand: "mlp.fc11",
    contract: "mlp.fc2",
    ..bert::LAYER
};

/// The names that its own code has for fields of `transformers`.
const OWN: [(&str, &str); 7] = [
    ("hidden_size", "n_embd"),
    ("num_hidden_layers", "n_layer"),
    ("num_attention_heads", "n_head"),
    ("intermediate_size", "n_inner"),
    ("max_position_embeddings", "n_positions"),
    ("layer_norm_eps", "layer_norm_epsilon"),
    ("rope_theta", "rotary_emb_base"),
];

/// The same by the names of `transformers`.
fn named<'f>(checkpoint: &Checkpoint<'f>) -> Result<Checkpoint<'f>, SourceError> {
    let mut fields = Map::new();
    for (name, own) in OWN {
        if let Some(value) = checkpoint.get::<Value>(own)? {
            fields.insert(name.to_owned(), value);
        }
    }
    let gates = [("swiglu", "silu"), ("geglu", "gelu")];
    if let Some(found) = checkpoint.get::<String>("activation_function")? {
        let Some((_, name)) = gates.iter().find(|(own, _)| *own == found) else {
            let supported = "supported are swiglu and geglu";
            return Err(checkpoint.refuse("activation_function", found, supported));
        };
        fields.insert("hidden_act".to_owned(), Value::from(*name));
    }
    Ok(checkpoint.with_defaults(&Value::Object(fields)))
}

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    check(checkpoint)?;
    rope::gated_bert(checkpoint, 2)
}

/// The settings of its own code that the runtime has no form for; `auto_map` may name that code.
fn check(checkpoint: &Checkpoint<'_>) -> Result<(), SourceError> {
    checkpoint.check_code(".NomicBert", "supported are the classes NomicBert...")?;
    for field in ["prenorm", "rotary_emb_interleaved"] {
        if checkpoint.get(field)? == Some(true) {
            return Err(checkpoint.refuse(field, true, "supported is false"));
        }
    }
    for field in ["rotary_emb_scale_base", "rotary_scaling_factor"] {
        if let Some(found) = checkpoint.get::<Value>(field)? {
            return Err(checkpoint.refuse(
                field,
                found,
                "supported is null: angles are not scaled",
            ));
        }
    }
    match checkpoint.get::<f64>("rotary_emb_fraction")? {
        Some(found) if found != 1.0 => {
            Err(checkpoint.refuse("rotary_emb_fraction", found, "supported is 1"))
        }
        _ => Ok(()),
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
    entries.global_norm(EMBEDDING_NORM, "emb_ln");
    entries.layers("encoder.layers", &LAYER);
    let otherwise = checkpoint.get("rope_theta")?.unwrap_or(1000.0);
    let columns = entries.config().rotary.columns;
    rope::table(entries, Role::Rotary, rope::rates(checkpoint, None, otherwise, columns)?);
    Ok(())
}
