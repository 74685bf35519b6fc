//! The bundled Whisper of random weights with other generation settings.

use crate::seq2seq::Vectors;
use anyhow::{Context, Result};
use coda_converter::source::Base;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The id that answers of [`several_languages`] begin with.
pub const START: u32 = 36;
/// The id that ends them.
pub const END: u32 = 34;
/// The id of time 0; every id from there on is a time.
pub const FIRST_TIME: u32 = 41;
/// Rows of the token table.
pub const VOCABULARY: u32 = 61;
/// Most steps before the first time.
pub const LATEST_START: u32 = 5;
/// Codes and ids.
pub const LANGUAGES: [(&str, u32); 3] = [("en", 30), ("fr", 31), ("yue", 32)];
/// Ids that never follow, times left out.
pub const SUPPRESSED: [u32; 11] = [3, 8, 30, 31, 32, 33, 35, 36, 37, 38, 39];

/// Writes a directory of it, with fields of `generation_config.json`.
///
/// # Errors
/// The vectors are not there, or the directory cannot be written.
pub fn write_directory(to: &Path, fields: Map<String, Value>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq/seed012/whisper");
    let vectors = Vectors::open(&root)?.context("no directory of vectors")?;
    vectors.write_directory(to)?;
    let path = to.join("generation_config.json");
    let mut rules: Map<String, Value> = serde_json::from_slice(&std::fs::read(&path)?)?;
    rules.extend(fields);
    std::fs::write(path, Value::Object(rules).to_string())?;
    Ok(())
}

/// The settings of a model with 20 times and [`LANGUAGES`].
#[must_use]
pub fn settings() -> Map<String, Value> {
    let languages = LANGUAGES.map(|(code, id)| (format!("<|{code}|>"), json!(id)));
    let settings = [
        ("decoder_start_token_id", json!(START)),
        ("eos_token_id", json!(END)),
        ("suppress_tokens", json!(SUPPRESSED)),
        ("begin_suppress_tokens", json!([0, END])),
        ("forced_decoder_ids", json!(null)),
        ("is_multilingual", json!(true)),
        ("lang_to_id", Value::Object(languages.into_iter().collect())),
        ("task_to_id", json!({ "transcribe": 37, "translate": 38 })),
        ("no_timestamps_token_id", json!(FIRST_TIME - 1)),
        ("max_initial_timestamp_index", json!(LATEST_START)),
        ("prev_sot_token_id", json!(35)),
    ];
    settings.map(|(field, value)| (field.to_owned(), value)).into_iter().collect()
}

/// One with 20 times and [`LANGUAGES`], read from a directory that is written to `scratch`.
///
/// # Errors
/// As of [`write_directory`].
pub fn several_languages(scratch: &Path) -> Result<Base> {
    write_directory(scratch, settings())?;
    Ok(Base::open(scratch, None)?)
}
