//! The WordPiece vocabulary of a model directory.

use super::error::SourceError;
use super::json::read_json;
use coda_runtime::text::normalize::Normalization;
use coda_runtime::text::{Options, SpecialIds, encode, encoded_len};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A WordPiece vocabulary and how texts are normalised for it.
#[derive(Clone, Debug)]
pub struct TokenizerFiles {
    /// Tokens in order of their ids.
    pub tokens: Vec<String>,
    /// Everything but the tokens.
    pub options: Options,
}

impl TokenizerFiles {
    /// Reads `tokenizer.json`, or else `vocab.txt` (with `tokenizer_config.json` if present);
    /// `None` if the directory has neither.
    ///
    /// # Errors
    /// [`SourceError::Tokenizer`] for anything but a BERT WordPiece.
    pub fn open(directory: &Path) -> Result<Option<Self>, SourceError> {
        let full = directory.join("tokenizer.json");
        if full.is_file() {
            let json = read_json(&full)?;
            return from_tokenizer_json(&json).map(Some).map_err(|problem| error(&full, problem));
        }
        let list = directory.join("vocab.txt");
        if !list.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&list)
            .map_err(|source| SourceError::Read { path: list.clone(), source })?;
        let tokens: Vec<String> = text.lines().map(str::to_owned).collect();
        let config = directory.join("tokenizer_config.json");
        let config = if config.is_file() { read_json(&config)? } else { Value::Null };
        let normalization = from_settings(&config, "do_lower_case", "tokenize_chinese_chars");
        finish(tokens, normalization, 100).map(Some).map_err(|problem| error(&list, problem))
    }

    /// The vocabulary section.
    ///
    /// # Errors
    /// The runtime's reason as text, for instance equal tokens.
    pub fn section(&self) -> Result<Vec<u8>, String> {
        let tokens: Vec<&str> = self.tokens.iter().map(String::as_str).collect();
        let mut bytes = vec![0; encoded_len(&tokens)];
        encode(&tokens, &self.options, &mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

fn error(path: &Path, problem: String) -> SourceError {
    SourceError::Tokenizer { path: PathBuf::from(path), problem }
}

fn from_tokenizer_json(json: &Value) -> Result<TokenizerFiles, String> {
    let kind = |part: &str| json[part]["type"].as_str().unwrap_or("none").to_owned();
    for (part, expected) in [
        ("model", "WordPiece"),
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
    ] {
        if kind(part) != expected {
            return Err(format!(
                "the {part} is {}, supported is {expected}; texts of this model must be given as ids",
                kind(part)
            ));
        }
    }
    let model = &json["model"];
    if model["continuing_subword_prefix"].as_str() != Some("##") {
        return Err("the continuing_subword_prefix must be \"##\"".to_owned());
    }
    let tokens = in_order(model["vocab"].as_object().ok_or("the model has no vocab")?)?;
    let longest = model["max_input_chars_per_word"].as_u64().unwrap_or(100);
    let normalization = from_settings(&json["normalizer"], "lowercase", "handle_chinese_chars");
    finish(tokens, normalization, u32::try_from(longest).unwrap_or(u32::MAX))
}

/// Tokens in order of their ids, which are 0, 1, 2 and so on.
fn in_order(vocabulary: &Map<String, Value>) -> Result<Vec<String>, String> {
    let count = vocabulary.len();
    let mut tokens = vec![None; count];
    for (token, id) in vocabulary {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        let slot = id.and_then(|id| tokens.get_mut(id));
        *slot.ok_or_else(|| format!("the id of token {token:?} is not below {count}"))? =
            Some(token.clone());
    }
    let tokens: Option<Vec<String>> = tokens.into_iter().collect();
    tokens.ok_or_else(|| "two tokens have the same id".to_owned())
}

/// Settings that are absent are as in BERT uncased; accents follow the case.
fn from_settings(json: &Value, lowercase: &str, chinese: &str) -> Normalization {
    let on = |name: &str, default| json[name].as_bool().unwrap_or(default);
    let lowercase = on(lowercase, true);
    Normalization {
        clean_text: on("clean_text", true),
        handle_chinese_chars: on(chinese, true),
        strip_accents: on("strip_accents", lowercase),
        lowercase,
    }
}

fn finish(
    tokens: Vec<String>,
    normalization: Normalization,
    max_chars_per_word: u32,
) -> Result<TokenizerFiles, String> {
    let id = |token: &str| {
        let found = tokens.iter().position(|own| own == token);
        found.map(|id| id as u32).ok_or_else(|| format!("the vocabulary has no token {token}"))
    };
    let special = SpecialIds {
        unknown: id("[UNK]")?,
        classify: id("[CLS]")?,
        separate: id("[SEP]")?,
        pad: id("[PAD]")?,
        mask: id("[MASK]").ok(),
    };
    let options = Options { normalization, max_chars_per_word, special };
    Ok(TokenizerFiles { tokens, options })
}
