//! The text towers of CLIP and `SigLIP`: pre-norm, learned positions, no norm behind the embedding.

use super::bert;
use super::checkpoint::Checkpoint;
use super::clip;
use super::definition::{Family, embedding};
use super::entries::Entries;
use crate::source::error::SourceError;
use crate::source::roles::{FINAL_NORM, FIRST_STAGE};
use coda_runtime::config::{
    Config, Embedding, Head, NormPlacement, Pooling, StageActivation, Stages,
};
use coda_runtime::format::Role;
use serde_json::{Value, json};

/// The answer is the last token, which ends the text, before any projection that is shared with images.
/// No token sees those behind it, so that padding behind the text would change nothing before it.
pub(super) const CLIP: Family = Family {
    model_types: &["clip_text_model"],
    prefixes: &["text_model.", ""],
    probe: "embeddings.token_embedding.weight",
    config: |checkpoint| Ok(Config { causal: true, ..config(&clip(checkpoint))? }),
    tensors: |_, entries| {
        tensors(entries);
        Ok(())
    },
    classifier: false,
    head: Some(embedding(Pooling::LastToken)),
};

/// The answer is a linear map of the last token, whatever that is: its texts are padded to the longest.
pub(super) const SIGLIP: Family = Family {
    model_types: &["siglip_text_model"],
    config: |checkpoint| config(&siglip(checkpoint)),
    tensors: |checkpoint, entries| {
        tensors(entries);
        let hidden = entries.config().hidden;
        let width = siglip(checkpoint).get("projection_size")?.unwrap_or(hidden);
        entries.global_linear(FIRST_STAGE, "head", [width, hidden]);
        Ok(())
    },
    head: Some(Head {
        stages: match Stages::NONE.then(StageActivation::Identity) {
            Some(stages) => stages,
            None => Stages::NONE,
        },
        ..embedding(Pooling::LastToken)
    }),
    ..CLIP
};

/// What a file of two towers says of this one, without what is as usual.
fn tower<'f>(checkpoint: &Checkpoint<'f>, usual: &Value) -> Checkpoint<'f> {
    let own = checkpoint.within("text_config");
    own.unwrap_or_else(|| checkpoint.with_defaults(&Value::Null)).with_defaults(usual)
}

fn clip<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    let usual = json!({
        "vocab_size": 49408, "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
        "intermediate_size": 2048, "max_position_embeddings": 77,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    });
    tower(checkpoint, &usual)
}

fn siglip<'f>(checkpoint: &Checkpoint<'f>) -> Checkpoint<'f> {
    let usual = json!({
        "vocab_size": 32000, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_position_embeddings": 64,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    });
    tower(checkpoint, &usual)
}

fn config(tower: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let embedding = Embedding::Tokens {
        vocabulary: tower.need("vocab_size")?,
        positions: tower.need("max_position_embeddings")?,
        token_types: 0,
        norm: false,
        projected: 0,
    };
    Ok(Config {
        norm_eps: tower.need::<f64>("layer_norm_eps")? as f32,
        activation: tower.activation("hidden_act")?,
        placement: NormPlacement::Pre,
        final_norm: true,
        ..tower.encoder(embedding, &bert::SIZES)?
    })
}

fn tensors(entries: &mut Entries<'_>) {
    if let Embedding::Tokens { vocabulary, positions, .. } = entries.config().embedding {
        entries.table(Role::TokenEmbedding, "embeddings.token_embedding.weight", vocabulary);
        entries.table(Role::PositionEmbedding, "embeddings.position_embedding.weight", positions);
    }
    entries.global_norm(FINAL_NORM, "final_layer_norm");
    entries.layers("encoder.layers", &clip::NAMES.layer);
}
