//! `EuroBERT`: a Llama whose tokens see all others, so pre-norm, RMS norms, rotary positions.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::entries::{Entries, LayerNames};
use super::rope;
use crate::source::error::SourceError;
use crate::source::roles::FINAL_NORM;
use coda_runtime::config::{Config, Embedding, Norm, NormPlacement};
use coda_runtime::format::Role;

pub(super) const FAMILY: Family = Family {
    model_types: &["eurobert"],
    prefixes: &["model.", ""],
    probe: "embed_tokens.weight",
    config,
    tensors,
    classifier: false,
    head: None,
};

const LAYER: LayerNames = LayerNames {
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
    feed_forward_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    expand: "mlp.up_proj",
    contract: "mlp.down_proj",
    ..bert::LAYER
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions: 0,
        token_types: 0,
        norm: false,
        projected: 0,
    };
    let config = checkpoint.encoder(embedding, &bert::SIZES)?;
    let key_heads = checkpoint.get("num_key_value_heads")?.unwrap_or(config.heads);
    if key_heads != config.heads {
        let supported = "it must be num_attention_heads: heads do not share keys";
        return Err(checkpoint.refuse("num_key_value_heads", key_heads, supported));
    }
    let config = Config {
        norm: Norm::RmsNorm,
        norm_eps: checkpoint.get("rms_norm_eps")?.unwrap_or(1e-5_f64) as f32,
        placement: NormPlacement::Pre,
        activation: checkpoint.activation("hidden_act")?,
        gated: true,
        final_norm: true,
        ..config
    };
    rope::turned(checkpoint, config)
}

fn tensors(checkpoint: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    if let Embedding::Tokens { vocabulary, .. } = entries.config().embedding {
        entries.table(Role::TokenEmbedding, "embed_tokens.weight", vocabulary);
    }
    entries.global_norm(FINAL_NORM, "norm");
    entries.layers("layers", &LAYER);
    let otherwise = checkpoint.get("rope_theta")?.unwrap_or(10_000.0);
    let columns = entries.config().rotary.columns;
    rope::table(entries, Role::Rotary, rope::rates(checkpoint, None, otherwise, columns)?);
    Ok(())
}
