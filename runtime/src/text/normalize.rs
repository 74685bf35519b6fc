//! The character stream of `BertNormalizer`: cleaned, Chinese characters set apart, accents
//! stripped, lower case, in this order.
//!
//! Categories and decompositions are those of the Unicode versions that `tokenizers` 0.22 uses
//! (8.0 and 9.0), not of a newer one; case and white space are those of `core`, as they are in
//! `tokenizers`. The tables take 9,344 bytes.

use core::char::ToLowercase;
use core::str::Chars;

use super::code_points::{Decomposition, character};
use super::unicode_tables::{
    CONTROLS, DECOMPOSITIONS, KEPT_COMBINING, MARKS, PUNCTUATION, STARTER_MARKS, WORD_DIFFERENCES,
};

/// Which steps [`normalized`] takes; the fields of `BertNormalizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalization {
    /// Remove control, format and private-use characters; make white space a space.
    pub clean_text: bool,
    /// Put spaces around Chinese characters.
    pub handle_chinese_chars: bool,
    /// Decompose canonically (NFD) and remove nonspacing marks.
    pub strip_accents: bool,
    /// Lower case, character by character.
    pub lowercase: bool,
}

impl Default for Normalization {
    /// All steps, as for the uncased BERT models.
    fn default() -> Self {
        Self { clean_text: true, handle_chinese_chars: true, strip_accents: true, lowercase: true }
    }
}

/// The characters of `text` after normalisation.
///
/// ```
/// use coda_runtime::text::normalize::{Normalization, normalized};
///
/// let characters = normalized("Caf\u{e9}\t中", Normalization::default());
/// assert!(characters.eq("cafe  中 ".chars()));
/// ```
#[must_use]
pub fn normalized(text: &str, steps: Normalization) -> Normalized<'_> {
    Normalized { source: Ordered::new(text, steps), lowercase: steps.lowercase, lower: None }
}

/// What `BertPreTokenizer` sets apart: all ASCII punctuation and symbols, and the Unicode
/// categories P.
#[must_use]
pub fn is_punctuation(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_punctuation() } else { PUNCTUATION.contains(c) }
}

/// What a word of an added token's surroundings is made of: `\w` of regular expressions.
#[must_use]
pub fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    c.is_alphanumeric() != WORD_DIFFERENCES.contains(c)
}

/// The iterator of [`normalized`].
#[derive(Clone, Debug)]
pub struct Normalized<'a> {
    source: Ordered<'a>,
    lowercase: bool,
    lower: Option<ToLowercase>,
}

impl Iterator for Normalized<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(c) = self.lower.as_mut().and_then(Iterator::next) {
            return Some(c);
        }
        let c = self.source.next()?;
        match self.lowercase {
            false => Some(c),
            true if c.is_ascii() => Some(c.to_ascii_lowercase()),
            true => self.lower.insert(c.to_lowercase()).next(),
        }
    }
}

/// Canonical order without nonspacing marks.
///
/// NFD sorts each run of combining characters by class, without a limit to its length. The marks
/// are removed afterwards, so only the few combining characters that are no nonspacing marks must
/// be sorted: a run that holds one is read once for each class, from a copy of the stream.
#[derive(Clone, Debug)]
struct Ordered<'a> {
    source: Decomposed<'a>,
    run: Option<Run<'a>>,
}

impl<'a> Ordered<'a> {
    fn new(text: &'a str, steps: Normalization) -> Self {
        let waiting = heapless::Vec::new();
        Self { source: Decomposed { characters: text.chars(), steps, waiting }, run: None }
    }
}

impl Iterator for Ordered<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            if let Some(run) = &mut self.run {
                if let Some(c) = run.next() {
                    return Some(c);
                }
                self.source = run.cursor.clone();
                self.run = None;
            }
            let c = self.source.next()?;
            if !self.source.steps.strip_accents {
                return Some(c);
            }
            match Order::of(c) {
                Order::Starter => return Some(c),
                Order::StarterMark | Order::Mark => {}
                Order::Combining(_) => {
                    self.source.put_back(c);
                    self.run = Some(Run::new(self.source.clone()));
                }
            }
        }
    }
}

/// The kept characters of one run of combining characters, in canonical order.
#[derive(Clone, Debug)]
struct Run<'a> {
    start: Decomposed<'a>,
    cursor: Decomposed<'a>,
    /// The class being read; 0, which no combining character has, to find the first.
    class: u8,
    next_class: Option<u8>,
}

impl<'a> Run<'a> {
    fn new(start: Decomposed<'a>) -> Self {
        Self { cursor: start.clone(), start, class: 0, next_class: None }
    }
}

impl Iterator for Run<'_> {
    type Item = char;

    /// At the end the cursor stands after the run.
    fn next(&mut self) -> Option<char> {
        loop {
            while let Some((c, class)) = self.cursor.next_combining() {
                if class == self.class {
                    return Some(c);
                }
                if class > self.class && self.next_class.is_none_or(|next| class < next) {
                    self.next_class = Some(class);
                }
            }
            self.class = self.next_class.take()?;
            self.cursor = self.start.clone();
        }
    }
}

/// What a character is to canonical ordering and to the removal of nonspacing marks.
enum Order {
    /// Kept, ends a run.
    Starter,
    /// Removed, ends a run.
    StarterMark,
    /// Removed, part of a run.
    Mark,
    /// Kept, part of a run, with its class.
    Combining(u8),
}

impl Order {
    /// No mark and no combining character comes before it.
    const FIRST_MARK: char = '\u{300}';

    fn of(c: char) -> Self {
        if c < Self::FIRST_MARK {
            Self::Starter
        } else if MARKS.contains(c) {
            if STARTER_MARKS.contains(c) { Self::StarterMark } else { Self::Mark }
        } else {
            kept_class(u32::from(c)).map_or(Self::Starter, Self::Combining)
        }
    }
}

/// The class of a combining character that is no nonspacing mark.
fn kept_class(code: u32) -> Option<u8> {
    let after = KEPT_COMBINING.partition_point(|&(first, _, _)| first <= code);
    let &(_, last, class) = KEPT_COMBINING.get(after.checked_sub(1)?)?;
    (code <= last).then_some(class)
}

/// The text cleaned, with spaces around Chinese characters, decomposed.
#[derive(Clone, Debug)]
struct Decomposed<'a> {
    characters: Chars<'a>,
    steps: Normalization,
    /// Characters to come before the rest, the next one last: at most three of a decomposition and
    /// two spaces; one put back was taken from these or found them empty.
    waiting: heapless::Vec<char, 6>,
}

impl Iterator for Decomposed<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(c) = self.waiting.pop() {
            return Some(c);
        }
        let c = self.next_clean()?;
        if c.is_ascii() {
            return Some(c);
        }
        let spaced = self.steps.handle_chinese_chars && is_chinese(c);
        if spaced {
            self.put_back(' ');
        }
        if self.steps.strip_accents {
            self.put_back_decomposed(c);
        } else {
            self.put_back(c);
        }
        if spaced { Some(' ') } else { self.waiting.pop() }
    }
}

impl Decomposed<'_> {
    /// The next character that is not cleaned away.
    fn next_clean(&mut self) -> Option<char> {
        if !self.steps.clean_text {
            return self.characters.next();
        }
        let c = self.characters.find(|&c| !is_removed(c))?;
        Some(if c.is_whitespace() { ' ' } else { c })
    }

    /// The next kept character of a run with its class, past marks; a starter stays.
    fn next_combining(&mut self) -> Option<(char, u8)> {
        loop {
            let c = self.next()?;
            match Order::of(c) {
                Order::Combining(class) => return Some((c, class)),
                Order::Mark => {}
                Order::Starter | Order::StarterMark => {
                    self.put_back(c);
                    return None;
                }
            }
        }
    }

    fn put_back(&mut self, c: char) {
        // See `waiting` for why it fits.
        let _ = self.waiting.push(c);
    }

    fn put_back_decomposed(&mut self, c: char) {
        if let Some(parts) = hangul_parts(c) {
            parts.into_iter().rev().flatten().for_each(|part| self.put_back(part));
            return;
        }
        match DECOMPOSITIONS.of(c) {
            Decomposition::None => self.put_back(c),
            Decomposition::Single(part) => self.put_back(part),
            Decomposition::Sequence(codes) => {
                codes.iter().rev().filter_map(|&code| character(code)).for_each(|part| {
                    self.put_back(part);
                });
            }
        }
    }
}

/// Removed by `clean_text`: categories Cc, Cf and Co but white space of ASCII, and U+FFFD.
fn is_removed(c: char) -> bool {
    match c {
        ' '..='~' | '\t' | '\n' | '\r' => false,
        '\u{fffd}' => true,
        _ => CONTROLS.contains(c),
    }
}

/// The blocks that `BertNormalizer` takes for Chinese. As there, U+2B820 to U+2B91F are not.
fn is_chinese(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

/// The conjoining jamo of a Hangul syllable; the last is absent in a syllable without final
/// consonant (The Unicode Standard, section 3.12).
pub(super) fn hangul_parts(c: char) -> Option<[Option<char>; 3]> {
    const VOWELS: u32 = 21;
    const FINALS: u32 = 28;
    if !matches!(c, '\u{ac00}'..='\u{d7a3}') {
        return None;
    }
    let index = u32::from(c) - 0xac00;
    let last = Some(index % FINALS).filter(|&last| last > 0);
    Some([
        char::from_u32(0x1100 + index / (VOWELS * FINALS)),
        char::from_u32(0x1161 + index / FINALS % VOWELS),
        last.and_then(|last| char::from_u32(0x11a7 + last)),
    ])
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    fn default(text: &str) -> String {
        normalized(text, Normalization::default()).collect()
    }

    #[test]
    fn each_step_can_be_left_out() {
        let none = Normalization {
            clean_text: false,
            handle_chinese_chars: false,
            strip_accents: false,
            lowercase: false,
        };
        let text = "A\t\u{200b}\u{e9}中";
        let with = |steps: Normalization| normalized(text, steps).collect::<String>();
        assert_eq!(with(none), text);
        assert_eq!(with(Normalization { clean_text: true, ..none }), "A \u{e9}中");
        assert_eq!(
            with(Normalization { handle_chinese_chars: true, ..none }),
            "A\t\u{200b}\u{e9} 中 "
        );
        assert_eq!(with(Normalization { strip_accents: true, ..none }), "A\t\u{200b}e中");
        assert_eq!(with(Normalization { lowercase: true, ..none }), "a\t\u{200b}\u{e9}中");
    }

    #[test]
    fn accents_are_stripped_whether_composed_or_not() {
        assert_eq!(default("\u{c5}ngstr\u{f6}m E\u{301}\u{323}"), "angstrom e");
        assert_eq!(default("\u{130}STANBUL \u{1e9e}"), "istanbul \u{df}");
    }

    #[test]
    fn hangul_becomes_jamo() {
        assert_eq!(default("한가"), "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1161}");
    }

    #[test]
    fn compatibility_ideographs_are_spaced_and_unified() {
        assert_eq!(default("\u{f900}\u{2f800}\u{2f803}"), " 豈  丽  \u{20122} ");
    }

    #[test]
    fn sequences_keep_their_spacing_parts_in_order() {
        assert_eq!(default("\u{9cb}"), "\u{9c7}\u{9be}");
        assert_eq!(default("\u{1d160}"), "\u{1d158}\u{1d165}\u{1d16e}");
    }

    #[test]
    fn combining_characters_that_are_kept_are_sorted_by_class() {
        // Classes 226, 224, 216 and between them a mark of class 220, which is removed.
        assert_eq!(default("a\u{1d16d}\u{302e}\u{316}\u{1d165}b"), "a\u{1d165}\u{302e}\u{1d16d}b");
        // A mark of class 0 ends the run, though it is removed.
        assert_eq!(default("a\u{302e}\u{34f}\u{1d165}"), "a\u{302e}\u{1d165}");
        // A removed control character does not.
        assert_eq!(default("a\u{302e}\u{200b}\u{1d165}"), "a\u{1d165}\u{302e}");
    }

    #[test]
    fn equal_classes_keep_their_order_in_a_long_run() {
        let run: String = std::iter::repeat_n("\u{302f}\u{1d166}\u{302e}\u{1d165}", 1000).collect();
        let sorted: String = std::iter::repeat_n("\u{1d166}\u{1d165}", 1000)
            .chain(std::iter::repeat_n("\u{302f}\u{302e}", 1000))
            .collect();
        assert_eq!(default(&run), sorted);
    }

    #[test]
    fn final_sigma_is_not_special() {
        assert_eq!(default("ΟΔΟΣ"), "οδοσ");
    }

    #[test]
    fn symbols_are_punctuation_in_ascii_only() {
        assert!(is_punctuation('$') && is_punctuation('^') && is_punctuation('。'));
        assert!(!is_punctuation('€') && !is_punctuation('a') && !is_punctuation(' '));
    }
}
