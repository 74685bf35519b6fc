//! Texts to ids of byte-pair and Unigram models.

#[cfg(feature = "bpe")]
use super::bpe::BytePairs;
#[cfg(feature = "unigram")]
use super::charsmap::CharsMap;
#[cfg(feature = "compose")]
use super::compose::Composed;
use super::first_bytes::FirstBytes;
use super::pieces::{Part, Pieces, layout};
use super::stream::{MARK, Source, Stream, White};
#[cfg(feature = "unigram")]
use super::unigram::Lattice;
use super::wordpiece::{Encoding, Ids, longest_first, put};
#[cfg(feature = "bpe")]
use super::words::{clip_word, gpt2_word};

/// Makes token ids of texts with the pieces of a tokenizer section, as `tokenizers` does.
///
/// ```text
/// text: tokens that stand in it | other segments
/// segment: normalised -> tokens that stand in it | words
/// word: merged by rank (byte pairs), or the pieces of the largest sum of scores (Unigram)
/// ```
///
/// Time grows with the length of the text; a word takes at most the square of its length, of which 256
/// bytes are looked at together. About 5 KB of stack, nothing else.
#[derive(Clone, Copy, Debug)]
pub struct PieceTokenizer<'a> {
    pieces: Pieces<'a>,
    raw: FirstBytes,
    normalized: FirstBytes,
}

impl<'a> PieceTokenizer<'a> {
    /// Uses the pieces and rules of a section.
    #[must_use]
    pub fn new(pieces: Pieces<'a>) -> Self {
        let [raw, normalized] = [false, true].map(|group| pieces.standing().first_bytes(group));
        Self { pieces, raw, normalized }
    }

    /// The pieces.
    #[must_use]
    pub const fn pieces(&self) -> &Pieces<'a> {
        &self.pieces
    }

    /// Writes the ids of a text, with the tokens around it, to the front of `ids`.
    ///
    /// `ids.len()` is the largest number of tokens: pieces that do not fit are left out, and what stands
    /// around the text is there all the same. With fewer places than that needs only the first of it is
    /// written; [`Encoding::total`] is right in any case.
    pub fn encode(&self, text: &str, ids: &mut [u32]) -> Encoding {
        let (most, special) = (ids.len(), self.special_count(false));
        let before = self.before(false, Part::First);
        let room = most.saturating_sub(special);
        let mut own = Ids::new(ids.get_mut(before..before + room));
        self.push_text(text, &mut own);
        let (kept, total, unknown) = (own.kept(), own.total, own.unknown);
        self.put_special(ids, false, [kept, 0]);
        Encoding::new(total.saturating_add(special), most, unknown)
    }

    /// The same of two texts, and the types of their tokens to `types`; nothing where the model does not
    /// say what two texts become.
    ///
    /// The largest number of tokens is the smaller of `ids.len()` and `types.len()`; texts are cut as by
    /// [`WordPiece::encode_pair`](super::WordPiece::encode_pair).
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
        ids: &mut [u32],
        types: &mut [u8],
    ) -> Encoding {
        if !self.pieces.has_pairs() {
            return Encoding::new(0, 0, 0);
        }
        let most = ids.len().min(types.len());
        let ids = ids.get_mut(..most).unwrap_or_default();
        let special = self.special_count(true);
        let room = most.saturating_sub(special);
        let start = self.before(true, Part::First);
        let mut a = Ids::new(ids.get_mut(start..start + room));
        self.push_text(first, &mut a);
        let (first_total, first_unknown) = (a.total, a.unknown);
        let mut b = Ids::new(None);
        self.push_text(second, &mut b);

        let (first_len, second_len) = longest_first(first_total, b.total, room);
        let start = self.before(true, Part::Second) + first_len;
        self.push_text(second, &mut Ids::new(ids.get_mut(start..start + second_len)));
        self.put_special(ids, true, [first_len, second_len]);
        self.put_types(types.get_mut(..most).unwrap_or_default(), [first_len, second_len]);
        let total = first_total.saturating_add(b.total).saturating_add(special);
        Encoding::new(total, most, first_unknown + b.unknown)
    }

    /// How many tokens stand around one text, or around two.
    #[must_use]
    pub fn special_count(&self, pair: bool) -> usize {
        self.pieces.template(pair).filter(|part| matches!(part, Part::Id(_))).count()
    }

    /// Whether an id stands around texts.
    pub(super) fn surrounds(&self, id: u32) -> bool {
        let parts = self.pieces.template(false).chain(self.pieces.template(true));
        parts.into_iter().any(|part| part == Part::Id(id))
    }

    /// How many tokens stand before a part of the template, texts not counted.
    fn before(&self, pair: bool, part: Part) -> usize {
        let before = self.pieces.template(pair).take_while(|own| *own != part);
        before.filter(|own| matches!(own, Part::Id(_))).count()
    }

    fn put_special(&self, ids: &mut [u32], pair: bool, [first, second]: [usize; 2]) {
        let mut place = 0;
        for part in self.pieces.template(pair) {
            place += match part {
                Part::First => first,
                Part::Second => second,
                Part::Id(id) => {
                    put(ids, place, id);
                    1
                }
            };
        }
    }

    fn put_types(&self, types: &mut [u8], [first, second]: [usize; 2]) {
        let parts = self.pieces.template(true).zip(self.pieces.types());
        let all = parts.flat_map(|(part, kind)| {
            let count = match part {
                Part::First => first,
                Part::Second => second,
                Part::Id(_) => 1,
            };
            core::iter::repeat_n(kind, count)
        });
        types.iter_mut().zip(all).for_each(|(own, kind)| *own = kind);
    }

    fn push_text(&self, text: &str, ids: &mut Ids<'_>) {
        let (mut rest, mut before, mut at_start) = (text, None, true);
        let standing = self.pieces.standing();
        while let Some(found) = standing.find(false, &self.raw, before, rest.chars()) {
            let (segment, behind) = split_at(rest, found.place.start);
            let (token, behind) = split_at(behind, found.place.len());
            self.push_segment(segment, at_start, ids);
            ids.push(found.id);
            (rest, before, at_start) = (behind, token.chars().next_back(), false);
        }
        self.push_segment(rest, at_start, ids);
    }

    fn push_segment(&self, segment: &str, mut at_start: bool, ids: &mut Ids<'_>) {
        let (mut rest, mut before) = (self.normalized(segment), None);
        let standing = self.pieces.standing();
        while let Some(found) = standing.find(true, &self.normalized, before, rest.clone()) {
            self.push_part(rest.clone().take(found.place.start), at_start, ids);
            ids.push(found.id);
            before = rest.nth(found.place.end.saturating_sub(1));
            at_start = false;
        }
        self.push_part(rest.take(usize::MAX), at_start, ids);
    }

    /// The characters of a text after normalisation.
    #[must_use]
    pub fn normalized<'t>(&self, text: &'t str) -> Stream<'t>
    where
        'a: 't,
    {
        let squeeze =
            match (self.pieces.has(layout::SQUEEZE), self.pieces.has(layout::SQUEEZE_MARK)) {
                (_, true) => Some(MARK),
                (squeeze, false) => squeeze.then_some(' '),
            };
        let white = White { trim_end: self.pieces.has(layout::TRIM_END), squeeze };
        #[cfg(feature = "unigram")]
        if let (array @ [_, ..], given) = self.pieces.map() {
            return Stream::new(Source::Mapped(CharsMap::new(array, given).map(text)), white);
        }
        let source = match self.pieces.has(layout::COMPOSE) {
            #[cfg(feature = "compose")]
            true => Source::Composed(Composed::new(text)),
            _ => Source::Plain(text.chars()),
        };
        let stream = Stream::new(source, white);
        if self.pieces.has(layout::CLIP) { stream.in_lower_case() } else { stream }
    }

    fn push_part(
        &self,
        characters: impl Iterator<Item = char> + Clone,
        at_start: bool,
        ids: &mut Ids<'_>,
    ) {
        #[cfg(feature = "unigram")]
        if self.pieces.is_unigram() {
            return self.push_marked(characters, at_start, ids);
        }
        #[cfg(feature = "bpe")]
        self.push_byte_words(characters, ids);
        let _ = at_start;
    }

    /// Words by white space, each with a mark before it.
    #[cfg(feature = "unigram")]
    fn push_marked(
        &self,
        characters: impl Iterator<Item = char>,
        at_start: bool,
        ids: &mut Ids<'_>,
    ) {
        let has = |flag| self.pieces.has(flag);
        let mut word = Lattice::new(&self.pieces);
        let mut begins = true;
        for (place, c) in characters.enumerate() {
            if has(layout::SPLIT_WHITE) && c.is_whitespace() {
                word.finish(ids);
                begins = true;
                continue;
            }
            let c = if c == ' ' { MARK } else { c };
            let first = at_start && place == 0 && has(layout::PREPEND_FIRST);
            if begins && c != MARK && (first || has(layout::PREPEND)) {
                word.push(MARK, ids);
            } else if !begins && c == MARK && has(layout::SPLIT_WORDS) {
                word.finish(ids);
            }
            begins = false;
            word.push(c, ids);
        }
        word.finish(ids);
    }

    /// Words by the pattern.
    #[cfg(feature = "bpe")]
    fn push_byte_words(&self, characters: impl Iterator<Item = char> + Clone, ids: &mut Ids<'_>) {
        let first = characters.clone().next();
        let space = first.is_some_and(|c| c != ' ') && self.pieces.has(layout::PREFIX_SPACE);
        let mut rest = space.then_some(' ').into_iter().chain(characters);
        let mut word = BytePairs::new(&self.pieces);
        loop {
            let [dropped, length] = match self.pieces.has(layout::CLIP) {
                true => clip_word(rest.clone()),
                false => [0, gpt2_word(&rest)],
            };
            if length == 0 {
                return;
            }
            rest.by_ref().take(dropped).for_each(drop);
            rest.by_ref().take(length).for_each(|c| word.push(c, ids));
            word.finish(ids);
        }
    }
}

/// The first characters of a text, and the others.
fn split_at(text: &str, characters: usize) -> (&str, &str) {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(place, _)| place);
    text.split_at_checked(end).unwrap_or((text, ""))
}
