//! The encoder families: what a `config.json` means, and where its tensors are.
//!
//! A family is one file with one value, and one line in [`FAMILIES`].

mod albert;
mod ast;
mod beit;
mod bert;
mod checkpoint;
mod clip;
mod decoder;
mod definition;
mod deit;
mod dinov2;
mod dinov3;
mod distilbert;
mod electra;
mod entries;
mod entry;
mod eurobert;
mod gte;
mod modernbert;
mod mpnet;
mod nomic;
mod pix2struct;
mod prenorm;
mod refused;
mod roberta;
mod rope;
mod scaling;
mod siglip;
mod t5;
mod text_tower;
mod vit;
mod whisper;
mod writer;
mod written;

pub(super) use decoder::{Found as FoundDecoder, read as read_decoder};
pub use entry::Entry;
pub use written::{Unwritten, file_tensors};

use super::error::SourceError;
use super::opening::Opening;
use super::tensors::{FloatTensor, Place, TensorFile};
use checkpoint::Checkpoint;
use coda_runtime::config::{Config, Head, Norm};
use coda_runtime::format::{Role, decode_config, encode_config};
use definition::{Family, mean_with_norm, pooled_by_attention};
use entries::Entries;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// More weights than these fit no package, which ends at 4 GiB.
const MOST_WEIGHTS: usize = 1 << 33;

/// Every family.
static FAMILIES: [&Family; 29] = [
    &bert::FAMILY,
    &roberta::FAMILY,
    &distilbert::FAMILY,
    &electra::FAMILY,
    &albert::FAMILY,
    &albert::REMBERT,
    &mpnet::FAMILY,
    &prenorm::ROBERTA,
    &prenorm::MEGATRON,
    &t5::FAMILY,
    &t5::UMT5,
    &vit::FAMILY,
    &deit::FAMILY,
    &writer::FAMILY,
    &ast::FAMILY,
    &beit::FAMILY,
    &dinov2::FAMILY,
    &dinov2::WITH_REGISTERS,
    &clip::FAMILY,
    &siglip::FAMILY,
    &text_tower::CLIP,
    &text_tower::SIGLIP,
    &modernbert::FAMILY,
    &nomic::FAMILY,
    &eurobert::FAMILY,
    &gte::FAMILY,
    &dinov3::FAMILY,
    &whisper::FAMILY,
    &pix2struct::FAMILY,
];

/// The family of a `model_type`.
fn family(path: &Path, found: String) -> Result<&'static Family, SourceError> {
    if let Some(supported) = refused::reason(&found) {
        return Err(SourceError::Setting {
            path: path.to_owned(),
            field: "model_type",
            found,
            supported,
        });
    }
    let is_named = |family: &&&Family| family.model_types.contains(&found.as_str());
    FAMILIES.iter().find(is_named).copied().ok_or_else(|| {
        let types = FAMILIES.iter().flat_map(|family| family.model_types);
        let supported = types.copied().collect::<Vec<_>>().join(", ");
        SourceError::Architecture { path: path.to_owned(), found, supported }
    })
}

/// What a `config.json` describes, with the names of its file.
pub(super) struct Encoder {
    /// The encoder.
    pub(super) config: Config,
    /// Its tensors.
    pub(super) entries: Vec<Entry>,
    /// Class names in order; empty if the configuration has none.
    pub(super) labels: Vec<String>,
    /// As [`Family::classifier`].
    pub(super) classifier: bool,
    /// As [`Family::head`].
    pub(super) head: Option<Head>,
    /// What stands before every name in the file.
    pub(super) prefix: String,
    /// Names of fields that are not known.
    pub(super) unknown: Vec<String>,
    /// It reads a spectrogram, not pixels.
    pub(super) spectrogram: bool,
}

impl Encoder {
    /// Reads a parsed `config.json`; `path` is named in errors. Without a file every tensor counts as
    /// present.
    pub(super) fn new(
        path: &Path,
        json: Value,
        file: Option<&TensorFile>,
        opening: Opening,
    ) -> Result<Self, SourceError> {
        let model_type = opening.model_type(&json);
        let mut checkpoint = Checkpoint::new(path, json, file, opening.image_size);
        let own: String = checkpoint.need("model_type")?;
        let model_type = model_type.map_err(|problem| checkpoint.json(problem))?;
        let family = family(path, model_type.as_str().map_or(own, str::to_owned))?;
        checkpoint.find_prefix(family.prefixes, family.probe)?;
        let config = (family.config)(&checkpoint)?;
        check_sizes(&checkpoint, &config)?;
        let mut entries = Entries::new(checkpoint.prefix(), &config);
        (family.tensors)(&checkpoint, &mut entries)?;
        let entries = entries.finish();
        let normed = entries.iter().any(|entry| entry.place.1 == Role::PooledNormWeight);
        let by_attention = entries.iter().any(|entry| entry.place.1 == Role::Probe);
        check_grants(&checkpoint, &entries, file)?;
        Ok(Self {
            entries,
            config,
            labels: checkpoint.labels()?,
            classifier: family.classifier,
            head: match (by_attention, normed) {
                (true, _) => pooled_by_attention(config.activation),
                (false, true) => Some(mean_with_norm()),
                _ => family.head,
            },
            unknown: checkpoint.check_fields()?,
            spectrogram: [ast::MODEL_TYPE, whisper::MODEL_TYPE]
                .iter()
                .any(|own| family.model_types.contains(own)),
            prefix: checkpoint.prefix().to_owned(),
        })
    }
}

/// The tensors of a model that has no weights: zeros, unless they follow from its fields. The maps of families
/// with RMS norms have no biases, those of the others have all.
///
/// # Errors
/// More weights than a package holds.
pub(super) fn blank(
    path: &Path,
    config: &Config,
    entries: &[Entry],
) -> Result<BTreeMap<Place, FloatTensor>, SourceError> {
    let weights: usize = entries.iter().map(|entry| entry.shape[0] * entry.shape[1]).sum();
    if weights > MOST_WEIGHTS {
        let problem = format!("{weights} weights are more than a package holds");
        return Err(SourceError::Json { path: path.to_owned(), problem });
    }
    let own = entries.iter().filter(|entry| !entry.optional || config.norm == Norm::LayerNorm);
    Ok(own.map(|entry| (entry.place, entry.blank())).collect())
}

/// Which size does not fit a package's 32 bits.
fn above_32_bits(config: &Config) -> String {
    let Config { hidden, layers, heads, head_dim, feed_forward, relative_distance, .. } = *config;
    let named = [
        ("the model dimension", hidden),
        ("the number of layers", layers),
        ("the number of heads", heads),
        ("the width of a head", head_dim),
        ("the feed-forward width", feed_forward),
        ("the relative distance", relative_distance),
    ];
    let above = named.into_iter().find(|(_, size)| u32::try_from(*size).is_err());
    match above {
        Some((name, size)) => format!("{name} is {size}, above 32 bits"),
        None => "a size of the input is above 32 bits".to_owned(),
    }
}

/// The package format's limits, said in the configuration's words.
fn check_sizes(checkpoint: &Checkpoint<'_>, config: &Config) -> Result<(), SourceError> {
    let sizes = |problem: &str| checkpoint.json(format!("the sizes cannot be packed: {problem}"));
    match decode_config(&encode_config(config)) {
        Ok(packed) if packed == *config => Ok(()),
        Ok(_) => Err(sizes(&above_32_bits(config))),
        Err(error) => Err(sizes(&error.to_string())),
    }
}

/// Fields that say whether a file has tensors that it may lack: true, or above zero, for some of them.
static GRANTS: [(&str, &[Role]); 11] = [
    ("qkv_bias", &[Role::QueryBias, Role::KeyBias, Role::ValueBias]),
    ("qkv_proj_bias", &[Role::QueryBias, Role::KeyBias, Role::ValueBias]),
    ("query_bias", &[Role::QueryBias]),
    ("key_bias", &[Role::KeyBias]),
    ("value_bias", &[Role::ValueBias]),
    ("proj_bias", &[Role::AttentionOutputBias]),
    ("attention_bias", &[Role::QueryBias, Role::AttentionOutputBias]),
    ("mlp_bias", &[Role::FeedForwardInBias, Role::FeedForwardOutBias]),
    ("mlp_fc1_bias", &[Role::FeedForwardInBias]),
    ("mlp_fc2_bias", &[Role::FeedForwardOutBias]),
    ("layer_scale_init_value", &[Role::AttentionScale, Role::FeedForwardScale]),
];

/// A file that has what its configuration denies, or lacks what it grants, is of another model.
fn check_grants(
    checkpoint: &Checkpoint<'_>,
    entries: &[Entry],
    file: Option<&TensorFile>,
) -> Result<(), SourceError> {
    let Some(file) = file else { return Ok(()) };
    for (field, roles) in GRANTS {
        let Some(value) = checkpoint.get::<Value>(field)? else { continue };
        let mut own = entries.iter().filter(|entry| roles.contains(&entry.place.1));
        let granted = value.as_bool().or(value.as_f64().map(|number| number > 0.0));
        let supported = match (granted, own.any(|entry| file.contains(&entry.name))) {
            (Some(false), true) => "model.safetensors has such tensors",
            (Some(true), false) => "model.safetensors has no such tensors",
            (Some(_), _) => continue,
            (None, _) => "supported are true and false, or a number",
        };
        return Err(checkpoint.refuse(field, value, supported));
    }
    Ok(())
}
