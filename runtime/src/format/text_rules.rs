//! The text section: how long a text may be, and what is put before it.

use super::codec::size_at;
use super::error::FormatError;
use super::layout::{SectionKind, limits, text};
use super::strings::{StringList, string_list_bytes};

/// How texts are cut and what is put before them, borrowed in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextRules<'a> {
    /// Longest text in tokens, the special ones included; 0 for no bound of its own.
    pub longest: usize,
    default: usize,
    prompts: Option<StringList<'a>>,
}

impl<'a> TextRules<'a> {
    /// Checks `bytes` as a text section.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let kind = SectionKind::Text;
        let Some((_, list)) = bytes.split_at_checked(text::PROMPTS) else {
            return Err(FormatError::SectionLength { kind, found: bytes.len() });
        };
        let invalid = |offset| FormatError::InvalidField { kind, offset };
        let (longest, default) = (size_at(bytes, text::LONGEST), size_at(bytes, text::DEFAULT));
        let prompts = StringList::parse(list).filter(|list| list.len().is_multiple_of(2));
        let prompts = prompts.ok_or(invalid(text::PROMPTS))?;
        if longest > limits::POSITIONS {
            return Err(invalid(text::LONGEST.start));
        }
        if default > prompts.len() / 2 {
            return Err(invalid(text::DEFAULT.start));
        }
        Ok(Self { longest, default, prompts: Some(prompts) })
    }

    /// Names and texts of the prompts: what is put before a text of some kind.
    pub fn prompts(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let list = self.prompts;
        (0..).map_while(move |index| Some((list?.get(2 * index)?, list?.get(2 * index + 1)?)))
    }

    /// The prompt that a text gets unless another is asked for: its name and text.
    #[must_use]
    pub fn default_prompt(&self) -> Option<(&'a str, &'a str)> {
        self.prompts().nth(self.default.checked_sub(1)?)
    }
}

/// The bytes of a text section, one by one, for a writer: the names and texts of the prompts in turn,
/// and the number of the default one.
pub fn encode_text<'s>(
    longest: usize,
    default: Option<usize>,
    prompts: &'s [&'s str],
) -> impl Iterator<Item = u8> + 's {
    let default = default.map_or(0, |index| index + 1);
    let fields = [longest as u32, default as u32].map(u32::to_le_bytes);
    fields.into_iter().flatten().chain(string_list_bytes(prompts))
}
