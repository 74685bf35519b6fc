//! Texts to token ids, as Hugging Face `tokenizers` makes them, and back.
//!
//! [`Tokenizer`] is the door to every kind: WordPiece, and with the features `bpe` and `unigram` byte pairs
//! and Unigram, whose pieces are a section of their own (`PieceTokenizer`). [`Detokenizer`] writes the text
//! of ids as they come. For WordPiece:
//!
//! | step | `tokenizers` | here |
//! |---|---|---|
//! | added tokens as they stand in the text | `AddedVocabulary` | [`WordPiece`] |
//! | cleaning, Chinese characters, accents, case | `BertNormalizer` | [`normalize`] |
//! | words and punctuation | `BertPreTokenizer` | [`WordPiece`] |
//! | longest matching pieces | `WordPiece` | [`WordPiece`] |
//! | `[CLS]` and `[SEP]`, truncation | `TemplateProcessing`, `LongestFirst` | [`WordPiece`] |
//!
//! The ids are equal to those of `tokenizers` 0.22 for every text; cross-cutting tests compare all
//! Unicode scalar values, texts of many languages and random strings. Nothing is allocated: a text
//! is read character by character, and one word of bounded length is held on the stack (about
//! 1 KB). The tokens come from a [`Vocabulary`], a section of a package that is used in place.
//!
//! ```
//! use coda_runtime::text::{Options, SpecialIds, Vocabulary, WordPiece, encode, encoded_len};
//!
//! let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rout", "##ing", "tokens"];
//! let special = SpecialIds { unknown: 1, classify: 2, separate: 3, pad: 0, mask: None };
//! let mut section = [0; 256];
//! let length = encode(&tokens, &Options::new(special), &mut section)?;
//! assert_eq!(length, encoded_len(&tokens));
//!
//! let word_piece = WordPiece::new(Vocabulary::parse(&section[..length])?);
//! let mut ids = [0; 8];
//! let encoding = word_piece.encode("Routing TOKENS", &mut ids);
//! assert_eq!(&ids[..encoding.len], [2, 4, 5, 6, 3]);
//! # Ok::<(), coda_runtime::text::VocabularyError>(())
//! ```

mod added;
#[cfg(feature = "bpe")]
mod bpe;
#[cfg(feature = "unigram")]
mod charsmap;
mod code_points;
#[cfg(feature = "compose")]
mod compose;
mod detokenizer;
mod first_bytes;
pub mod normalize;
#[cfg(feature = "pieces")]
mod piece_tokenizer;
#[cfg(feature = "pieces")]
pub mod pieces;
#[cfg(feature = "pieces")]
mod standing;
#[cfg(feature = "pieces")]
mod stream;
mod tokenizer;
#[rustfmt::skip]
mod unicode_tables;
#[cfg(feature = "unigram")]
mod unigram;
mod vocabulary;
#[cfg(feature = "bpe")]
#[rustfmt::skip]
mod word_tables;
mod wordpiece;
#[cfg(feature = "bpe")]
mod words;

pub use added::AddedToken;
pub use detokenizer::Detokenizer;
#[cfg(feature = "pieces")]
pub use piece_tokenizer::PieceTokenizer;
#[cfg(feature = "pieces")]
pub use pieces::{Pieces, TokenizerError};
#[cfg(feature = "pieces")]
pub use stream::Stream;
pub use tokenizer::Tokenizer;
pub use vocabulary::{
    Options, Pairs, SpecialIds, SpecialToken, Vocabulary, VocabularyError, encode, encode_with,
    encoded_len, encoded_len_with, layout,
};
pub use wordpiece::{Encoding, WordPiece};
