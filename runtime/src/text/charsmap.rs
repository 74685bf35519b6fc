//! SentencePiece's map of characters, read where it lies: a double array over bytes whose values are
//! places of texts, each ended by a zero.

use core::str::Chars;

use unicode_segmentation::{Graphemes, UnicodeSegmentation as _};

/// Grapheme clusters below this many bytes are looked up as a whole.
const WHOLE: usize = 6;

/// A map of characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct CharsMap<'a> {
    array: &'a [[u8; 4]],
    text: &'a str,
}

impl<'a> CharsMap<'a> {
    pub(super) const fn new(array: &'a [[u8; 4]], text: &'a str) -> Self {
        Self { array, text }
    }

    /// What `part` becomes: the text of the shortest entry that it begins with.
    ///
    /// Each step reads a byte of `part`, so that no array can make it run on.
    pub(super) fn get(&self, part: &str) -> Option<&'a str> {
        let mut place = offset(self.unit(0)?);
        for byte in part.bytes().take_while(|byte| *byte != 0) {
            place ^= usize::from(byte);
            let unit = self.unit(place)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            place ^= offset(unit);
            if unit & 1 << 8 != 0 {
                let start = self.unit(place)? & !(1 << 31);
                let found = self.text.get(start as usize..)?;
                return found.split('\0').next();
            }
        }
        None
    }

    fn unit(&self, place: usize) -> Option<u32> {
        self.array.get(place).copied().map(u32::from_le_bytes)
    }

    /// The characters of `text`, mapped as `tokenizers` does it.
    pub(super) fn map<'t: 'a>(self, text: &'t str) -> Mapped<'a> {
        Mapped { map: self, clusters: text.graphemes(true), rest: "".chars(), waiting: "".chars() }
    }
}

const fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

/// Mapped characters.
#[derive(Clone, Debug)]
pub(super) struct Mapped<'a> {
    map: CharsMap<'a>,
    clusters: Graphemes<'a>,
    /// Characters of a cluster that is not mapped as a whole.
    rest: Chars<'a>,
    /// Characters of what was found.
    waiting: Chars<'a>,
}

impl Iterator for Mapped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            if let Some(c) = self.waiting.next() {
                return Some(c);
            }
            let one = self.rest.as_str();
            if let Some(c) = self.rest.next() {
                match self.map.get(one.get(..c.len_utf8())?) {
                    None => return Some(c),
                    Some(found) => self.waiting = found.chars(),
                }
                continue;
            }
            let cluster = self.clusters.next()?;
            let found = if cluster.len() < WHOLE { self.map.get(cluster) } else { None };
            match found {
                Some(found) => self.waiting = found.chars(),
                None => self.rest = cluster.chars(),
            }
        }
    }
}
