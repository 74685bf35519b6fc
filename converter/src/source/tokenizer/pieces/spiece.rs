//! Models of SentencePiece: the few fields of their protocol buffer that decide.
//!
//! | message | field | what |
//! |---|---|---|
//! | model | 1 | a piece: 1 text, 2 score (f32), 3 kind |
//! | model | 2 | the trainer: 3 kind of model, 40 id of the unknown piece |
//! | model | 3 | the normaliser: 2 map of characters |

use super::super::super::file;
use super::super::files::{CONFIG, Files, Problem, unsupported};
use super::class::Class;
use super::model::{Model, Scored};
use super::rules::Rules;
use coda_runtime::text::pieces::layout;

/// Files that hold one.
pub(super) const NAMES: [&str; 3] = ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"];
/// The kind of model that is Unigram.
const UNIGRAM: u64 = 1;

/// A value of a message.
enum Field<'b> {
    Number(u64),
    Float(f32),
    Bytes(&'b [u8]),
    Other,
}

/// What a model says.
#[derive(Default)]
struct Found {
    pieces: Vec<(String, f64)>,
    kind: Option<u64>,
    map: Option<Vec<u8>>,
}

/// The model and the rules of a class for it.
pub(super) fn read(
    files: &Files,
    name: &'static str,
    class: Option<Class>,
) -> Result<(Model, Rules), Problem> {
    let bytes = file::read(&files.path(name))?;
    let Some(found) = parse(&bytes) else {
        return files.damaged(name, "it is no model of SentencePiece");
    };
    if found.kind.unwrap_or(UNIGRAM) != UNIGRAM {
        let problem = format!("{name}: supported are Unigram models, not kind {:?}", found.kind);
        return Err(Problem::Unsupported(problem));
    }
    let Some(class) = class.filter(|class| class.is_unigram()) else {
        let class = files.class();
        let problem = format!("{name}: tokenizer_class = {class:?} is not supported");
        return Err(Problem::Unsupported(problem));
    };
    let rules = class.rules(files, found.map.as_deref())?;
    let (pieces, unknown) = arranged(files, class, &found.pieces)?;
    let (pieces, scores) = pieces.into_iter().unzip();
    let scored = Scored { pieces, scores, unknown, byte_fallback: false };
    Ok((scored.read(files, name)?, rules))
}

type Pieces = Vec<(String, f64)>;

/// The pieces in the order of the class's ids, and the id of the unknown one.
fn arranged(files: &Files, class: Class, own: &[(String, f64)]) -> Result<(Pieces, u32), Problem> {
    let name = |key: &str| (files.special_name(key).to_owned(), 0.0);
    let behind = |count: usize| own.iter().skip(count).cloned();
    Ok(match class {
        Class::T5 => {
            let found = files.config.get("extra_ids");
            let extra = found.as_u64().unwrap_or(100);
            if extra > layout::MOST_PIECES as u64 {
                return unsupported(CONFIG, "extra_ids", found);
            }
            let extra = (0..extra).rev().map(|id| (format!("<extra_id_{id}>"), 0.0));
            (behind(0).chain(extra).collect(), 2)
        }
        Class::Camembert => {
            let unused = |token: &str, score| (format!("{token}NOTUSED"), score);
            let first = [unused("<s>", 0.0), name("pad_token"), unused("</s>", 0.0)];
            let first = first.into_iter().chain([name("unk_token"), unused("<unk>", -100.0)]);
            (first.chain(behind(1)).chain([name("mask_token")]).collect(), 3)
        }
        _ => {
            let first = ["bos_token", "pad_token", "eos_token", "unk_token"].map(name);
            (first.into_iter().chain(behind(3)).chain([name("mask_token")]).collect(), 3)
        }
    })
}

fn parse(bytes: &[u8]) -> Option<Found> {
    let mut found = Found::default();
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => found.pieces.push(piece(bytes)?),
            (2, Field::Bytes(bytes)) => {
                let kind = |(number, field)| match (number, field) {
                    (3, Field::Number(kind)) => Some(kind),
                    _ => None,
                };
                found.kind = fields(bytes)?.into_iter().find_map(kind);
            }
            (3, Field::Bytes(bytes)) => {
                let map = |(number, field)| match (number, field) {
                    (2, Field::Bytes(map)) => Some(map.to_vec()),
                    _ => None,
                };
                found.map = fields(bytes)?.into_iter().find_map(map).filter(|map| !map.is_empty());
            }
            _ => {}
        }
    }
    (!found.pieces.is_empty()).then_some(found)
}

fn piece(bytes: &[u8]) -> Option<(String, f64)> {
    let (mut text, mut score) = (None, 0.0);
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => text = String::from_utf8(bytes.to_vec()).ok(),
            (2, Field::Float(value)) => score = f64::from(value),
            _ => {}
        }
    }
    Some((text?, score))
}

/// The fields of a message with their numbers.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(number(&mut bytes)?),
            1 => {
                bytes = bytes.get(8..)?;
                Field::Other
            }
            2 => {
                let length = usize::try_from(number(&mut bytes)?).ok()?;
                let (own, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Field::Bytes(own)
            }
            5 => {
                let (own, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Field::Float(f32::from_le_bytes(*own))
            }
            _ => return None,
        };
        found.push((key >> 3, field));
    }
    Some(found)
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
