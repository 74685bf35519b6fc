//! The encoder of T5: pre-norm, RMS norms, relative positions.

use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::entry::Stored;
use crate::source::error::SourceError;
use crate::source::roles::FINAL_NORM;
use coda_runtime::config::{
    Activation, Config, Embedding, LocalAttention, Norm, NormPlacement, Rotary,
};
use coda_runtime::format::Role;

pub(super) const FAMILY: Family = Family {
    model_types: &["t5", "mt5"],
    prefixes: &["transformer.", ""],
    probe: "shared.weight",
    config,
    tensors,
    classifier: false,
    head: None,
};

/// Every layer has a relative bias of its own.
pub(super) const UMT5: Family = Family {
    model_types: &["umt5"],
    config: |checkpoint| Ok(Config { layer_bias: true, ..config(checkpoint)? }),
    ..FAMILY
};

pub(super) const GATED_LAYER: LayerNames = LayerNames {
    attention_norm: "layer.0.layer_norm",
    query: "layer.0.SelfAttention.q",
    key: "layer.0.SelfAttention.k",
    value: "layer.0.SelfAttention.v",
    output: "layer.0.SelfAttention.o",
    attention_scale: None,
    feed_forward_norm: "layer.1.layer_norm",
    gate: "layer.1.DenseReluDense.wi_0",
    expand: "layer.1.DenseReluDense.wi_1",
    fused: &[],
    contract: "layer.1.DenseReluDense.wo",
    feed_forward_scale: None,
};

const PLAIN_LAYER: LayerNames = LayerNames { expand: "layer.1.DenseReluDense.wi", ..GATED_LAYER };

pub(super) fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let (gated, activation) = feed_forward(checkpoint)?;
    let vocabulary = checkpoint.need("vocab_size")?;
    let distance = checkpoint.get("relative_attention_max_distance")?;
    Ok(Config {
        embedding: Embedding::Tokens {
            vocabulary,
            positions: 0,
            token_types: 0,
            norm: false,
            projected: 0,
        },
        hidden: checkpoint.need("d_model")?,
        layers: checkpoint.need("num_layers")?,
        heads: checkpoint.need("num_heads")?,
        head_dim: checkpoint.need("d_kv")?,
        feed_forward: checkpoint.need("d_ff")?,
        norm: Norm::RmsNorm,
        norm_eps: checkpoint.get("layer_norm_epsilon")?.unwrap_or(1e-6_f64) as f32,
        placement: NormPlacement::Pre,
        activation,
        gated,
        attention_scale: 1.0,
        relative_distance: distance.unwrap_or(128),
        layer_bias: false,
        grid_bias: false,
        causal: false,
        final_norm: true,
        int8_attention: false,
        shared_layers: false,
        rotary: Rotary::default(),
        local: LocalAttention::default(),
        bare_first_layer: false,
    })
}

/// The layer is gated, and its activation. What is said of the parts goes before what is said of the
/// whole.
fn feed_forward(checkpoint: &Checkpoint<'_>) -> Result<(bool, Activation), SourceError> {
    let projection: Option<String> = checkpoint.get("feed_forward_proj")?;
    let (gated, activation) = match projection.as_deref().unwrap_or("relu") {
        "relu" => (false, Activation::Relu),
        "gated-gelu" => (true, Activation::GeluTanh),
        found => {
            let supported = "supported are relu and gated-gelu";
            return Err(checkpoint.refuse("feed_forward_proj", found, supported));
        }
    };
    let gated = checkpoint.get("is_gated_act")?.unwrap_or(gated);
    let activation = match checkpoint.get::<String>("dense_act_fn")? {
        Some(_) => checkpoint.activation("dense_act_fn")?,
        None => activation,
    };
    Ok((gated, activation))
}

/// Buckets of distances.
pub(super) fn buckets(checkpoint: &Checkpoint<'_>) -> Result<usize, SourceError> {
    let buckets = checkpoint.get("relative_attention_num_buckets")?.unwrap_or(32);
    // Two sides, each with distances that have their own bucket and some that share one.
    if buckets < 4 {
        let supported = "supported are 4 and more";
        return Err(checkpoint.refuse("relative_attention_num_buckets", buckets, supported));
    }
    Ok(buckets)
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let buckets = buckets(checkpoint)?;
    if let Embedding::Tokens { vocabulary, .. } = config.embedding {
        entries.table(Role::TokenEmbedding, "shared.weight", vocabulary);
    }
    let shape = [config.heads, 2 * config.relative_distance + 1];
    let name = |layer: u16| {
        format!("encoder.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight")
    };
    if config.layer_bias {
        for layer in 0..config.layers as u16 {
            let place = (layer, Role::LayerRelativeBias);
            entries.stored_at(place, &name(layer), shape, Stored::Buckets(buckets));
        }
    } else {
        entries.stored(Role::RelativeBias, &name(0), shape, Stored::Buckets(buckets));
    }
    entries.global_norm(FINAL_NORM, "encoder.final_layer_norm");
    entries.layers("encoder.block", if config.gated { &GATED_LAYER } else { &PLAIN_LAYER });
    Ok(())
}
