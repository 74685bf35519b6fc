//! `MPNet`: a `RoBERTa` without token types, with the relative bias of T5.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::entry::Stored;
use crate::source::error::SourceError;
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;

pub(super) const FAMILY: Family =
    Family { model_types: &["mpnet"], prefixes: &["mpnet.", ""], config, tensors, ..bert::FAMILY };

const LAYER: LayerNames = LayerNames {
    attention_norm: "attention.LayerNorm",
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    output: "attention.attn.o",
    ..bert::LAYER
};

/// Positions begin after that of the padding token, which is 1 whatever the field says.
const FIRST_POSITION: usize = 2;
/// What the original computes with, whatever the field says.
const BUCKETS: usize = 32;
/// From here on every distance falls in the same bucket.
const DISTANCE: usize = 128;

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let field = "relative_attention_num_buckets";
    if let Some(found) = checkpoint.get::<usize>(field)?.filter(|found| *found != BUCKETS) {
        return Err(checkpoint.refuse(field, found, "supported is 32"));
    }
    let mut config = bert::config(checkpoint, FIRST_POSITION)?;
    if let Embedding::Tokens { token_types, .. } = &mut config.embedding {
        *token_types = 0;
    }
    Ok(Config { relative_distance: DISTANCE, ..config })
}

fn tensors(_: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    bert::embedding(entries, FIRST_POSITION);
    entries.stored(
        Role::RelativeBias,
        "encoder.relative_attention_bias.weight",
        [entries.config().heads, 2 * DISTANCE + 1],
        Stored::Buckets(BUCKETS),
    );
    entries.layers("encoder.layer", &LAYER);
    Ok(())
}
