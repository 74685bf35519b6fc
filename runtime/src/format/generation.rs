//! The generation section: with what an answer begins and ends, and what it may not hold.

use super::codec::{Fields, size_at};
use super::error::FormatError;
use super::layout::{SectionKind, generation, limits};
use core::ops::Range;

/// Ids of a section, borrowed in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdList<'a>(&'a [[u8; 4]]);

impl<'a> IdList<'a> {
    /// Number of ids.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// No id.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every id, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        self.0.iter().map(|id| u32::from_le_bytes(*id))
    }

    /// The ids within a range, of a list that ascends.
    #[must_use]
    pub fn within(&self, ids: Range<u32>) -> Self {
        let place = |id: u32| self.0.partition_point(|own| u32::from_le_bytes(*own) < id);
        Self(self.0.get(place(ids.start)..place(ids.end)).unwrap_or_default())
    }

    /// Checks `bytes` as a shortlist: at least one id, each above the one before it.
    pub(super) fn shortlist(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let kind = SectionKind::Shortlist;
        let (ids, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || ids.is_empty() || ids.len() > limits::SHORTLIST {
            return Err(FormatError::SectionLength { kind, found: bytes.len() });
        }
        let list = Self(ids);
        match list.ascends() {
            true => Ok(list),
            false => Err(FormatError::InvalidField { kind, offset: 0 }),
        }
    }

    /// Each id is above the one before it.
    fn ascends(&self) -> bool {
        self.iter().zip(self.iter().skip(1)).all(|(before, id)| before < id)
    }
}

/// How an answer is generated.
#[derive(Clone, Copy, Debug)]
pub struct GenerationRules<'a> {
    /// Factor on a row of the token table.
    pub embedding_scale: f32,
    /// Factor on the logits.
    pub logit_scale: f32,
    /// The id that ends an answer.
    pub end: u32,
    /// Most new tokens when a call names none.
    pub longest: usize,
    /// Hypotheses when a call names none.
    pub beams: usize,
    /// A hypothesis' score is its log-probability over its length to this power.
    pub length_penalty: f32,
    /// Ids that an answer begins with; at least one.
    pub start: IdList<'a>,
    /// Ids that never follow, ascending.
    pub suppressed: IdList<'a>,
    /// Ids that do not come first, ascending.
    pub suppressed_first: IdList<'a>,
}

impl<'a> GenerationRules<'a> {
    /// Checks `bytes` as a generation section.
    #[inline(never)]
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let kind = SectionKind::Generation;
        let wrong_length = FormatError::SectionLength { kind, found: bytes.len() };
        let (head, ids) = bytes.split_at_checked(generation::IDS).ok_or(wrong_length)?;
        let fields = Fields { kind, bytes: head };
        let (mut ids, rest) = ids.as_chunks::<4>();
        let mut lists = [IdList::default(); 3];
        let fewest = [1, 0, 0];
        for ((list, range), fewest) in lists.iter_mut().zip(generation::COUNTS).zip(fewest) {
            let count = fields.size(range, fewest..limits::IDS + 1)?;
            let (own, behind) = ids.split_at_checked(count).ok_or(wrong_length)?;
            (*list, ids) = (IdList(own), behind);
        }
        if !rest.is_empty() || !ids.is_empty() {
            return Err(wrong_length);
        }
        let [start, suppressed, suppressed_first] = lists;
        if !suppressed.ascends() || !suppressed_first.ascends() {
            return Err(FormatError::InvalidField { kind, offset: generation::IDS });
        }
        if size_at(head, generation::IDS - 4..generation::IDS) != 0 {
            return Err(FormatError::InvalidField { kind, offset: generation::IDS - 4 });
        }
        let positive = |x: f32| x > 0.0;
        Ok(Self {
            embedding_scale: fields.float(generation::EMBEDDING_SCALE, positive)?,
            logit_scale: fields.float(generation::LOGIT_SCALE, positive)?,
            end: fields.size(generation::END, 0..limits::VOCABULARY)? as u32,
            longest: fields.size(generation::LONGEST, 1..limits::POSITIONS + 1)?,
            beams: fields.size(generation::BEAMS, 1..limits::BEAMS + 1)?,
            length_penalty: fields.float(generation::LENGTH_PENALTY, |_| true)?,
            start,
            suppressed,
            suppressed_first,
        })
    }

    /// Every id of every list, and the end.
    pub fn ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        let lists = self.start.iter().chain(self.suppressed.iter());
        lists.chain(self.suppressed_first.iter()).chain([self.end])
    }
}

/// The bytes of a generation section, one by one, for a writer: the settings of `rules` with other
/// lists of ids, start ids, suppressed ids and ids suppressed at the begin.
pub fn encode_generation<'s>(
    rules: &GenerationRules<'_>,
    lists: [&'s [u32]; 3],
) -> impl Iterator<Item = u8> + use<'s> {
    let fields = [
        rules.embedding_scale.to_bits(),
        rules.logit_scale.to_bits(),
        rules.end,
        rules.longest as u32,
        rules.beams as u32,
        rules.length_penalty.to_bits(),
    ];
    let counts = lists.map(|list| list.len() as u32);
    let ids = lists.into_iter().flatten().copied();
    let values = fields.into_iter().chain(counts).chain([0]).chain(ids);
    values.flat_map(u32::to_le_bytes)
}
