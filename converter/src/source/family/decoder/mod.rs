//! The decoder families: where the other half of a directory is.
//!
//! A family is one file with one value, and one line in [`FAMILIES`].

mod bart;
mod definition;
mod pix2struct;
mod t5;
mod whisper;

pub(super) use bart::LAYER as BART_LAYER;

use super::checkpoint::Checkpoint;
use super::entries::Entries;
use crate::source::answer_fields::JsonFile;
use crate::source::decoder::Decoder;
use crate::source::error::SourceError;
use crate::source::generation::Generation;
use crate::source::opening::Speech;
use crate::source::tensors::{FloatTensor, Place, TensorFile};
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use definition::DecoderFamily;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

static FAMILIES: [&DecoderFamily; 4] =
    [&t5::FAMILY, &bart::OF_IMAGES, &whisper::FAMILY, &pix2struct::FAMILY];

/// The names of every tensor that was read, and what was read.
pub(in crate::source) struct Found {
    pub(in crate::source) decoder: Decoder,
    pub(in crate::source) used: Vec<String>,
    /// What may be otherwise than its directory means, for people.
    pub(in crate::source) note: Option<String>,
}

/// The decoder of a directory, if its family has one and the file holds it. The settings are those of
/// `generation_config.json` and of `config.json`; `speech` is what one of speech is asked to write.
pub(in crate::source) fn read(
    files: [JsonFile<'_>; 2],
    file: &TensorFile,
    speech: Speech,
) -> Result<Option<Found>, SourceError> {
    let JsonFile { path, value: json } = files[1];
    let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let is_named = |family: &&&DecoderFamily| family.model_types.contains(&model_type);
    let Some(family) = FAMILIES.iter().find(is_named) else { return Ok(None) };
    let mut checkpoint = Checkpoint::new(path, json.clone(), Some(file), None);
    if !file.names().iter().any(|name| name.ends_with(family.probe)) {
        return Ok(None);
    }
    checkpoint.find_prefix(family.prefixes, family.probe)?;
    let config = (family.config)(&checkpoint)?;
    super::check_sizes(&checkpoint, &config)?;
    let mut entries = Entries::new(checkpoint.prefix(), &config);
    (family.tensors)(&checkpoint, &mut entries)?;
    let Tensors { tensors, names, used } = Tensors::read(entries, file)?;
    let tied = !tensors.contains_key(&(GLOBAL_LAYER, Role::LogitWeight));
    let mut generation = Generation::read(files, &config, speech)?;
    let note = generation.note(files);
    (family.settle)(&checkpoint, &config, tied, &mut generation)?;
    check_ids(path, &config, &generation)?;
    let decoder = Decoder { config, tensors, names, generation, tied };
    Ok(Some(Found { decoder, used, note }))
}

/// The tensors of a decoder.
#[derive(Default)]
struct Tensors {
    tensors: BTreeMap<Place, FloatTensor>,
    names: BTreeMap<Place, String>,
    /// Names in the file.
    used: Vec<String>,
}

impl Tensors {
    fn read(entries: Entries<'_>, file: &TensorFile) -> Result<Self, SourceError> {
        let mut read = Self::default();
        for entry in entries.finish() {
            read.used.extend(entry.sources());
            read.names.insert(entry.place, entry.name.clone());
            if !entry.optional || file.contains(&entry.name) {
                read.tensors.insert(entry.place, entry.read(file)?);
            }
        }
        Ok(read)
    }
}

/// Every id is a row of the table.
fn check_ids(path: &Path, config: &Config, generation: &Generation) -> Result<(), SourceError> {
    let Embedding::Tokens { vocabulary, .. } = config.embedding else { return Ok(()) };
    let lists = [&generation.start, &generation.suppressed, &generation.suppressed_first];
    let ids = lists.into_iter().flatten().chain([&generation.end]);
    match ids.copied().find(|id| *id as usize >= vocabulary) {
        Some(id) => Err(SourceError::Json {
            path: path.to_owned(),
            problem: format!("an answer may hold id {id}, the decoder has {vocabulary} tokens"),
        }),
        None => Ok(()),
    }
}
