//! What the Unicode tables are made of, and how a character is found in them.

/// A set of characters as inclusive, ascending ranges; none crosses U+10000.
#[derive(Debug)]
pub(super) struct CodePoints {
    pub(super) basic: &'static [[u16; 2]],
    pub(super) supplementary: &'static [[u32; 2]],
}

impl CodePoints {
    /// Whether `c` is one of them.
    pub(super) fn contains(&self, c: char) -> bool {
        match u16::try_from(u32::from(c)) {
            Ok(code) => in_ranges(self.basic, code),
            Err(_) => in_ranges(self.supplementary, u32::from(c)),
        }
    }
}

fn in_ranges<T: Copy + PartialOrd>(ranges: &[[T; 2]], code: T) -> bool {
    let after = ranges.partition_point(|[first, _]| *first <= code);
    after.checked_sub(1).and_then(|place| ranges.get(place)).is_some_and(|[_, last]| code <= *last)
}

/// Canonical decompositions, fully expanded, without nonspacing marks.
#[derive(Debug)]
pub(super) struct Decompositions {
    /// First character, number of characters, and place of the first value; ascending.
    pub(super) runs: &'static [(u32, u16, u16)],
    /// For each character of a run the one it becomes, or from [`Self::SEQUENCE`] on the place of a
    /// sequence.
    pub(super) values: &'static [u16],
    /// Characters; the last of each sequence carries [`Self::LAST`].
    pub(super) sequences: &'static [u32],
}

/// What a character decomposes to.
pub(super) enum Decomposition {
    None,
    Single(char),
    Sequence(&'static [u32]),
}

impl Decompositions {
    /// The first surrogate: these stand for no character.
    const SEQUENCE: u16 = 0xd800;
    const LAST: u32 = 1 << 31;

    /// What `c` becomes.
    pub(super) fn of(&self, c: char) -> Decomposition {
        let Some(value) = self.value(u32::from(c)) else {
            return Decomposition::None;
        };
        match char::from_u32(u32::from(value)) {
            Some(single) => Decomposition::Single(single),
            None => Decomposition::Sequence(self.sequence(value)),
        }
    }

    fn value(&self, code: u32) -> Option<u16> {
        let after = self.runs.partition_point(|&(first, _, _)| first <= code);
        let &(first, count, place) = self.runs.get(after.checked_sub(1)?)?;
        let index = code - first;
        let value = self.values.get(usize::from(place) + index as usize)?;
        (index < u32::from(count)).then_some(*value)
    }

    fn sequence(&self, value: u16) -> &'static [u32] {
        let place = usize::from(value.wrapping_sub(Self::SEQUENCE));
        let rest = self.sequences.get(place..).unwrap_or(&[]);
        let last = rest.iter().position(|code| code & Self::LAST != 0);
        last.and_then(|last| rest.get(..=last)).unwrap_or(&[])
    }
}

/// The character of an entry of a sequence.
pub(super) fn character(code: u32) -> Option<char> {
    char::from_u32(code & !Decompositions::LAST)
}
