//! The tokens of a WordPiece model.

use super::super::file;
use super::files::{FULL, Files, LIST, PRE_TOKENIZER, Problem, unsupported};

use coda_runtime::text::layout;
use std::collections::HashMap;

/// Tokens in order of their ids.
pub(super) fn vocabulary(files: &Files) -> Result<Vec<String>, Problem> {
    if files.full.is_absent() {
        return from_list(files);
    }
    let Some(vocabulary) = files.word_piece().get("vocab").as_object() else {
        return files.damaged(FULL, "model.vocab is missing");
    };
    let count = vocabulary.len();
    let mut tokens = vec![None; count];
    for (token, id) in vocabulary {
        let slot = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        match slot {
            Some(slot @ None) => *slot = Some(token.clone()),
            Some(Some(other)) => {
                let problem = format!("model.vocab has id {id} for {token:?} and {other:?}");
                return files.damaged(FULL, problem);
            }
            None => {
                let problem = format!("model.vocab has id {id} for {token:?} of {count} tokens");
                return files.damaged(FULL, problem);
            }
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// A token a line. Empty lines at the end count as one.
fn from_list(files: &Files) -> Result<Vec<String>, Problem> {
    let bytes = file::read_text(&files.path(LIST))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return files.damaged(LIST, "it is not UTF-8 text");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let kept = text.trim_end_matches('\n').len();
    let text = text.get(..text.len().min(kept + 2)).unwrap_or(&text);
    let tokens: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
    let mut lines = HashMap::new();
    for (line, token) in (1..).zip(&tokens) {
        if let Some(before) = lines.insert(token, line) {
            return files.damaged(LIST, format!("lines {before} and {line} are both {token:?}"));
        }
    }
    Ok(tokens)
}

/// Refuses a `tokenizer.json` that is no WordPiece as BERT has it.
pub(super) fn check_model(files: &Files) -> Result<(), Problem> {
    let (full, model) = (&files.full, files.word_piece());
    if full.is_absent() {
        return Ok(());
    }
    let (kind, prefix) = (model.get("type"), model.get("continuing_subword_prefix"));
    if kind != "WordPiece" && !(kind.is_null() && prefix.is_string()) {
        return unsupported(FULL, "model.type", kind);
    }
    if prefix != "##" {
        return unsupported(FULL, "model.continuing_subword_prefix", prefix);
    }
    let splitter = full.root().part("pre_tokenizer", PRE_TOKENIZER);
    if splitter.only("pretokenizers").get("type") != "BertPreTokenizer" {
        return unsupported(FULL, "pre_tokenizer", splitter.get("type"));
    }
    Ok(())
}

/// Most characters of a word.
pub(super) fn most_characters(files: &Files) -> Result<u32, Problem> {
    let value = files.word_piece().get("max_input_chars_per_word");
    let most = if value.is_null() { Some(100) } else { value.as_u64() };
    let most = most.and_then(|most| u32::try_from(most).ok());
    match most.filter(|most| (1..=layout::MOST_CHARS_PER_WORD).contains(most)) {
        Some(most) => Ok(most),
        None => unsupported(FULL, "model.max_input_chars_per_word", value),
    }
}
