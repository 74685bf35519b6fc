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
use super::entry::Entry;
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
/// `generation_config.json` and of `config.json`; `speech` is what one of speech is asked to write. Without a
/// file every tensor is zero.
pub(in crate::source) fn read(
    files: [JsonFile<'_>; 2],
    file: Option<&TensorFile>,
    speech: Speech,
) -> Result<Option<Found>, SourceError> {
    let JsonFile { path, value: json } = files[1];
    let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let is_named = |family: &&&DecoderFamily| family.model_types.contains(&model_type);
    let Some(family) = FAMILIES.iter().find(is_named) else { return Ok(None) };
    let mut checkpoint = Checkpoint::new(path, json.clone(), file, None);
    let has_probe =
        |file: &TensorFile| file.names().iter().any(|name| name.ends_with(family.probe));
    if file.is_some_and(|file| !has_probe(file)) {
        return Ok(None);
    }
    checkpoint.find_prefix(family.prefixes, family.probe)?;
    let config = (family.config)(&checkpoint)?;
    super::check_sizes(&checkpoint, &config)?;
    let mut entries = Entries::new(checkpoint.prefix(), &config);
    (family.tensors)(&checkpoint, &mut entries)?;
    let entries = entries.finish();
    let names = entries.iter().map(|entry| (entry.place, entry.name.clone())).collect();
    let tensors = match file {
        Some(file) => read_tensors(&entries, file)?,
        None => super::blank(path, &config, &entries)?,
    };
    let used = entries.iter().flat_map(Entry::sources).collect();
    let tied = !tensors.contains_key(&(GLOBAL_LAYER, Role::LogitWeight));
    let mut generation = Generation::read(files, &config, speech)?;
    let note = generation.note(files);
    (family.settle)(&checkpoint, &config, tied, &mut generation)?;
    check_ids(path, &config, &generation)?;
    let decoder = Decoder { config, tensors, names, entries, generation, tied };
    Ok(Some(Found { decoder, used, note }))
}

fn read_tensors(
    entries: &[Entry],
    file: &TensorFile,
) -> Result<BTreeMap<Place, FloatTensor>, SourceError> {
    let is_there = |entry: &&Entry| !entry.optional || file.contains(&entry.name);
    let own = entries.iter().filter(is_there);
    own.map(|entry| Ok((entry.place, entry.read(file)?))).collect()
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
