//! BERT: post-norm, learned positions, token types.

use super::checkpoint::{Checkpoint, SizeFields};
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::entry::Stored;
use crate::source::error::SourceError;
use crate::source::roles::EMBEDDING_NORM;
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;

pub(super) const FAMILY: Family = Family {
    model_types: &["bert", "ernie", "splinter"],
    prefixes: &["bert.", "ernie.", "splinter.", ""],
    probe: "embeddings.word_embeddings.weight",
    config: |checkpoint| {
        if checkpoint.get("use_task_id")? == Some(true) {
            let supported = "supported is false: there is no table of task types";
            return Err(checkpoint.refuse("use_task_id", true, supported));
        }
        config(checkpoint, 0)
    },
    tensors: |_, entries| {
        tensors(entries, 0);
        Ok(())
    },
    classifier: false,
    head: None,
};

pub(super) const SIZES: SizeFields = SizeFields {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    feed_forward: "intermediate_size",
};

pub(super) const LAYER: LayerNames = LayerNames {
    attention_norm: "attention.output.LayerNorm",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_scale: None,
    feed_forward_norm: "output.LayerNorm",
    gate: "",
    expand: "intermediate.dense",
    fused: &[],
    contract: "output.dense",
    feed_forward_scale: None,
};

/// `skipped` rows of the position table are never read.
pub(super) fn config(checkpoint: &Checkpoint<'_>, skipped: usize) -> Result<Config, SourceError> {
    let kind = checkpoint.get::<String>("position_embedding_type")?;
    if let Some(found) = kind.filter(|kind| kind != "absolute") {
        return Err(checkpoint.refuse("position_embedding_type", found, "supported is absolute"));
    }
    let rows: usize = checkpoint.need("max_position_embeddings")?;
    let Some(positions) = rows.checked_sub(skipped).filter(|positions| *positions > 0) else {
        let supported = "positions begin after the row of the padding token";
        return Err(checkpoint.refuse("max_position_embeddings", rows, supported));
    };
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions,
        token_types: checkpoint.get("type_vocab_size")?.unwrap_or(2),
        norm: true,
        projected: 0,
    };
    Ok(Config {
        norm_eps: checkpoint.get("layer_norm_eps")?.unwrap_or(1e-12_f64) as f32,
        activation: checkpoint.activation("hidden_act")?,
        ..checkpoint.encoder(embedding, &SIZES)?
    })
}

pub(super) fn tensors(entries: &mut Entries<'_>, skipped: usize) {
    embedding(entries, skipped);
    entries.layers("encoder.layer", &LAYER);
}

/// The tensors before the layers.
pub(super) fn embedding(entries: &mut Entries<'_>, skipped: usize) {
    let Embedding::Tokens { vocabulary, positions, token_types, norm, .. } =
        entries.config().embedding
    else {
        return;
    };
    entries.table(Role::TokenEmbedding, "embeddings.word_embeddings.weight", vocabulary);
    let name = "embeddings.position_embeddings.weight";
    entries.rows(Role::PositionEmbedding, name, positions, Stored::After(skipped));
    if token_types > 0 {
        let name = "embeddings.token_type_embeddings.weight";
        entries.table(Role::TokenTypeEmbedding, name, token_types);
    }
    if norm {
        entries.global_norm(EMBEDDING_NORM, "embeddings.LayerNorm");
    }
}

/// A BERT whose token tables have a width of their own, which the field says, and the map to the model's.
pub(super) fn projected(
    checkpoint: &Checkpoint<'_>,
    field: &'static str,
) -> Result<Config, SourceError> {
    let mut config = config(checkpoint, 0)?;
    let width: usize = checkpoint.need(field)?;
    if width == 0 || width > config.hidden {
        return Err(checkpoint.refuse(field, width, "it must be 1 to the model dimension"));
    }
    if let Embedding::Tokens { projected, .. } = &mut config.embedding {
        *projected = width;
    }
    Ok(config)
}
