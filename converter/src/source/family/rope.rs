//! What a `config.json` says of rotary positions.

use super::bert;
use super::checkpoint::Checkpoint;
use super::entries::Entries;
use super::scaling::scaling;
use crate::source::error::SourceError;
use crate::source::rotary::{Places, Rates};
use coda_runtime::config::{Config, Embedding, Rotary};
use coda_runtime::format::Role;
use serde_json::Value;

/// An encoder whose heads are turned whole.
pub(super) fn turned(checkpoint: &Checkpoint<'_>, config: Config) -> Result<Config, SourceError> {
    let columns = config.head_dim;
    if let Some(found) = checkpoint.get::<usize>("head_dim")?.filter(|found| *found != columns) {
        let supported = "it must be the model dimension by the number of heads";
        return Err(checkpoint.refuse("head_dim", found, supported));
    }
    if !columns.is_multiple_of(2) {
        let supported = "a head must have an even number of columns, which positions turn in pairs";
        return Err(checkpoint.refuse("num_attention_heads", config.heads, supported));
    }
    let positions = checkpoint.need("max_position_embeddings")?;
    Ok(Config { rotary: Rotary { columns, positions, own_of_local: false }, ..config })
}

/// The table of the tokens of a text.
pub(super) fn table(entries: &mut Entries<'_>, role: Role, rates: Rates) {
    entries.rotary(role, rates, Places::Line(entries.config().rotary.positions));
}

/// How fast the pairs of `columns` columns turn: by the base of the wave lengths, that of `rope_parameters`, or
/// of its `part`, else `otherwise`, and by what they say of longer texts.
pub(super) fn rates(
    checkpoint: &Checkpoint<'_>,
    part: Option<&str>,
    otherwise: f64,
    columns: usize,
) -> Result<Rates, SourceError> {
    let theta = theta(checkpoint, part, otherwise)?;
    Ok(Rates { theta, scaling: scaling(checkpoint, part, columns, theta)? })
}

fn theta(
    checkpoint: &Checkpoint<'_>,
    part: Option<&str>,
    otherwise: f64,
) -> Result<f64, SourceError> {
    let whole = checkpoint.get::<Value>("rope_parameters")?.unwrap_or_default();
    let own = part.map_or(Some(&whole), |part| whole.get(part));
    match own.and_then(|own| own.get("rope_theta")).filter(|found| !found.is_null()) {
        None => checked(checkpoint, "rope_theta", otherwise),
        Some(found) => match found.as_f64() {
            Some(theta) => checked(checkpoint, "rope_parameters", theta),
            None => Err(checkpoint.refuse("rope_parameters", found, THETA)),
        },
    }
}

const THETA: &str = "the base of rotary positions must be a number of at least 1";

/// A base as it may be.
pub(super) fn checked(
    checkpoint: &Checkpoint<'_>,
    field: &'static str,
    theta: f64,
) -> Result<f64, SourceError> {
    let sensible = (1.0..=1e30).contains(&theta);
    if sensible { Ok(theta) } else { Err(checkpoint.refuse(field, theta, THETA)) }
}

/// A gated BERT with rotary positions; `token_types` if its fields do not say how many.
pub(super) fn gated_bert(
    checkpoint: &Checkpoint<'_>,
    token_types: usize,
) -> Result<Config, SourceError> {
    let embedding = Embedding::Tokens {
        vocabulary: checkpoint.need("vocab_size")?,
        positions: 0,
        token_types: checkpoint.get("type_vocab_size")?.unwrap_or(token_types),
        norm: true,
        projected: 0,
    };
    let config = checkpoint.encoder(embedding, &bert::SIZES)?;
    let config = Config {
        norm_eps: checkpoint.get("layer_norm_eps")?.unwrap_or(1e-12_f64) as f32,
        activation: checkpoint.activation("hidden_act")?,
        gated: true,
        ..config
    };
    turned(checkpoint, config)
}
