//! `DistilBERT`: a BERT of fewer layers, without token types.

use super::checkpoint::{Checkpoint, SizeFields};
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use crate::source::error::SourceError;
use crate::source::roles::EMBEDDING_NORM;
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;

/// Sinusoidal positions stand in the file like learned ones.
pub(super) const FAMILY: Family = Family {
    model_types: &["distilbert"],
    prefixes: &["distilbert.", ""],
    probe: "embeddings.word_embeddings.weight",
    config,
    tensors,
    classifier: false,
    head: None,
};

const SIZES: SizeFields =
    SizeFields { hidden: "dim", layers: "n_layers", heads: "n_heads", feed_forward: "hidden_dim" };

const LAYER: LayerNames = LayerNames {
    attention_norm: "sa_layer_norm",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_scale: None,
    feed_forward_norm: "output_layer_norm",
    gate: "",
    expand: "ffn.lin1",
    fused: &[],
    contract: "ffn.lin2",
    feed_forward_scale: None,
};

/// Every norm adds 1e-12, which no field says.
fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions: checkpoint.need("max_position_embeddings")?,
        token_types: 0,
        norm: true,
        projected: 0,
    };
    let activation = checkpoint.activation("activation")?;
    Ok(Config { activation, ..checkpoint.encoder(embedding, &SIZES)? })
}

fn tensors(_: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    if let Embedding::Tokens { vocabulary, positions, .. } = entries.config().embedding {
        entries.table(Role::TokenEmbedding, "embeddings.word_embeddings.weight", vocabulary);
        entries.table(Role::PositionEmbedding, "embeddings.position_embeddings.weight", positions);
    }
    entries.global_norm(EMBEDDING_NORM, "embeddings.LayerNorm");
    entries.layers("transformer.layer", &LAYER);
    Ok(())
}
