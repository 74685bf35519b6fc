//! The decoder of Whisper: of BART's kind, pre-norm, its token table the output map too.

use super::bart::{CROSS, LAYER, SIZES};
use super::definition::DecoderFamily;
use crate::source::error::SourceError;
use crate::source::family::checkpoint::Checkpoint;
use crate::source::family::entries::Entries;
use crate::source::roles::FINAL_NORM;
use coda_runtime::config::{Config, Embedding, NormPlacement};
use coda_runtime::format::Role;

pub(super) const FAMILY: DecoderFamily = DecoderFamily {
    model_types: &["whisper"],
    probe: "decoder.embed_tokens.weight",
    prefixes: &["model.", ""],
    config,
    tensors,
    settle: |_, _, _, _| Ok(()),
};

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions: checkpoint.get("max_target_positions")?.unwrap_or(448),
        token_types: 0,
        norm: false,
        projected: 0,
    };
    Ok(Config {
        norm_eps: 1e-5,
        activation: checkpoint.activation("activation_function")?,
        placement: NormPlacement::Pre,
        final_norm: true,
        ..checkpoint.encoder(embedding, &SIZES)?
    })
}

fn tensors(_: &Checkpoint<'_>, entries: &mut Entries<'_>) -> Result<(), SourceError> {
    let config = entries.config();
    let Embedding::Tokens { vocabulary, positions, .. } = config.embedding else { return Ok(()) };
    entries.table(Role::TokenEmbedding, "decoder.embed_tokens.weight", vocabulary);
    entries.table(Role::PositionEmbedding, "decoder.embed_positions.weight", positions);
    entries.global_norm(FINAL_NORM, "decoder.layer_norm");
    entries.layers("decoder.layers", &LAYER);
    entries.cross_layers("decoder.layers", &CROSS, config.hidden);
    Ok(())
}
