//! Tokens that are found in a text as they stand, with all flags that `tokenizers` gives them.

use core::ops::Range;

use super::added::longest;
use super::first_bytes::FirstBytes;
use super::normalize::is_word;

/// Most tokens that stand in texts.
pub const MOST_STANDING: usize = 4096;
/// Most bytes of one.
pub const MOST_STANDING_BYTES: usize = 255;
/// Bytes of an entry: id, flags, offset and length of the text.
pub const ENTRY_BYTES: usize = 16;

/// Flag: it is one only where no word character stands beside it.
pub const SINGLE_WORD: u32 = 1;
/// Flag: it takes the white space before it.
pub const LEFT_STRIP: u32 = 1 << 1;
/// Flag: it takes the white space behind it.
pub const RIGHT_STRIP: u32 = 1 << 2;
/// Flag: it is looked for in the normalised text, and its text is normalised.
pub const NORMALIZED: u32 = 1 << 3;
/// Flag: it is no part of a text that is read back.
pub const SPECIAL: u32 = 1 << 4;
const ALL: u32 = SINGLE_WORD | LEFT_STRIP | RIGHT_STRIP | NORMALIZED | SPECIAL;

type Word = [u8; 4];
type Entry = [Word; 4];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StandingToken<'a> {
    pub(super) text: &'a str,
    pub(super) id: u32,
    pub(super) flags: u32,
}

impl StandingToken<'_> {
    fn stands_between(&self, before: Option<char>, after: Option<char>) -> bool {
        self.flags & SINGLE_WORD == 0 || !before.into_iter().chain(after).any(is_word)
    }

    /// Its place with the white space that it takes: `white` characters of it before its `own` place,
    /// and that which begins `behind`, read only if it is taken.
    fn with_white(
        &self,
        own: Range<usize>,
        white: usize,
        behind: impl Iterator<Item = char>,
    ) -> Range<usize> {
        let before = if self.flags & LEFT_STRIP == 0 { 0 } else { white };
        let after = match self.flags & RIGHT_STRIP {
            0 => 0,
            _ => behind.take_while(|c| c.is_whitespace()).count(),
        };
        own.start - before..own.end + after
    }
}

/// Where one was found, in characters or bytes, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) place: Range<usize>,
    pub(super) id: u32,
}

/// All of a section: those of the text as it is, then those of the normalised text, each group
/// ascending by its texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct StandingTokens<'a> {
    raw: &'a [Entry],
    normalized: &'a [Entry],
    text: &'a str,
}

impl<'a> StandingTokens<'a> {
    /// Checks entries beside `count` pieces; the error is the offset of a damaged entry.
    pub(super) fn parse(entries: &'a [u8], text: &'a [u8], count: usize) -> Result<Self, usize> {
        let all: &[Entry] = entries.as_chunks().0.as_chunks().0;
        let text = core::str::from_utf8(text).map_err(|_| entries.len())?;
        let flags = |entry: &Entry| u32::from_le_bytes(entry[1]);
        let (raw, normalized) = all.split_at(
            all.iter().position(|entry| flags(entry) & NORMALIZED != 0).unwrap_or(all.len()),
        );
        let tokens = Self { raw, normalized, text };
        let mut before = None;
        for (place, entry) in all.iter().enumerate() {
            let token = tokens.token(entry);
            let key = Some((token.flags & NORMALIZED, token.text));
            let valid = (1..=MOST_STANDING_BYTES).contains(&token.text.len())
                && (token.id as usize) < count + all.len()
                && token.flags & !ALL == 0
                && before < key;
            if !valid {
                return Err(place * ENTRY_BYTES);
            }
            before = key;
        }
        Ok(tokens)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = StandingToken<'a>> {
        let tokens = *self;
        self.raw.iter().chain(self.normalized).map(move |entry| tokens.token(entry))
    }

    pub(super) fn largest_id(&self) -> Option<u32> {
        self.iter().map(|token| token.id).max()
    }

    pub(super) fn by_id(&self, id: u32) -> Option<StandingToken<'a>> {
        self.iter().find(|token| token.id == id)
    }

    /// The first bytes of a group.
    pub(super) fn first_bytes(&self, normalized: bool) -> FirstBytes {
        let mut first = FirstBytes::default();
        self.group(normalized).iter().for_each(|entry| first.insert(self.text_of(entry)));
        first
    }

    const fn group(&self, normalized: bool) -> &'a [Entry] {
        if normalized { self.normalized } else { self.raw }
    }

    fn token(&self, entry: &Entry) -> StandingToken<'a> {
        let [id, flags, ..] = entry.map(u32::from_le_bytes);
        StandingToken { text: self.text_of(entry), id, flags }
    }

    fn text_of(&self, [_, _, offset, length]: &Entry) -> &'a str {
        let [start, length] = [*offset, *length].map(|word| u32::from_le_bytes(word) as usize);
        self.text.get(start..start.saturating_add(length)).unwrap_or("")
    }

    fn longest(
        &self,
        normalized: bool,
        characters: impl Iterator<Item = char>,
    ) -> Option<(StandingToken<'a>, usize)> {
        let (entry, count) =
            longest(self.group(normalized), |entry| self.text_of(entry), characters)?;
        Some((self.token(entry), count))
    }

    /// The leftmost longest token of a group in `characters`, in numbers of these; `first` are the
    /// group's first bytes, `before` is what stands before the characters.
    pub(super) fn find<I: Iterator<Item = char> + Clone>(
        &self,
        normalized: bool,
        first: &FirstBytes,
        mut before: Option<char>,
        characters: I,
    ) -> Option<Found> {
        if self.group(normalized).is_empty() {
            return None;
        }
        let (mut rest, mut at, mut white) = (characters, 0, 0);
        loop {
            let from = rest.clone();
            let c = rest.next()?;
            let found = if first.contains_first(c) { self.longest(normalized, from) } else { None };
            let count = found.map_or(1, |(_, count)| count);
            // Of what does not stand by itself the rest is passed over as well.
            let last = (1..count).fold(c, |last, _| rest.next().unwrap_or(last));
            if let Some((token, _)) = found
                && token.stands_between(before, rest.clone().next())
            {
                let place = token.with_white(at..at + count, white, rest);
                return Some(Found { place, id: token.id });
            }
            (before, at) = (Some(last), at + count);
            white = if found.is_none() && c.is_whitespace() { white + 1 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn white_space_behind_is_read_only_if_it_is_taken() {
        for (flags, end) in [(0, 1), (RIGHT_STRIP, 1000), (LEFT_STRIP, 1)] {
            let entry = [0, flags, 0, 1].map(u32::to_le_bytes).concat();
            let tokens = StandingTokens::parse(&entry, b"\n", 1).expect("a token");
            let (text, reads) = ("\n".repeat(1000), Cell::new(0));
            let characters = text.chars().inspect(|_| reads.set(reads.get() + 1));
            let found = tokens.find(false, &tokens.first_bytes(false), None, characters);
            assert_eq!(found, Some(Found { place: 0..end, id: 0 }));
            assert!(reads.get() < end + 5, "{}", reads.get());
        }
    }
}
