//! ALBERT: a BERT whose layers share their weights, and whose token tables have a width of their own;
//! `RemBERT`: the latter alone.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::LayerNames;
use crate::source::error::SourceError;
use coda_runtime::config::Config;

pub(super) const FAMILY: Family = Family {
    model_types: &["albert"],
    prefixes: &["albert.", ""],
    config,
    tensors: |_, entries| {
        bert::embedding(entries, 0);
        entries.projection(PROJECTION);
        entries.shared_layers("encoder.albert_layer_groups.0.albert_layers.0.", &LAYER);
        Ok(())
    },
    ..bert::FAMILY
};

pub(super) const REMBERT: Family = Family {
    model_types: &["rembert"],
    prefixes: &["rembert.", ""],
    config: |checkpoint| bert::projected(checkpoint, "input_embedding_size"),
    tensors: |_, entries| {
        bert::tensors(entries, 0);
        entries.projection(PROJECTION);
        Ok(())
    },
    ..bert::FAMILY
};

const PROJECTION: &str = "encoder.embedding_hidden_mapping_in";

const LAYER: LayerNames = LayerNames {
    attention_norm: "attention.LayerNorm",
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    output: "attention.dense",
    feed_forward_norm: "full_layer_layer_norm",
    expand: "ffn",
    contract: "ffn_output",
    ..bert::LAYER
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    for field in ["num_hidden_groups", "inner_group_num"] {
        if let Some(groups) = checkpoint.get::<usize>(field)?.filter(|groups| *groups != 1) {
            return Err(checkpoint.refuse(field, groups, "supported is 1"));
        }
    }
    Ok(Config { shared_layers: true, ..bert::projected(checkpoint, "embedding_size")? })
}
