//! The pieces of a model, with its merges or scores.

use super::super::super::json::Part;
use super::super::files::{FULL, Files, Problem, unsupported};
use coda_runtime::text::pieces::layout;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::HashMap;

/// What ends a word of CLIP in its files.
const WORD_END: &str = "</w>";
/// The fewest bytes of a piece.
const EMPTY: &[u8] = &[];

/// Pieces by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) is_unigram: bool,
    pub(super) flags: u32,
    /// As the files have them; empty where an id has none.
    pub(super) tokens: Vec<String>,
    /// As the device has them.
    pub(super) pieces: Vec<Vec<u8>>,
    /// Left and right by rank.
    pub(super) merges: Vec<[u32; 2]>,
    pub(super) scores: Vec<f64>,
    pub(super) unknown: Option<u32>,
}

impl Model {
    /// Offsets of the pieces.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u32> {
        let ends = self.pieces.iter().scan(0, |end, piece| {
            *end += piece.len() as u32;
            Some(*end)
        });
        std::iter::once(0).chain(ends)
    }

    /// Ids in the order of their pieces: of equal ones the last, as a map has it.
    pub(super) fn looked_up(&self) -> Result<Vec<u32>, String> {
        let mut sorted: BTreeMap<&[u8], u32> = BTreeMap::new();
        for (piece, id) in self.pieces.iter().zip(0..).filter(|(piece, _)| *piece != EMPTY) {
            let own = !self.is_unigram && alphabet_bytes(&self.tokens[id as usize]).is_none();
            if own {
                continue;
            }
            if piece.len() > layout::MOST_PIECE_BYTES {
                if self.is_unigram {
                    return Err(format!("the piece {id} has {} bytes", piece.len()));
                }
                continue;
            }
            sorted.insert(piece, id);
        }
        Ok(sorted.into_values().collect())
    }

    /// Left, right and rank in ascending order; of a merge that stands twice the last.
    pub(super) fn sorted_merges(&self) -> Vec<[u32; 3]> {
        let merges: BTreeMap<[u32; 2], u32> = self.merges.iter().copied().zip(0..).collect();
        merges.into_iter().map(|([left, right], rank)| [left, right, rank]).collect()
    }
}

/// A vocabulary of byte pairs with its merges.
pub(super) struct BytePairFiles<'f> {
    pub(super) files: &'f Files,
    /// The file they are in.
    pub(super) name: &'static str,
    pub(super) vocabulary: &'f Value,
    pub(super) merges: Vec<[String; 2]>,
    /// Words end as CLIP's do.
    pub(super) clip: bool,
}

impl BytePairFiles<'_> {
    /// The model; ids are below `rows`.
    pub(super) fn read(self, rows: usize) -> Result<Model, Problem> {
        let ids = self.ids(rows)?;
        let count = ids.values().max().map_or(0, |id| *id as usize + 1);
        let mut tokens = vec![String::new(); count];
        for (token, id) in &ids {
            tokens[*id as usize] = (*token).to_owned();
        }
        let mut merges = Vec::new();
        for [left, right] in &self.merges {
            let known = |piece: &str| {
                ids.get(piece).copied().ok_or_else(|| {
                    let problem = format!("the merge {left:?} {right:?} has no token {piece:?}");
                    self.damage(problem)
                })
            };
            known(&format!("{left}{right}"))?;
            merges.push([known(left)?, known(right)?]);
        }
        let pieces = tokens.iter().map(|token| self.piece(token)).collect();
        let flags = if self.clip { layout::CLIP } else { 0 };
        Ok(Model { flags, tokens, pieces, merges, ..Model::default() })
    }

    fn damage(&self, problem: String) -> Problem {
        match self.files.damaged::<()>(self.name, problem) {
            Err(problem) => problem,
            Ok(()) => Problem::Unsupported(String::new()),
        }
    }

    fn ids(&self, rows: usize) -> Result<HashMap<&str, u32>, Problem> {
        let Some(vocabulary) = self.vocabulary.as_object().filter(|own| !own.is_empty()) else {
            return Err(self.damage("model.vocab is missing".to_owned()));
        };
        let mut ids = HashMap::new();
        let mut tokens = HashMap::new();
        for (token, found) in vocabulary {
            let id = found.as_u64().and_then(|id| u32::try_from(id).ok());
            let Some(id) = id.filter(|id| (*id as usize) < rows) else {
                let problem =
                    format!("{token:?} has id {found}, but the embedding has {rows} rows");
                return Err(self.damage(problem));
            };
            if let Some(other) = tokens.insert(id, token) {
                let problem = format!("id {id} is that of {token:?} and {other:?}");
                return Err(self.damage(problem));
            }
            ids.insert(token.as_str(), id);
        }
        Ok(ids)
    }

    /// The bytes of a token.
    fn piece(&self, token: &str) -> Vec<u8> {
        let (text, ends) = match token.strip_suffix(WORD_END).filter(|_| self.clip) {
            Some(text) => (text, true),
            None => (token, false),
        };
        let mut bytes = alphabet_bytes(text).unwrap_or_else(|| text.as_bytes().to_vec());
        bytes.extend(ends.then_some(layout::WORD_END));
        bytes
    }
}

/// The bytes that the characters of GPT-2's alphabet stand for.
fn alphabet_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(alphabet_byte).collect()
}

/// Printable bytes stand for themselves, the others are U+0100 and up in their order.
fn alphabet_byte(c: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(printable),
        code @ 0x100..=0x143 => {
            (0..=u8::MAX).filter(|byte| !printable(byte)).nth(code as usize - 0x100)
        }
        _ => None,
    }
}

/// The pairs of `merges`, each a list of two or a text with a space between.
pub(super) fn merges(files: &Files, json: &Value) -> Result<Vec<[String; 2]>, Problem> {
    let pair = |merge: &Value| match merge {
        Value::String(text) => split(text),
        Value::Array(list) => match list.as_slice() {
            [Value::String(left), Value::String(right)] => Some([left.clone(), right.clone()]),
            _ => None,
        },
        _ => None,
    };
    let list = json.as_array().map(Vec::as_slice).unwrap_or_default();
    let pairs: Option<Vec<_>> = list.iter().map(pair).collect();
    match pairs {
        Some(pairs) => Ok(pairs),
        None => files.damaged(FULL, "model.merges has something else than pairs of tokens"),
    }
}

/// Left and right of a line of `merges.txt`.
pub(super) fn split(line: &str) -> Option<[String; 2]> {
    let (left, right) = line.split_once(' ')?;
    (!right.contains(' ')).then(|| [left.to_owned(), right.to_owned()])
}

/// Pieces and scores of Unigram.
pub(super) struct Scored {
    pub(super) pieces: Vec<String>,
    pub(super) scores: Vec<f64>,
    pub(super) unknown: u32,
    pub(super) byte_fallback: bool,
}

impl Scored {
    /// Of `tokenizer.json`; where the class says which id is unknown, that counts.
    pub(super) fn of_json(files: &Files, unknown: Option<u32>) -> Result<Self, Problem> {
        let model = files.word_piece();
        let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_f64()?));
        let list = model.get("vocab").as_array().map(Vec::as_slice).unwrap_or_default();
        let list: Option<Vec<_>> = list.iter().map(pair).collect();
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            return files.damaged(FULL, "model.vocab is no list of pieces and scores");
        };
        let (pieces, scores) = list.into_iter().unzip();
        let found = model.get("unk_id");
        let own = found.as_u64().and_then(|id| u32::try_from(id).ok());
        let Some(unknown) = unknown.or(own) else {
            return unsupported(FULL, "model.unk_id", found);
        };
        let byte_fallback = model.get("byte_fallback") == true;
        Ok(Self { pieces, scores, unknown, byte_fallback })
    }

    pub(super) fn read(self, files: &Files, name: &str) -> Result<Model, Problem> {
        let Self { pieces: tokens, scores, unknown, byte_fallback } = self;
        if let Some(id) = tokens.iter().position(String::is_empty) {
            return files.damaged(name, format!("piece {id} is empty"));
        }
        if let Some(id) = scores.iter().position(|score| !score.is_finite()) {
            return files.damaged(name, format!("piece {id} has the score {}", scores[id]));
        }
        if unknown as usize >= tokens.len() {
            let count = tokens.len();
            return files.damaged(name, format!("the unknown piece has id {unknown} of {count}"));
        }
        let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
        let missing = bytes.into_iter().find(|piece| !tokens.contains(piece));
        let falls_back = byte_fallback && missing.is_none();
        let flags = if falls_back { layout::BYTE_FALLBACK } else { 0 };
        let pieces = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
        let merges = Vec::new();
        let unknown = Some(unknown);
        Ok(Model { is_unigram: true, flags, tokens, pieces, merges, scores, unknown })
    }
}

/// Refuses settings of byte pairs that the device does not have.
pub(super) fn check_byte_pairs(model: Part<'_>, clip: bool) -> Result<(), Problem> {
    let fuses = model.get("fuse_unk");
    let vocabulary = model.get("vocab");
    let is_byte = |token: &&String| token.chars().count() == 1 && alphabet_bytes(token).is_some();
    let bytes = vocabulary.as_object().into_iter().flat_map(|own| own.keys()).filter(is_byte);
    if *fuses == true && model.get("unk_token").is_string() && bytes.count() < 256 {
        return unsupported(FULL, "model.fuse_unk", fuses);
    }
    let suffix = model.get("end_of_word_suffix");
    if !(is_empty(suffix) || clip && suffix == WORD_END) {
        return unsupported(FULL, "model.end_of_word_suffix", suffix);
    }
    let dropout = model.get("dropout");
    if !(dropout.is_null() || dropout.as_f64() == Some(0.0)) {
        return unsupported(FULL, "model.dropout", dropout);
    }
    let prefix = model.get("continuing_subword_prefix");
    if !is_empty(prefix) {
        return unsupported(FULL, "model.continuing_subword_prefix", prefix);
    }
    Ok(())
}

fn is_empty(json: &Value) -> bool {
    json.is_null() || json == ""
}
