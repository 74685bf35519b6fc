//! The speech section: ids that stand for a time, a language, or that nobody speaks.

use super::codec::Fields;
use super::error::FormatError;
use super::layout::{SectionKind, limits, speech};

/// Languages of a section, borrowed in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Languages<'a>(&'a [[u8; speech::LANGUAGE_BYTES]]);

impl<'a> Languages<'a> {
    /// No language.
    pub const NONE: Self = Self(&[]);

    /// Number of languages.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// No language: the model knows one alone.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Codes, such as `en`, and ids, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, u32)> + Clone + use<'a> {
        self.0.iter().map(|[a, b, c, d, code @ ..]| {
            let code = core::str::from_utf8(code).unwrap_or_default().trim_end_matches('\0');
            (code, u32::from_le_bytes([*a, *b, *c, *d]))
        })
    }

    /// The id of a code.
    #[must_use]
    pub fn id(&self, code: &str) -> Option<u32> {
        self.iter().find(|(own, _)| *own == code).map(|(_, id)| id)
    }
}

/// What the ids of a model of speech stand for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpeechRules<'a> {
    /// The id that an answer begins with.
    pub start: u32,
    /// The id whose probability behind the start says that nobody speaks.
    pub no_speech: u32,
    /// The id of an answer's beginning behind which no times follow.
    pub without_times: u32,
    /// The id of time 0; those behind it are steps of 0.02 s.
    pub first_time: u32,
    /// Number of times.
    pub times: u32,
    /// Most steps before the first time of an answer.
    pub latest_start: u32,
    /// The id that goes before a text that was said before; `None` if the model knows none.
    pub previous: Option<u32>,
    /// The id of an answer's beginning that asks for what is said.
    pub transcribe: Option<u32>,
    /// The id of an answer's beginning that asks for English.
    pub translate: Option<u32>,
    /// What may be spoken.
    pub languages: Languages<'a>,
}

impl<'a> SpeechRules<'a> {
    /// Checks `bytes` as a speech section.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let kind = SectionKind::Speech;
        let wrong_length = FormatError::SectionLength { kind, found: bytes.len() };
        let (head, languages) = bytes.split_at_checked(speech::LANGUAGES).ok_or(wrong_length)?;
        let (languages, rest) = languages.as_chunks();
        if !rest.is_empty() || languages.len() > limits::LANGUAGES {
            return Err(wrong_length);
        }
        let fields = Fields { kind, bytes: head };
        let id = |field| Ok(fields.size(field, 0..limits::VOCABULARY)? as u32);
        let optional = |field| {
            let found = fields.size(field, 0..limits::VOCABULARY + 1)? as u32;
            Ok(found.checked_sub(1))
        };
        let rules = Self {
            start: id(speech::START)?,
            no_speech: id(speech::NO_SPEECH)?,
            without_times: id(speech::WITHOUT_TIMES)?,
            first_time: id(speech::FIRST_TIME)?,
            times: fields.size(speech::TIMES, 1..limits::POSITIONS)? as u32,
            latest_start: fields.size(speech::LATEST_START, 0..limits::POSITIONS)? as u32,
            previous: optional(speech::PREVIOUS)?,
            transcribe: optional(speech::TRANSCRIBE)?,
            translate: optional(speech::TRANSLATE)?,
            languages: Languages(languages),
        };
        let is_code = |language: &[u8; 8]| {
            let (_, code) = language.split_at(4);
            let letters = code.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
            let (code, rest) = code.split_at(letters);
            code.len() > 1 && rest.iter().all(|byte| *byte == 0)
        };
        match languages.iter().all(is_code) {
            true => Ok(rules),
            false => Err(FormatError::InvalidField { kind, offset: speech::LANGUAGES }),
        }
    }

    /// One above the largest id.
    pub(crate) fn vocabulary(&self) -> usize {
        let own = [Some(self.start), Some(self.no_speech), Some(self.without_times)];
        let others = [self.previous, self.transcribe, self.translate];
        let languages = self.languages.iter().map(|(_, id)| id);
        let largest = own.into_iter().chain(others).flatten().chain(languages).max();
        let behind_times = (self.first_time as usize).saturating_add(self.times as usize);
        behind_times.max(largest.map_or(0, |id| id as usize + 1))
    }

    /// The time that an id stands for, in steps of 0.02 s; `None` if it is another id.
    #[must_use]
    pub fn time(&self, id: u32) -> Option<u32> {
        id.checked_sub(self.first_time).filter(|step| *step < self.times)
    }
}

/// The bytes of a speech section, one by one, for a writer: `rules` with the languages of a model, each a code of
/// two to four letters and its id.
pub fn encode_speech(
    rules: &SpeechRules<'_>,
    languages: impl Iterator<Item = ([u8; 4], u32)>,
) -> impl Iterator<Item = u8> {
    let optional = |id: Option<u32>| id.map_or(0, |id| id.saturating_add(1));
    let fields = [
        rules.start,
        rules.no_speech,
        rules.without_times,
        rules.first_time,
        rules.times,
        rules.latest_start,
        optional(rules.previous),
        optional(rules.transcribe),
        optional(rules.translate),
    ];
    let languages = languages.flat_map(|(code, id)| id.to_le_bytes().into_iter().chain(code));
    fields.into_iter().flat_map(u32::to_le_bytes).chain(languages)
}
