//! Ids to texts, one at a time.

use core::fmt;

use super::tokenizer::Tokenizer;
use super::vocabulary::layout::CONTINUATION;

/// Writes the text of ids as they come.
///
/// A character whose bytes are spread over several tokens is written when its last byte is there: at
/// most three bytes are held. What is no UTF-8 becomes U+FFFD, as `String::from_utf8_lossy` has it.
/// Special tokens are passed over.
///
/// ```
/// use coda_runtime::text::{
///     Detokenizer, Options, SpecialIds, Tokenizer, Vocabulary, WordPiece, encode,
/// };
///
/// let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rout", "##ing", "tokens", "!"];
/// let special = SpecialIds { unknown: 1, classify: 2, separate: 3, pad: 0, mask: None };
/// let mut section = [0; 256];
/// let length = encode(&tokens, &Options::new(special), &mut section)?;
/// let tokenizer = Tokenizer::WordPiece(WordPiece::new(Vocabulary::parse(&section[..length])?));
///
/// let (mut text, mut detokenizer) = (String::new(), Detokenizer::new(tokenizer));
/// for id in [2, 4, 5, 6, 7, 3] {
///     detokenizer.write(id, &mut text)?;
/// }
/// detokenizer.finish(&mut text)?;
/// assert_eq!(text, "routing tokens!");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Detokenizer<'a> {
    tokenizer: Tokenizer<'a>,
    /// Bytes of a character that is not whole yet.
    held: heapless::Vec<u8, 4>,
    /// A space that is written if something follows.
    space: bool,
    /// Nothing was written yet.
    first: bool,
    clean: bool,
}

impl<'a> Detokenizer<'a> {
    /// Of the tokens of `tokenizer`.
    #[must_use]
    pub const fn new(tokenizer: Tokenizer<'a>) -> Self {
        Self { tokenizer, held: heapless::Vec::new(), space: false, first: true, clean: true }
    }

    /// With the spaces of WordPiece before punctuation and contractions as they are (`cleanup` of
    /// `tokenizers` off).
    #[must_use]
    pub fn with_spaces(self) -> Self {
        Self { clean: false, ..self }
    }

    /// Writes the text of a token; nothing for a special one or an id without a token.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, id: u32, out: &mut impl fmt::Write) -> fmt::Result {
        let Some(token) = self.tokenizer.token(id).filter(|_| !self.tokenizer.is_special(id))
        else {
            return Ok(());
        };
        let first = core::mem::replace(&mut self.first, false);
        match self.tokenizer {
            Tokenizer::WordPiece(_) => self.write_word(token, first, out),
            #[cfg(feature = "pieces")]
            Tokenizer::Pieces(own) => self.write_piece(own.pieces(), token, first, out),
        }
    }

    /// Ends the text: a character that is not whole becomes U+FFFD. The next token begins a text.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(&mut self, out: &mut impl fmt::Write) -> fmt::Result {
        (self.first, self.space) = (true, false);
        if self.held.is_empty() {
            return Ok(());
        }
        self.held.clear();
        out.write_char(char::REPLACEMENT_CHARACTER)
    }

    fn write_word(&mut self, token: &[u8], first: bool, out: &mut impl fmt::Write) -> fmt::Result {
        let rest = token.strip_prefix(CONTINUATION.as_bytes()).filter(|_| !first);
        let close = self.clean && stands_close(token);
        if !first && rest.is_none() && !close {
            self.put(b' ', out)?;
        }
        rest.unwrap_or(token).iter().try_for_each(|byte| self.put(*byte, out))
    }

    /// Writes a byte, or holds it.
    fn put(&mut self, byte: u8, out: &mut impl fmt::Write) -> fmt::Result {
        // There is room: what is held is less than a character.
        let _ = self.held.push(byte);
        loop {
            let wrong = match core::str::from_utf8(&self.held) {
                Ok(text) => {
                    out.write_str(text)?;
                    self.held.clear();
                    return Ok(());
                }
                Err(error) => error.error_len(),
            };
            let Some(wrong) = wrong else { return Ok(()) };
            out.write_char(char::REPLACEMENT_CHARACTER)?;
            let rest = self.held.get(wrong..).and_then(|rest| heapless::Vec::from_slice(rest).ok());
            self.held = rest.unwrap_or_default();
        }
    }
}

/// What `tokenizers` puts no space before, of WordPiece.
fn stands_close(token: &[u8]) -> bool {
    const ENDS: [&[u8]; 9] = [b".", b"?", b"!", b",", b"n't", b"'m", b"'s", b"'ve", b"'re"];
    ENDS.iter().any(|end| token.starts_with(end))
}

#[cfg(feature = "pieces")]
mod of_pieces {
    use core::fmt;

    use super::super::pieces::{Pieces, layout};
    use super::super::stream::MARK;
    use super::Detokenizer;

    impl Detokenizer<'_> {
        pub(super) fn write_piece(
            &mut self,
            pieces: &Pieces<'_>,
            token: &[u8],
            first: bool,
            out: &mut impl fmt::Write,
        ) -> fmt::Result {
            if !pieces.is_unigram() {
                return self.write_bytes(token, pieces.has(layout::CLIP), out);
            }
            if let Some(byte) = byte_of(token).filter(|_| pieces.has(layout::BYTE_FALLBACK)) {
                return self.put(byte, out);
            }
            self.write_marked(token, first && pieces.has(layout::SHED_FIRST), out)
        }

        /// Writes spaces for the marks, or nothing for them where they are shed.
        fn write_marked(
            &mut self,
            token: &[u8],
            shed: bool,
            out: &mut impl fmt::Write,
        ) -> fmt::Result {
            let mut mark = [0; 4];
            let mark = MARK.encode_utf8(&mut mark).as_bytes();
            let mut rest = token;
            while let Some((byte, behind)) = rest.split_first() {
                rest = match rest.strip_prefix(mark) {
                    Some(behind) if shed => behind,
                    Some(behind) => {
                        self.put(b' ', out)?;
                        behind
                    }
                    None => {
                        self.put(*byte, out)?;
                        behind
                    }
                };
            }
            Ok(())
        }

        fn write_bytes(
            &mut self,
            token: &[u8],
            clip: bool,
            out: &mut impl fmt::Write,
        ) -> fmt::Result {
            if core::mem::take(&mut self.space) {
                self.put(b' ', out)?;
            }
            let marked = token.strip_suffix(&[layout::WORD_END]).filter(|_| clip);
            self.space = marked.is_some();
            marked.unwrap_or(token).iter().try_for_each(|byte| self.put(*byte, out))
        }
    }

    /// The byte of a piece `<0x0A>`.
    fn byte_of(piece: &[u8]) -> Option<u8> {
        let [b'<', b'0', b'x', digits @ .., b'>'] = piece else { return None };
        let digits = core::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    }
}
