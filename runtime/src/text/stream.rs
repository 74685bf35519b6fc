//! Characters of a text on their way to words: mapped, trimmed, squeezed.

use core::char::ToLowercase;
use core::str::Chars;

#[cfg(feature = "unigram")]
use super::charsmap::Mapped;
#[cfg(feature = "compose")]
use super::compose::Composed;

/// What stands for a space in pieces.
pub(super) const MARK: char = '\u{2581}';

/// Where characters come from.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one lies on the stack for each segment")]
pub(super) enum Source<'a> {
    /// The text as it is.
    Plain(Chars<'a>),
    /// Through a map of characters.
    #[cfg(feature = "unigram")]
    Mapped(Mapped<'a>),
    /// Composed (NFC).
    #[cfg(feature = "compose")]
    Composed(Composed<'a>),
}

impl Iterator for Source<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(source) => source.next(),
            #[cfg(feature = "unigram")]
            Self::Mapped(source) => source.next(),
            #[cfg(feature = "compose")]
            Self::Composed(source) => source.next(),
        }
    }
}

/// What is done with white space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct White {
    /// Drop it at the end.
    pub(super) trim_end: bool,
    /// What two spaces or more become.
    pub(super) squeeze: Option<char>,
}

/// Normalised characters: mapped, with their white space as it is wanted.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    source: Source<'a>,
    white: White,
    /// So much white space is known to have something behind it.
    inner: usize,
    folds: bool,
    lower: Option<ToLowercase>,
}

impl<'a> Stream<'a> {
    pub(super) const fn new(source: Source<'a>, white: White) -> Self {
        Self { source, white, inner: 0, folds: false, lower: None }
    }

    /// The same in lower case, character by character.
    pub(super) fn in_lower_case(self) -> Self {
        Self { folds: true, ..self }
    }

    fn next_folded(&mut self) -> Option<char> {
        if let Some(c) = self.lower.as_mut().and_then(Iterator::next) {
            return Some(c);
        }
        let c = self.source.next()?;
        if self.folds { self.lower.insert(c.to_lowercase()).next() } else { Some(c) }
    }

    /// The next character that is not at the end.
    fn next_inner(&mut self) -> Option<char> {
        let c = self.next_folded()?;
        if !(self.white.trim_end && c.is_whitespace()) {
            return Some(c);
        }
        if self.inner > 0 {
            self.inner -= 1;
            return Some(c);
        }
        let mut ahead = self.source.clone();
        match ahead.position(|c| !c.is_whitespace()) {
            Some(more) => {
                self.inner = more;
                Some(c)
            }
            None => {
                self.source = ahead;
                None
            }
        }
    }
}

impl Iterator for Stream<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.next_inner()?;
        let Some(squeezed) = self.white.squeeze.filter(|_| c == ' ') else { return Some(c) };
        let mut many = false;
        loop {
            let mut ahead = self.clone();
            if ahead.next_inner() != Some(' ') {
                return Some(if many { squeezed } else { c });
            }
            *self = ahead;
            many = true;
        }
    }
}
