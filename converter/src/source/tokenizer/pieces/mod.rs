//! Byte pairs and Unigram: models of pieces.
//!
//! `tokenizer.json` is taken as it is where `transformers` takes it so; of a class that builds its own
//! tokenizer only the model, the map of characters and the post-processor are read, and the rest is the
//! class's.

mod class;
mod model;
mod rules;
mod section;
mod spiece;
mod template;

use super::super::file;
use super::added::List;
use super::files::{CONFIG, FULL, Files, POST_PROCESSOR, Problem};
use class::Class;
use coda_runtime::text::{PieceTokenizer, Pieces};
use model::{BytePairFiles, Model, Scored, check_byte_pairs, merges, split};
use rules::Rules;
pub use section::PieceFiles;
use serde_json::Value;
use template::Template;

const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// Which files have the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `tokenizer.json` with merges.
    BytePairs,
    /// `tokenizer.json` with scores.
    Unigram,
    /// `vocab.json` and `merges.txt`.
    Lists,
    /// A model of SentencePiece.
    SentencePiece(&'static str),
}

impl Kind {
    /// What a directory has, if it is no WordPiece.
    pub(super) fn of(files: &Files) -> Option<Self> {
        let there = |name: &str| files.path(name).symlink_metadata().is_ok();
        if !files.full.is_absent() {
            let model = files.word_piece();
            let scored = model.get("vocab").is_array();
            return match model.get("type").as_str() {
                Some("BPE") => Some(Self::BytePairs),
                Some("Unigram") => Some(Self::Unigram),
                None if scored => Some(Self::Unigram),
                None if model.get("merges").is_array() => Some(Self::BytePairs),
                _ => None,
            };
        }
        if there(super::files::LIST) {
            return None;
        }
        let spiece = spiece::NAMES.into_iter().find(|name| there(name)).map(Self::SentencePiece);
        spiece.or((there(VOCABULARY) && there(MERGES)).then_some(Self::Lists))
    }
}

impl PieceFiles {
    /// Reads the tokenizer of a directory, for a token table of so many rows.
    pub(super) fn read(files: &Files, kind: Kind, rows: usize) -> Result<Self, Problem> {
        files.check_settings(&class::NAMES)?;
        let class = if files.as_file() { None } else { Some(Class::of(files)?) };
        let (mut model, rules) = match kind {
            Kind::BytePairs | Kind::Lists => byte_pairs(files, kind, class, rows)?,
            Kind::Unigram => unigram(files, class)?,
            Kind::SentencePiece(name) => spiece::read(files, name, class)?,
        };
        check_kind(files, class, &model)?;
        let tokens = model.tokens.clone();
        let list = List::read(files, &tokens, rows)?;
        files.check_rows(list.count(), rows)?;
        let unknown = files.word_piece().get("unk_token").as_str().or(class.map(Class::unknown));
        if !model.is_unigram {
            model.unknown = unknown.and_then(|name| list.own_id(name));
        }
        let template = template(files, class, &list)?;
        let bare = Template::bare();
        let mut made = Self { model, rules, template: bare, standing: Vec::new() };
        let plain = made.section().map_err(Problem::Unsupported)?;
        let plain =
            Pieces::parse(&plain).map_err(|error| Problem::Unsupported(error.to_string()))?;
        let tokenizer = PieceTokenizer::new(plain);
        made.template = template;
        made.standing = list.finish_standing(|text| tokenizer.normalized(text).collect())?;
        Ok(made)
    }
}

/// Refuses a class whose models are of the other kind.
fn check_kind(files: &Files, class: Option<Class>, model: &Model) -> Result<(), Problem> {
    if class.is_none_or(|class| class.is_unigram() == model.is_unigram) {
        return Ok(());
    }
    let class = files.class();
    let problem = format!("{CONFIG}: tokenizer_class = {class:?} has another kind of model");
    Err(Problem::Unsupported(problem))
}

/// What is put around texts: the class's, where it makes its own.
fn template(files: &Files, class: Option<Class>, list: &List) -> Result<Template, Problem> {
    match class {
        Some(class) if files.full.is_absent() || class == Class::Whisper => {
            class.template(files, list)
        }
        _ => Template::of_json(files.full.root().part("post_processor", POST_PROCESSOR)),
    }
}

fn byte_pairs(
    files: &Files,
    kind: Kind,
    class: Option<Class>,
    rows: usize,
) -> Result<(Model, Rules), Problem> {
    let rules = match class {
        None => Rules::byte_pairs(files)?,
        Some(class) => class.rules(files, None)?,
    };
    let clip = rules.flags & coda_runtime::text::pieces::layout::CLIP != 0;
    let lists;
    let (name, vocabulary, merges) = match kind {
        Kind::Lists => {
            lists = read_lists(files)?;
            (VOCABULARY, &lists.0, lists.1.clone())
        }
        _ => {
            check_byte_pairs(files.word_piece(), clip)?;
            let model = files.word_piece();
            (FULL, model.get("vocab"), merges(files, model.get("merges"))?)
        }
    };
    let mut model = BytePairFiles { files, name, vocabulary, merges, clip }.read(rows)?;
    if class.is_none() && files.word_piece().get("ignore_merges") == true {
        model.flags |= coda_runtime::text::pieces::layout::WHOLE_WORDS;
    }
    Ok((model, rules))
}

/// `vocab.json` and the pairs of `merges.txt`.
fn read_lists(files: &Files) -> Result<(Value, Vec<[String; 2]>), Problem> {
    let vocabulary = super::super::json::read_json(&files.path(VOCABULARY))?;
    let bytes = file::read(&files.path(MERGES))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return files.damaged(MERGES, "it is not UTF-8 text");
    };
    let lines = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    let mut merges = Vec::new();
    for (number, line) in lines.enumerate() {
        match split(line) {
            Some(pair) => merges.push(pair),
            None => return files.damaged(MERGES, format!("merge {number} is no pair: {line:?}")),
        }
    }
    Ok((vocabulary, merges))
}

fn unigram(files: &Files, class: Option<Class>) -> Result<(Model, Rules), Problem> {
    let unknown = class.map(|class| class.unknown_id(files)).transpose()?;
    let mut scored = Scored::of_json(files, unknown)?;
    let rules = match class {
        None => Rules::unigram(files)?,
        Some(class) => {
            scored.byte_fallback = false;
            class.rules(files, rules::map_of(files)?.as_deref())?
        }
    };
    Ok((scored.read(files, FULL)?, rules))
}
