//! Byte pairs and Unigram make the ids of Hugging Face `tokenizers`, and texts of ids; their section is
//! checked whole, and their files are read as `transformers` reads them.

use anyhow::{Result, bail};
use coda_converter::pack::{WeightType, pack_base};
use coda_converter::source::{PieceFiles, Texts, TokenizerFiles};
use coda_runtime::model::Model;
use coda_runtime::text::pieces::layout;
use coda_runtime::text::{Detokenizer, PieceTokenizer, Pieces, Tokenizer as Own};
use coda_tests::charsmap::charsmap;
use coda_tests::tiny::Tiny;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::ops::Range;
use std::sync::LazyLock;
use tempfile::TempDir;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{NormalizedString, Normalizer as _, Tokenizer, TruncationParams};

/// Texts of many kinds; the training texts as well.
const SAMPLES: [&str; 34] = [
    "",
    " ",
    "   ",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    " a leading space, and two  spaces, three   of them   ",
    "it's, we're, they'll, I'd, can't, I'VE, 'tis, '' and 's",
    "tabs\tand\nlines\n\n  and\r\nreturns \u{a0}\u{3000} wide",
    "naïve café cafe\u{301} Ångström e\u{301}\u{323}",
    "中文字符 和 日本語のテキスト、한국어 텍스트",
    "हिन्दी में ไทยภาษา",
    "العربية עברית русский ελληνικά",
    "½ ² ³ Ⅷ ١٢٣ ① 3.14 1,000 x²+y²",
    "😀👍🏽 👩‍👩‍👧‍👦🇩🇪🇫🇷",
    "ﬁne ™ ㍻ ﷺ Ａ\u{301} ｶﾞ",
    "\u{200b}\u{feff}\u{ad}\u{0}\u{7}\u{7f}\u{85}\u{2028}",
    "--- === ... !!!??? ``quotes'' \"q\"",
    "<s> in </s> a <mask> text <mask>  <unk>",
    "x<mask>y a  <mask>  b foxes fox afox fox",
    "▁under ▁▁two ▁",
    "under_scores and-dashes/slashes\\back",
    "https://example.org/a?b=c&d=e#f",
    "UPPER lower MiXeD",
    "0123456789 00 007",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ab ab ab ab abab abab",
    "\u{301}\u{301} alone",
    "a\u{e9}\u{4e2d}\u{1f600}z",
    "don't DON'T Don't",
    "the theme then them there",
    "\u{10ffff}\u{e000}\u{fffd}",
    "-1 +2 3e-5 $4 €5 6% #7 @8",
    "one\u{2009}thin\u{202f}narrow",
    "end with spaces  \t ",
];

/// `tokenizers` and the device.
struct Both {
    whole: Tokenizer,
    cut: Tokenizer,
    section: Vec<u8>,
}

const CUT: usize = 9;

impl Both {
    fn new(json: &Value) -> Self {
        let mut whole: Tokenizer = json.to_string().parse().expect("a tokenizer");
        whole.with_padding(None).with_truncation(None).expect("a setting");
        let mut cut = whole.clone();
        let truncation = TruncationParams { max_length: CUT, ..TruncationParams::default() };
        cut.with_truncation(Some(truncation)).expect("a setting");
        let files = Directory::new(&json!({ "tokenizer.json": json }));
        Self { whole, cut, section: files.open().expect("pieces").section().expect("a section") }
    }

    fn own(&self) -> Own<'_> {
        Own::Pieces(PieceTokenizer::new(Pieces::parse(&self.section).expect("a section")))
    }

    fn compare(&self, text: &str) {
        let expected = self.whole.encode_fast(text, true).expect("ids");
        let own = self.own();
        let mut ids = vec![0; expected.len() + 1];
        let encoding = own.encode(text, &mut ids);
        assert_eq!(ids[..encoding.len], *expected.get_ids(), "{text:?}");
        assert_eq!(own.encode(text, &mut []).total, expected.len(), "{text:?}");
        let mut ids = [0; CUT];
        let encoding = own.encode(text, &mut ids);
        let cut = self.cut.encode_fast(text, true).expect("ids");
        assert_eq!(ids[..encoding.len], *cut.get_ids(), "cut: {text:?}");
        let back = self.whole.decode(expected.get_ids(), true).expect("a text");
        assert_eq!(read_back(own, expected.get_ids()), back, "{text:?}");
    }

    fn compare_pair(&self, first: &str, second: &str) {
        let own = self.own();
        let (mut ids, mut types) = ([0; CUT], [9; CUT]);
        let encoding = own.encode_pair(first, second, &mut ids, &mut types);
        let cut = self.cut.encode_fast((first, second), true).expect("ids");
        assert_eq!(ids[..encoding.len], *cut.get_ids(), "{first:?} {second:?}");
        let types: Vec<u32> = types[..encoding.len].iter().copied().map(u32::from).collect();
        assert_eq!(types, cut.get_type_ids(), "{first:?} {second:?}");
    }

    fn compare_all(&self) {
        for (place, text) in SAMPLES.iter().enumerate() {
            self.compare(text);
            self.compare_pair(text, SAMPLES[(place + 5) % SAMPLES.len()]);
        }
        self.compare(&SAMPLES.join("\n"));
    }
}

fn read_back(own: Own<'_>, ids: &[u32]) -> String {
    let (mut text, mut detokenizer) = (String::new(), Detokenizer::new(own));
    ids.iter().for_each(|id| detokenizer.write(*id, &mut text).expect("a text"));
    detokenizer.finish(&mut text).expect("a text");
    text
}

/// Files of a model directory.
struct Directory(TempDir);

impl Directory {
    fn new(files: &Value) -> Self {
        let directory = TempDir::new().expect("a directory");
        for (name, file) in files.as_object().expect("files") {
            let text = file.as_str().map_or_else(|| file.to_string(), str::to_owned);
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
        Self(directory)
    }

    fn with(self, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(self.0.path().join(name), bytes).expect("a file");
        self
    }

    fn open(&self) -> Result<PieceFiles> {
        match TokenizerFiles::open(self.0.path(), 10_000)? {
            Texts::Pieces(own) => Ok(*own),
            Texts::IdsOnly(why) => bail!("ids only: {why}"),
            _ => bail!("no pieces"),
        }
    }

    fn section(&self) -> Vec<u8> {
        self.open().expect("pieces").section().expect("a section")
    }

    fn error(&self) -> String {
        self.open().map(drop).expect_err("it is refused").to_string()
    }
}

/// A small model of byte pairs, trained on the samples.
static BYTE_PAIRS: LazyLock<Value> = LazyLock::new(|| {
    let level = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(level)).with_decoder(Some(level));
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let trainer = BpeTrainer::builder().vocab_size(420).min_frequency(2).show_progress(false);
    let trainer = trainer.initial_alphabet(alphabet).build();
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer.train(&mut trainer, SAMPLES.iter().chain(&SAMPLES)).expect("a model");
    serde_json::to_value(&tokenizer).expect("JSON")
});

/// Pieces of Unigram: parts of the samples' words, the scores made of how often they stand there.
static UNIGRAM: LazyLock<Value> = LazyLock::new(|| {
    let mut counts = std::collections::BTreeMap::new();
    for word in SAMPLES.iter().flat_map(|text| text.split_whitespace()) {
        let word: Vec<char> = "▁".chars().chain(word.chars()).collect();
        for length in 1..=6.min(word.len()) {
            for part in word.windows(length) {
                *counts.entry(part.iter().collect::<String>()).or_insert(0) += 1;
            }
        }
    }
    let scored = |(piece, count): (&String, &i32)| {
        let often = f64::from(*count) * piece.chars().count() as f64;
        (*count > 1 && piece != "中").then(|| json!([piece, (often / 1e3).ln()]))
    };
    let special = ["<s>", "<pad>", "</s>", "<unk>"].map(|piece| json!([piece, 0.0]));
    let pieces = special.into_iter().chain(counts.iter().filter_map(scored));
    json!({"type": "Unigram", "unk_id": 3, "byte_fallback": false,
        "vocab": pieces.collect::<Vec<Value>>()})
});

/// Tokens that stand in texts, with every flag.
fn standing(model: &Value) -> Value {
    let vocabulary = &model["vocab"];
    let list = vocabulary.as_array();
    let count = list.map_or_else(|| vocabulary.as_object().map_or(0, Map::len), Vec::len);
    let mut next = count as u64;
    let mut flags = |content: &str| {
        let place = list.and_then(|list| list.iter().position(|piece| piece[0] == content));
        let known = place.map(|place| place as u64).or(vocabulary[content].as_u64());
        let id = known.unwrap_or(next);
        next += u64::from(known.is_none());
        json!({"id": id, "content": content, "special": false, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false})
    };
    let with = |mut token: Value, names: &[&str]| {
        names.iter().for_each(|name| token[*name] = true.into());
        token
    };
    json!([
        with(flags("<mask>"), &["lstrip", "special"]),
        with(flags("fox"), &["single_word", "rstrip"]),
        with(flags("theme"), &["normalized"]),
        with(flags("<again>"), &["normalized", "special", "lstrip", "rstrip"]),
    ])
}

fn roberta(prefix: bool) -> Value {
    let mut json = BYTE_PAIRS.clone();
    json["added_tokens"] = standing(&json["model"]);
    let [mask, again] = [0, 3].map(|place| json["added_tokens"][place]["id"].clone());
    json["pre_tokenizer"]["add_prefix_space"] = prefix.into();
    json["post_processor"] = json!({"type": "RobertaProcessing", "cls": ["<mask>", mask],
        "sep": ["<again>", again], "trim_offsets": true, "add_prefix_space": prefix});
    json
}

/// Unigram with a map of characters, as the steps around it are.
fn unigram(normalizers: &Value, pre_tokenizer: &Value) -> Value {
    let piece = |token: &str, kind| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind| json!({"Sequence": {"id": name, "type_id": kind}});
    let ids = json!({"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}});
    let metaspace = match pre_tokenizer["type"].as_str() {
        Some("Metaspace") => pre_tokenizer.clone(),
        _ => pre_tokenizer["pretokenizers"][1].clone(),
    };
    json!({"version": "1.0", "added_tokens": standing(&UNIGRAM), "model": *UNIGRAM,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": pre_tokenizer, "decoder": metaspace, "padding": null, "truncation": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [text("A", 0), piece("</s>", 0)],
            "pair": [text("A", 0), piece("</s>", 0), text("B", 1), piece("</s>", 1)],
            "special_tokens": ids}})
}

fn map() -> Value {
    json!({"type": "Precompiled", "precompiled_charsmap": base64(&charsmap())})
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let bits =
            (0..3).fold(0, |bits, at| bits << 8 | bytes.get(at).map_or(0, |b| usize::from(*b)));
        let digit = |at: usize| char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
        let digits: String = (0..=bytes.len()).map(digit).collect();
        format!("{digits:=<4}")
    };
    bytes.chunks(3).map(group).collect()
}

fn metaspace(scheme: &str, split: bool) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split})
}

fn by_white_space() -> Value {
    json!({"type": "Sequence",
        "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always", true)]})
}

fn squeeze(content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content})
}

/// Every shape of Unigram that is read.
fn unigrams() -> Vec<Value> {
    let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
    vec![
        unigram(&json!([map()]), &by_white_space()),
        unigram(&json!([map(), squeeze(" ")]), &metaspace("always", true)),
        unigram(&json!([map(), strip, squeeze("▁")]), &metaspace("always", false)),
        unigram(&json!([]), &metaspace("first", true)),
        unigram(&json!([squeeze(" ")]), &metaspace("never", false)),
    ]
}

#[test]
fn byte_pairs_are_those_of_tokenizers() {
    Both::new(&BYTE_PAIRS).compare_all();
    Both::new(&roberta(false)).compare_all();
    Both::new(&roberta(true)).compare_all();
    let mut whole_words = roberta(false);
    whole_words["model"]["ignore_merges"] = true.into();
    Both::new(&whole_words).compare_all();
}

/// Composed texts, as `ModernBERT` has them.
fn composing() -> Value {
    let mut json = roberta(false);
    json["normalizer"] = json!({"type": "NFC"});
    json
}

/// CLIP: words of its pattern, whose last piece is marked.
fn clip() -> Value {
    let mut vocabulary = Map::new();
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let marked = alphabet.iter().map(|c| format!("{c}</w>"));
    let merged = ["th", "the</w>", "qu", "le", "ov", "er</w>", "over</w>", "'s</w>"];
    let all = alphabet.iter().map(char::to_string).chain(marked);
    let all = all.chain(merged.map(str::to_owned)).chain(["<|endoftext|>".to_owned()]);
    all.zip(0..).for_each(|(token, id)| drop(vocabulary.insert(token, id.into())));
    let end = vocabulary["<|endoftext|>"].clone();
    let merges = ["t h", "th e</w>", "q u", "l e", "o v", "e r</w>", "ov er</w>", "' s</w>"];
    let pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let special = json!({"id": end, "content": "<|endoftext|>", "special": true,
        "normalized": false, "single_word": false, "lstrip": false, "rstrip": false});
    json!({"version": "1.0", "added_tokens": [special], "padding": null, "truncation": null,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true}]},
        "post_processor": {"type": "RobertaProcessing", "cls": ["<|endoftext|>", end],
            "sep": ["<|endoftext|>", end], "trim_offsets": false, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>",
            "continuing_subword_prefix": "", "end_of_word_suffix": "</w>", "fuse_unk": false,
            "vocab": vocabulary, "merges": merges}})
}

#[test]
fn texts_are_composed_and_words_end_as_the_model_has_it() {
    Both::new(&composing()).compare_all();
    let clip = Both::new(&clip());
    for text in SAMPLES {
        let expected = clip.whole.encode_fast(text, true).expect("ids");
        let mut ids = vec![0; expected.len() + 1];
        let encoding = clip.own().encode(text, &mut ids);
        assert_eq!(ids[..encoding.len], *expected.get_ids(), "{text:?}");
    }
    let mut ids = [0; 20];
    let encoding = clip.own().encode("The dog's over", &mut ids);
    assert_eq!(read_back(clip.own(), &ids[..encoding.len]), "the dog 's over");
}

#[test]
fn the_last_byte_of_a_word_has_a_piece_of_its_own() {
    let mut json = clip();
    json["model"]["unk_token"] = Value::Null;
    json["model"]["vocab"].as_object_mut().expect("pieces").remove("z");
    let clip = Both::new(&json);
    for count in [1, 2, 128, 255, 256, 257, 300, 1000] {
        let most = "z".repeat(count);
        for text in [most.clone(), format!("over{most} {most}over"), format!("o{most}ver {most}é")]
        {
            let expected = clip.whole.encode_fast(text.as_str(), true).expect("ids");
            let mut ids = vec![0; expected.len() + 1];
            let encoding = clip.own().encode(&text, &mut ids);
            assert_eq!(ids[..encoding.len], *expected.get_ids(), "{text:?}");
        }
    }
}

#[test]
fn every_character_is_composed_like_the_reference() {
    let both = Both::new(&composing());
    let Own::Pieces(own) = both.own() else { panic!("no pieces") };
    let reference = both.whole.get_normalizer().expect("a normaliser");
    let compare = |text: &str| {
        let mut expected = NormalizedString::from(text);
        reference.normalize(&mut expected).expect("a text");
        assert_eq!(own.normalized(text).collect::<String>(), expected.get(), "{text:?}");
    };
    let characters: Vec<char> = ('\u{a0}'..='\u{2fa1d}').collect();
    for group in characters.chunks(16) {
        compare(&group.iter().flat_map(|c| [*c, 'a']).collect::<String>());
        compare(&group.iter().collect::<String>());
    }
    for text in ["a\u{323}\u{307}\u{301}", "\u{1100}\u{1161}\u{11a8}", "s\u{323}\u{307}\u{323}"] {
        compare(text);
    }
}

#[test]
fn unigram_is_that_of_tokenizers() {
    unigrams().iter().for_each(|json| Both::new(json).compare_all());
}

#[test]
fn what_has_no_piece_falls_back_to_bytes() {
    let mut json = unigram(&json!([]), &metaspace("never", false));
    let pieces = json["model"]["vocab"].as_array_mut().expect("pieces");
    pieces.extend((0..=u8::MAX).map(|byte| json!([format!("<0x{byte:02X}>"), -20.0])));
    json["model"]["byte_fallback"] = true.into();
    json["added_tokens"] = standing(&json["model"]);
    json["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}]});
    Both::new(&json).compare_all();
}

#[test]
fn long_words_are_read_in_windows() {
    let all = [Both::new(&roberta(false)), Both::new(&unigrams()[0]), Both::new(&unigrams()[2])];
    for part in ["thelazydogs", "naïveté", "the中fox", "jumps!over?", "ab\u{301}c", "😀the"] {
        for count in [20, 29, 60, 300] {
            all.iter().for_each(|both| both.compare(&part.repeat(count)));
        }
    }
    // What does not end before the window does.
    for count in [255, 256, 257, 300, 2000] {
        all[0].compare(&"a".repeat(count));
        all[0].compare(&" ".repeat(count));
        all[0].compare(&"=".repeat(count));
    }
}

#[test]
fn bytes_without_a_piece_are_left_out_or_unknown() {
    let vocabulary = json!({"a": 0, "b": 1, "ab": 2, "aba": 3, "Ġ": 4, "Ġa": 5, "<unk>": 6});
    let model = json!({"type": "BPE", "vocab": vocabulary, "merges": ["a b", "ab a", "Ġ a"]});
    let mut json = BYTE_PAIRS.clone();
    json["model"] = model;
    for unknown in [Value::Null, "<unk>".into()] {
        json["model"]["unk_token"] = unknown;
        let both = Both::new(&json);
        for count in [0, 1, 127, 128, 129, 255, 256, 257, 300, 1000] {
            let none = "z".repeat(count);
            for text in [
                none.clone(),
                format!("{none}ab"),
                format!("{none}aba ab{none}b"),
                format!("é{none}a{none}ba{none}"),
                format!("{none}{}", "zab".repeat(count)),
                format!("{}{none}ba", "aba".repeat(40)),
            ] {
                both.compare(&text);
                let missing = text.bytes().filter(|byte| !b"ab ".contains(byte)).count();
                assert_eq!(both.own().encode(&text, &mut []).unknown, missing, "{text:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_the_ids_of_tokenizers(text in "\\PC{0,40}", parts in parts()) {
        static ALL: LazyLock<Vec<Both>> = LazyLock::new(|| {
            let pairs = [roberta(false), composing()];
            pairs.iter().chain(&unigrams()).map(Both::new).collect()
        });
        for both in ALL.iter() {
            both.compare(&text);
            both.compare(&parts.concat());
            both.compare_pair(&text, &parts.concat());
        }
    }
}

/// Parts that come out in many ways.
fn parts() -> impl Strategy<Value = Vec<String>> {
    let known = [
        " ", "  ", "\t", "\n", "'s", "'ll", "'", "<mask>", "<again>", "fox", "theme", "▁",
        "e\u{301}", "ﬁ", "Ａ", "the", "中", "1", "½", "!", "\u{a0}", "\u{200b}",
    ];
    proptest::collection::vec(proptest::sample::select(known.map(str::to_owned).to_vec()), 0..20)
}

#[test]
fn no_half_character_is_written() {
    let both = Both::new(&BYTE_PAIRS);
    let own = both.own();
    for text in SAMPLES {
        let ids = both.whole.encode_fast(text, true).expect("ids").get_ids().to_vec();
        for count in 0..ids.len() {
            let (mut written, mut detokenizer) = (String::new(), Detokenizer::new(own));
            ids[..count]
                .iter()
                .for_each(|id| detokenizer.write(*id, &mut written).expect("a text"));
            assert!(text.starts_with(&written), "{text:?}: {written:?}");
            let whole = written.len();
            detokenizer.finish(&mut written).expect("a text");
            assert!(matches!(&written[whole..], "" | "\u{fffd}"), "{written:?}");
        }
    }
    assert_eq!(read_back(own, &[u32::MAX, 100_000]), "");
}

/// A section that a package can carry.
fn small() -> Vec<u8> {
    let mut json = unigram(&json!([map()]), &by_white_space());
    json["model"]["vocab"].as_array_mut().expect("pieces").truncate(40);
    json["added_tokens"] = standing(&json["model"]);
    Directory::new(&json!({ "tokenizer.json": json })).section()
}

fn small_pairs() -> Vec<u8> {
    let vocabulary = json!({"a": 0, "b": 1, "ab": 2, "aba": 3, "Ġ": 4, "Ġa": 5});
    let merges = ["a b", "ab a", "Ġ a"];
    let model = json!({"type": "BPE", "vocab": vocabulary, "merges": merges});
    let json = json!({"version": "1.0", "added_tokens": standing(&model), "model": model,
        "normalizer": null, "post_processor": null, "decoder": {"type": "ByteLevel"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true}});
    Directory::new(&json!({ "tokenizer.json": json })).section()
}

/// Reads and writes with whatever was accepted.
fn use_all(section: &[u8]) {
    let Ok(pieces) = Pieces::parse(section) else { return };
    let own = Own::Pieces(PieceTokenizer::new(pieces));
    let (mut ids, mut types) = ([0; 16], [0; 16]);
    for text in ["aba <mask> ab\u{301}a fox ﬁ theme  x", &"ab".repeat(200)] {
        let encoding = own.encode(text, &mut ids);
        assert!(ids[..encoding.len].iter().all(|id| (*id as usize) < own.len()), "{ids:?}");
        read_back(own, &ids[..encoding.len]);
        own.encode_pair(text, "ab", &mut ids, &mut types);
    }
    for id in 0..own.len() as u32 + 2 {
        read_back(own, &[id, id]);
    }
}

#[test]
fn no_changed_byte_panics() {
    for section in [small(), small_pairs()] {
        for at in 0..section.len().min(1500) {
            for value in [0, 0xff, section[at] ^ 1, section[at].wrapping_add(16)] {
                let mut bytes = section.clone();
                bytes[at] = value;
                use_all(&bytes);
            }
        }
    }
}

fn damage(section: &[u8], place: usize, value: u32) -> Option<usize> {
    let mut bytes = section.to_vec();
    bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
    Pieces::parse(&bytes).err().map(|error| error.offset)
}

fn field(section: &[u8], range: Range<usize>) -> usize {
    u32::from_le_bytes(section[range].try_into().expect("four bytes")) as usize
}

#[test]
fn each_damage_is_named_by_its_place() {
    let pairs = small_pairs();
    let start = |range: &Range<usize>| range.start;
    for (range, value) in [
        (layout::KIND, 0),
        (layout::KIND, 3),
        (layout::FLAGS, layout::BYTE_FALLBACK),
        (layout::COUNT, 0),
        (layout::COUNT, u32::MAX),
        (layout::SORTED, 7),
        (layout::MERGES, u32::MAX),
        (layout::STANDING, 5000),
        (layout::UNKNOWN, 6),
        (layout::MAP_WORDS, 1),
        (layout::SINGLE, 65),
    ] {
        assert_eq!(damage(&pairs, range.start, value), Some(start(&range)), "{range:?} {value}");
    }
    let count = field(&pairs, layout::COUNT);
    let sorted = layout::HEADER_BYTES + 4 * (count + 1);
    let merges = sorted + 4 * field(&pairs, layout::SORTED);
    assert_eq!(damage(&pairs, layout::HEADER_BYTES, 1), Some(layout::HEADER_BYTES));
    assert_eq!(damage(&pairs, sorted, 100), Some(sorted));
    // A merge of a piece that is not there, and merges out of order.
    assert_eq!(damage(&pairs, merges, 100), Some(merges));
    assert_eq!(damage(&pairs, merges, 5), Some(merges + layout::MERGE_BYTES));
    // The rank of no merge.
    assert_eq!(damage(&pairs, merges + 8, layout::NO_RANK), Some(merges));
    assert_eq!(damage(&pairs, merges + 8, layout::NO_RANK - 1), None);
    let unigram = small();
    let count = field(&unigram, layout::COUNT);
    let scores = layout::HEADER_BYTES + 4 * (count + 1) + 4 * field(&unigram, layout::SORTED);
    let wide = field(&unigram, layout::FLAGS) as u32 & layout::WIDE_SCORES != 0;
    let high = scores + if wide { 4 } else { 0 };
    assert_eq!(damage(&unigram, high, 0x7ff8_0000), Some(scores));
    assert_eq!(damage(&unigram, layout::UNKNOWN.start, u32::MAX), Some(layout::UNKNOWN.start));
    assert_eq!(damage(&unigram, layout::LOWEST.start, 1), Some(layout::LOWEST.start));
    for length in 0..pairs.len() {
        assert!(Pieces::parse(&pairs[..length]).is_err(), "{length}");
    }
    assert!(Pieces::parse(&[pairs.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_map_of_characters_never_runs_on() {
    let section = small();
    let count = field(&section, layout::COUNT);
    let wide = field(&section, layout::FLAGS) as u32 & layout::WIDE_SCORES != 0;
    let map = layout::HEADER_BYTES
        + 4 * (count + 1)
        + 4 * field(&section, layout::SORTED)
        + count * if wide { 8 } else { 4 };
    let words = field(&section, layout::MAP_WORDS);
    for unit in [0, 0x100, 0x61, 0x161, 0x361, 0xffff_ffff, 0x7fff_ff61, 0x400 | 0x61] {
        let mut bytes = section.clone();
        for word in bytes[map..map + 4 * words].chunks_exact_mut(4) {
            word.copy_from_slice(&u32::to_le_bytes(unit));
        }
        use_all(&bytes);
    }
}

#[test]
fn a_map_of_characters_gives_no_long_texts() {
    let section = small();
    let refused = |bytes: usize| {
        let text = format!("{}\0", "é".repeat(bytes / 2) + &"x".repeat(bytes % 2));
        let mut section = [&section, text.as_bytes()].concat();
        let length = (field(&section, layout::MAP_BYTES) + text.len()) as u32;
        section[layout::MAP_BYTES].copy_from_slice(&length.to_le_bytes());
        Pieces::parse(&section).err().map(|error| error.offset)
    };
    assert_eq!(refused(layout::MOST_MAPPED_BYTES), None);
    assert_eq!(refused(layout::MOST_MAPPED_BYTES + 1), Some(section.len()));
}

#[test]
fn a_package_carries_them_from_file_to_ids() {
    let mut tiny = Tiny::bert();
    let json = json!({ "tokenizer.json": unigram(&json!([map()]), &by_white_space()) });
    let mut files = json["tokenizer.json"].clone();
    files["model"]["vocab"].as_array_mut().expect("pieces").truncate(6);
    files["added_tokens"] = json!([]);
    tiny.base.tokenizer = None;
    tiny.base.pieces =
        Some(Directory::new(&json!({ "tokenizer.json": files })).open().expect("pieces"));
    let packed = pack_base(&tiny.base, WeightType::F32, "").expect("a package").bytes;
    let package = packed.parse().expect("a package");
    let model = Model::dense(&package).expect("a model");
    let own = model.tokenizer().expect("a tokenizer");
    assert!(matches!(own, Own::Pieces(_)) && own.len() == 6 && own.has_pairs());
    let mut ids = [9; 4];
    let encoding = own.encode("zzz", &mut ids);
    assert_eq!(ids[encoding.len - 1], 2);
}

/// `vocab.json` and `merges.txt` of a `tokenizer.json`.
fn lists() -> (Value, String) {
    let model = &BYTE_PAIRS["model"];
    let merges = model["merges"].as_array().expect("merges").iter();
    let line = |merge: &Value| match merge {
        Value::String(line) => line.clone(),
        pair => format!("{} {}", pair[0].as_str().expect("a"), pair[1].as_str().expect("b")),
    };
    let merges: Vec<String> = merges.map(line).collect();
    (model["vocab"].clone(), format!("#version: 0.2\n{}\n", merges.join("\n")))
}

#[test]
fn lists_and_classes_are_read_like_the_whole_file() {
    let (vocabulary, merges) = lists();
    let class = json!({"tokenizer_class": "GPT2Tokenizer"});
    let lists = json!({"vocab.json": vocabulary, "merges.txt": merges,
        "tokenizer_config.json": class});
    let whole = json!({ "tokenizer.json": *BYTE_PAIRS, "tokenizer_config.json": class });
    let plain = json!({ "tokenizer.json": *BYTE_PAIRS });
    let sections = [&lists, &whole, &plain].map(|files| Directory::new(files).section());
    assert!(sections[0] == sections[1] && sections[1] == sections[2]);
    // A class builds its own pre-tokenizer, as `transformers` does.
    let mut prefix = whole.clone();
    prefix["tokenizer_config.json"]["add_prefix_space"] = true.into();
    assert!(Directory::new(&prefix).section() != sections[1]);
    let mut ignored = whole;
    ignored["tokenizer.json"]["pre_tokenizer"]["add_prefix_space"] = true.into();
    assert!(Directory::new(&ignored).section() == sections[1]);
}

/// A field of a protocol buffer.
fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        all.push(length as u8 | 0x80);
        length >>= 7;
    }
    all.push(length as u8);
    all.extend(bytes);
    all
}

/// A model of SentencePiece.
fn spiece(kind: u8) -> Vec<u8> {
    let pieces = UNIGRAM["vocab"].as_array().expect("pieces").iter();
    let piece = |piece: &Value| {
        let score = piece[1].as_f64().expect("a score") as f32;
        let mut own = message(1, piece[0].as_str().expect("a piece").as_bytes());
        own.push(2 << 3 | 5);
        own.extend(score.to_le_bytes());
        message(1, &own)
    };
    let mut bytes: Vec<u8> = pieces.flat_map(piece).collect();
    bytes.extend(message(2, &[3 << 3, kind]));
    bytes.extend(message(3, &message(2, &charsmap())));
    bytes
}

#[test]
fn models_of_sentence_piece_are_read() {
    let class = |class: &str| json!({"tokenizer_config.json": {"tokenizer_class": class}});
    let t5 = Directory::new(&class("T5Tokenizer")).with("spiece.model", &spiece(1)).section();
    let count = UNIGRAM["vocab"].as_array().expect("pieces").len();
    let pieces = Pieces::parse(&t5).expect("a section");
    assert_eq!((pieces.count(), pieces.unknown()), (count + 100, Some(2)));
    assert_eq!(pieces.token(count as u32), Some(b"<extra_id_99>".as_slice()));
    let roberta = Directory::new(&class("XLMRobertaTokenizer"));
    let roberta = roberta.with("sentencepiece.bpe.model", &spiece(1)).section();
    let pieces = Pieces::parse(&roberta).expect("a section");
    assert_eq!((pieces.count(), pieces.unknown()), (count + 2, Some(3)));
    let own = Own::Pieces(PieceTokenizer::new(pieces));
    let mut ids = [0; 8];
    let encoding = own.encode("the ﬁ", &mut ids);
    assert_eq!((ids[0], ids[encoding.len - 1]), (0, 2));
    assert_eq!(read_back(own, &ids[..encoding.len]), "the fi");
}

/// A change, what is changed, and what the refusal names.
type Refusal<'a> = (&'a dyn Fn(&mut Value), &'a Value, &'a str);

#[test]
fn what_the_device_lacks_is_refused_by_name() {
    let refused = |edit: &dyn Fn(&mut Value), json: &Value| {
        let mut json = json.clone();
        edit(&mut json);
        Directory::new(&json!({ "tokenizer.json": json })).error()
    };
    let unigram = unigram(&json!([map()]), &by_white_space());
    let names: [Refusal<'_>; 12] = [
        (&|json| json["normalizer"] = json!({"type": "NFKC"}), &BYTE_PAIRS, "NFKC"),
        (&|json| json["pre_tokenizer"]["use_regex"] = false.into(), &BYTE_PAIRS, "use_regex"),
        (&|json| json["pre_tokenizer"] = json!({"type": "Digits"}), &BYTE_PAIRS, "Digits"),
        (&|json| json["model"]["dropout"] = json!(0.1), &BYTE_PAIRS, "dropout"),
        (&|json| json["model"]["end_of_word_suffix"] = "@".into(), &BYTE_PAIRS, "end_of_word"),
        (&|json| json["model"]["merges"] = json!(["a zz"]), &BYTE_PAIRS, "azz"),
        (&|json| json["post_processor"] = json!({"type": "Odd"}), &BYTE_PAIRS, "Odd"),
        (&|json| json["normalizer"] = json!({"type": "NFKD"}), &unigram, "NFKD"),
        (&|json| json["pre_tokenizer"] = metaspace("odd", true), &unigram, "odd"),
        (&|json| json["model"]["vocab"][5][0] = "".into(), &unigram, "piece 5 is empty"),
        (&|json| json["model"]["unk_id"] = 100_000.into(), &unigram, "unknown piece"),
        (
            &|json| json["normalizer"]["normalizers"][0]["precompiled_charsmap"] = "*".into(),
            &unigram,
            "base64",
        ),
    ];
    for (edit, json, name) in names {
        let found = refused(edit, json);
        assert!(found.contains(name), "{name}: {found}");
    }
    let class = json!({"tokenizer_config.json": {"tokenizer_class": "T5Tokenizer"}});
    let error = |bytes: &[u8]| Directory::new(&class).with("spiece.model", bytes).error();
    assert!(error(&spiece(2)).contains("Unigram"));
    let mut many = class.clone();
    many["tokenizer_config.json"]["extra_ids"] = u64::MAX.into();
    let error_of_many = Directory::new(&many).with("spiece.model", &spiece(1)).error();
    assert!(error_of_many.contains("extra_ids"), "{error_of_many}");
    assert!(error(b"\x0a\xff\xff").contains("no model of SentencePiece"));
}
