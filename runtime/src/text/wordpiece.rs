//! Texts to token ids.

use super::normalize::{is_punctuation, normalized};
use super::vocabulary::{Vocabulary, layout};

/// Bytes of the longest word that is looked up.
const WORD_BYTES: usize = 4 * layout::MOST_CHARS_PER_WORD as usize;

/// The outcome of [`WordPiece::encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Ids written.
    pub len: usize,
    /// Ids the whole input needs, special ones included.
    pub total: usize,
    /// Ids were left out: `total` is above `len`.
    pub truncated: bool,
    /// Words of the whole input, left out or not, that became the unknown token.
    pub unknown: usize,
}

impl Encoding {
    fn new(total: usize, most: usize, unknown: usize) -> Self {
        Self { len: total.min(most), total, truncated: total > most, unknown }
    }
}

/// Makes token ids of texts.
///
/// ```text
/// text: special tokens as they stand | other segments
/// segment: normalised characters -> words, punctuation each by itself
/// word: longest token that it begins with, then the longest `##` token of the rest, ...;
///       the unknown token if some rest has none or the word is too long
/// ```
///
/// A special token in the text (`[UNK]`, `[CLS]`, `[SEP]`, `[PAD]`, `[MASK]` as the vocabulary
/// spells them) is found in the raw text, wherever it stands and in exactly this case, and becomes
/// its id: the longest of the leftmost ones, without overlap. Do not pass untrusted texts where
/// that matters without removing them.
#[derive(Clone, Copy, Debug)]
pub struct WordPiece<'a> {
    vocabulary: Vocabulary<'a>,
    special_tokens: [(&'a str, u32); 5],
}

impl<'a> WordPiece<'a> {
    /// Uses the tokens and options of `vocabulary`.
    #[must_use]
    pub fn new(vocabulary: Vocabulary<'a>) -> Self {
        Self { vocabulary, special_tokens: vocabulary.special_tokens() }
    }

    /// The vocabulary.
    #[must_use]
    pub const fn vocabulary(&self) -> &Vocabulary<'a> {
        &self.vocabulary
    }

    /// Writes `[CLS]`, the pieces of `text` and `[SEP]` to the front of `ids`.
    ///
    /// `ids.len()` is the largest number of tokens: pieces that do not fit are left out, and
    /// `[SEP]` is last all the same. With one place only `[CLS]` is written, with none nothing;
    /// [`Encoding::total`] is right in any case. Ids past [`Encoding::len`] have no meaning.
    pub fn encode(&self, text: &str, ids: &mut [u32]) -> Encoding {
        let most = ids.len();
        let mut pieces = Pieces::new(ids.get_mut(1..most.saturating_sub(1)));
        self.push_text(text, &mut pieces);
        let (kept, total, unknown) = (pieces.kept(), pieces.total, pieces.unknown);
        let special = &self.vocabulary.options().special;
        put(ids, 0, special.classify);
        put(ids, kept + 1, special.separate);
        Encoding::new(total.saturating_add(2), most, unknown)
    }

    /// Writes `[CLS]`, the pieces of `first`, `[SEP]`, those of `second` and `[SEP]` to `ids`, and
    /// to `types` 0 up to the first `[SEP]` and 1 after it.
    ///
    /// The largest number of tokens is the smaller of `ids.len()` and `types.len()`. If pieces do
    /// not fit, the longer text is cut to what the shorter leaves; if that would make it the
    /// shorter, both get half, the first the smaller half if it was the shorter or equal
    /// (`LongestFirst`). With fewer than three places the first of `[CLS] [SEP] [SEP]` are written.
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
        ids: &mut [u32],
        types: &mut [u8],
    ) -> Encoding {
        let most = ids.len().min(types.len());
        let room = most.saturating_sub(3);
        let mut a = Pieces::new(ids.get_mut(1..room + 1));
        self.push_text(first, &mut a);
        let mut b = Pieces::new(None);
        self.push_text(second, &mut b);
        let total = a.total.saturating_add(b.total).saturating_add(3);
        let unknown = a.unknown + b.unknown;
        let (first_len, second_len) = longest_first(a.total, b.total, room);
        let (middle, last) = (first_len + 1, first_len + second_len + 2);
        self.push_text(second, &mut Pieces::new(ids.get_mut(middle + 1..last)));

        let ids = ids.get_mut(..most).unwrap_or_default();
        let special = &self.vocabulary.options().special;
        put(ids, 0, special.classify);
        put(ids, middle, special.separate);
        put(ids, last, special.separate);
        let types = types.get_mut(..total.min(most)).unwrap_or_default();
        for (place, kind) in types.iter_mut().enumerate() {
            *kind = u8::from(place > middle);
        }
        Encoding::new(total, most, unknown)
    }

    fn push_text(&self, text: &str, pieces: &mut Pieces<'_>) {
        let mut rest = text;
        while let Some((segment, id, after)) = self.split_at_special(rest) {
            self.push_segment(segment, pieces);
            pieces.push(id);
            rest = after;
        }
        self.push_segment(rest, pieces);
    }

    /// The text before the first special token, its id, and the text after it.
    fn split_at_special<'t>(&self, text: &'t str) -> Option<(&'t str, u32, &'t str)> {
        let first_bytes = self.special_tokens.map(|(token, _)| token.as_bytes().first().copied());
        for (at, byte) in text.bytes().enumerate() {
            if !first_bytes.contains(&Some(byte)) {
                continue;
            }
            let rest = text.as_bytes().get(at..)?;
            let begins = |token: &str| !token.is_empty() && rest.starts_with(token.as_bytes());
            let longest = self
                .special_tokens
                .iter()
                .filter(|(token, _)| begins(token))
                .max_by_key(|(token, _)| token.len());
            if let Some((token, id)) = longest {
                return Some((text.get(..at)?, *id, text.get(at + token.len()..)?));
            }
        }
        None
    }

    fn push_segment(&self, segment: &str, pieces: &mut Pieces<'_>) {
        let options = self.vocabulary.options();
        let mut word = Word::new(options.max_chars_per_word as usize);
        for c in normalized(segment, options.normalization) {
            if c.is_whitespace() {
                self.push_word(&mut word, pieces);
            } else if is_punctuation(c) {
                self.push_word(&mut word, pieces);
                word.push(c);
                self.push_word(&mut word, pieces);
            } else {
                word.push(c);
            }
        }
        self.push_word(&mut word, pieces);
    }

    /// Writes the pieces of the word, if there is one, and empties it.
    fn push_word(&self, word: &mut Word, pieces: &mut Pieces<'_>) {
        let before = pieces.total;
        if self.push_pieces(word, pieces).is_none() {
            pieces.total = before;
            pieces.unknown += 1;
            pieces.push(self.vocabulary.options().special.unknown);
        }
        word.clear();
    }

    /// `None` if the word is unknown.
    fn push_pieces(&self, word: &Word, pieces: &mut Pieces<'_>) -> Option<()> {
        let mut rest = word.bytes()?;
        let mut continues = false;
        while !rest.is_empty() {
            let (id, length) = self.vocabulary.longest_prefix(rest, continues)?;
            pieces.push(id);
            rest = rest.get(length..)?;
            continues = true;
        }
        Some(())
    }
}

/// How many pieces of two texts are kept, as `LongestFirst` decides.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first.saturating_add(second) <= room {
        return (first, second);
    }
    let shorter = first.min(second);
    let (shorter, longer) = if shorter <= room - shorter.min(room) {
        (shorter, room - shorter)
    } else {
        (room / 2, room - room / 2)
    };
    if first > second { (longer, shorter) } else { (shorter, longer) }
}

fn put(ids: &mut [u32], place: usize, id: u32) {
    if let Some(slot) = ids.get_mut(place) {
        *slot = id;
    }
}

/// Places for the ids of pieces, and the number of all pieces, whether they have a place or not.
struct Pieces<'a> {
    ids: &'a mut [u32],
    total: usize,
    unknown: usize,
}

impl<'a> Pieces<'a> {
    fn new(ids: Option<&'a mut [u32]>) -> Self {
        Self { ids: ids.unwrap_or_default(), total: 0, unknown: 0 }
    }

    fn kept(&self) -> usize {
        self.total.min(self.ids.len())
    }

    fn push(&mut self, id: u32) {
        put(self.ids, self.total, id);
        self.total = self.total.saturating_add(1);
    }
}

/// A word as it is read. Of one that is too long only the number of characters is kept.
struct Word {
    bytes: heapless::Vec<u8, WORD_BYTES>,
    characters: usize,
    most_characters: usize,
}

impl Word {
    fn new(most_characters: usize) -> Self {
        Self { bytes: heapless::Vec::new(), characters: 0, most_characters }
    }

    fn push(&mut self, c: char) {
        self.characters = self.characters.saturating_add(1);
        if self.characters <= self.most_characters {
            // The vocabulary limits the number of characters to what fits.
            let _ = self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// The word, unless it is too long.
    fn bytes(&self) -> Option<&[u8]> {
        (self.characters <= self.most_characters).then_some(&self.bytes)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.characters = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::super::vocabulary::{Options, SpecialIds, encode, encoded_len};
    use super::*;

    const TOKENS: [&str; 12] = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "able", ",", "##e",
        "\u{1112}",
    ];
    const SPECIAL: SpecialIds =
        SpecialIds { unknown: 1, classify: 2, separate: 3, pad: 0, mask: Some(4) };

    fn with<T>(options: &Options, read: impl Fn(&WordPiece<'_>) -> T) -> T {
        let mut bytes = vec![0; encoded_len(&TOKENS)];
        encode(&TOKENS, options, &mut bytes).unwrap();
        read(&WordPiece::new(Vocabulary::parse(&bytes).unwrap()))
    }

    fn ids(text: &str, most: usize) -> (Vec<u32>, Encoding) {
        with(&Options::new(SPECIAL), |word_piece| {
            let mut ids = vec![99; most];
            let encoding = word_piece.encode(text, &mut ids);
            ids.truncate(encoding.len);
            (ids, encoding)
        })
    }

    fn pair(first: &str, second: &str, most: usize) -> (Vec<u32>, Vec<u8>, Encoding) {
        with(&Options::new(SPECIAL), |word_piece| {
            let (mut ids, mut types) = (vec![99; most], vec![9; most]);
            let encoding = word_piece.encode_pair(first, second, &mut ids, &mut types);
            ids.truncate(encoding.len);
            types.truncate(encoding.len);
            (ids, types, encoding)
        })
    }

    #[test]
    fn a_word_becomes_its_longest_pieces() {
        let (found, encoding) = ids("Unaffable, ABLE", 16);
        assert_eq!(found, [2, 5, 6, 7, 9, 8, 3]);
        assert_eq!(encoding, Encoding { len: 7, total: 7, truncated: false, unknown: 0 });
    }

    #[test]
    fn a_word_with_a_missing_piece_is_unknown_as_a_whole() {
        let (found, encoding) = ids("unaffx able", 16);
        assert_eq!(found, [2, 1, 8, 3]);
        assert_eq!(encoding.unknown, 1);
    }

    #[test]
    fn a_text_without_words_has_two_tokens() {
        assert_eq!(ids("", 4).0, [2, 3]);
        assert_eq!(ids(" \t\u{200b}", 4).0, [2, 3]);
    }

    #[test]
    fn a_cut_text_still_ends_in_the_separator() {
        let expected: [&[u32]; 8] = [
            &[],
            &[2],
            &[2, 3],
            &[2, 5, 3],
            &[2, 5, 6, 3],
            &[2, 5, 6, 7, 3],
            &[2, 5, 6, 7, 1, 3],
            &[2, 5, 6, 7, 1, 3],
        ];
        for (most, expected) in expected.into_iter().enumerate() {
            let (found, encoding) = ids("unaffable unaffx", most);
            assert_eq!(found, expected);
            let truncated = most < 6;
            let len = most.min(6);
            assert_eq!(encoding, Encoding { len, total: 6, truncated, unknown: 1 });
        }
    }

    #[test]
    fn special_tokens_in_the_text_become_their_ids() {
        assert_eq!(ids("un[SEP]able[MASK]", 16).0, [2, 5, 3, 8, 4, 3]);
        assert_eq!(ids("[[CLS]", 16).0, [2, 1, 2, 3]);
        assert_eq!(ids("[sep]", 16).1.unknown, 3);
        assert_eq!(
            ids("[UNK] x", 16),
            ([2, 1, 1, 3].into(), Encoding { len: 4, total: 4, truncated: false, unknown: 1 })
        );
    }

    #[test]
    fn a_word_may_have_just_the_most_characters() {
        let options = Options { max_chars_per_word: 5, ..Options::new(SPECIAL) };
        with(&options, |word_piece| {
            let mut ids = [0; 8];
            let encoding = word_piece.encode("unaff unaffe une\u{301}eee une\u{301}eeee", &mut ids);
            assert_eq!(ids[..encoding.len], [2, 5, 6, 1, 1, 1, 3]);
            let encoding = word_piece.encode("une\u{301}ee", &mut ids);
            assert_eq!(ids[..encoding.len], [2, 5, 10, 10, 10, 3]);
        });
    }

    #[test]
    fn the_most_and_longest_characters_fit_a_word() {
        let options = Options { max_chars_per_word: 200, ..Options::new(SPECIAL) };
        with(&options, |word_piece| {
            for count in [199, 200, 201, 10_000] {
                let text: std::string::String = std::iter::repeat_n('\u{1f600}', count).collect();
                assert_eq!(word_piece.encode(&text, &mut [0; 4]).unknown, 1);
            }
        });
    }

    #[test]
    fn a_pair_has_two_types() {
        let (found, types, encoding) = pair("un", "unable,", 16);
        assert_eq!(found, [2, 5, 3, 5, 7, 9, 3]);
        assert_eq!(types, [0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(encoding.total, 7);
    }

    #[test]
    fn the_longer_text_of_a_pair_is_cut_first() {
        assert_eq!(pair("un", "able able able able", 7).0, [2, 5, 3, 8, 8, 8, 3]);
        assert_eq!(pair("able able able able", "un", 7).0, [2, 8, 8, 8, 3, 5, 3]);
        assert_eq!(pair("un un un un", "able able able", 6).0, [2, 5, 5, 3, 8, 3]);
        assert_eq!(pair("un un un", "able able able", 6).0, [2, 5, 3, 8, 8, 3]);
    }

    #[test]
    fn a_pair_without_room_gets_what_fits() {
        let expected: [&[u32]; 4] = [&[], &[2], &[2, 3], &[2, 3, 3]];
        for (most, expected) in expected.into_iter().enumerate() {
            let (found, types, encoding) = pair("un", "able", most);
            assert_eq!(found, expected);
            assert_eq!(types, [0, 0, 1][..most]);
            assert!(encoding.truncated);
        }
    }
}
