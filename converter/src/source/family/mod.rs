//! The encoder families: what a `config.json` means, and where its tensors are.
//!
//! A family is one file with one value, and one line in [`FAMILIES`].

mod bert;
mod checkpoint;
mod dinov2;
mod distilbert;
mod entries;
mod roberta;
mod t5;
mod vit;

pub(super) use entries::Entry;

use super::error::SourceError;
use super::tensors::TensorFile;
use checkpoint::Checkpoint;
use coda_runtime::config::{Config, Head, HeadKind, Pooling};
use coda_runtime::format::{decode_config, encode_config};
use entries::Entries;
use serde_json::Value;
use std::path::Path;

/// Every family.
static FAMILIES: [&Family; 6] = [
    &bert::FAMILY,
    &roberta::FAMILY,
    &distilbert::FAMILY,
    &vit::FAMILY,
    &dinov2::FAMILY,
    &t5::FAMILY,
];

/// How one kind of encoder is described and stored.
struct Family {
    /// Its names in the `model_type` of a `config.json`.
    model_types: &'static [&'static str],
    /// What may stand before every name: the head classes of a family add a prefix.
    prefixes: &'static [&'static str],
    /// A tensor that no checkpoint lacks, by which the prefix is found.
    probe: &'static str,
    /// The encoder that the fields describe.
    config: fn(&Checkpoint<'_>) -> Result<Config, SourceError>,
    /// The tensors of that encoder.
    tensors: fn(&Checkpoint<'_>, &mut Entries<'_>) -> Result<(), SourceError>,
    /// The tensors `classifier.{weight,bias}`, if there are any, read the pooled vector.
    classifier: bool,
    /// The answer where nothing describes one.
    head: Option<Head>,
}

impl Family {
    /// The family of a `model_type`.
    fn named(path: &Path, found: String) -> Result<&'static Self, SourceError> {
        let is_own = |family: &&&Self| family.model_types.contains(&found.as_str());
        FAMILIES.iter().find(is_own).copied().ok_or_else(|| {
            let types = FAMILIES.iter().flat_map(|family| family.model_types);
            let supported = types.copied().collect::<Vec<_>>().join(", ");
            SourceError::Architecture { path: path.to_owned(), found, supported }
        })
    }
}

/// The pooled vector as the answer.
const fn embedding(pooling: Pooling) -> Head {
    Head { pooling, kind: HeadKind::Embedding { normalize: false } }
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
}

impl Encoder {
    /// Reads a parsed `config.json`; `path` is named in errors. Without a file every tensor counts as
    /// present. `image_size` is the side of the images in place of the configuration's.
    pub(super) fn new(
        path: &Path,
        json: Value,
        file: Option<&TensorFile>,
        image_size: Option<usize>,
    ) -> Result<Self, SourceError> {
        let mut checkpoint = Checkpoint::new(path, json, file, image_size);
        let family = Family::named(path, checkpoint.need("model_type")?)?;
        checkpoint.find_prefix(family);
        let config = (family.config)(&checkpoint)?;
        // The package format's limits, said in the configuration's words.
        decode_config(&encode_config(&config))
            .map_err(|error| checkpoint.json(format!("the sizes cannot be packed: {error}")))?;
        let mut entries = Entries::new(checkpoint.prefix(), &config);
        (family.tensors)(&checkpoint, &mut entries)?;
        Ok(Self {
            entries: entries.finish(),
            config,
            labels: checkpoint.labels(),
            classifier: family.classifier,
            head: family.head,
        })
    }
}
