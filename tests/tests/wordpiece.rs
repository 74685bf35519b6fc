//! The WordPiece front end equals Hugging Face `tokenizers`: for every Unicode scalar value, for
//! texts of many languages, and for random texts, options and vocabularies.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use coda_runtime::text::normalize::{Normalization, normalized};
use coda_runtime::text::{Options, SpecialIds, Vocabulary, WordPiece, encode, encoded_len};
use proptest::prelude::*;
use serde_json::json;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer as _, Tokenizer, TruncationParams};

/// One text a line; a line may hold control characters and any separator but `\n`.
const SAMPLE: &str = include_str!("../data/wordpiece_sample.txt");
const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const SPECIAL_IDS: SpecialIds =
    SpecialIds { pad: 0, unknown: 1, classify: 2, separate: 3, mask: Some(4) };
/// Scalar values of one text in the exhaustive tests; after a difference each is tried by itself.
const BATCH: usize = 16;

const UNCASED: Normalization = Normalization {
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: true,
    lowercase: true,
};
const CASED: Normalization = Normalization { strip_accents: false, lowercase: false, ..UNCASED };

fn sample() -> impl Iterator<Item = &'static str> {
    SAMPLE.split_terminator('\n')
}

/// All sixteen choices of steps.
fn all_steps() -> impl Iterator<Item = Normalization> {
    (0..16).map(|bits| Normalization {
        clean_text: bits & 1 != 0,
        handle_chinese_chars: bits & 2 != 0,
        strip_accents: bits & 4 != 0,
        lowercase: bits & 8 != 0,
    })
}

fn reference_normalized(text: &str, steps: Normalization) -> String {
    let normalizer = BertNormalizer::new(
        steps.clean_text,
        steps.handle_chinese_chars,
        Some(steps.strip_accents),
        steps.lowercase,
    );
    let mut string = NormalizedString::from(text);
    normalizer.normalize(&mut string).expect("normalising never fails");
    string.get().to_owned()
}

/// Our front end and theirs with the same vocabulary.
struct Pair {
    section: Vec<u8>,
    reference: Tokenizer,
}

impl Pair {
    /// The special tokens come before `tokens`.
    fn new(tokens: &[&str], normalization: Normalization, max_chars_per_word: u32) -> Self {
        let tokens: Vec<&str> = SPECIAL_TOKENS.iter().chain(tokens).copied().collect();
        let options = Options { normalization, max_chars_per_word, ..Options::new(SPECIAL_IDS) };
        let mut section = vec![0; encoded_len(&tokens)];
        encode(&tokens, &options, &mut section).expect("different tokens");
        let reference = reference(&tokens, normalization, max_chars_per_word);
        Self { section, reference }
    }

    fn ours(&self) -> WordPiece<'_> {
        WordPiece::new(Vocabulary::parse(&self.section).expect("a section just written"))
    }

    fn our_ids(&self, text: &str) -> Vec<u32> {
        let total = self.ours().encode(text, &mut []).total;
        cut_ids(&self.ours(), text, total)
    }

    fn their_ids(&self, text: &str) -> Vec<u32> {
        self.reference
            .encode_fast(text, true)
            .expect("the vocabulary has an unknown token")
            .get_ids()
            .to_vec()
    }

    fn truncated(&self, most: usize) -> Tokenizer {
        let mut reference = self.reference.clone();
        let truncation = TruncationParams { max_length: most, ..TruncationParams::default() };
        reference.with_truncation(Some(truncation)).expect("room for the special tokens");
        reference
    }
}

fn cut_ids(word_piece: &WordPiece<'_>, text: &str, most: usize) -> Vec<u32> {
    let mut ids = vec![u32::MAX; most];
    let encoding = word_piece.encode(text, &mut ids);
    assert_eq!(encoding.truncated, encoding.total > most);
    ids.truncate(encoding.len);
    ids
}

fn cut_pair(
    word_piece: &WordPiece<'_>,
    first: &str,
    second: &str,
    most: usize,
) -> (Vec<u32>, Vec<u32>) {
    let (mut ids, mut types) = (vec![u32::MAX; most], vec![u8::MAX; most]);
    let encoding = word_piece.encode_pair(first, second, &mut ids, &mut types);
    ids.truncate(encoding.len);
    (ids, types.iter().take(encoding.len).copied().map(u32::from).collect())
}

fn reference(tokens: &[&str], steps: Normalization, max_chars_per_word: u32) -> Tokenizer {
    let vocabulary: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let added: Vec<_> = SPECIAL_TOKENS
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    let special = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let piece = |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let description = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": steps.clean_text,
            "handle_chinese_chars": steps.handle_chinese_chars,
            "strip_accents": steps.strip_accents, "lowercase": steps.lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0)],
            "pair": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0), text("B", 1),
                piece("[SEP]", 1)],
            "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": max_chars_per_word, "vocab": vocabulary},
    });
    Tokenizer::from_bytes(description.to_string()).expect("a complete description")
}

/// Pieces that occur in the sample: single characters but every eleventh, beginnings and ends.
static SAMPLE_TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tokens = BTreeSet::new();
    for steps in [UNCASED, CASED] {
        for line in sample() {
            let line: String = normalized(line, steps).collect();
            for c in line.chars().filter(|c| u32::from(*c) % 11 != 0) {
                tokens.extend([c.to_string(), format!("##{c}")]);
            }
            line.split_whitespace().for_each(|word| add_pieces(word, &mut tokens));
        }
    }
    tokens.into_iter().filter(|token| !SPECIAL_TOKENS.contains(&token.as_str())).collect()
});

fn add_pieces(word: &str, tokens: &mut BTreeSet<String>) {
    let characters: Vec<char> = word.chars().take(40).collect();
    for length in [2, 4, 5] {
        if let (Some(head), Some(tail)) = (characters.first_chunk::<2>(), characters.get(length..))
        {
            tokens.insert(head.iter().chain(tail.iter().take(length)).collect());
            tokens.insert(format!("##{}", tail.iter().take(length).collect::<String>()));
        }
    }
}

fn sample_pair(steps: Normalization) -> Pair {
    let tokens: Vec<&str> = SAMPLE_TOKENS.iter().map(String::as_str).collect();
    Pair::new(&tokens, steps, 100)
}

/// Compares `ours` and `theirs` on what `text` makes of each scalar value, many in one go.
fn compare_all<T: PartialEq + std::fmt::Debug>(
    text: impl Fn(char) -> String,
    ours: impl Fn(&str) -> T,
    theirs: impl Fn(&str) -> T,
) {
    let scalars: Vec<char> = ('\0'..=char::MAX).collect();
    assert_eq!(scalars.len(), 0x11_0000 - 0x800);
    for batch in scalars.chunks(BATCH) {
        let together: String = batch.iter().copied().map(&text).collect();
        if ours(&together) == theirs(&together) {
            continue;
        }
        for &c in batch {
            let alone = text(c);
            assert_eq!(ours(&alone), theirs(&alone), "{c:?}");
        }
        panic!("a difference only between {:?} and {:?}", batch.first(), batch.last());
    }
}

fn compare_normalized(steps: Normalization, text: impl Fn(char) -> String) {
    let ours = |text: &str| normalized(text, steps).collect::<String>();
    compare_all(text, ours, |text| reference_normalized(text, steps));
}

#[test]
fn every_scalar_value_between_letters_is_normalised_alike_with_any_steps() {
    for steps in all_steps() {
        compare_normalized(steps, |c| format!("A{c}b"));
    }
}

#[test]
fn every_scalar_value_by_itself_is_normalised_alike() {
    for c in '\0'..=char::MAX {
        let ours: String = normalized(c.encode_utf8(&mut [0; 4]), UNCASED).collect();
        assert_eq!(ours, reference_normalized(&c.to_string(), UNCASED), "{c:?}");
    }
}

#[test]
fn every_scalar_value_separates_combining_characters_alike() {
    // Classes 226 and 224 before it, 216 and 9 after it; none of them is a nonspacing mark.
    for clean_text in [false, true] {
        let steps = Normalization { clean_text, ..UNCASED };
        compare_normalized(steps, |c| format!("a\u{1d16d}\u{302e}{c}\u{1d165}\u{1b44}"));
    }
}

#[test]
fn every_scalar_value_becomes_the_same_ids() {
    // Kept in a word, removed, a separator, punctuation, or with spaces: each gives other ids.
    let tokens = ["a", "ab", "##b", "b", "."];
    for steps in [UNCASED, CASED, Normalization { clean_text: false, ..UNCASED }] {
        let pair = Pair::new(&tokens, steps, 100);
        compare_all(|c| format!(" a{c}b {c} "), |t| pair.our_ids(t), |t| pair.their_ids(t));
    }
}

#[test]
fn every_line_of_the_sample_becomes_the_same_ids() {
    for steps in all_steps() {
        let pair = sample_pair(steps);
        for line in sample() {
            assert_eq!(pair.our_ids(line), pair.their_ids(line), "{line:?} {steps:?}");
        }
    }
}

#[test]
fn the_sample_meets_known_and_unknown_words() {
    assert!(sample().count() >= 200);
    let pair = sample_pair(UNCASED);
    let (mut pieces, mut unknown) = (0, 0);
    for line in sample() {
        let encoding = pair.ours().encode(line, &mut []);
        pieces += encoding.total - 2;
        unknown += encoding.unknown;
    }
    assert!(unknown > 100 && pieces > 4 * unknown, "{unknown} of {pieces}");
}

#[test]
fn every_line_of_the_sample_is_cut_alike() {
    let pair = sample_pair(UNCASED);
    for most in [2, 3, 4, 7, 16, 128] {
        let reference = pair.truncated(most);
        for line in sample() {
            let theirs = reference.encode_fast(line, true).unwrap();
            assert_eq!(cut_ids(&pair.ours(), line, most), theirs.get_ids(), "{line:?} {most}");
        }
    }
}

#[test]
fn every_pair_of_neighbouring_lines_is_cut_alike() {
    let pair = sample_pair(UNCASED);
    let lines: Vec<&str> = sample().collect();
    for most in [3, 4, 5, 32, 33, 128, 2048] {
        let reference = pair.truncated(most);
        for two in lines.windows(2) {
            let theirs = reference.encode_fast((two[0], two[1]), true).unwrap();
            let (ids, types) = cut_pair(&pair.ours(), two[0], two[1], most);
            assert_eq!(ids, theirs.get_ids(), "{two:?} {most}");
            assert_eq!(types, theirs.get_type_ids(), "{two:?} {most}");
        }
    }
}

/// Parts that random texts are made of, beside any characters.
static PARTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let parts = include_str!("../data/wordpiece_parts.json");
    serde_json::from_str(parts).expect("a list of texts")
});

fn random_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(PARTS.as_slice()),
        2 => any::<char>().prop_map(String::from),
        2 => "[ -~]{1,8}",
        1 => "[\\u{80}-\\u{3000}]{1,4}",
        1 => "a{90,110}",
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

fn any_steps() -> impl Strategy<Value = Normalization> {
    prop::sample::select(all_steps().collect::<Vec<_>>())
}

/// One front end for each choice of steps.
static PAIRS: LazyLock<Vec<(Normalization, Pair)>> =
    LazyLock::new(|| all_steps().map(|steps| (steps, sample_pair(steps))).collect());

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn random_texts_are_normalised_alike(text in random_text(), steps in any_steps()) {
        let ours: String = normalized(&text, steps).collect();
        prop_assert_eq!(ours, reference_normalized(&text, steps));
    }

    #[test]
    fn random_texts_become_the_same_ids(text in random_text(), which in 0..16_usize) {
        let (_, pair) = &PAIRS[which];
        prop_assert_eq!(pair.our_ids(&text), pair.their_ids(&text));
    }

    #[test]
    fn words_split_alike_with_random_vocabularies(
        tokens in prop::collection::btree_set("(##)?[ab\u{e9}]{1,5}", 0..40),
        words in prop::collection::vec("[ab\u{e9}]{1,12}", 1..20),
        most_characters in 1..12_u32,
    ) {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let pair = Pair::new(&tokens, CASED, most_characters);
        let text = words.join(" ");
        prop_assert_eq!(pair.our_ids(&text), pair.their_ids(&text));
    }

    #[test]
    fn random_bytes_are_no_vocabulary_and_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(vocabulary) = Vocabulary::parse(&bytes) {
            WordPiece::new(vocabulary).encode("a text", &mut [0; 8]);
        }
    }

    #[test]
    fn a_damaged_vocabulary_is_refused_or_usable(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        text in random_text(),
    ) {
        let pair = Pair::new(&["a", "##b", "é", "中", "##", ""], UNCASED, 100);
        let mut section = pair.section;
        let place = at.index(section.len());
        section[place] = value;
        if let Ok(vocabulary) = Vocabulary::parse(&section) {
            let mut ids = [0; 32];
            let encoding = WordPiece::new(vocabulary).encode(&text, &mut ids);
            prop_assert!(ids[..encoding.len].iter().all(|&id| (id as usize) < vocabulary.len()));
        }
    }
}
