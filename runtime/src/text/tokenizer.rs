//! One door for every tokenizer that a package can carry.

#[cfg(feature = "pieces")]
use super::piece_tokenizer::PieceTokenizer;
use super::vocabulary::Pairs;
use super::wordpiece::{Encoding, WordPiece};

/// The tokenizer of a package.
///
/// [`Tokenizer::encode`] makes ids of texts; [`Detokenizer`](super::Detokenizer) makes texts of ids.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Tokenizer<'a> {
    /// The longest pieces of each word.
    WordPiece(WordPiece<'a>),
    /// Byte pairs or Unigram.
    #[cfg(feature = "pieces")]
    Pieces(PieceTokenizer<'a>),
}

impl<'a> Tokenizer<'a> {
    /// Writes the ids of a text, with the tokens around it, to the front of `ids`: as many as there are
    /// places. See [`WordPiece::encode`].
    pub fn encode(&self, text: &str, ids: &mut [u32]) -> Encoding {
        match self {
            Self::WordPiece(own) => own.encode(text, ids),
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.encode(text, ids),
        }
    }

    /// The same of two texts, and the types of their tokens. See [`WordPiece::encode_pair`].
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
        ids: &mut [u32],
        types: &mut [u8],
    ) -> Encoding {
        match self {
            Self::WordPiece(own) => own.encode_pair(first, second, ids, types),
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.encode_pair(first, second, ids, types),
        }
    }

    /// The model says what two texts become.
    #[must_use]
    pub fn has_pairs(&self) -> bool {
        match self {
            Self::WordPiece(own) => own.vocabulary().options().pairs != Pairs::Unknown,
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.pieces().has_pairs(),
        }
    }

    /// How many tokens stand around one text, or around two.
    #[must_use]
    pub fn special_count(&self, pair: bool) -> usize {
        match self {
            Self::WordPiece(own) => match (pair, own.vocabulary().options().pairs) {
                (false, _) => 2,
                (true, Pairs::Doubled) => 4,
                (true, Pairs::Typed | Pairs::Unknown) => 3,
            },
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.special_count(pair),
        }
    }

    /// One above the largest id.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::WordPiece(own) => own.vocabulary().len(),
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.pieces().len(),
        }
    }

    /// Never: a tokenizer has a token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a token as the model has them: `##ing`, `▁the`, or bytes that only others complete to
    /// a text.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&'a [u8]> {
        match self {
            Self::WordPiece(own) => own.vocabulary().token(id).map(str::as_bytes),
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.pieces().token(id),
        }
    }

    /// Whether an id stands around texts, and in none.
    #[must_use]
    pub fn surrounds(&self, id: u32) -> bool {
        match self {
            Self::WordPiece(own) => {
                let special = &own.vocabulary().options().special;
                [special.classify, special.separate, special.pad].contains(&id)
            }
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.surrounds(id),
        }
    }

    /// Whether an id is only a mark, which no text shows: `[CLS]`, `</s>`, `<|endoftext|>`.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        match self {
            Self::WordPiece(own) => {
                let special = &own.vocabulary().options().special;
                let named = [special.unknown, special.classify, special.separate, special.pad];
                named.contains(&id) || special.mask == Some(id)
            }
            #[cfg(feature = "pieces")]
            Self::Pieces(own) => own.pieces().is_special(id),
        }
    }
}
