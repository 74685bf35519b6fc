//! String lists: a count, the end of each string, the UTF-8 bytes.

use super::codec::size_at;

/// A checked list of strings, borrowed in place.
///
/// Layout: count u32; for each string its end, u32, counted from the start of the text; the text.
#[derive(Clone, Copy, Debug)]
pub struct StringList<'a> {
    ends: &'a [u8],
    text: &'a str,
}

impl<'a> StringList<'a> {
    /// Checks `bytes` as a string list.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_at_checked(4)?;
        let (ends, text) = rest.split_at_checked(size_at(count, 0..4).checked_mul(4)?)?;
        let text = core::str::from_utf8(text).ok()?;
        let mut previous = 0;
        for end in ends.chunks_exact(4) {
            let end = size_at(end, 0..4);
            text.get(previous..end)?;
            previous = end;
        }
        (previous == text.len()).then_some(Self { ends, text })
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// There is no string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a str> {
        let end = |i: usize| self.ends.get(i * 4..i * 4 + 4).map(|bytes| size_at(bytes, 0..4));
        let start = if index == 0 { 0 } else { end(index - 1)? };
        self.text.get(start..end(index)?)
    }

    /// Every string in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let list = *self;
        (0..list.len()).map_while(move |index| list.get(index))
    }
}

/// The bytes of a string list, one by one, for a writer.
pub fn string_list_bytes<'s>(strings: &'s [&'s str]) -> impl Iterator<Item = u8> + 's {
    let count = (strings.len() as u32).to_le_bytes();
    let ends = strings.iter().scan(0, |end, string| {
        *end += string.len() as u32;
        Some(end.to_le_bytes())
    });
    let text = strings.iter().flat_map(|string| string.bytes());
    count.into_iter().chain(ends.flatten()).chain(text)
}
