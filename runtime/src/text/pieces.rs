//! A checked view of the tokenizer section: pieces as bytes, with merges or scores, tokens that stand
//! in texts as they are, and what is put around texts.
//!
//! `FORMAT.md` is the specification; everything is used in place.

use core::ops::Range;

use super::standing::StandingTokens;

/// Byte ranges, codes and limits of the tokenizer section. All fields but one are u32.
pub mod layout {
    use core::ops::Range;

    /// [`BYTE_PAIRS`] or [`UNIGRAM`].
    pub const KIND: Range<usize> = 0..4;
    /// Bits [`PREFIX_SPACE`] to [`SHED_FIRST`].
    pub const FLAGS: Range<usize> = 4..8;
    /// Number of pieces `N`.
    pub const COUNT: Range<usize> = 8..12;
    /// Number of pieces that are looked up, `S`.
    pub const SORTED: Range<usize> = 12..16;
    /// Number of merges `M`.
    pub const MERGES: Range<usize> = 16..20;
    /// Number of tokens that stand in texts, `A`.
    pub const STANDING: Range<usize> = 20..24;
    /// Id of what has no piece, or [`NO_ID`].
    pub const UNKNOWN: Range<usize> = 24..28;
    /// Words of the map of characters, `T`.
    pub const MAP_WORDS: Range<usize> = 28..32;
    /// Bytes of what the map of characters gives, `C`.
    pub const MAP_BYTES: Range<usize> = 32..36;
    /// Parts around one text, `P`.
    pub const SINGLE: Range<usize> = 36..40;
    /// Parts around two texts, `Q`; 0 where the model does not say.
    pub const PAIR: Range<usize> = 40..44;
    /// Bytes of the pieces, `B`.
    pub const PIECE_BYTES: Range<usize> = 44..48;
    /// Bytes of the tokens that stand in texts, `D`.
    pub const STANDING_BYTES: Range<usize> = 48..52;
    /// Lowest score of Unigram, f64.
    pub const LOWEST: Range<usize> = 52..60;
    /// Length of the fields above and zeros.
    pub const HEADER_BYTES: usize = 64;

    /// Kind: byte-level byte-pair encoding.
    pub const BYTE_PAIRS: u32 = 1;
    /// Kind: Unigram.
    pub const UNIGRAM: u32 = 2;
    /// No id.
    pub const NO_ID: u32 = u32::MAX;

    /// Flag of byte pairs: a space before a segment without one.
    pub const PREFIX_SPACE: u32 = 1;
    /// Flag of byte pairs: a word that is a piece is not merged.
    pub const WHOLE_WORDS: u32 = 1 << 1;
    /// Flag of Unigram: what has no piece becomes the pieces `<0x00>` to `<0xFF>` of its bytes.
    pub const BYTE_FALLBACK: u32 = 1 << 2;
    /// Flag of Unigram: scores are f64, not f32.
    pub const WIDE_SCORES: u32 = 1 << 3;
    /// Flag of Unigram: words are set apart at white space, which is dropped.
    pub const SPLIT_WHITE: u32 = 1 << 4;
    /// Flag of Unigram: a word begins at each `▁`.
    pub const SPLIT_WORDS: u32 = 1 << 5;
    /// Flag of Unigram: a `▁` before each word without one.
    pub const PREPEND: u32 = 1 << 6;
    /// Flag of Unigram: a `▁` before what the text begins with.
    pub const PREPEND_FIRST: u32 = 1 << 7;
    /// Flag of Unigram: two spaces or more become one.
    pub const SQUEEZE: u32 = 1 << 8;
    /// Flag of Unigram: two spaces or more become `▁`.
    pub const SQUEEZE_MARK: u32 = 1 << 9;
    /// Flag of Unigram: white space at the end of a segment is dropped.
    pub const TRIM_END: u32 = 1 << 10;
    /// Flag of byte pairs: texts are composed (NFC).
    pub const COMPOSE: u32 = 1 << 11;
    /// Flag of byte pairs: words as CLIP has them, the last piece marked by a byte `0xff`; white space
    /// and case are folded.
    pub const CLIP: u32 = 1 << 12;
    /// Flag of Unigram, for texts of ids: the first token loses every `▁`.
    pub const SHED_FIRST: u32 = 1 << 13;

    /// Flags of byte pairs.
    pub const PAIR_FLAGS: u32 =
        PREFIX_SPACE | WHOLE_WORDS | CLIP | if cfg!(feature = "compose") { COMPOSE } else { 0 };
    /// Flags of Unigram.
    pub const UNIGRAM_FLAGS: u32 = BYTE_FALLBACK
        | WIDE_SCORES
        | SPLIT_WHITE
        | SPLIT_WORDS
        | PREPEND
        | PREPEND_FIRST
        | SQUEEZE
        | SQUEEZE_MARK
        | TRIM_END
        | SHED_FIRST;

    /// Part of a template: the first text.
    pub const FIRST_TEXT: u32 = u32::MAX;
    /// Part of a template: the second text.
    pub const SECOND_TEXT: u32 = u32::MAX - 1;
    /// Bytes of a part: an id or a text, then its type.
    pub const PART_BYTES: usize = 8;
    /// The rank of no merge.
    pub const NO_RANK: u32 = u32::MAX;
    /// Bytes of a merge: left piece, right piece, rank.
    pub const MERGE_BYTES: usize = 12;

    /// Most pieces.
    pub const MOST_PIECES: usize = 1 << 20;
    /// Most merges.
    pub const MOST_MERGES: usize = 1 << 20;
    /// Most parts of a template.
    pub const MOST_PARTS: usize = 64;
    /// Most bytes of a piece that is looked up.
    pub const MOST_PIECE_BYTES: usize = 128;
    /// Most bytes of a text of the map of characters.
    pub const MOST_MAPPED_BYTES: usize = 255;
    /// What marks the last piece of a word of CLIP.
    pub const WORD_END: u8 = 0xff;

    pub use super::super::standing::{
        ENTRY_BYTES as STANDING_ENTRY_BYTES, LEFT_STRIP, MOST_STANDING, MOST_STANDING_BYTES,
        NORMALIZED, RIGHT_STRIP, SINGLE_WORD, SPECIAL,
    };
}

/// Where a tokenizer section is damaged: the offset of the first field that has no meaning; the length
/// of the section where its length is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizerError {
    /// Offset from the start of the section, bytes.
    pub offset: usize,
}

impl core::fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the tokenizer is damaged at byte {}", self.offset)
    }
}

impl core::error::Error for TokenizerError {}

type Word = [u8; 4];

/// What a model is made of, beside the bytes of the pieces.
#[derive(Clone, Copy, Debug)]
struct Tables<'a> {
    /// One more than pieces.
    offsets: &'a [Word],
    /// Ids in ascending order of their pieces' bytes.
    sorted: &'a [Word],
    /// Left, right and rank, ascending by left and right.
    merges: &'a [[Word; 3]],
    /// f32 or f64 for each piece.
    scores: &'a [u8],
    #[cfg_attr(not(feature = "unigram"), expect(dead_code, reason = "byte pairs have no map"))]
    map: &'a [Word],
}

impl<'a> Tables<'a> {
    fn read(header: &[u8], rest: &mut Reader<'a>) -> Result<Self, TokenizerError> {
        let field = |range: Range<usize>| field_of(header, range) as usize;
        let (flags, unigram) = kind_of(header)?;
        let count = field(layout::COUNT);
        let score_bytes = if flags & layout::WIDE_SCORES == 0 { 4 } else { 8 };
        let offsets = rest.words(count + 1)?;
        let sorted = rest.words(field(layout::SORTED))?;
        let merges = rest.take(field(layout::MERGES).saturating_mul(layout::MERGE_BYTES))?;
        let scores = rest.take(if unigram { count * score_bytes } else { 0 })?;
        let map = rest.words(field(layout::MAP_WORDS))?;
        Ok(Self { offsets, sorted, merges: merges.as_chunks().0.as_chunks().0, scores, map })
    }
}

/// The pieces of a byte-pair or Unigram model in the bytes of a package, checked.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    flags: u32,
    unigram: bool,
    unknown: u32,
    lowest: f64,
    tables: Tables<'a>,
    single: &'a [[Word; 2]],
    pair: &'a [[Word; 2]],
    standing: StandingTokens<'a>,
    bytes: &'a [u8],
    #[cfg_attr(not(feature = "unigram"), expect(dead_code, reason = "byte pairs have no map"))]
    map_text: &'a str,
}

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    First,
    Second,
    Id(u32),
}

/// Bytes that are taken from the front, with the place of what comes next.
struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TokenizerError> {
        let (front, rest) = self.bytes.split_at_checked(length).ok_or(error(self.place))?;
        self.bytes = rest;
        self.place = self.place.saturating_add(length);
        Ok(front)
    }

    fn words(&mut self, count: usize) -> Result<&'a [Word], TokenizerError> {
        Ok(self.take(count.saturating_mul(4))?.as_chunks().0)
    }

    /// The parts around one text, and around two.
    fn templates(&mut self, header: &[u8]) -> Result<[&'a [[Word; 2]]; 2], TokenizerError> {
        let [single, pair] = [layout::SINGLE, layout::PAIR].map(|range| {
            self.take((field_of(header, range) as usize).saturating_mul(layout::PART_BYTES))
        });
        Ok([single?, pair?].map(|parts| parts.as_chunks().0.as_chunks().0))
    }

    /// The tokens that stand in texts, and the bytes of the pieces, which lie between them.
    fn standing(
        &mut self,
        header: &[u8],
    ) -> Result<(StandingTokens<'a>, &'a [u8]), TokenizerError> {
        let field = |range: Range<usize>| field_of(header, range) as usize;
        let place = self.place;
        let entries = self.take(field(layout::STANDING) * layout::STANDING_ENTRY_BYTES)?;
        let pieces = self.take(field(layout::PIECE_BYTES))?;
        let text = self.take(field(layout::STANDING_BYTES))?;
        let standing = StandingTokens::parse(entries, text, field(layout::COUNT));
        Ok((standing.map_err(|offset| error(place + offset))?, pieces))
    }

    /// The texts of a map of characters. None is long, so that a text grows by a bounded factor.
    fn mapped(&mut self, length: usize) -> Result<&'a str, TokenizerError> {
        let mut place = self.place;
        let all = core::str::from_utf8(self.take(length)?).map_err(|_| error(place))?;
        for text in all.split('\0') {
            if text.len() > layout::MOST_MAPPED_BYTES {
                return Err(error(place));
            }
            place += text.len() + 1;
        }
        Ok(all)
    }
}

const fn error(offset: usize) -> TokenizerError {
    TokenizerError { offset }
}

impl<'a> Pieces<'a> {
    /// Checks the bytes of a tokenizer section, in time linear in their number.
    ///
    /// # Errors
    /// A field has not the meaning that `FORMAT.md` gives it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TokenizerError> {
        let pieces = Self::parse_unordered(bytes)?;
        pieces.check_order()?;
        Ok(pieces)
    }

    /// [`Pieces::parse`] but for what grows with the number of pieces ([`Pieces::check_order`]): out of
    /// order, pieces are not found, and nothing else happens.
    #[inline(never)]
    pub(crate) fn parse_unordered(bytes: &'a [u8]) -> Result<Self, TokenizerError> {
        let mut rest = Reader { bytes, place: 0 };
        let header = rest.take(layout::HEADER_BYTES)?;
        let (flags, unigram) = kind_of(header)?;
        check_counts(header, unigram)?;
        let tables = Tables::read(header, &mut rest)?;
        let [single, pair] = rest.templates(header)?;
        let (standing, piece_bytes) = rest.standing(header)?;
        let map_text = rest.mapped(field_of(header, layout::MAP_BYTES) as usize)?;
        if !rest.bytes.is_empty() {
            return Err(error(bytes.len()));
        }
        let pieces = Self {
            flags,
            unigram,
            unknown: field_of(header, layout::UNKNOWN),
            lowest: lowest_of(header),
            tables,
            single,
            pair,
            standing,
            bytes: piece_bytes,
            map_text,
        };
        pieces.check_ids()?;
        Ok(pieces)
    }

    /// Ids of the header and the templates, and the order of texts in these.
    fn check_ids(&self) -> Result<(), TokenizerError> {
        let known = |id: u32| (id as usize) < self.len();
        let optional = !self.unigram && self.unknown == layout::NO_ID;
        if !optional && self.unknown as usize >= self.count() {
            return Err(error(layout::UNKNOWN.start));
        }
        let valid = |parts: &[[Word; 2]], texts: &[Part]| {
            let ids = parts_of(parts).all(|part| match part {
                Part::Id(id) => known(id),
                Part::First | Part::Second => true,
            });
            let types = parts.iter().all(|[_, kind]| u32::from_le_bytes(*kind) < 256);
            let own = parts_of(parts).filter(|part| !matches!(part, Part::Id(_)));
            ids && types && own.eq(texts.iter().copied())
        };
        if !valid(self.single, &[Part::First]) {
            return Err(error(layout::SINGLE.start));
        }
        if !(self.pair.is_empty() || valid(self.pair, &[Part::First, Part::Second])) {
            return Err(error(layout::PAIR.start));
        }
        Ok(())
    }

    /// What [`Pieces::parse_unordered`] leaves out: each offset, the order of pieces and merges, and
    /// the scores.
    pub(crate) fn check_order(&self) -> Result<(), TokenizerError> {
        let mut before = 0;
        for (place, offset) in self.tables.offsets.iter().enumerate() {
            let end = size(*offset);
            if end < before || end > self.bytes.len() || (place == 0 && end != 0) {
                return Err(error(layout::HEADER_BYTES + 4 * place));
            }
            before = end;
        }
        if before != self.bytes.len() {
            return Err(error(layout::PIECE_BYTES.start));
        }
        let mut place = layout::HEADER_BYTES + 4 * self.tables.offsets.len();
        let mut before: &[u8] = &[];
        for id in self.tables.sorted {
            let piece = self.piece(u32::from_le_bytes(*id)).unwrap_or(&[]);
            if piece <= before || piece.len() > layout::MOST_PIECE_BYTES {
                return Err(error(place));
            }
            (before, place) = (piece, place + 4);
        }
        self.check_merges(place)
    }

    fn check_merges(&self, mut place: usize) -> Result<(), TokenizerError> {
        let mut before = None;
        for [left, right, rank] in self.tables.merges {
            let key = [size(*left), size(*right)];
            let known = key.iter().all(|id| *id < self.count());
            if !known || before >= Some(key) || u32::from_le_bytes(*rank) == layout::NO_RANK {
                return Err(error(place));
            }
            (before, place) = (Some(key), place + layout::MERGE_BYTES);
        }
        self.check_scores(place)
    }

    fn check_scores(&self, place: usize) -> Result<(), TokenizerError> {
        let scores = || (0..self.count()).map(|id| self.score(id as u32)).filter(|_| self.unigram);
        if !scores().all(f64::is_finite) {
            return Err(error(place));
        }
        let lowest = scores().reduce(f64::min).unwrap_or(0.0);
        if lowest.to_bits() == self.lowest.to_bits() {
            Ok(())
        } else {
            Err(error(layout::LOWEST.start))
        }
    }

    /// Number of pieces of the model; those that only stand in texts may have ids above.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.tables.offsets.len().saturating_sub(1)
    }

    /// One above the largest id.
    #[must_use]
    pub fn len(&self) -> usize {
        self.standing.largest_id().map_or(0, |id| id as usize + 1).max(self.count())
    }

    /// There is no piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// It is a Unigram model; else one of byte pairs.
    #[must_use]
    pub const fn is_unigram(&self) -> bool {
        self.unigram
    }

    /// Whether a flag of [`layout`] is set.
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The bytes of a piece of the model: a text, or what only others complete to one.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<&'a [u8]> {
        let id = id as usize;
        let (start, end) =
            (self.tables.offsets.get(id)?, self.tables.offsets.get(id.checked_add(1)?)?);
        self.bytes.get(size(*start)..size(*end))
    }

    /// The bytes of an id: the token that stands in texts, or the piece.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&'a [u8]> {
        let standing = self.standing.by_id(id).map(|token| token.text.as_bytes());
        standing.or_else(|| self.piece(id))
    }

    /// The id of a piece that is looked up.
    #[must_use]
    pub fn id(&self, piece: &[u8]) -> Option<u32> {
        let found =
            self.tables.sorted.binary_search_by(|id| self.sorted_piece(*id).cmp(piece)).ok()?;
        self.tables.sorted.get(found).copied().map(u32::from_le_bytes)
    }

    /// The id of two pieces side by side.
    #[cfg(feature = "bpe")]
    pub(super) fn joined(&self, left: u32, right: u32) -> Option<u32> {
        let (left, right) = (self.piece(left)?, self.piece(right)?);
        let both = |piece: &'a [u8]| {
            let (front, back) = piece.split_at(left.len().min(piece.len()));
            front.cmp(left).then_with(|| back.cmp(right))
        };
        let found = self.tables.sorted.binary_search_by(|id| both(self.sorted_piece(*id))).ok()?;
        self.tables.sorted.get(found).copied().map(u32::from_le_bytes)
    }

    /// The rank of a merge.
    #[cfg(feature = "bpe")]
    pub(super) fn rank(&self, left: u32, right: u32) -> Option<u32> {
        let key = |[left, right, _]: &[Word; 3]| [*left, *right].map(u32::from_le_bytes);
        let found = self.tables.merges.binary_search_by_key(&[left, right], key).ok()?;
        self.tables.merges.get(found).map(|[_, _, rank]| u32::from_le_bytes(*rank))
    }

    /// The score of a piece.
    pub(super) fn score(&self, id: u32) -> f64 {
        let id = id as usize;
        if self.has(layout::WIDE_SCORES) {
            self.tables.scores.as_chunks().0.get(id).map_or(0.0, |bytes| f64::from_le_bytes(*bytes))
        } else {
            let narrow = self.tables.scores.as_chunks().0.get(id).copied();
            narrow.map_or(0.0, |bytes| f64::from(f32::from_le_bytes(bytes)))
        }
    }

    /// The lowest score of all.
    #[cfg(feature = "unigram")]
    pub(super) const fn lowest_score(&self) -> f64 {
        self.lowest
    }

    /// Hands every piece that `bytes` begin with to `found`, the shortest first: its id and length.
    #[cfg(feature = "unigram")]
    pub(super) fn prefixes(&self, bytes: &[u8], mut found: impl FnMut(u32, usize)) {
        let mut candidates = self.tables.sorted;
        for (length, byte) in bytes.iter().enumerate() {
            let next = |id: &Word| self.sorted_piece(*id).get(length).copied();
            let first = candidates.partition_point(|id| next(id) < Some(*byte));
            let rest = candidates.get(first..).unwrap_or(&[]);
            let end = rest.partition_point(|id| next(id) <= Some(*byte));
            candidates = rest.get(..end).unwrap_or(&[]);
            match candidates.first() {
                None => return,
                Some(id) if self.sorted_piece(*id).len() == length + 1 => {
                    found(u32::from_le_bytes(*id), length + 1);
                }
                Some(_) => {}
            }
        }
    }

    fn sorted_piece(&self, id: Word) -> &'a [u8] {
        self.piece(u32::from_le_bytes(id)).unwrap_or(&[])
    }

    /// The id of what has no piece.
    #[must_use]
    pub fn unknown(&self) -> Option<u32> {
        Some(self.unknown).filter(|id| *id != layout::NO_ID)
    }

    /// The tokens that stand in texts.
    pub(super) const fn standing(&self) -> &StandingTokens<'a> {
        &self.standing
    }

    /// Whether an id is only a mark, which no text shows.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.standing.by_id(id).is_some_and(|token| token.flags & layout::SPECIAL != 0)
    }

    /// The parts around one text, or around two.
    pub(super) fn template(&self, pair: bool) -> impl Iterator<Item = Part> + Clone + use<'a> {
        parts_of(if pair { self.pair } else { self.single })
    }

    /// The types of these parts.
    pub(super) fn types(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.pair.iter().map(|[_, kind]| kind[0])
    }

    /// The model says what two texts become.
    #[must_use]
    pub const fn has_pairs(&self) -> bool {
        !self.pair.is_empty()
    }

    /// The map of characters: a double array, and what its values are places in.
    #[cfg(feature = "unigram")]
    pub(super) const fn map(&self) -> (&'a [Word], &'a str) {
        (self.tables.map, self.map_text)
    }
}

fn parts_of(parts: &[[Word; 2]]) -> impl Iterator<Item = Part> + Clone {
    parts.iter().map(|[id, _]| match u32::from_le_bytes(*id) {
        layout::FIRST_TEXT => Part::First,
        layout::SECOND_TEXT => Part::Second,
        id => Part::Id(id),
    })
}

/// The flags, and whether it is a Unigram model.
fn kind_of(header: &[u8]) -> Result<(u32, bool), TokenizerError> {
    let flags = field_of(header, layout::FLAGS);
    let (known, unigram) = match field_of(header, layout::KIND) {
        layout::BYTE_PAIRS if cfg!(feature = "bpe") => (layout::PAIR_FLAGS, false),
        layout::UNIGRAM if cfg!(feature = "unigram") => (layout::UNIGRAM_FLAGS, true),
        _ => return Err(error(layout::KIND.start)),
    };
    if flags & !known != 0 {
        return Err(error(layout::FLAGS.start));
    }
    Ok((flags, unigram))
}

fn check_counts(header: &[u8], unigram: bool) -> Result<(), TokenizerError> {
    let field = |range: Range<usize>| field_of(header, range) as usize;
    let most_merges = if unigram { 0 } else { layout::MOST_MERGES };
    let most_map = if unigram { usize::MAX } else { 0 };
    if !(1..=layout::MOST_PIECES).contains(&field(layout::COUNT)) {
        return Err(error(layout::COUNT.start));
    }
    let limits = [
        (layout::SORTED, field(layout::COUNT)),
        (layout::MERGES, most_merges),
        (layout::STANDING, layout::MOST_STANDING),
        (layout::MAP_WORDS, most_map),
        (layout::MAP_BYTES, most_map),
        (layout::SINGLE, layout::MOST_PARTS),
        (layout::PAIR, layout::MOST_PARTS),
    ];
    for (range, most) in limits {
        if field(range.clone()) > most {
            return Err(error(range.start));
        }
    }
    let unused = header.get(layout::LOWEST.end..).unwrap_or(&[]);
    match unused.iter().position(|byte| *byte != 0) {
        Some(place) => Err(error(layout::LOWEST.end + place)),
        None => Ok(()),
    }
}

fn field_of(header: &[u8], range: Range<usize>) -> u32 {
    header.get(range).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn lowest_of(header: &[u8]) -> f64 {
    let bytes = header.get(layout::LOWEST).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0.0, f64::from_le_bytes)
}

fn size(word: Word) -> usize {
    u32::from_le_bytes(word) as usize
}
