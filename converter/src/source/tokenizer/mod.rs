//! How a model directory says that texts become tokens.
//!
//! | file | read for |
//! |---|---|
//! | `tokenizer.json` | the model, the normaliser, the template, added tokens; before other files |
//! | `tokenizer_config.json` | the class, the normaliser's flags, special and added tokens, lengths |
//! | `special_tokens_map.json`, `added_tokens.json` | where `tokenizer_config.json` has no `added_tokens_decoder` |
//! | `vocab.txt`; `vocab.json` and `merges.txt`; `spiece.model` | the tokens, without `tokenizer.json` |
//!
//! Where they contradict each other the one counts that `transformers` takes. Padding has no say: one
//! text is read at a time.

mod added;
mod files;
mod normalization;
mod pieces;
mod template;
mod vocabulary;

use super::error::SourceError;
pub use added::Added;
use added::List;
use coda_runtime::text::{Options, SpecialIds, encode_with, encoded_len_with};
pub(super) use files::Files;
use files::{BERT, LIST, Problem};
use pieces::Kind;
pub use pieces::PieceFiles;
use std::collections::BTreeSet;
use std::path::Path;
use template::Template;

/// A WordPiece vocabulary and how texts are normalised for it.
#[derive(Clone, Debug)]
pub struct TokenizerFiles {
    /// Tokens in order of their ids.
    pub tokens: Vec<String>,
    /// Everything but the tokens.
    pub options: Options,
    /// Tokens that are found in texts as they stand, ascending; `None` for the special ones.
    pub added: Option<Vec<Added>>,
}

/// What a directory says of texts.
#[derive(Clone, Debug)]
pub enum Texts {
    /// Nothing.
    None,
    /// They can be read.
    WordPiece(Box<TokenizerFiles>),
    /// They can be read, by byte pairs or Unigram.
    Pieces(Box<PieceFiles>),
    /// They have a tokenizer that the device does not have, and why it has not: token ids are needed.
    IdsOnly(String),
}

impl TokenizerFiles {
    /// A vocabulary whose special tokens are found in texts.
    #[must_use]
    pub const fn new(tokens: Vec<String>, options: Options) -> Self {
        Self { tokens, options, added: None }
    }

    /// Reads the tokenizer of a directory, for a token table of so many rows.
    ///
    /// # Errors
    /// A file is damaged, contradicts another, or names more tokens than there are rows.
    pub fn open(directory: &Path, rows: usize) -> Result<Texts, SourceError> {
        Self::of_files(&Files::read(directory)?, rows)
    }

    pub(super) fn of_files(files: &Files, rows: usize) -> Result<Texts, SourceError> {
        if let Some(kind) = Kind::of(files) {
            return match PieceFiles::read(files, kind, rows) {
                Ok(own) => Ok(Texts::Pieces(Box::new(own))),
                Err(Problem::Damaged(error)) => Err(error),
                Err(Problem::Unsupported(problem)) => Ok(Texts::IdsOnly(problem)),
            };
        }
        // A link that leads nowhere is there, and an error where it is read.
        let is_there = |name: &str| files.path(name).symlink_metadata().is_ok();
        if files.full.is_absent() && !is_there(LIST) {
            let other = OTHERS.iter().find(|name| is_there(name));
            return Ok(other.map_or(Texts::None, |name| {
                Texts::IdsOnly(format!("{name}: this kind of tokenizer is not supported"))
            }));
        }
        match Self::read(files, rows) {
            Ok(own) => Ok(Texts::WordPiece(Box::new(own))),
            Err(Problem::Damaged(error)) => Err(error),
            Err(Problem::Unsupported(problem)) => Ok(Texts::IdsOnly(problem)),
        }
    }

    fn read(files: &Files, rows: usize) -> Result<Self, Problem> {
        vocabulary::check_model(files)?;
        files.check_settings(&BERT)?;
        let normalization = normalization::normalization(files)?;
        let template = template::template(files)?;
        let max_chars_per_word = vocabulary::most_characters(files)?;
        let tokens = vocabulary::vocabulary(files)?;
        let list = List::read(files, &tokens, rows)?;
        files.check_rows(list.count(), rows)?;
        let special = special_ids(files, &template, &list)?;
        let added = list.finish(normalization)?;
        let options = Options { normalization, max_chars_per_word, special, pairs: template.pairs };
        let added = Some(added).filter(|added| !is_special(added, &tokens, &special));
        Ok(Self { tokens, options, added })
    }

    /// The vocabulary section.
    ///
    /// # Errors
    /// The runtime's reason as text, for instance equal tokens.
    pub fn section(&self) -> Result<Vec<u8>, String> {
        let tokens: Vec<&str> = self.tokens.iter().map(String::as_str).collect();
        let added = self.added.as_ref();
        let added: Option<Vec<_>> = added.map(|added| added.iter().map(Added::view).collect());
        let mut bytes = vec![0; encoded_len_with(&tokens, added.as_deref())];
        encode_with(&tokens, added.as_deref(), &self.options, &mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

fn special_ids(files: &Files, template: &Template, list: &List<'_>) -> Result<SpecialIds, Problem> {
    let unknown = &template.unknown;
    let known = |name: &str| match list.id(name) {
        Some(id) if name != unknown || list.has(name) => Ok(id),
        _ => files.damaged(files.vocabulary_name(), format!("there is no token {name:?}")),
    };
    let unknown = known(unknown)?;
    Ok(SpecialIds {
        unknown,
        classify: known(&template.first)?,
        separate: known(&template.separator)?,
        // Nothing is padded.
        pad: list.id(files.special_name("pad_token")).unwrap_or(unknown),
        mask: list.id(files.special_name("mask_token")),
    })
}

/// Whether the added tokens are the special ones of the vocabulary, which need no list.
fn is_special(added: &[Added], tokens: &[String], special: &SpecialIds) -> bool {
    let SpecialIds { unknown, classify, separate, pad, mask } = *special;
    let ids = [Some(unknown), Some(classify), Some(separate), Some(pad), mask];
    let own = |id: u32| tokens.get(id as usize).map(|token| (token.as_str(), id));
    let special: Option<BTreeSet<_>> = ids.into_iter().flatten().map(own).collect();
    let plain = added.iter().all(|token| !(token.normalized || token.single_word));
    let found: BTreeSet<_> = added.iter().map(|token| (token.text.as_str(), token.id)).collect();
    plain && special == Some(found)
}

/// Files of tokenizers that the device does not have.
const OTHERS: [&str; 7] = [
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "merges.txt",
    "bpe.codes",
    "vocab.json",
];
