//! The tokens that are found in texts as they stand.

use super::super::fields::TOKEN;
use super::super::json::Part;
use super::files::{ADDED, CONFIG, FULL, Files, Problem, SPECIAL_MAP, content};
use coda_runtime::text::AddedToken;
use coda_runtime::text::layout::{MOST_ADDED, MOST_ADDED_BYTES};
use coda_runtime::text::normalize::{Normalization, normalized};
use coda_runtime::text::pieces::layout as standing;
use serde_json::Value;
use std::collections::HashMap;

/// A token that is found in texts as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Added {
    /// It is looked for in the normalised text.
    pub normalized: bool,
    /// What is looked for, normalised if the text is.
    pub text: String,
    /// Its id.
    pub id: u32,
    /// It is one only where no word character stands beside it.
    pub single_word: bool,
}

impl Added {
    pub(super) fn view(&self) -> AddedToken<'_> {
        let Self { normalized, ref text, id, single_word } = *self;
        AddedToken { text, id, normalized, single_word }
    }
}

/// A token that stands in texts of byte pairs or Unigram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Those of `coda_runtime::text::pieces::layout`.
    pub(super) flags: u32,
    pub(super) text: String,
    pub(super) id: u32,
}

/// A token as a file has it.
#[derive(Clone)]
struct Token {
    file: &'static str,
    content: String,
    id: u32,
    normalized: bool,
    single_word: bool,
    /// Other flags of [`Standing`].
    flags: u32,
}

/// The added tokens in the order in which `tokenizers` gets them.
pub(super) struct List<'a> {
    files: &'a Files,
    /// Tokens of the model.
    vocabulary: HashMap<&'a str, u32>,
    /// Rows of the embedding.
    rows: usize,
    tokens: Vec<Token>,
}

impl<'a> List<'a> {
    /// The added tokens of all files.
    pub(super) fn read(
        files: &'a Files,
        tokens: &'a [String],
        rows: usize,
    ) -> Result<Self, Problem> {
        let named =
            tokens.iter().map(String::as_str).zip(0..).filter(|(token, _)| !token.is_empty());
        let vocabulary = named.collect();
        let mut list = Self { files, vocabulary, rows, tokens: Vec::new() };
        for token in files.full.get("added_tokens").as_array().into_iter().flatten() {
            list.add(FULL, token, Some(Part::new(TOKEN, token).get("id")))?;
        }
        list.add_decoder()?;
        if !files.has_decoder() {
            list.add_legacy()?;
        }
        list.add_special()?;
        Ok(list)
    }

    /// `added_tokens_decoder` of `tokenizer_config.json`.
    fn add_decoder(&mut self) -> Result<(), Problem> {
        let decoder = self.files.config.get("added_tokens_decoder");
        let mut entries: Vec<(u32, &Value)> = Vec::new();
        for (key, token) in decoder.as_object().into_iter().flatten() {
            match key.parse() {
                Ok(id) => entries.push((id, token)),
                Err(_) => {
                    let problem = format!("added_tokens_decoder: {key:?} is no id");
                    return self.files.damaged(CONFIG, problem);
                }
            }
        }
        entries.sort_by_key(|(id, _)| *id);
        entries.into_iter().try_for_each(|(id, token)| self.add(CONFIG, token, Some(&id.into())))
    }

    /// `added_tokens.json`, whose tokens are special if another file says so.
    fn add_legacy(&mut self) -> Result<(), Problem> {
        let mut entries: Vec<(&String, &Value)> = self.files.added.entries().collect();
        entries.sort_by_key(|(_, id)| id.as_u64());
        for (content, id) in entries {
            let named = |token: &Value| super::files::content(token) == Some(content);
            let special = KEYS.iter().any(|key| self.files.special_name(key) == content)
                || EXTRA.iter().any(|key| elements(self.files.special(key)).any(named));
            let token = serde_json::json!({"content": content, "special": special});
            self.add(ADDED, &token, Some(id))?;
        }
        Ok(())
    }

    /// The special tokens by name, and those without one.
    fn add_special(&mut self) -> Result<(), Problem> {
        let files = self.files;
        // What only the class names must be there.
        let default = |key| {
            let name = files.special_name(key);
            let usable = !files.as_file() && self.vocabulary.contains_key(name);
            if usable { Value::from(name) } else { Value::Null }
        };
        let named = KEYS.iter().map(|key| match files.special(key) {
            Value::Null => default(key),
            own => own.clone(),
        });
        let others = EXTRA.iter().flat_map(|key| elements(files.special(key)).cloned());
        let all: Vec<Value> = named.chain(others).collect();
        let file = if files.has_decoder() { CONFIG } else { SPECIAL_MAP };
        for token in all {
            let Some(content) = content(&token).filter(|own| !own.is_empty()) else { continue };
            let known = self.tokens.iter().any(|own| own.content == content);
            let has_row = self.vocabulary.contains_key(content) || self.next_id() < self.rows;
            if !known && has_row {
                let mut token =
                    if token.is_object() { token } else { serde_json::json!({"content": content}) };
                token["special"] = true.into();
                self.add(file, &token, None)?;
            }
        }
        Ok(())
    }

    fn next_id(&self) -> usize {
        let above = self.tokens.iter().map(|token| token.id as usize + 1).max().unwrap_or(0);
        above.max(self.vocabulary.len())
    }

    /// Adds a token, or changes one that is there.
    fn add(&mut self, file: &'static str, json: &Value, id: Option<&Value>) -> Result<(), Problem> {
        let Some(content) = content(json).filter(|content| !content.is_empty()) else {
            return self.files.damaged(file, format!("the added token {json} has no content"));
        };
        let expected = self.id(content).unwrap_or(self.next_id() as u32);
        if let Some(found) = id.filter(|id| id.as_u64() != Some(u64::from(expected))) {
            let problem =
                format!("the added token {content:?} has id {found}, but {expected} by its place");
            return self.files.damaged(file, problem);
        }
        let flag = |name: &str| Part::new(TOKEN, json).get(name).as_bool();
        let normalized = flag("normalized").unwrap_or(flag("special") != Some(true));
        let single_word = flag("single_word").unwrap_or(false);
        let flags = [
            (single_word, standing::SINGLE_WORD),
            (flag("lstrip") == Some(true), standing::LEFT_STRIP),
            (flag("rstrip") == Some(true), standing::RIGHT_STRIP),
            (normalized, standing::NORMALIZED),
            (flag("special") == Some(true), standing::SPECIAL),
        ];
        let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
        let content = content.to_owned();
        let token = Token { file, content, id: expected, normalized, single_word, flags };
        self.put(token)
    }

    fn put(&mut self, token: Token) -> Result<(), Problem> {
        let Token { file, content, normalized, .. } = &token;
        let full = self.tokens.len() == MOST_ADDED;
        match self.tokens.iter_mut().find(|own| own.content == *content) {
            None if full => Err(Problem::Unsupported(format!(
                "{file}: more than {MOST_ADDED} added tokens are not supported"
            ))),
            None => {
                self.tokens.push(token);
                Ok(())
            }
            Some(own) if own.normalized != *normalized => Err(Problem::Unsupported(format!(
                "the added token {content:?} has normalized = {} in {} and {normalized} in {file}",
                own.normalized, own.file
            ))),
            Some(own) => {
                *own = token;
                Ok(())
            }
        }
    }

    /// The id of a token of the model or an added one.
    pub(super) fn id(&self, content: &str) -> Option<u32> {
        let added = self.tokens.iter().find(|own| own.content == content).map(|own| own.id);
        added.or_else(|| self.vocabulary.get(content).copied())
    }

    /// The id of a token of the model.
    pub(super) fn own_id(&self, content: &str) -> Option<u32> {
        self.vocabulary.get(content).copied()
    }

    /// Whether a token is one of the model.
    pub(super) fn has(&self, content: &str) -> bool {
        self.vocabulary.contains_key(content)
    }

    /// Tokens of the model and behind it.
    pub(super) fn count(&self) -> usize {
        self.next_id()
    }

    /// The tokens as they are looked for, in order.
    pub(super) fn finish(self, steps: Normalization) -> Result<Vec<Added>, Problem> {
        let mut list: Vec<Added> = Vec::new();
        for Token { file, content, id, normalized: found_after, single_word, .. } in self.tokens {
            let refuse = |why: String| {
                Err(Problem::Unsupported(format!("{file}: the added token {content:?} {why}")))
            };
            let text = match found_after {
                true => normalized(&content, steps).collect(),
                false => content.clone(),
            };
            if !(1..=MOST_ADDED_BYTES).contains(&text.len()) || content.trim() != content {
                return refuse(format!(
                    "is not supported: it is empty, above {MOST_ADDED_BYTES} bytes, or has white \
                     space around it"
                ));
            }
            let added = Added { normalized: found_after, text, id, single_word };
            let same =
                |own: &&Added| (own.normalized, &own.text) == (added.normalized, &added.text);
            if let Some(Added { id, .. }) = list.iter().find(same) {
                return refuse(format!("is written like that of id {id} in normalised texts"));
            }
            list.push(added);
        }
        list.sort();
        Ok(list)
    }
}

impl List<'_> {
    /// The tokens as the tokenizer section has them, in order.
    pub(super) fn finish_standing(
        self,
        normalized: impl Fn(&str) -> String,
    ) -> Result<Vec<Standing>, Problem> {
        let mut list: Vec<Standing> = Vec::new();
        for Token { file, content, id, flags, .. } in self.tokens {
            let found_after = flags & standing::NORMALIZED != 0;
            let text = if found_after { normalized(&content) } else { content.clone() };
            if !(1..=standing::MOST_STANDING_BYTES).contains(&text.len()) {
                return Err(Problem::Unsupported(format!(
                    "{file}: the added token {content:?} is not supported: it is empty or above {} \
                     bytes",
                    standing::MOST_STANDING_BYTES
                )));
            }
            list.push(Standing { flags, text, id });
        }
        list.sort_by(|a, b| key(a).cmp(&key(b)));
        match list.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
            Some(pair) => Err(Problem::Unsupported(format!(
                "the added tokens {} and {} are both {:?}",
                pair[0].id, pair[1].id, pair[0].text
            ))),
            None => Ok(list),
        }
    }
}

/// What their order goes by.
fn key(token: &Standing) -> (u32, &str) {
    (token.flags & standing::NORMALIZED, &token.text)
}

fn elements(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array()
        .into_iter()
        .flatten()
        .chain(json.as_object().into_iter().flat_map(|map| map.values()))
}

/// The names of special tokens.
const KEYS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of special tokens without a name.
const EXTRA: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
