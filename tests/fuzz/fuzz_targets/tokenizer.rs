//! Any texts as the tokenizer files of a model directory: reading them never panics, and what is
//! read makes a section and reads a text.
#![no_main]

use coda_converter::source::{Texts, TokenizerFiles};
use coda_fuzz::files;
use coda_runtime::text::{PieceTokenizer, Pieces, Tokenizer, Vocabulary, WordPiece};
use libfuzzer_sys::fuzz_target;

/// The files in the order of the parts between zero bytes; a text follows.
const NAMES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
];

fuzz_target!(|bytes: &[u8]| {
    let (directory, text) = files(bytes, &NAMES);
    let text = String::from_utf8_lossy(text);
    let Ok(found) = TokenizerFiles::open(&directory, 1 << 16) else { return };
    let section = match &found {
        Texts::WordPiece(files) => files.section(),
        Texts::Pieces(files) => files.section(),
        _ => return,
    };
    let Ok(section) = section else { return };
    let tokenizer = match found {
        Texts::Pieces(_) => {
            let pieces = Pieces::parse(&section).expect("a section that was written");
            Tokenizer::Pieces(PieceTokenizer::new(pieces))
        }
        _ => {
            let vocabulary = Vocabulary::parse(&section).expect("a section that was written");
            Tokenizer::WordPiece(WordPiece::new(vocabulary))
        }
    };
    let (mut ids, mut types) = ([0; 64], [0; 64]);
    let encoding = tokenizer.encode(&text, &mut ids);
    assert!(ids[..encoding.len].iter().all(|id| (*id as usize) < tokenizer.len()));
    tokenizer.encode_pair(&text, &text, &mut ids, &mut types);
});
