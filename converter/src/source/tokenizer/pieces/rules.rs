//! How texts are normalised and split before they become pieces.

use super::super::super::json::Part;
use super::super::files::{FULL, Files, Problem, unsupported};
use coda_runtime::text::pieces::layout;
use serde_json::{Value, json};

/// What stands for a space.
const MARK: &str = "\u{2581}";
/// The pattern of CLIP's words.
const CLIP_WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// A double array has no fewer words.
const LEAST_ARRAY: usize = 4;

/// Rules before the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) flags: u32,
    /// The map of characters: its array, then its texts.
    pub(super) map: Vec<u8>,
    /// Bytes of the array.
    pub(super) map_array: usize,
}

impl Rules {
    /// Those of `tokenizer.json` for byte pairs.
    pub(super) fn byte_pairs(files: &Files) -> Result<Self, Problem> {
        let splitter = files.pre_tokenizer();
        let parts = steps(splitter, "pretokenizers");
        let normalizers = steps(files.normalizer(), "normalizers");
        let clip = is_clip(&parts);
        let (level, flags) = match parts[..] {
            [level] => (level, 0),
            [_, level] if clip => (level, layout::CLIP),
            _ => return unsupported(FULL, "pre_tokenizer", &named(&parts)),
        };
        if level["type"] != "ByteLevel" {
            return unsupported(FULL, "pre_tokenizer", &level["type"]);
        }
        if level["use_regex"] == false {
            return unsupported(FULL, "pre_tokenizer.use_regex", &level["use_regex"]);
        }
        let prefix = level["add_prefix_space"].as_bool().unwrap_or(true);
        if clip && prefix {
            return unsupported(FULL, "pre_tokenizer.add_prefix_space", &json!(prefix));
        }
        let prefix = if prefix { layout::PREFIX_SPACE } else { 0 };
        let flags = flags | prefix | byte_pair_normalizer(&normalizers, clip)?;
        Ok(Self { flags, ..Self::default() })
    }

    /// Those of `tokenizer.json` for Unigram.
    pub(super) fn unigram(files: &Files) -> Result<Self, Problem> {
        let mut rules = Self::default();
        for (place, part) in steps(files.normalizer(), "normalizers").into_iter().enumerate() {
            rules.add_normalizer(files, place, part)?;
        }
        let splitter = files.pre_tokenizer();
        let parts = steps(splitter, "pretokenizers");
        let metaspace = match parts[..] {
            [metaspace] => metaspace,
            [white, metaspace] if white["type"] == "WhitespaceSplit" => {
                rules.flags |= layout::SPLIT_WHITE;
                metaspace
            }
            _ => return unsupported(FULL, "pre_tokenizer", &named(&parts)),
        };
        rules.add_metaspace(metaspace)?;
        Ok(rules)
    }

    /// Those of a class: white space splits, a mark is before each word or before none.
    pub(super) fn marked(
        files: &Files,
        map: Option<&[u8]>,
        prepend: bool,
    ) -> Result<Self, Problem> {
        let mut rules =
            Self { flags: layout::SPLIT_WHITE | layout::SPLIT_WORDS, ..Self::default() };
        if prepend {
            rules.flags |= layout::PREPEND | layout::SHED_FIRST;
        }
        if let Some(map) = map {
            rules.set_map(files, map)?;
        }
        Ok(rules)
    }

    fn add_normalizer(&mut self, files: &Files, place: usize, part: &Value) -> Result<(), Problem> {
        let squeezes = part["pattern"] == json!({"Regex": " {2,}"});
        let squeezed = self.flags & (layout::SQUEEZE | layout::SQUEEZE_MARK) != 0;
        match part["type"].as_str() {
            Some("Precompiled") if place == 0 => {
                let map = part["precompiled_charsmap"].as_str().unwrap_or_default();
                match base64(map) {
                    Some(map) => self.set_map(files, &map),
                    None => files.damaged(FULL, "normalizer.precompiled_charsmap is not base64"),
                }
            }
            Some("Strip") if part["strip_left"] == false && !squeezed => {
                let trims = part["strip_right"] == true;
                self.flags |= if trims { layout::TRIM_END } else { 0 };
                Ok(())
            }
            Some("Replace") if squeezes && !squeezed => {
                self.flags |= match part["content"].as_str() {
                    Some(" ") => layout::SQUEEZE,
                    Some(MARK) => layout::SQUEEZE_MARK,
                    _ => return unsupported(FULL, "normalizer.content", &part["content"]),
                };
                Ok(())
            }
            _ => unsupported(FULL, "normalizer", &part["type"]),
        }
    }

    fn set_map(&mut self, files: &Files, map: &[u8]) -> Result<(), Problem> {
        let parts = map.split_first_chunk().and_then(|(length, rest)| {
            let length = u32::from_le_bytes(*length) as usize;
            let rest = Some(rest).filter(|_| length.is_multiple_of(4) && length >= LEAST_ARRAY)?;
            let (array, texts) = rest.split_at_checked(length)?;
            std::str::from_utf8(texts).ok()?;
            Some([array, texts])
        });
        let Some([array, texts]) = parts else {
            return files.damaged(files.vocabulary_name(), "the map of characters is damaged");
        };
        (self.map, self.map_array) = ([array, texts].concat(), array.len());
        Ok(())
    }

    fn add_metaspace(&mut self, part: &Value) -> Result<(), Problem> {
        if part["type"] != "Metaspace" {
            return unsupported(FULL, "pre_tokenizer", &part["type"]);
        }
        if part["replacement"] != MARK {
            return unsupported(FULL, "pre_tokenizer.replacement", &part["replacement"]);
        }
        let old = part["add_prefix_space"] == false;
        self.flags |= match part["prepend_scheme"].as_str() {
            _ if old => 0,
            None | Some("always") => layout::PREPEND | layout::SHED_FIRST,
            Some("first") => layout::PREPEND_FIRST | layout::SHED_FIRST,
            Some("never") => 0,
            Some(_) => {
                return unsupported(FULL, "pre_tokenizer.prepend_scheme", &part["prepend_scheme"]);
            }
        };
        self.flags |= if part["split"] == false { 0 } else { layout::SPLIT_WORDS };
        Ok(())
    }
}

/// The map of characters in the normaliser of `tokenizer.json`.
pub(super) fn map_of(files: &Files) -> Result<Option<Vec<u8>>, Problem> {
    let parts = steps(files.normalizer(), "normalizers");
    let map = parts.into_iter().find_map(|part| part["precompiled_charsmap"].as_str());
    match map.map(base64) {
        Some(None) => files.damaged(FULL, "normalizer.precompiled_charsmap is not base64"),
        Some(map) => Ok(map),
        None => Ok(None),
    }
}

fn is_clip(parts: &[&Value]) -> bool {
    let [split, _] = parts else { return false };
    split["type"] == "Split"
        && split["pattern"] == json!({"Regex": CLIP_WORDS})
        && split["behavior"] == "Removed"
        && split["invert"] == true
}

/// The flags of what comes before byte pairs.
fn byte_pair_normalizer(parts: &[&Value], clip: bool) -> Result<u32, Problem> {
    let is = |part: &Value, name: &str| part["type"] == name;
    match parts {
        [] if !clip => Ok(0),
        [compose] if !clip && is(compose, "NFC") => Ok(layout::COMPOSE),
        [compose, white, lower]
            if clip
                && is(compose, "NFC")
                && white["pattern"] == json!({"Regex": r"\s+"})
                && white["content"] == " "
                && is(lower, "Lowercase") =>
        {
            Ok(layout::COMPOSE)
        }
        _ => unsupported(FULL, "normalizer", &named(parts)),
    }
}

/// The types of steps, for people.
fn named(parts: &[&Value]) -> Value {
    match parts {
        [part] => part["type"].clone(),
        parts => parts.iter().map(|part| part["type"].clone()).collect(),
    }
}

/// The steps of a `Sequence`, sequences in it taken apart, or the one that there is.
fn steps<'v>(json: Part<'v>, field: &str) -> Vec<&'v Value> {
    fn all<'v>(json: &'v Value, field: &str, found: &mut Vec<&'v Value>) {
        match json[field].as_array() {
            Some(parts) if json["type"] == "Sequence" => {
                parts.iter().for_each(|part| all(part, field, found));
            }
            _ => found.push(json),
        }
    }
    let mut found = Vec::new();
    if !json.is_absent() {
        all(json.value(), field, &mut found);
    }
    found
}

/// The bytes of a base64 text.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
