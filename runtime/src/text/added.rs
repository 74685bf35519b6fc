//! Tokens that are found in a text as they stand, before it is split to words.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | how many are found in the text as it is, u32 |
//! | 4 | 4 | how many there are, `A`, u32, to 4096; the others are found in the normalised text |
//! | 8 | 16 A | each as id, flags, offset and length, u32 |
//! | 8 + 16 A | to the end | UTF-8, which the offsets count in |
//!
//! A token has 1 to 255 bytes. Its only flag is bit 0: it is one only where no word character stands
//! beside it. Both groups ascend by the tokens' bytes.

use super::normalize::is_word;

/// Most tokens that are found as they stand.
pub const MOST_ADDED: usize = 4096;
/// Most bytes of one.
pub const MOST_ADDED_BYTES: usize = 255;

const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = size_of::<Entry>();
const SINGLE_WORD: u32 = 1;

/// A token that is found in a text as it stands, the longest of the leftmost ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedToken<'a> {
    /// What is looked for.
    pub text: &'a str,
    /// Its id.
    pub id: u32,
    /// It is looked for in the normalised text, and `text` is normalised.
    pub normalized: bool,
    /// It is one only where no word character stands beside it.
    pub single_word: bool,
}

impl AddedToken<'_> {
    /// Whether it is one between these characters.
    pub(super) fn stands_between(&self, before: Option<char>, after: Option<char>) -> bool {
        !self.single_word || !before.into_iter().chain(after).any(is_word)
    }
}

/// Id, flags, offset and length.
type Entry = [[u8; 4]; 4];

/// The added tokens of a vocabulary section.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddedTokens<'a> {
    raw: &'a [Entry],
    normalized: &'a [Entry],
    text: &'a str,
}

impl<'a> AddedTokens<'a> {
    /// Checks the bytes behind `count` tokens of a model; the error is the place of a damaged entry.
    pub(super) fn parse(bytes: &'a [u8], count: usize) -> Result<Self, usize> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(0usize)?;
        let [raw, all] = [0, 1].map(|word| header.as_chunks().0.get(word).copied().map_or(0, size));
        if raw > all || all > MOST_ADDED {
            return Err(0);
        }
        let (entries, text) = rest.split_at_checked(all * ENTRY_BYTES).ok_or(all)?;
        let text = core::str::from_utf8(text).map_err(|_| all)?;
        let (raw, normalized) = entries.as_chunks().0.as_chunks().0.split_at(raw);
        let tokens = Self { raw, normalized, text };
        tokens.check(count + all)?;
        Ok(tokens)
    }

    fn check(&self, ids: usize) -> Result<(), usize> {
        let mut before = None;
        for (place, entry) in self.raw.iter().chain(self.normalized).enumerate() {
            let token = self.token(entry, place >= self.raw.len());
            let key = Some((token.normalized, token.text));
            let valid = !token.text.is_empty()
                && token.text.len() <= MOST_ADDED_BYTES
                && (token.id as usize) < ids
                && size(entry[1]) <= SINGLE_WORD as usize
                && before < key;
            if !valid {
                return Err(place);
            }
            before = key;
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = AddedToken<'a>> {
        let tokens = *self;
        let raw = self.raw.iter().map(move |entry| tokens.token(entry, false));
        raw.chain(self.normalized.iter().map(move |entry| tokens.token(entry, true)))
    }

    fn token(&self, entry: &Entry, normalized: bool) -> AddedToken<'a> {
        let (id, single_word) = (u32::from_le_bytes(entry[0]), entry[1] != [0; 4]);
        AddedToken { text: self.text_of(entry), id, normalized, single_word }
    }

    fn text_of(&self, [_, _, offset, length]: &Entry) -> &'a str {
        let (start, length) = (size(*offset), size(*length));
        self.text.get(start..start.saturating_add(length)).unwrap_or("")
    }

    /// The longest of the tokens that are found in a text as it is, or in the normalised text, that
    /// `characters` begin with, and its number of characters.
    pub(super) fn longest(
        &self,
        normalized: bool,
        characters: impl Iterator<Item = char>,
    ) -> Option<(AddedToken<'a>, usize)> {
        let group = if normalized { self.normalized } else { self.raw };
        let (entry, count) = longest(group, |entry| self.text_of(entry), characters)?;
        Some((self.token(entry, normalized), count))
    }
}

/// The longest of `sorted` texts that `characters` begin with, and its number of characters.
///
/// The texts that begin with what was read lie side by side, the one that is equal to it first.
pub(super) fn longest<'s, 't, T>(
    sorted: &'s [T],
    text: impl Fn(&T) -> &'t str,
    characters: impl Iterator<Item = char>,
) -> Option<(&'s T, usize)> {
    let (mut candidates, mut bytes, mut found) = (sorted, 0, None);
    for (c, count) in characters.zip(1..) {
        let next = |item: &T| text(item).get(bytes..).and_then(|rest| rest.chars().next());
        let first = candidates.partition_point(|item| next(item) < Some(c));
        let end = candidates.partition_point(|item| next(item) <= Some(c));
        candidates = candidates.get(first..end)?;
        bytes += c.len_utf8();
        match candidates.first() {
            None => break,
            Some(item) if text(item).len() == bytes => found = Some((item, count)),
            Some(_) => {}
        }
    }
    found
}

/// Length in bytes of what [`write`] writes.
pub(super) fn encoded_len(tokens: &[AddedToken<'_>]) -> usize {
    let text: usize = tokens.iter().map(|token| token.text.len()).sum();
    HEADER_BYTES + ENTRY_BYTES * tokens.len() + text
}

/// Writes `tokens` to `out`, which has [`encoded_len`] bytes.
pub(super) fn write(tokens: &[AddedToken<'_>], out: &mut [u8]) {
    let raw = tokens.iter().filter(|token| !token.normalized).count();
    let words = out.as_chunks_mut().0.iter_mut();
    let mut offset = 0;
    let fields = tokens.iter().flat_map(|token| {
        let start = offset;
        offset += token.text.len();
        [token.id, u32::from(token.single_word), start as u32, token.text.len() as u32]
    });
    let fields = [raw as u32, tokens.len() as u32].into_iter().chain(fields);
    words.zip(fields).for_each(|(word, field): (&mut [u8; 4], u32)| *word = field.to_le_bytes());
    let text = out.get_mut(HEADER_BYTES + ENTRY_BYTES * tokens.len()..).unwrap_or_default();
    let bytes = tokens.iter().flat_map(|token| token.text.bytes());
    text.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
}

fn size(word: [u8; 4]) -> usize {
    u32::from_le_bytes(word) as usize
}
