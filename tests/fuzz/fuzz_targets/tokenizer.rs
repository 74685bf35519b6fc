//! Any texts as the tokenizer files of a model directory: reading them never panics, and what is
//! read makes a section and reads a text.
#![no_main]

use coda_converter::source::{Texts, TokenizerFiles};
use coda_fuzz::files;
use coda_runtime::text::{Vocabulary, WordPiece};
use libfuzzer_sys::fuzz_target;

/// The files in the order of the parts between zero bytes; a text follows.
const NAMES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
];

fuzz_target!(|bytes: &[u8]| {
    let (directory, text) = files(bytes, &NAMES);
    let text = String::from_utf8_lossy(text);
    let Ok(Texts::WordPiece(files)) = TokenizerFiles::open(&directory, 1 << 16) else { return };
    let Ok(section) = files.section() else { return };
    let vocabulary = Vocabulary::parse(&section).expect("a section that was written");
    let (mut ids, mut types) = ([0; 64], [0; 64]);
    let encoding = WordPiece::new(vocabulary).encode(&text, &mut ids);
    assert!(ids[..encoding.len].iter().all(|id| (*id as usize) < vocabulary.len()));
    WordPiece::new(vocabulary).encode_pair(&text, &text, &mut ids, &mut types);
});
