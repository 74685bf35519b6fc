//! Canonical composition (NFC), as `tokenizers` has it: that of Unicode 9.0.

use core::str::Chars;

use super::normalize::hangul_parts;
use super::word_tables::{CLASSES, COMPOSITIONS, PAIRS};

/// Most marks that are put in order together: two more than Unicode's Stream-Safe Text has in a run.
const MOST_MARKS: usize = 32;
/// No mark and no character that is decomposed comes before it.
const FIRST: char = '\u{c0}';

/// Decomposed characters.
#[derive(Clone, Debug)]
struct Decomposed<'a> {
    source: Chars<'a>,
    /// What comes next, the first one last.
    waiting: heapless::Vec<char, 4>,
}

impl Decomposed<'_> {
    fn keep(&mut self, part: char) {
        // A decomposition has at most four characters.
        let _ = self.waiting.push(part);
    }
}

impl Iterator for Decomposed<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(c) = self.waiting.pop() {
            return Some(c);
        }
        let mut c = self.source.next()?;
        if let Some([first, second, third]) = hangul_parts(c) {
            third.into_iter().chain(second).for_each(|part| self.keep(part));
            return first;
        }
        // Only the first of a pair is decomposed further, at most to four in all.
        while let Some([first, second]) = pair_of(c) {
            second.into_iter().for_each(|part| self.keep(part));
            c = first?;
        }
        Some(c)
    }
}

/// The two characters that one is made of; one alone where it stands for another.
fn pair_of(c: char) -> Option<[Option<char>; 2]> {
    if c < FIRST {
        return None;
    }
    let found = PAIRS.binary_search_by_key(&u32::from(c), |[code, ..]| *code).ok()?;
    let [_, first, second] = PAIRS.get(found)?;
    Some([char::from_u32(*first), char::from_u32(*second).filter(|second| *second != '\0')])
}

/// The combining class; 0 for a starter.
fn class_of(c: char) -> u8 {
    if c < '\u{300}' {
        return 0;
    }
    let after = CLASSES.partition_point(|[first, ..]| *first <= u32::from(c));
    let found = after.checked_sub(1).and_then(|place| CLASSES.get(place));
    found.filter(|[_, last, _]| u32::from(c) <= *last).map_or(0, |[.., class]| *class as u8)
}

/// The character that two make.
fn composed(first: char, second: char) -> Option<char> {
    if second < '\u{300}' {
        return None;
    }
    if let Some(syllable) = composed_hangul(u32::from(first), u32::from(second)) {
        return char::from_u32(syllable);
    }
    let wanted = [first, second].map(u32::from);
    let pair = |place: &u16| PAIRS.get(usize::from(*place)).copied().unwrap_or_default();
    let key = |place: &u16| {
        let [_, first, second] = pair(place);
        [first, second]
    };
    let found = COMPOSITIONS.binary_search_by_key(&wanted, key).ok()?;
    let [code, ..] = COMPOSITIONS.get(found).map(pair)?;
    char::from_u32(code)
}

/// Leading consonant and vowel, or a syllable of these and a final consonant.
fn composed_hangul(first: u32, second: u32) -> Option<u32> {
    match (first, second) {
        (0x1100..=0x1112, 0x1161..=0x1175) => {
            Some(0xac00 + ((first - 0x1100) * 21 + second - 0x1161) * 28)
        }
        (0xac00..=0xd7a3, 0x11a8..=0x11c2) if (first - 0xac00).is_multiple_of(28) => {
            Some(first + second - 0x11a7)
        }
        _ => None,
    }
}

/// Composes `starter` with the ordered marks behind it that it takes, which leave `marks`.
fn take_marks(starter: &mut char, marks: &mut heapless::Vec<char, MOST_MARKS>) {
    let mut last = 0;
    marks.retain(|mark| {
        let class = class_of(*mark);
        let both = composed(*starter, *mark).filter(|_| last < class);
        match both {
            Some(both) => *starter = both,
            None => last = class,
        }
        both.is_none()
    });
}

/// Composed characters.
#[derive(Clone, Debug)]
pub(super) struct Composed<'a> {
    source: Decomposed<'a>,
    /// A character that was read already.
    pending: Option<char>,
    /// What comes next, the first one last.
    waiting: heapless::Vec<char, MOST_MARKS>,
}

impl<'a> Composed<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let source = Decomposed { source: text.chars(), waiting: heapless::Vec::new() };
        Self { source, pending: None, waiting: heapless::Vec::new() }
    }

    /// The marks from here on in their order, in front of them `first` if it is one; keeps what comes
    /// behind them.
    fn read_marks(&mut self, first: Option<char>) -> heapless::Vec<char, MOST_MARKS> {
        let mut marks = heapless::Vec::<char, MOST_MARKS>::new();
        let mut next = first;
        loop {
            let Some(c) = next.take().or_else(|| self.source.next()) else { return marks };
            let class = class_of(c);
            if class == 0 || marks.is_full() {
                self.pending = Some(c);
                return marks;
            }
            let place = marks.partition_point(|mark| class_of(*mark) <= class);
            let _ = marks.insert(place, c);
        }
    }
}

impl Iterator for Composed<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(c) = self.waiting.pop() {
            return Some(c);
        }
        let first = self.pending.take().or_else(|| self.source.next())?;
        if class_of(first) != 0 {
            self.waiting = self.read_marks(Some(first));
            self.waiting.reverse();
            return self.waiting.pop();
        }
        let mut starter = first;
        loop {
            let mut marks = self.read_marks(None);
            take_marks(&mut starter, &mut marks);
            let both = self.pending.filter(|next| marks.is_empty() && class_of(*next) == 0);
            if let Some(both) = both.and_then(|next| composed(starter, next)) {
                (starter, self.pending) = (both, None);
                continue;
            }
            marks.reverse();
            self.waiting = marks;
            return Some(starter);
        }
    }
}
