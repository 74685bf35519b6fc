//! Texts to token ids.

use core::ops::Range;

use super::added::{AddedToken, longest};
use super::first_bytes::FirstBytes;
use super::normalize::{Normalized, is_punctuation, normalized};
use super::vocabulary::{Pairs, Vocabulary, layout};

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
    pub(super) fn new(total: usize, most: usize, unknown: usize) -> Self {
        Self { len: total.min(most), total, truncated: total > most, unknown }
    }
}

/// Makes token ids of texts.
///
/// ```text
/// text: added tokens as they stand | other segments
/// segment: normalised -> added tokens as they stand | words, punctuation each by itself
/// word: longest token that it begins with, then the longest `##` token of the rest, ...;
///       the unknown token if some rest has none or the word is too long
/// ```
///
/// Added tokens are those of the section, or else `[UNK]`, `[CLS]`, `[SEP]`, `[PAD]` and `[MASK]` as
/// the vocabulary spells them. They are found wherever they stand and become their ids: the longest
/// of the leftmost ones, without overlap. Do not pass untrusted texts where that matters without
/// removing them.
#[derive(Clone, Copy, Debug)]
pub struct WordPiece<'a> {
    vocabulary: Vocabulary<'a>,
    /// Ascending.
    special_tokens: [(&'a str, u32); 5],
    raw: FirstBytes,
    normalized: FirstBytes,
}

impl<'a> WordPiece<'a> {
    /// Uses the tokens and options of `vocabulary`.
    #[must_use]
    pub fn new(vocabulary: Vocabulary<'a>) -> Self {
        let mut special_tokens = vocabulary.special_tokens();
        special_tokens.sort_unstable();
        let mut made = Self {
            vocabulary,
            special_tokens,
            raw: FirstBytes::default(),
            normalized: FirstBytes::default(),
        };
        match vocabulary.added() {
            None => special_tokens.iter().for_each(|(token, _)| made.raw.insert(token)),
            Some(added) => added.iter().for_each(|token| {
                let first = if token.normalized { &mut made.normalized } else { &mut made.raw };
                first.insert(token.text);
            }),
        }
        made
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
        let mut pieces = Ids::new(ids.get_mut(1..most.saturating_sub(1)));
        self.push_text(text, &mut pieces);
        let (kept, total, unknown) = (pieces.kept(), pieces.total, pieces.unknown);
        self.put_special(ids, [kept + 1]);
        Encoding::new(total.saturating_add(2), most, unknown)
    }

    /// Writes `[CLS]`, the pieces of `first`, `[SEP]`, those of `second` and `[SEP]` to `ids`, and
    /// to `types` 0 up to the first `[SEP]` and 1 after it; with [`Pairs::Doubled`] `[SEP]` twice
    /// between the texts and 0 throughout; with [`Pairs::Unknown`] nothing, and the total is 0.
    ///
    /// The largest number of tokens is the smaller of `ids.len()` and `types.len()`. If pieces do
    /// not fit, the longer text is cut to what the shorter leaves; if that would make it the
    /// shorter, both get half, the first the smaller half if it was the shorter or equal
    /// (`LongestFirst`). With fewer places than special tokens only the first of these are written.
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
        ids: &mut [u32],
        types: &mut [u8],
    ) -> Encoding {
        let (between, kind) = match self.vocabulary.options().pairs {
            Pairs::Typed => (1, 1),
            Pairs::Doubled => (2, 0),
            Pairs::Unknown => return Encoding::new(0, 0, 0),
        };
        let most = ids.len().min(types.len());
        let room = most.saturating_sub(between + 2);
        let mut a = Ids::new(ids.get_mut(1..room + 1));
        self.push_text(first, &mut a);
        let mut b = Ids::new(None);
        self.push_text(second, &mut b);
        let total = a.total.saturating_add(b.total).saturating_add(between + 2);
        let unknown = a.unknown + b.unknown;

        let (first_len, second_len) = longest_first(a.total, b.total, room);
        let (middle, start) = (first_len + 1, first_len + 1 + between);
        let last = start + second_len;
        self.push_text(second, &mut Ids::new(ids.get_mut(start..last)));
        let ids = ids.get_mut(..most).unwrap_or_default();
        self.put_special(ids, (middle..start).chain([last]));
        let types = types.get_mut(..total.min(most)).unwrap_or_default();
        for (place, own) in types.iter_mut().enumerate() {
            *own = if place > middle { kind } else { 0 };
        }
        Encoding::new(total, most, unknown)
    }

    /// Writes the first token, and the separator to `places`.
    fn put_special(&self, ids: &mut [u32], places: impl IntoIterator<Item = usize>) {
        let special = &self.vocabulary.options().special;
        put(ids, 0, special.classify);
        places.into_iter().for_each(|place| put(ids, place, special.separate));
    }

    fn push_text(&self, text: &str, pieces: &mut Ids<'_>) {
        let mut done = 0;
        while let Some((found, id)) = self.next_added(text, done) {
            self.push_segment(text.get(done..found.start).unwrap_or(""), pieces);
            pieces.push(id);
            done = found.end;
        }
        self.push_segment(text.get(done..).unwrap_or(""), pieces);
    }

    /// The place and id of the first added token of the text as it is, from a place on.
    fn next_added(&self, text: &str, from: usize) -> Option<(Range<usize>, u32)> {
        let mut at = from;
        while let Some(byte) = text.as_bytes().get(at) {
            let found = if self.raw.contains(*byte) { self.added_at(text, at) } else { None };
            let end = at + found.map_or(1, |(token, _)| token.text.len());
            if let Some((token, _)) = found {
                let before = text.get(..at).and_then(|before| before.chars().next_back());
                let after = text.get(end..).and_then(|after| after.chars().next());
                if token.stands_between(before, after) {
                    return Some((at..end, token.id));
                }
            }
            at = end;
        }
        None
    }

    /// The longest added token that the text as it is has at a place.
    fn added_at(&self, text: &str, at: usize) -> Option<(AddedToken<'a>, usize)> {
        let characters = text.get(at..)?.chars();
        if let Some(added) = self.vocabulary.added() {
            return added.longest(false, characters);
        }
        let ((text, id), count) = longest(&self.special_tokens, |(token, _)| token, characters)?;
        let token = AddedToken { text, id: *id, normalized: false, single_word: false };
        Some((token, count))
    }

    fn push_segment(&self, segment: &str, pieces: &mut Ids<'_>) {
        let options = self.vocabulary.options();
        let mut word = Word::new(options.max_chars_per_word as usize);
        let mut characters = normalized(segment, options.normalization);
        // The character before, and how many are in a token that does not stand by itself.
        let (mut before, mut closed) = (None, 0_usize);
        while let Some(c) = characters.next() {
            if closed == 0 && self.normalized.contains_first(c) {
                match self.normalized_at(before, c, &characters) {
                    Some((token, Ok(rest))) => {
                        self.push_word(&mut word, pieces);
                        pieces.push(token.id);
                        before = token.text.chars().next_back();
                        characters = rest;
                        continue;
                    }
                    Some((_, Err(count))) => closed = count,
                    None => {}
                }
            }
            closed = closed.saturating_sub(1);
            before = Some(c);
            self.push_character(c, &mut word, pieces);
        }
        self.push_word(&mut word, pieces);
    }

    /// The longest added token that `first` and the characters behind it begin with, and what is
    /// behind the token; its number of characters if it does not stand by itself.
    fn normalized_at<'t>(
        &self,
        before: Option<char>,
        first: char,
        behind: &Normalized<'t>,
    ) -> Option<(AddedToken<'a>, Result<Normalized<'t>, usize>)> {
        let characters = core::iter::once(first).chain(behind.clone());
        let (token, count) = self.vocabulary.added()?.longest(true, characters)?;
        let mut rest = behind.clone();
        rest.by_ref().take(count.saturating_sub(1)).for_each(drop);
        let stands = token.stands_between(before, rest.clone().next());
        Some((token, if stands { Ok(rest) } else { Err(count) }))
    }

    fn push_character(&self, c: char, word: &mut Word, pieces: &mut Ids<'_>) {
        if c.is_whitespace() {
            self.push_word(word, pieces);
        } else if is_punctuation(c) {
            self.push_word(word, pieces);
            word.push(c);
            self.push_word(word, pieces);
        } else {
            word.push(c);
        }
    }

    /// Writes the pieces of the word, if there is one, and empties it.
    fn push_word(&self, word: &mut Word, pieces: &mut Ids<'_>) {
        let before = pieces.total;
        if self.push_pieces(word, pieces).is_none() {
            pieces.total = before;
            pieces.unknown += 1;
            pieces.push(self.vocabulary.options().special.unknown);
        }
        word.clear();
    }

    /// `None` if the word is unknown.
    fn push_pieces(&self, word: &Word, pieces: &mut Ids<'_>) -> Option<()> {
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
pub(super) fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
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

pub(super) fn put(ids: &mut [u32], place: usize, id: u32) {
    if let Some(slot) = ids.get_mut(place) {
        *slot = id;
    }
}

/// Places for the ids of pieces, and the number of all pieces, whether they have a place or not.
pub(super) struct Ids<'a> {
    ids: &'a mut [u32],
    pub(super) total: usize,
    pub(super) unknown: usize,
}

impl<'a> Ids<'a> {
    pub(super) fn new(ids: Option<&'a mut [u32]>) -> Self {
        Self { ids: ids.unwrap_or_default(), total: 0, unknown: 0 }
    }

    pub(super) fn kept(&self) -> usize {
        self.total.min(self.ids.len())
    }

    pub(super) fn push(&mut self, id: u32) {
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
