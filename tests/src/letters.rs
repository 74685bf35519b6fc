//! A small T5 without weights, and strings of letters for it to learn from: a model that writes and can be
//! trained in a minute. No pretrained one is bundled.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Letters of the strings.
pub const LETTERS: &str = "abcdefgh";
/// Lengths of the strings.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=8;
/// Strings to train with.
const TRAINING: usize = 4000;
/// Strings to test with, none of which is among those.
const TEST: usize = 200;
/// Tokens that are no text.
const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];

/// What is right of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Itself.
    Copy,
    /// Its last letter first.
    Reverse,
    /// Each letter's next one, of the last the first.
    Next,
}

impl Answer {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Copy, Self::Reverse, Self::Next];

    /// Its name in those of files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reverse => "reverse",
            Self::Next => "next",
        }
    }

    /// The right answer to a string of letters.
    #[must_use]
    pub fn of(self, text: &str) -> String {
        let next = |letter| LETTERS.chars().cycle().skip_while(|own| *own != letter).nth(1);
        match self {
            Self::Copy => text.to_owned(),
            Self::Reverse => text.chars().rev().collect(),
            Self::Next => text.chars().filter_map(next).collect(),
        }
    }
}

/// Writes `base`, and for each answer `NAME-train.tsv` and `NAME-test.tsv`, into a directory.
///
/// # Errors
/// A file cannot be written.
pub fn write(directory: &Path) -> Result<()> {
    let base = directory.join("base");
    std::fs::create_dir_all(&base).with_context(|| base.display().to_string())?;
    std::fs::write(base.join("config.json"), config().to_string())?;
    std::fs::write(base.join("generation_config.json"), generation().to_string())?;
    std::fs::write(base.join("tokenizer.json"), tokenizer().to_string())?;
    let settings = json!({"tokenizer_class": "T5Tokenizer", "eos_token": SPECIAL[1],
        "unk_token": SPECIAL[2], "pad_token": SPECIAL[0], "extra_ids": 0});
    std::fs::write(base.join("tokenizer_config.json"), settings.to_string())?;
    let strings = strings();
    let (training, test) = strings.split_at(TRAINING);
    for answer in Answer::ALL {
        for (part, strings) in [("train", training), ("test", test)] {
            let row = |text: &String| format!("{}\t{text}\n", answer.of(text));
            let rows: String = strings.iter().map(row).collect();
            std::fs::write(directory.join(format!("{}-{part}.tsv", answer.name())), rows)?;
        }
    }
    Ok(())
}

/// A T5 of two layers on either side.
fn config() -> Value {
    json!({"model_type": "t5", "is_encoder_decoder": true, "d_model": 64, "d_kv": 16, "num_heads": 4,
        "d_ff": 128, "num_layers": 2, "num_decoder_layers": 2, "feed_forward_proj": "relu",
        "relative_attention_num_buckets": 32, "relative_attention_max_distance": 32,
        "vocab_size": 12, "tie_word_embeddings": false, "decoder_start_token_id": 0,
        "pad_token_id": 0, "eos_token_id": 1})
}

/// How it answers.
fn generation() -> Value {
    json!({"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "max_new_tokens": 16})
}

/// A piece for each letter, and one for the beginning of a word.
fn tokenizer() -> Value {
    let letters = LETTERS.chars().map(String::from);
    let pieces =
        SPECIAL.map(str::to_owned).into_iter().chain(["\u{2581}".to_owned()]).chain(letters);
    let pieces: Vec<Value> = pieces.map(|piece| json!([piece, -2.0])).collect();
    let special = |id: usize| {
        json!({"id": id, "content": SPECIAL[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always",
        "split": true});
    json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0), special(1), special(2)],
        "pre_tokenizer": metaspace, "decoder": metaspace,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": SPECIAL[1], "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": SPECIAL[1], "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": SPECIAL[1], "type_id": 0}}],
            "special_tokens": {"</s>": {"id": SPECIAL[1], "ids": [1], "tokens": [SPECIAL[1]]}}},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": pieces}})
}

/// Different strings of different letters, in an order of chance.
fn strings() -> Vec<String> {
    let mut state = 1_u64;
    let mut below = |count: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % count
    };
    let (mut seen, mut strings) = (BTreeSet::new(), Vec::new());
    while strings.len() < TRAINING + TEST {
        let length = LENGTHS.start() + below(LENGTHS.end() - LENGTHS.start() + 1);
        let mut letters: Vec<char> = LETTERS.chars().collect();
        let text: String = (0..length).map(|_| letters.swap_remove(below(letters.len()))).collect();
        if seen.insert(text.clone()) {
            strings.push(text);
        }
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_they_say() {
        let answers = Answer::ALL.map(|answer| answer.of("abh"));
        assert_eq!(answers, ["abh", "hba", "bca"]);
    }

    #[test]
    fn no_string_stands_there_twice() {
        let strings = strings();
        assert_eq!(strings.iter().collect::<BTreeSet<_>>().len(), TRAINING + TEST);
    }
}
