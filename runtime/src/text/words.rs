//! The words of byte-level models: the pattern of GPT-2, and that of CLIP.
//!
//! ```text
//! GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! CLIP:  's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+, white space dropped
//! ```

use super::word_tables::{LETTERS, NUMBERS};

/// What a word is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    White,
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        if c.is_ascii() {
            return match c {
                'a'..='z' | 'A'..='Z' => Self::Letter,
                '0'..='9' => Self::Number,
                _ if c.is_whitespace() => Self::White,
                _ => Self::Other,
            };
        }
        if c.is_whitespace() {
            Self::White
        } else if LETTERS.contains(c) {
            Self::Letter
        } else if NUMBERS.contains(c) {
            Self::Number
        } else {
            Self::Other
        }
    }
}

/// The number of characters of the next word of GPT-2's pattern; 0 at the end.
pub(super) fn gpt2_word(characters: &(impl Iterator<Item = char> + Clone)) -> usize {
    let short = contraction(characters.clone());
    if short > 0 {
        return short;
    }
    let mut rest = characters.clone();
    let Some(first) = rest.next() else { return 0 };
    let (spaces, class) = match (first, rest.clone().next().map(Class::of)) {
        (' ', Some(class)) if class != Class::White => (1, class),
        _ => (0, Class::of(first)),
    };
    let length = characters.clone().skip(spaces).take_while(|c| Class::of(*c) == class).count();
    let is_last = || characters.clone().nth(length).is_none();
    if class == Class::White && length > 1 && !is_last() { length - 1 } else { spaces + length }
}

/// How many characters are dropped before the next word of CLIP's pattern, and how many it has.
pub(super) fn clip_word(characters: impl Iterator<Item = char> + Clone) -> [usize; 2] {
    let white = characters.clone().take_while(|c| c.is_whitespace()).count();
    let rest = characters.skip(white);
    let short = contraction(rest.clone());
    let class = rest.clone().next().map(Class::of);
    let length = match class {
        _ if short > 0 => short,
        Some(Class::Number) => 1,
        Some(class) => rest.take_while(|c| Class::of(*c) == class).count(),
        None => 0,
    };
    [white, length]
}

/// The number of characters of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d`; else 0.
fn contraction(mut characters: impl Iterator<Item = char>) -> usize {
    if characters.next() != Some('\'') {
        return 0;
    }
    match characters.next() {
        Some('s' | 't' | 'm' | 'd') => 2,
        Some('r' | 'v') if characters.next() == Some('e') => 3,
        Some('l') if characters.next() == Some('l') => 3,
        _ => 0,
    }
}
