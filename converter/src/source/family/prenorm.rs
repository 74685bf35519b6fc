//! BERTs with their norms before attention and feed-forward layer: `RoBERTa` and Megatron's.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::LayerNames;
use super::roberta;
use crate::source::error::SourceError;
use crate::source::roles::FINAL_NORM;
use coda_runtime::config::{Config, Embedding, NormPlacement};

pub(super) const ROBERTA: Family = Family {
    model_types: &["roberta-prelayernorm"],
    prefixes: &["roberta_prelayernorm.", ""],
    config: |checkpoint| pre_norm(bert::config(checkpoint, roberta::first_position(checkpoint)?)),
    tensors: |checkpoint, entries| {
        bert::embedding(entries, roberta::first_position(checkpoint)?);
        entries.global_norm(FINAL_NORM, "LayerNorm");
        entries.layers("encoder.layer", &ROBERTA_LAYER);
        Ok(())
    },
    ..bert::FAMILY
};

pub(super) const MEGATRON: Family = Family {
    model_types: &["megatron-bert"],
    prefixes: &["bert.", ""],
    config: megatron,
    tensors: |_, entries| {
        bert::embedding(entries, 0);
        entries.global_norm(FINAL_NORM, "encoder.ln");
        entries.layers("encoder.layer", &MEGATRON_LAYER);
        Ok(())
    },
    ..bert::FAMILY
};

const ROBERTA_LAYER: LayerNames = LayerNames {
    attention_norm: "attention.LayerNorm",
    feed_forward_norm: "intermediate.LayerNorm",
    ..bert::LAYER
};

const MEGATRON_LAYER: LayerNames =
    LayerNames { attention_norm: "attention.ln", feed_forward_norm: "ln", ..bert::LAYER };

fn pre_norm(config: Result<Config, SourceError>) -> Result<Config, SourceError> {
    Ok(Config { placement: NormPlacement::Pre, final_norm: true, ..config? })
}

/// It has no norm behind the embedding.
fn megatron(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let mut config = pre_norm(bert::config(checkpoint, 0))?;
    if let Embedding::Tokens { norm, .. } = &mut config.embedding {
        *norm = false;
    }
    Ok(config)
}
