//! A checked view of the vocabulary section, and its writer.
//!
//! All numbers are little-endian. `N` is the number of tokens.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | number of tokens `N`, u32, 1 to 1,048,576 |
//! | 4 | 4 | flags, u32: bit 0 lower case, 1 strip accents, 2 Chinese characters, 3 clean text, 4 added tokens, 5 and 6 pairs |
//! | 8 | 4 | most characters of a word, u32, 1 to 200 |
//! | 12 | 4 | id of the unknown token `[UNK]`, u32 |
//! | 16 | 4 | id of the first token `[CLS]`, u32 |
//! | 20 | 4 | id of the separator `[SEP]`, u32 |
//! | 24 | 4 | id of the padding `[PAD]`, u32 |
//! | 28 | 4 | id of `[MASK]`, u32; `0xffff_ffff` if there is none |
//! | 32 | 4 (N + 1) | offset of each token in the token bytes, u32, by id; then their length |
//! | 36 + 4 N | 4 N | ids in ascending order of their tokens' bytes, u32 |
//! | 36 + 8 N | the last offset | the tokens, UTF-8, without separators |
//! | then | to the end | with flag 4 the added tokens |
//!
//! No two tokens are equal; one may be empty. A token that continues a word begins with `##`. With bit
//! 5 a pair of texts has two separators between them and one type, with bit 6 there are no pairs.
//!
//! Added tokens are found in texts as they stand. Without flag 4 the five tokens of the fields are,
//! in the text as it is.

use core::fmt;
use core::ops::Range;

use super::added::{self, AddedToken, AddedTokens};
use super::normalize::Normalization;

/// Byte ranges and limits of the vocabulary section.
pub mod layout {
    use core::ops::Range;

    /// Number of tokens, u32.
    pub const COUNT: Range<usize> = 0..4;
    /// Bits [`LOWERCASE`] to [`NO_PAIRS`], u32.
    pub const FLAGS: Range<usize> = 4..8;
    /// A word with more characters is unknown as a whole, u32.
    pub const MAX_CHARS_PER_WORD: Range<usize> = 8..12;
    /// Id of the unknown token, u32.
    pub const UNKNOWN: Range<usize> = 12..16;
    /// Id of the token that begins a text, u32.
    pub const CLASSIFY: Range<usize> = 16..20;
    /// Id of the token that ends a text, u32.
    pub const SEPARATE: Range<usize> = 20..24;
    /// Id of the padding, u32.
    pub const PAD: Range<usize> = 24..28;
    /// Id of the masked token, or [`NO_ID`], u32.
    pub const MASK: Range<usize> = 28..32;
    /// Length of the fields above; the offsets follow.
    pub const HEADER_BYTES: usize = 32;

    /// The id of a token that the vocabulary lacks.
    pub const NO_ID: u32 = u32::MAX;
    /// Flag: normalise to lower case.
    pub const LOWERCASE: u32 = 1;
    /// Flag: remove accents.
    pub const STRIP_ACCENTS: u32 = 1 << 1;
    /// Flag: set Chinese characters apart.
    pub const HANDLE_CHINESE_CHARS: u32 = 1 << 2;
    /// Flag: remove control characters.
    pub const CLEAN_TEXT: u32 = 1 << 3;
    /// Flag: added tokens follow.
    pub const ADDED: u32 = 1 << 4;
    /// Flag: [`Pairs::Doubled`](super::Pairs::Doubled).
    pub const DOUBLED_PAIRS: u32 = 1 << 5;
    /// Flag: [`Pairs::Unknown`](super::Pairs::Unknown).
    pub const NO_PAIRS: u32 = 1 << 6;

    pub use super::super::added::{MOST_ADDED, MOST_ADDED_BYTES};

    /// Most tokens of a vocabulary.
    pub const MOST_TOKENS: u32 = 1 << 20;
    /// Largest value of the field [`MAX_CHARS_PER_WORD`].
    pub const MOST_CHARS_PER_WORD: u32 = 200;
    /// What a token that continues a word begins with.
    pub const CONTINUATION: &str = "##";
}

/// The ids of the tokens with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialIds {
    /// `[UNK]`, for a word without pieces.
    pub unknown: u32,
    /// `[CLS]`, the first token of every input.
    pub classify: u32,
    /// `[SEP]`, after every text.
    pub separate: u32,
    /// `[PAD]`.
    pub pad: u32,
    /// `[MASK]`.
    pub mask: Option<u32>,
}

impl SpecialIds {
    fn all(&self) -> [(SpecialToken, Option<u32>); 5] {
        [
            (SpecialToken::Unknown, Some(self.unknown)),
            (SpecialToken::Classify, Some(self.classify)),
            (SpecialToken::Separate, Some(self.separate)),
            (SpecialToken::Pad, Some(self.pad)),
            (SpecialToken::Mask, self.mask),
        ]
    }
}

/// A token with a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialToken {
    /// `[UNK]`.
    Unknown,
    /// `[CLS]`.
    Classify,
    /// `[SEP]`.
    Separate,
    /// `[PAD]`.
    Pad,
    /// `[MASK]`.
    Mask,
}

impl fmt::Display for SpecialToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unknown => "unknown",
            Self::Classify => "first",
            Self::Separate => "separator",
            Self::Pad => "padding",
            Self::Mask => "mask",
        })
    }
}

/// How texts become tokens: everything of a vocabulary but the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Steps before the text is split. Where `tokenizers` leaves `strip_accents` open (null), it is
    /// as `lowercase`.
    pub normalization: Normalization,
    /// A word with more characters than this, after normalisation, is unknown as a whole.
    pub max_chars_per_word: u32,
    /// Special tokens.
    pub special: SpecialIds,
    /// What two texts become.
    pub pairs: Pairs,
}

/// What two texts A and B become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairs {
    /// `[CLS] A [SEP] B [SEP]`, with type 1 for what follows the first `[SEP]`.
    #[default]
    Typed,
    /// `[CLS] A [SEP] [SEP] B [SEP]`, all of type 0.
    Doubled,
    /// The model does not say.
    Unknown,
}

impl Options {
    /// All steps of normalisation and 100 characters per word, as for the uncased BERT models.
    #[must_use]
    pub fn new(special: SpecialIds) -> Self {
        let (normalization, pairs) = (Normalization::default(), Pairs::default());
        Self { normalization, max_chars_per_word: 100, special, pairs }
    }

    fn flags(&self) -> u32 {
        let steps = &self.normalization;
        [
            (steps.lowercase, layout::LOWERCASE),
            (steps.strip_accents, layout::STRIP_ACCENTS),
            (steps.handle_chinese_chars, layout::HANDLE_CHINESE_CHARS),
            (steps.clean_text, layout::CLEAN_TEXT),
            (self.pairs == Pairs::Doubled, layout::DOUBLED_PAIRS),
            (self.pairs == Pairs::Unknown, layout::NO_PAIRS),
        ]
        .iter()
        .fold(0, |flags, (set, flag)| if *set { flags | flag } else { flags })
    }

    /// Reads the header; ids are not compared with the number of tokens yet.
    fn read(header: &[u8; layout::HEADER_BYTES]) -> Result<Self, VocabularyError> {
        let field = |range: Range<usize>| read_u32(header, range);
        let flags = field(layout::FLAGS);
        let special = SpecialIds {
            unknown: field(layout::UNKNOWN),
            classify: field(layout::CLASSIFY),
            separate: field(layout::SEPARATE),
            pad: field(layout::PAD),
            mask: Some(field(layout::MASK)).filter(|&id| id != layout::NO_ID),
        };
        let normalization = Normalization {
            clean_text: flags & layout::CLEAN_TEXT != 0,
            handle_chinese_chars: flags & layout::HANDLE_CHINESE_CHARS != 0,
            strip_accents: flags & layout::STRIP_ACCENTS != 0,
            lowercase: flags & layout::LOWERCASE != 0,
        };
        let pairs = match (flags & layout::DOUBLED_PAIRS, flags & layout::NO_PAIRS) {
            (0, 0) => Pairs::Typed,
            (_, 0) => Pairs::Doubled,
            _ => Pairs::Unknown,
        };
        let max_chars_per_word = field(layout::MAX_CHARS_PER_WORD);
        let options = Self { normalization, max_chars_per_word, special, pairs };
        if options.flags() != flags & !layout::ADDED {
            return Err(VocabularyError::Flags { found: flags });
        }
        Ok(options)
    }

    fn check(&self, count: usize) -> Result<(), VocabularyError> {
        let found = self.max_chars_per_word;
        if !(1..=layout::MOST_CHARS_PER_WORD).contains(&found) {
            return Err(VocabularyError::MaxCharsPerWord { found });
        }
        for (token, id) in self.special.all() {
            if let Some(found) = id.filter(|&id| id as usize >= count) {
                return Err(VocabularyError::SpecialId { token, found, count });
            }
        }
        Ok(())
    }
}

/// Why bytes are not a vocabulary, or tokens cannot be made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabularyError {
    /// The section has another length than its fields need.
    Length {
        /// Bytes that the fields need; the header alone if there is not even that.
        expected: usize,
        /// Bytes of the section.
        found: usize,
    },
    /// No token, or more than [`layout::MOST_TOKENS`].
    Count {
        /// Number of tokens.
        found: usize,
    },
    /// An undefined flag.
    Flags {
        /// All flags.
        found: u32,
    },
    /// The length limit of words is 0 or above [`layout::MOST_CHARS_PER_WORD`].
    MaxCharsPerWord {
        /// The limit.
        found: u32,
    },
    /// A special token is none of the tokens.
    SpecialId {
        /// Which one.
        token: SpecialToken,
        /// Its id.
        found: u32,
        /// Number of tokens.
        count: usize,
    },
    /// The first offset is not 0, an offset is below the one before it, or it divides a character.
    Offset {
        /// Place in the list of offsets.
        place: usize,
        /// The offset.
        found: u32,
    },
    /// The token bytes are not UTF-8.
    Utf8 {
        /// Valid bytes before the first error.
        offset: usize,
    },
    /// A sorted id is none of the tokens.
    SortedId {
        /// Place in the list of sorted ids.
        place: usize,
        /// The id.
        found: u32,
    },
    /// The sorted ids are not in the order of their tokens.
    Order {
        /// Place of the id that should come earlier.
        place: usize,
    },
    /// Two tokens are equal.
    Duplicate {
        /// Id of one.
        first: u32,
        /// Id of the other.
        second: u32,
    },
    /// An added token is damaged or out of order, or there are too many.
    Added {
        /// Its place among them.
        place: usize,
    },
    /// The tokens together are longer than an offset can say.
    TooLong {
        /// Bytes of all tokens.
        found: usize,
    },
    /// The buffer for the section is too small.
    Buffer {
        /// Bytes needed.
        expected: usize,
        /// Bytes of the buffer.
        found: usize,
    },
}

impl fmt::Display for VocabularyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { expected, found } => {
                write!(f, "the vocabulary needs {expected} bytes but has {found}")
            }
            Self::Count { found } => {
                write!(f, "the vocabulary has {found} tokens, not 1 to {}", layout::MOST_TOKENS)
            }
            Self::Flags { found } => {
                write!(f, "the vocabulary flags {found:#x} are not all defined")
            }
            Self::MaxCharsPerWord { found } => write!(
                f,
                "words may have {found} characters, not 1 to {}",
                layout::MOST_CHARS_PER_WORD
            ),
            Self::SpecialId { token, found, count } => {
                write!(f, "the {token} token has id {found} but there are {count} tokens")
            }
            Self::Offset { place, found } => {
                write!(f, "the token offset {found} at place {place} does not fit")
            }
            Self::Utf8 { offset } => {
                write!(f, "the tokens are not utf-8 from byte {offset} on")
            }
            Self::SortedId { place, found } => {
                write!(f, "the sorted id {found} at place {place} is not a token")
            }
            Self::Order { place } => {
                write!(f, "the sorted ids are out of order at place {place}")
            }
            Self::Duplicate { first, second } => {
                write!(f, "the tokens {first} and {second} are equal")
            }
            Self::Added { place } => {
                write!(f, "the added token at place {place} is damaged or out of order")
            }
            Self::TooLong { found } => {
                write!(f, "the tokens have {found} bytes, more than an offset can say")
            }
            Self::Buffer { expected, found } => {
                write!(f, "the section needs {expected} bytes but the buffer has {found}")
            }
        }
    }
}

impl core::error::Error for VocabularyError {}

/// The tokens of a WordPiece model in the bytes of a package, checked.
///
/// Looking up a token compares bytes in place, about log2 of the number of tokens times.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    options: Options,
    /// One more than tokens.
    offsets: &'a [[u8; 4]],
    sorted: &'a [[u8; 4]],
    text: &'a str,
    /// The places in `sorted` of tokens that begin with [`layout::CONTINUATION`].
    continuations: (usize, usize),
    added: Option<AddedTokens<'a>>,
    /// One above the largest id.
    len: usize,
}

impl<'a> Vocabulary<'a> {
    /// Checks the bytes of a vocabulary section, in time linear in their number. They may lie
    /// anywhere in memory.
    ///
    /// # Errors
    /// If any field has not the meaning that the section layout gives it; see [`VocabularyError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, VocabularyError> {
        let vocabulary = Self::parse_unordered(bytes)?;
        vocabulary.check_order()?;
        Ok(vocabulary)
    }

    /// [`Vocabulary::parse`] but for the order of the tokens, which takes most of its time
    /// ([`Vocabulary::check_order`]): out of order, tokens are not found, and nothing else happens.
    pub(crate) fn parse_unordered(bytes: &'a [u8]) -> Result<Self, VocabularyError> {
        let found = bytes.len();
        let too_short = |expected| VocabularyError::Length { expected, found };
        let (header, rest) = bytes.split_first_chunk().ok_or(too_short(layout::HEADER_BYTES))?;
        let options = Options::read(header)?;
        let count = read_u32(header, layout::COUNT) as usize;
        check_count(count)?;
        let tables = 4 * (2 * count + 1);
        let (tables, rest) =
            rest.split_at_checked(tables).ok_or(too_short(layout::HEADER_BYTES + tables))?;
        let (offsets, sorted) = tables.as_chunks().0.split_at(count + 1);
        let has_added = read_u32(header, layout::FLAGS) & layout::ADDED != 0;
        let text = offsets.last().copied().map_or(0, place);
        let expected = (found - rest.len()).saturating_add(text);
        let (text, rest) = match rest.split_at_checked(text) {
            Some((text, rest)) if has_added || rest.is_empty() => (text, rest),
            _ => return Err(too_short(expected)),
        };
        let text = check_text(offsets, text)?;
        let added = has_added.then_some(rest);
        let continuations = (0, 0);
        let plain = Self { options, offsets, sorted, text, continuations, added: None, len: count };
        plain.with_added(added)
    }

    /// With the bytes of a list of added tokens, and what is left to check.
    fn with_added(mut self, added: Option<&'a [u8]>) -> Result<Self, VocabularyError> {
        let added = added.map(|bytes| AddedTokens::parse(bytes, self.len)).transpose();
        self.added = added.map_err(|place| VocabularyError::Added { place })?;
        let ids = self.added.iter().flat_map(AddedTokens::iter).map(|token| token.id as usize);
        self.len = ids.fold(self.len, |len, id| len.max(id + 1));
        self.options.check(self.len)?;
        self.continuations = self.find_continuations();
        Ok(self)
    }

    /// Number of tokens with the added ones, at least 1; ids are below.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: a vocabulary has a token.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The token of `id`; an added one as it is looked for.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&'a str> {
        let added = || self.added.iter().flat_map(AddedTokens::iter).find(|token| token.id == id);
        self.own_token(id).or_else(|| added().map(|token| token.text))
    }

    fn own_token(&self, id: u32) -> Option<&'a str> {
        let id = id as usize;
        let (start, end) = (self.offsets.get(id)?, self.offsets.get(id.checked_add(1)?)?);
        self.text.get(place(*start)..place(*end))
    }

    /// The id of `token`.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        let matching = |id: &[u8; 4]| self.sorted_bytes(*id, 0).cmp(token.as_bytes());
        let own = self.sorted.binary_search_by(matching).ok();
        let own = own.and_then(|place| self.sorted.get(place)).copied().map(u32::from_le_bytes);
        let added = || self.added.iter().flat_map(AddedTokens::iter).find(|own| own.text == token);
        own.or_else(|| added().map(|token| token.id))
    }

    /// How texts are normalised and split, and the special tokens.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The tokens that are found in texts as they stand; without a list the special ones are.
    pub(super) const fn added(&self) -> Option<&AddedTokens<'a>> {
        self.added.as_ref()
    }

    /// The special tokens with their ids.
    pub(super) fn special_tokens(&self) -> [(&'a str, u32); 5] {
        self.options.special.all().map(|(_, id)| {
            let id = id.unwrap_or(layout::NO_ID);
            (self.token(id).unwrap_or(""), id)
        })
    }

    /// The longest token that `word` begins with, as its id and length in bytes without the
    /// continuation prefix. `word` is not empty; nor is the match.
    ///
    /// The last token not above `word` shares with it at least what the longest match has: a
    /// token between the match and `word` begins with the match. So each search either ends or
    /// shortens `word` to the common part.
    pub(super) fn longest_prefix(&self, word: &[u8], continues: bool) -> Option<(u32, usize)> {
        let skip = if continues { layout::CONTINUATION.len() } else { 0 };
        let (first, end) = if continues { self.continuations } else { (0, self.sorted.len()) };
        let mut candidates = self.sorted.get(first..end)?;
        let mut word = word;
        while !word.is_empty() {
            let after = candidates.partition_point(|id| self.sorted_bytes(*id, skip) <= word);
            let (&id, before) = candidates.get(..after)?.split_last()?;
            let token = self.sorted_bytes(id, skip);
            let common = token.iter().zip(word).take_while(|(a, b)| a == b).count();
            if common > 0 && common == token.len() {
                return Some((u32::from_le_bytes(id), common));
            }
            word = word.get(..common)?;
            candidates = before;
        }
        None
    }

    /// The bytes of a token past the first `skip`.
    fn sorted_bytes(&self, id: [u8; 4], skip: usize) -> &'a [u8] {
        let token = self.own_token(u32::from_le_bytes(id)).unwrap_or("");
        token.as_bytes().get(skip..).unwrap_or(&[])
    }

    /// Strictly ascending tokens: so `sorted` is a permutation of the ids and no two are equal.
    pub(crate) fn check_order(&self) -> Result<(), VocabularyError> {
        let mut before: Option<(u32, &str)> = None;
        for (place, id) in self.sorted.iter().enumerate() {
            let found = u32::from_le_bytes(*id);
            let token = self.own_token(found).ok_or(VocabularyError::SortedId { place, found })?;
            match before {
                Some((id, before)) if before == token && id != found => {
                    return Err(VocabularyError::Duplicate { first: id, second: found });
                }
                Some((_, before)) if before >= token => {
                    return Err(VocabularyError::Order { place });
                }
                _ => before = Some((found, token)),
            }
        }
        Ok(())
    }

    fn find_continuations(&self) -> (usize, usize) {
        let prefix = layout::CONTINUATION.as_bytes();
        let head = |id: &[u8; 4]| {
            let bytes = self.sorted_bytes(*id, 0);
            bytes.get(..prefix.len()).unwrap_or(bytes)
        };
        let first = self.sorted.partition_point(|id| head(id) < prefix);
        (first, self.sorted.partition_point(|id| head(id) <= prefix))
    }
}

fn read_u32(header: &[u8; layout::HEADER_BYTES], range: Range<usize>) -> u32 {
    header.get(range).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// An offset as an index.
fn place(offset: [u8; 4]) -> usize {
    u32::from_le_bytes(offset) as usize
}

fn check_count(found: usize) -> Result<u32, VocabularyError> {
    u32::try_from(found)
        .ok()
        .filter(|count| (1..=layout::MOST_TOKENS).contains(count))
        .ok_or(VocabularyError::Count { found })
}

/// The token bytes as text, each offset at a character and none below the one before it.
fn check_text<'a>(offsets: &[[u8; 4]], bytes: &'a [u8]) -> Result<&'a str, VocabularyError> {
    let text = core::str::from_utf8(bytes)
        .map_err(|error| VocabularyError::Utf8 { offset: error.valid_up_to() })?;
    let mut before = 0;
    for (index, &offset) in offsets.iter().enumerate() {
        let at = place(offset);
        if at < before || (index == 0 && at > 0) || !text.is_char_boundary(at) {
            let found = u32::from_le_bytes(offset);
            return Err(VocabularyError::Offset { place: index, found });
        }
        before = at;
    }
    Ok(text)
}

/// Length in bytes of the section that [`encode`] writes.
#[must_use]
pub fn encoded_len(tokens: &[&str]) -> usize {
    encoded_len_with(tokens, None)
}

/// Length in bytes of the section that [`encode_with`] writes.
#[must_use]
pub fn encoded_len_with(tokens: &[&str], added: Option<&[AddedToken<'_>]>) -> usize {
    let text: usize = tokens.iter().map(|token| token.len()).sum();
    layout::HEADER_BYTES + 4 * (2 * tokens.len() + 1) + text + added.map_or(0, added::encoded_len)
}

/// Writes the vocabulary section of `tokens`, given in order of their ids, to the front of `out`,
/// and returns its length, [`encoded_len`].
///
/// # Errors
/// [`VocabularyError::Buffer`] if `out` is too small, [`VocabularyError::TooLong`] if the tokens
/// are, and what [`Vocabulary::parse`] refuses: above all equal tokens, and a special id that is
/// none of the tokens.
pub fn encode(
    tokens: &[&str],
    options: &Options,
    out: &mut [u8],
) -> Result<usize, VocabularyError> {
    encode_with(tokens, None, options, out)
}

/// [`encode`] with tokens that are found in texts as they stand, in place of the special ones of
/// `options`: first those looked for in the text as it is, each group ascending.
///
/// # Errors
/// Those of [`encode`], and [`VocabularyError::Added`].
pub fn encode_with(
    tokens: &[&str],
    added: Option<&[AddedToken<'_>]>,
    options: &Options,
    out: &mut [u8],
) -> Result<usize, VocabularyError> {
    let count = check_count(tokens.len())?;
    let (expected, found) = (encoded_len_with(tokens, added), out.len());
    let out = out.get_mut(..expected).ok_or(VocabularyError::Buffer { expected, found })?;
    let (header, rest) = out.split_at_mut(layout::HEADER_BYTES);
    let (tables, rest) = rest.split_at_mut(4 * (2 * tokens.len() + 1));
    let (text, list) = rest.split_at_mut(rest.len() - added.map_or(0, added::encoded_len));
    let (offsets, sorted) = tables.as_chunks_mut().0.split_at_mut(tokens.len() + 1);
    let flags = options.flags() | if added.is_some() { layout::ADDED } else { 0 };
    write_header(options, [count, flags], header);
    write_text(tokens, offsets, text)?;
    added.into_iter().for_each(|added| added::write(added, list));
    for (id, place) in (0..count).zip(sorted.iter_mut()) {
        *place = id.to_le_bytes();
    }
    sorted.sort_unstable_by_key(|id| tokens.get(place(*id)));
    Vocabulary::parse(out)?;
    Ok(expected)
}

fn write_header(options: &Options, [count, flags]: [u32; 2], header: &mut [u8]) {
    let special = &options.special;
    let fields = [
        (layout::COUNT, count),
        (layout::FLAGS, flags),
        (layout::MAX_CHARS_PER_WORD, options.max_chars_per_word),
        (layout::UNKNOWN, special.unknown),
        (layout::CLASSIFY, special.classify),
        (layout::SEPARATE, special.separate),
        (layout::PAD, special.pad),
        (layout::MASK, special.mask.unwrap_or(layout::NO_ID)),
    ];
    for (range, value) in fields {
        if let Some(field) = header.get_mut(range) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn write_text(
    tokens: &[&str],
    offsets: &mut [[u8; 4]],
    text: &mut [u8],
) -> Result<(), VocabularyError> {
    let found = text.len();
    u32::try_from(found).map_err(|_| VocabularyError::TooLong { found })?;
    let mut end: u32 = 0;
    let mut rest = text;
    for (token, offset) in tokens.iter().zip(offsets.iter_mut()) {
        *offset = end.to_le_bytes();
        let Some((place, after)) = rest.split_at_mut_checked(token.len()) else {
            break;
        };
        place.copy_from_slice(token.as_bytes());
        rest = after;
        end += token.len() as u32;
    }
    if let Some(last) = offsets.last_mut() {
        *last = end.to_le_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;

    const TOKENS: [&str; 10] =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "##ab", "café", ""];
    const SPECIAL: SpecialIds =
        SpecialIds { unknown: 1, classify: 2, separate: 3, pad: 0, mask: Some(4) };

    fn section(tokens: &[&str], options: &Options) -> Result<Vec<u8>, VocabularyError> {
        let mut bytes = vec![0; encoded_len(tokens)];
        encode(tokens, options, &mut bytes).map(|_| bytes)
    }

    fn valid() -> Vec<u8> {
        section(&TOKENS, &Options::new(SPECIAL)).unwrap()
    }

    fn with_u32(at: usize, value: u32) -> Vec<u8> {
        let mut bytes = valid();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    fn error(bytes: &[u8]) -> VocabularyError {
        Vocabulary::parse(bytes).unwrap_err()
    }

    /// Everything a caller can reach, so that a hostile section that is accepted is also used.
    fn use_all(vocabulary: &Vocabulary<'_>) {
        for id in 0..vocabulary.len() as u32 {
            let token = vocabulary.token(id).unwrap();
            assert_eq!(vocabulary.id(token), Some(id));
        }
        for continues in [false, true] {
            let _ = vocabulary.longest_prefix(b"abcaf\xc3\xa9", continues);
        }
    }

    #[test]
    fn a_written_section_reads_back() {
        let bytes = valid();
        let vocabulary = Vocabulary::parse(&bytes).unwrap();
        assert_eq!(vocabulary.len(), TOKENS.len());
        assert_eq!(*vocabulary.options(), Options::new(SPECIAL));
        assert_eq!(vocabulary.token(8), Some("café"));
        assert_eq!(vocabulary.token(10), None);
        assert_eq!(vocabulary.token(u32::MAX), None);
        assert_eq!(vocabulary.id("caf"), None);
        use_all(&vocabulary);
    }

    #[test]
    fn every_option_reads_back() {
        for flags in 0..16 {
            let normalization = Normalization {
                clean_text: flags & 1 != 0,
                handle_chinese_chars: flags & 2 != 0,
                strip_accents: flags & 4 != 0,
                lowercase: flags & 8 != 0,
            };
            let special = SpecialIds { mask: None, ..SPECIAL };
            let options = Options { normalization, max_chars_per_word: 7, ..Options::new(special) };
            let bytes = section(&TOKENS, &options).unwrap();
            assert_eq!(*Vocabulary::parse(&bytes).unwrap().options(), options);
        }
    }

    #[test]
    fn the_longest_prefix_wins_in_both_positions() {
        let bytes = valid();
        let vocabulary = Vocabulary::parse(&bytes).unwrap();
        assert_eq!(vocabulary.longest_prefix(b"aba", false), Some((5, 1)));
        assert_eq!(vocabulary.longest_prefix(b"aba", true), Some((7, 2)));
        assert_eq!(vocabulary.longest_prefix(b"aca", true), Some((6, 1)));
        assert_eq!(vocabulary.longest_prefix(b"b", true), None);
        assert_eq!(vocabulary.longest_prefix("café!".as_bytes(), false), Some((8, 5)));
        assert_eq!(vocabulary.longest_prefix(b"", false), None);
    }

    #[test]
    fn the_writer_refuses_equal_tokens_and_wrong_options() {
        let options = Options::new(SPECIAL);
        let doubled = ["a", "b", "c", "d", "b", "e"];
        let found = section(&doubled, &options).unwrap_err();
        assert!(
            matches!(found, VocabularyError::Duplicate { first: 1, second: 4 })
                || matches!(found, VocabularyError::Duplicate { first: 4, second: 1 })
        );
        assert_eq!(section(&[], &options), Err(VocabularyError::Count { found: 0 }));
        let short = ["a", "b"];
        let token = SpecialToken::Classify;
        let expected = VocabularyError::SpecialId { token, found: 2, count: 2 };
        assert_eq!(section(&short, &options), Err(expected));
        let expected = encoded_len(&TOKENS);
        let found = expected - 1;
        let result = encode(&TOKENS, &options, &mut vec![0; found]);
        assert_eq!(result, Err(VocabularyError::Buffer { expected, found }));
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let mut bytes = valid();
        for length in 0..bytes.len() {
            let found = error(&bytes[..length]);
            assert!(matches!(found, VocabularyError::Length { .. }), "{length}: {found:?}");
        }
        bytes.push(0);
        assert!(matches!(error(&bytes), VocabularyError::Length { .. }));
    }

    #[test]
    fn each_rejection_names_what_is_wrong() {
        let sorted = 36 + 4 * TOKENS.len();
        let count = TOKENS.len() as u32;
        assert_eq!(error(&with_u32(0, 0)), VocabularyError::Count { found: 0 });
        let many = layout::MOST_TOKENS + 1;
        assert_eq!(error(&with_u32(0, many)), VocabularyError::Count { found: many as usize });
        assert_eq!(error(&with_u32(4, 128)), VocabularyError::Flags { found: 128 });
        assert_eq!(error(&with_u32(8, 0)), VocabularyError::MaxCharsPerWord { found: 0 });
        assert_eq!(error(&with_u32(8, 201)), VocabularyError::MaxCharsPerWord { found: 201 });
        for at in (12..32).step_by(4) {
            let found = error(&with_u32(at, count));
            assert!(matches!(found, VocabularyError::SpecialId { .. }), "{found:?}");
        }
        assert_eq!(error(&with_u32(32, 1)), VocabularyError::Offset { place: 0, found: 1 });
        assert_eq!(error(&with_u32(40, 2)), VocabularyError::Offset { place: 2, found: 2 });
        let last = error(&with_u32(sorted, count));
        assert_eq!(last, VocabularyError::SortedId { place: 0, found: count });
        assert_eq!(error(&with_u32(sorted, 8)), VocabularyError::Order { place: 1 });
        assert_eq!(error(&with_u32(sorted + 4, 9)), VocabularyError::Order { place: 1 });
        let mut bytes = valid();
        *bytes.last_mut().unwrap() = 0xff;
        assert!(matches!(error(&bytes), VocabularyError::Utf8 { .. }));
    }

    #[test]
    fn offsets_inside_a_character_are_refused() {
        // The token "café" ends the text; the empty one after it would begin inside the é.
        let at = 32 + 4 * 9;
        let end: u32 = TOKENS.iter().map(|token| token.len() as u32).sum();
        assert_eq!(
            error(&with_u32(at, end - 1)),
            VocabularyError::Offset { place: 9, found: end - 1 }
        );
    }

    #[test]
    fn no_single_changed_word_panics() {
        let length = valid().len() / 4 * 4;
        for at in (0..length).step_by(4) {
            for value in [0, 1, 2, 9, 10, 11, 0x7fff_ffff, 0xffff_fffe, u32::MAX] {
                if let Ok(vocabulary) = Vocabulary::parse(&with_u32(at, value)) {
                    use_all(&vocabulary);
                }
            }
        }
    }

    #[test]
    fn no_single_changed_byte_panics() {
        for at in 0..valid().len() {
            for value in 0..=u8::MAX {
                let mut bytes = valid();
                bytes[at] = value;
                if let Ok(vocabulary) = Vocabulary::parse(&bytes) {
                    use_all(&vocabulary);
                }
            }
        }
    }

    #[test]
    fn errors_are_one_lower_case_sentence() {
        let text = VocabularyError::Duplicate { first: 3, second: 5 }.to_string();
        assert_eq!(text, "the tokens 3 and 5 are equal");
        let token = SpecialToken::Separate;
        let text = format!("{}", VocabularyError::SpecialId { token, found: 9, count: 4 });
        assert_eq!(text, "the separator token has id 9 but there are 4 tokens");
    }
}
