//! Model directories say how texts become tokens: what is read makes the ids of Hugging Face
//! `tokenizers`, contradictions are decided as `transformers` does, and the rest is refused.

use anyhow::{Result, bail};
use coda_converter::dataset::{Encoder, SampleInput};
use coda_converter::pack::{WeightType, ids_only, pack_base, provenance};
use coda_converter::source::{Base, Texts, TokenizerFiles};
use coda_runtime::model::Model;
use coda_runtime::text::normalize::is_word;
use coda_runtime::text::{Pairs, Vocabulary, WordPiece, encode, encoded_len};
use coda_tests::tiny::Tiny;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use tokenizers::{NormalizerWrapper, OffsetReferential, OffsetType, Tokenizer};

const WORDS: [&str; 22] = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[unused0]",
    "red",
    "lake",
    "Red",
    "##s",
    "a",
    "b",
    "##b",
    "##a",
    "<",
    ">",
    "@",
    "_",
    "e",
    "##e",
    "中",
    "url",
];

/// Files of a model directory.
struct Files(TempDir);

impl Files {
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let directory = TempDir::new().expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
        Self(directory)
    }

    fn of_json<'a>(files: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self::new(files.into_iter().map(|(name, json)| (name, json.to_string())))
    }

    /// `vocab.txt` and others.
    fn listed<'a>(list: &str, files: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let files = files.into_iter().map(|(name, json)| (name, json.to_string()));
        Self::new(files.chain([("vocab.txt", list.to_owned())]))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> Result<TokenizerFiles> {
        match TokenizerFiles::open(self.path(), 1000)? {
            Texts::WordPiece(own) => Ok(*own),
            Texts::IdsOnly(why) => bail!("ids only: {why}"),
            Texts::Pieces(own) => bail!("it is {}", own.kind()),
            Texts::None => bail!("nothing"),
        }
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        ids(&self.open().expect("a tokenizer"), text)
    }

    /// The error, or why only ids can be read, has all of these.
    fn refused(&self, parts: &[&str]) {
        let text = format!("{:#}", self.open().expect_err("a tokenizer that is refused"));
        assert!(!text.contains('\n'), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }
}

fn ids(own: &TokenizerFiles, text: &str) -> Vec<u32> {
    let section = own.section().expect("a section");
    let word_piece = WordPiece::new(Vocabulary::parse(&section).expect("a vocabulary"));
    let mut ids = vec![u32::MAX; word_piece.encode(text, &mut []).total];
    word_piece.encode(text, &mut ids);
    ids
}

fn special(id: usize, content: &str) -> Value {
    json!({"id": id, "content": content, "special": true, "normalized": false,
        "single_word": false, "lstrip": false, "rstrip": false})
}

/// A `tokenizer.json` of [`WORDS`] with more added tokens.
fn description(more: &[Value]) -> Value {
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let mut added: Vec<Value> =
        WORDS[..5].iter().enumerate().map(|(id, text)| special(id, text)).collect();
    added.extend_from_slice(more);
    let named = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let piece = |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0)],
            "pair": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0), text("B", 1),
                piece("[SEP]", 1)],
            "special_tokens": {"[CLS]": named("[CLS]", 2), "[SEP]": named("[SEP]", 3)}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// `tokenizer.json` with a field changed.
fn changed(pointer: &str, value: Value) -> Value {
    let mut json = description(&[]);
    *json.pointer_mut(pointer).expect("a field") = value;
    json
}

fn added(id: usize, content: &str, flags: [bool; 5]) -> Value {
    let [special, normalized, single_word, lstrip, rstrip] = flags;
    json!({"id": id, "content": content, "special": special, "normalized": normalized,
        "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip})
}

/// Ours and theirs for the same `tokenizer.json`.
struct Both {
    ours: Vec<u8>,
    theirs: Tokenizer,
}

impl Both {
    fn new(json: Value) -> Result<Self> {
        let theirs = Tokenizer::from_bytes(json.to_string()).map_err(anyhow::Error::from_boxed)?;
        let ours = Files::of_json([("tokenizer.json", json)]).open()?.section();
        Ok(Self { ours: ours.map_err(anyhow::Error::msg)?, theirs })
    }

    fn check(&self, text: &str) {
        let word_piece = WordPiece::new(Vocabulary::parse(&self.ours).expect("a vocabulary"));
        let mut ids = vec![u32::MAX; word_piece.encode(text, &mut []).total];
        word_piece.encode(text, &mut ids);
        let theirs = self.theirs.encode_fast(text, true).expect("ids");
        assert_eq!(ids, theirs.get_ids(), "{text:?}");
    }
}

const NONE: [bool; 5] = [false; 5];
const SPECIAL: [bool; 5] = [true, false, false, false, false];
const NORMALIZED: [bool; 5] = [false, true, false, false, false];

#[test]
fn added_tokens_behind_the_vocabulary_are_found() {
    let more =
        [added(22, "<brand>", NORMALIZED), added(23, "<URL>", SPECIAL), added(24, "reds", NONE)];
    let both = Both::new(description(&more)).unwrap();
    for text in [
        "red <brand> lake <brand>s",
        "<BRAND><Brand>",
        "<url> <URL>x<URL>",
        "areds REDS reds",
        "[MASK]red[mask]",
        "red\u{301} <brand\u{301}>",
    ] {
        both.check(text);
    }
    let files = Files::of_json([("tokenizer.json", description(&more))]);
    assert_eq!(files.ids("Lake <brand><URL>"), [2, 7, 22, 23, 3]);
    // No piece of a word.
    assert_eq!(files.ids("REDS"), [2, 6, 9, 3]);
}

#[test]
fn flags_of_added_tokens_decide_where_they_are() {
    for flags in 0..32 {
        let flags = [1, 2, 4, 8, 16].map(|bit| flags & bit != 0);
        let more = [added(22, "Re", flags), added(23, "@red", flags), added(20, "中", flags)];
        let both = Both::new(description(&more)).unwrap();
        for text in [
            "Re re RE",
            "aRe Rea Re_ _Re @Re Re@",
            "é\u{301}Re Re\u{301} Re\u{200d} ½Re Re²",
            "中中a 中 a中",
            "@red@red@reds a@red  @red\t",
            "Re  @redRe\u{a0}Re",
            "ReRe ReReRe",
            "@\u{301}red re\u{300}d",
        ] {
            both.check(text);
        }
    }
}

#[test]
fn the_longest_of_the_leftmost_added_tokens_counts() {
    let texts = ["ab", "abab", "abc", "b a", "bab", "x[SEP", "[SEP]s"];
    let more: Vec<Value> = (22..).zip(texts).map(|(id, text)| added(id, text, SPECIAL)).collect();
    let both = Both::new(description(&more)).unwrap();
    for text in ["ababab", "abcab a", "aabababc", "b ab abab", "x[SEP]", "x[SEP]s[SEP]s", "bababab"]
    {
        both.check(text);
    }
}

#[test]
fn word_characters_are_those_of_the_reference() {
    let mut reference = Tokenizer::new(tokenizers::models::wordpiece::WordPiece::default());
    reference.add_tokens(&[tokenizers::AddedToken::from("Re", true).single_word(true)]);
    let found = |text: &str| {
        let vocabulary = reference.get_added_vocabulary();
        let pieces = vocabulary.extract_and_normalize(None::<&NormalizerWrapper>, text);
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        splits.iter().filter(|(_, _, tokens)| tokens.is_some()).count()
    };
    let scalars: Vec<char> = ('\0'..=char::MAX).collect();
    // The reference looks at all that is before a token: short texts.
    for some in scalars.chunks(8) {
        let text: String = some.iter().map(|c| format!("Re{c}@")).collect();
        let expected = some.iter().filter(|c| !is_word(**c)).count();
        assert_eq!(found(&text), expected, "{text:?}");
    }
    assert!(is_word('_') && is_word('\u{301}') && !is_word('²') && !is_word('-'));
}

fn any_added() -> impl Strategy<Value = Vec<(String, [bool; 5])>> {
    let content = prop::sample::select(vec![
        "a", "b", "ab", "aB", "A", "ba", "<a>", "<A>", "é", "e", "中", "a中", "[a", "b]", "_",
        "@a", "a b", "²",
    ]);
    prop::collection::btree_map(content.prop_map(str::to_owned), any::<[bool; 5]>(), 1..6)
        .prop_map(|tokens| tokens.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_added_tokens_are_found_alike(
        tokens in any_added(),
        texts in prop::collection::vec("[abABéeE中<>\\[\\]_@ ²\u{301}\u{302e}\u{1d165}\u{200b}-]{0,24}", 1..8),
        lowercase in any::<bool>(),
    ) {
        let mut next = WORDS.len();
        let more: Vec<Value> = tokens.iter().map(|(content, flags)| {
            let known = WORDS.iter().position(|word| word == content);
            let id = known.unwrap_or(next);
            next += usize::from(known.is_none());
            added(id, content, *flags)
        }).collect();
        let mut json = description(&more);
        json["normalizer"]["lowercase"] = json!(lowercase);
        match Both::new(json) {
            Ok(both) => texts.iter().for_each(|text| both.check(text)),
            Err(error) => prop_assert!(error.to_string().contains("is written like")),
        }
    }
}

#[test]
fn the_usual_special_tokens_need_no_list() {
    let own = Files::of_json([("tokenizer.json", description(&[]))]).open().unwrap();
    let mut section = vec![0; encoded_len(&WORDS)];
    encode(&WORDS, &own.options, &mut section).unwrap();
    assert_eq!(own.section().unwrap(), section);
    let unused = own_with(&[special(5, "[unused0]")]);
    assert_eq!(ids(&unused, "[unused0]red"), [2, 5, 6, 3]);
    assert_ne!(unused.section().unwrap(), section);
}

fn own_with(more: &[Value]) -> TokenizerFiles {
    Files::of_json([("tokenizer.json", description(more))]).open().expect("a tokenizer")
}

#[test]
fn tokenizer_config_decides_the_normaliser() {
    let with = |config: Value| {
        Files::of_json([("tokenizer.json", description(&[])), ("tokenizer_config.json", config)])
    };
    let cased = with(json!({"do_lower_case": false, "strip_accents": null}));
    assert_eq!(cased.ids("Red red"), [2, 8, 6, 3]);
    assert_eq!(with(json!({"do_lower_case": true})).ids("Red red"), [2, 6, 6, 3]);
    let as_file = json!({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false});
    assert_eq!(with(as_file).ids("Red red"), [2, 6, 6, 3]);
    let accents = json!({"do_lower_case": true, "strip_accents": false});
    assert_eq!(with(accents).ids("réd red"), [2, 1, 6, 3]);
    with(json!({"do_lower_case": "no"})).refused(&["tokenizer_config.json", "do_lower_case", "no"]);
}

#[test]
fn a_flag_that_is_only_contradicted_by_being_absent_is_refused() {
    let cased = changed("/normalizer/lowercase", json!(false));
    let files = [("tokenizer.json", cased.clone()), ("tokenizer_config.json", json!({}))];
    Files::of_json(files).refused(&["tokenizer.json", "lowercase = false", "do_lower_case"]);
    assert_eq!(Files::of_json([("tokenizer.json", cased)]).ids("Red"), [2, 8, 3]);
    let accents = changed("/normalizer/strip_accents", json!(false));
    let config = json!({"do_lower_case": true});
    let files = [("tokenizer.json", accents), ("tokenizer_config.json", config)];
    Files::of_json(files).refused(&["strip_accents = false", "lacks strip_accents"]);
}

#[test]
fn accents_may_go_while_the_case_stays() {
    let mut json = changed("/normalizer/strip_accents", json!(true));
    json["normalizer"]["lowercase"] = json!(false);
    let both = Both::new(json).unwrap();
    ["Réd red é", "RE\u{301}D e\u{301}"].into_iter().for_each(|text| both.check(text));
}

#[test]
fn a_list_is_read_whatever_its_line_ends() {
    let list = WORDS.join("\n");
    for list in [
        list.clone(),
        format!("\u{feff}{list}\n"),
        list.replace('\n', "\r\n"),
        list.replace('\n', "\r"),
        format!("{list}\n\n\n\n"),
    ] {
        assert_eq!(Files::listed(&list, []).ids("Red lakes [MASK]"), [2, 6, 7, 9, 4, 3]);
    }
    Files::listed(&format!("{list}\nred"), []).refused(&["vocab.txt", "lines 7 and 23", "red"]);
    Files::listed("red\nlake\n", []).refused(&["vocab.txt", "[UNK]"]);
}

#[test]
fn a_list_has_the_special_tokens_that_other_files_name() {
    let list = WORDS.join("\n").replace("[CLS]", "<s>").replace("[SEP]", "</s>");
    let names = json!({"cls_token": "<s>", "sep_token": {"content": "</s>", "lstrip": false}});
    for files in [("tokenizer_config.json", names.clone()), ("special_tokens_map.json", names)] {
        assert_eq!(Files::listed(&list, [files]).ids("red</s>"), [2, 6, 3, 3]);
    }
    // The map counts, unless the configuration lists all added tokens.
    let map = ("special_tokens_map.json", json!({"cls_token": "a"}));
    let config = json!({"cls_token": "b"});
    let list = WORDS.join("\n");
    let files = [map.clone(), ("tokenizer_config.json", config)];
    assert_eq!(Files::listed(&list, files).ids("red"), [10, 6, 3]);
    let config = json!({"cls_token": "b", "added_tokens_decoder": {"0": special(0, "[PAD]")}});
    let files = [map, ("tokenizer_config.json", config)];
    assert_eq!(Files::listed(&list, files).ids("red"), [11, 6, 3]);
}

#[test]
fn added_tokens_come_from_every_file() {
    let list = WORDS.join("\n");
    let old = json!({"<brand>": 22, "@USER": 23});
    let map = json!({"additional_special_tokens": ["@USER"]});
    let files = [("added_tokens.json", old), ("special_tokens_map.json", map)];
    let files = Files::listed(&list, files);
    assert_eq!(files.ids("<BRAND>@USER @user"), [2, 22, 23, 16, 1, 3]);
    let decoder = json!({"22": {"content": "<x>", "special": true}, "6": {"content": "red"}});
    let config = ("tokenizer_config.json", json!({"added_tokens_decoder": decoder}));
    assert_eq!(Files::listed(&list, [config]).ids("areds<x>"), [2, 10, 6, 1, 22, 3]);
    let decoder = json!({"30": {"content": "<x>"}});
    let config = ("tokenizer_config.json", json!({"added_tokens_decoder": decoder}));
    Files::listed(&list, [config]).refused(&["tokenizer_config.json", "<x>", "id 30", "22"]);
}

#[test]
fn more_tokens_than_rows_are_refused() {
    let json = description(&[added(22, "<brand>", NORMALIZED)]);
    let files = Files::of_json([("tokenizer.json", json)]);
    let error = TokenizerFiles::open(files.path(), 22).unwrap_err().to_string();
    for part in ["tokenizer.json", "23 tokens", "22 rows", "added_tokens", "vocab_size"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(TokenizerFiles::open(files.path(), 23).is_ok());
    // A special token that only the class has by default needs no row.
    let list = WORDS.join("\n").replace("[MASK]", "mask");
    assert!(TokenizerFiles::open(Files::listed(&list, []).path(), 22).is_ok());
}

#[test]
fn templates_are_one_text_between_two_tokens() {
    let pairs = |template: Value| {
        let json = changed("/post_processor", template);
        let theirs = Both::new(json.clone()).unwrap();
        theirs.check("red lake");
        Files::of_json([("tokenizer.json", json)]).open().unwrap().options.pairs
    };
    let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    assert_eq!(pairs(bert), Pairs::Typed);
    let roberta = json!({"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
        "trim_offsets": true, "add_prefix_space": false});
    assert_eq!(pairs(roberta), Pairs::Doubled);
    let mut untyped = description(&[])["post_processor"].clone();
    untyped["pair"][3]["Sequence"]["type_id"] = json!(0);
    assert_eq!(pairs(untyped), Pairs::Unknown);
    let mut last = description(&[])["post_processor"].clone();
    last["single"][0]["SpecialToken"]["type_id"] = json!(2);
    let files = Files::of_json([("tokenizer.json", changed("/post_processor", last))]);
    files.refused(&["tokenizer.json", "post_processor", "TemplateProcessing"]);
}

#[test]
fn doubled_pairs_are_cut_like_the_reference() {
    let roberta = json!({"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
        "trim_offsets": true, "add_prefix_space": false});
    let mut both = Both::new(changed("/post_processor", roberta)).unwrap();
    let word_piece = WordPiece::new(Vocabulary::parse(&both.ours).unwrap());
    for most in [4, 5, 7, 9, 32] {
        let truncation = tokenizers::TruncationParams { max_length: most, ..Default::default() };
        both.theirs.with_truncation(Some(truncation)).unwrap();
        for (first, second) in [("red lake", "lakes red lake"), ("a b a b a b", "red"), ("", "red")]
        {
            let (mut ids, mut types) = (vec![0; most], vec![9; most]);
            let encoding = word_piece.encode_pair(first, second, &mut ids, &mut types);
            let theirs = both.theirs.encode_fast((first, second), true).unwrap();
            assert_eq!(ids[..encoding.len], *theirs.get_ids());
            assert!(types[..encoding.len].iter().all(|kind| *kind == 0));
        }
    }
}

#[test]
fn what_the_device_has_not_is_said() {
    let with =
        |pointer: &str, value: Value| Files::of_json([("tokenizer.json", changed(pointer, value))]);
    with("/model/type", json!("WordLevel")).refused(&["ids only", "model.type", "WordLevel"]);
    with("/model/continuing_subword_prefix", json!("@@")).refused(&["subword_prefix", "@@"]);
    with("/model/max_input_chars_per_word", json!(1000)).refused(&["max_input_chars", "1000"]);
    with("/normalizer", json!({"type": "NFKC"})).refused(&["normalizer", "NFKC"]);
    with("/pre_tokenizer", json!({"type": "Whitespace"})).refused(&["pre_tokenizer", "Whitespace"]);
    with("/post_processor", Value::Null).refused(&["post_processor", "null"]);
    let left =
        json!({"direction": "Left", "max_length": 16, "strategy": "LongestFirst", "stride": 0});
    with("/truncation", left).refused(&["truncation.direction", "Left"]);
    let list = WORDS.join("\n");
    let config = |json: Value| Files::listed(&list, [("tokenizer_config.json", json)]);
    let japanese =
        json!({"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"});
    config(japanese).refused(&["tokenizer_class", "BertJapaneseTokenizer"]);
    config(json!({"never_split": ["red"]})).refused(&["never_split = [\"red\"]", "added tokens"]);
    config(json!({"do_basic_tokenize": false})).refused(&["do_basic_tokenize = false"]);
    config(json!({"truncation_side": "left"})).refused(&["truncation_side", "left"]);
    config(json!({"split_special_tokens": true})).refused(&["split_special_tokens"]);
    Files::of_json([("merges.txt", json!(""))]).refused(&["ids only", "merges.txt"]);
}

#[test]
fn names_that_two_files_have_differently_are_refused() {
    let with = |config: Value| {
        Files::of_json([("tokenizer.json", description(&[])), ("tokenizer_config.json", config)])
    };
    with(json!({"do_lower_case": true, "cls_token": "a"})).refused(&["cls_token", "a", "[CLS]"]);
    with(json!({"do_lower_case": true, "unk_token": "a"})).refused(&["unk_token", "a", "[UNK]"]);
    let more = [added(22, "Foo", NORMALIZED), added(23, "fOO", NORMALIZED)];
    Files::of_json([("tokenizer.json", description(&more))]).refused(&["fOO", "id 22"]);
    let decoder = json!({"0": {"content": "[PAD]", "normalized": true, "special": true}});
    with(json!({"added_tokens_decoder": decoder})).refused(&["[PAD]", "normalized"]);
}

#[test]
fn a_base_for_ids_says_why_texts_cannot_be_read() {
    let mut base = Tiny::t5().base;
    base.ids_only = Some("tokenizer.json: model.type = \"Unigram\"\nis not supported".to_owned());
    let packed = pack_base(&base, WeightType::F32, "from here").unwrap();
    let package = packed.bytes.parse().unwrap();
    let why = "tokenizer.json: model.type = \"Unigram\" is not supported";
    assert_eq!(ids_only(&package), Some(why));
    assert_eq!(provenance(&package), "from here");
    let model = Model::dense(&package).unwrap();
    let error = Encoder::of(&model).unwrap_err().to_string();
    assert!(error.contains(why) && error.contains("token ids"), "{error}");
}

#[test]
fn a_pair_is_an_input_with_types() {
    let mut base = Tiny::bert().base;
    let pair = |base: &Base, most| {
        let packed = pack_base(base, WeightType::F32, "").unwrap();
        let package = packed.bytes.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        let encoder = Encoder { limit: most, ..Encoder::of(&model).unwrap() };
        encoder.encode("the cat", Some("sat on")).map(|(input, _)| input)
    };
    let (ids, types) = (vec![2, 5, 6, 3, 7, 9, 3], vec![0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(pair(&base, 8).unwrap(), SampleInput::Typed { ids, types });
    let (ids, types) = (vec![2, 5, 3, 7, 9, 3], vec![0, 0, 0, 1, 1, 1]);
    assert_eq!(pair(&base, 6).unwrap(), SampleInput::Typed { ids, types });
    let tokenizer = base.tokenizer.as_mut().unwrap();
    tokenizer.options.pairs = Pairs::Unknown;
    let error = pair(&base, 8).unwrap_err().to_string();
    assert!(error.contains("no template for two texts"), "{error}");
}
