//! Byte-pair encoding: the bytes of a word, merged by rank.

use super::pieces::{Pieces, layout};
use super::wordpiece::Ids;

/// Most bytes that are merged at once.
const WINDOW: usize = 256;
/// Before so many bytes no word is cut.
const KEPT: usize = WINDOW / 2;
/// The rank of a pair that is no merge.
const NEVER: u32 = layout::NO_RANK;

/// A word while it is read: its bytes, and the pieces that they are.
///
/// Merging takes time of at most the square of the number of bytes. A longer word is merged in
/// windows that overlap by half: the pieces of the first half are kept, and the bytes behind are
/// merged again with what follows. The answer is that of the whole word wherever the next window
/// begins with the piece that came there before, since neighbours that are not merged alone are not
/// merged between others either.
pub(super) struct BytePairs<'p, 'a> {
    pieces: &'p Pieces<'a>,
    bytes: heapless::Vec<u8, WINDOW>,
    parts: heapless::Vec<Part, WINDOW>,
    /// So many bytes at the front were merged before; those without a piece are counted.
    seen: usize,
    whole: bool,
}

/// A piece, the bytes it has, and the rank of the merge with the next one.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: u32,
    length: u16,
    rank: u32,
}

impl<'p, 'a> BytePairs<'p, 'a> {
    pub(super) fn new(pieces: &'p Pieces<'a>) -> Self {
        let (bytes, parts) = (heapless::Vec::new(), heapless::Vec::new());
        Self { pieces, bytes, parts, seen: 0, whole: true }
    }

    /// Reads a character of the word.
    pub(super) fn push(&mut self, c: char, ids: &mut Ids<'_>) {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        if self.bytes.len() + bytes.len() > WINDOW {
            self.make_room(ids);
        }
        // There is room for it.
        let _ = self.bytes.extend_from_slice(bytes);
    }

    /// Ends the word: the ids that are left go to `ids`.
    pub(super) fn finish(&mut self, ids: &mut Ids<'_>) {
        if !self.bytes.is_empty() {
            match self.as_it_is() {
                Some(id) => ids.push(id),
                None => {
                    self.merge(true, ids);
                    self.parts.iter().for_each(|part| ids.push(part.id));
                }
            }
        }
        self.bytes.clear();
        self.seen = 0;
        self.whole = true;
    }

    /// The word, if it is a piece that needs no merging.
    fn as_it_is(&self) -> Option<u32> {
        let looked_up = self.whole && self.pieces.has(layout::WHOLE_WORDS);
        if looked_up { self.pieces.id(&self.bytes) } else { None }
    }

    /// Gives the pieces of the first half away.
    fn make_room(&mut self, ids: &mut Ids<'_>) {
        self.whole = false;
        self.leave_out(ids);
        if self.bytes.len() <= KEPT {
            return;
        }
        self.merge(false, ids);
        let mut end = 0;
        for part in &self.parts {
            if end >= KEPT {
                break;
            }
            ids.push(part.id);
            end += usize::from(part.length);
        }
        let end = end.min(self.bytes.len());
        let left = self.bytes.len() - end;
        self.bytes.rotate_left(end);
        self.bytes.truncate(left);
        self.seen = left;
    }

    /// Takes the bytes out that have no part: what stands beside them is merged as neighbours. None is
    /// the last of its word.
    fn leave_out(&mut self, ids: &mut Ids<'_>) {
        let (pieces, before) = (self.pieces, self.bytes.len());
        if pieces.unknown().is_none() {
            self.bytes.retain(|byte| pieces.id(&[*byte]).is_some());
            ids.unknown += before - self.bytes.len();
        }
    }

    /// Makes the parts of the bytes.
    fn merge(&mut self, is_end: bool, ids: &mut Ids<'_>) {
        self.parts.clear();
        let last = if is_end { self.bytes.len().saturating_sub(1) } else { WINDOW };
        for (place, byte) in self.bytes.iter().enumerate() {
            let marked = [*byte, layout::WORD_END];
            let ends = place == last && self.pieces.has(layout::CLIP);
            let own = self.pieces.id(if ends { &marked } else { &marked[..1] });
            ids.unknown += usize::from(own.is_none() && place >= self.seen);
            if let Some(id) = own.or(self.pieces.unknown()) {
                // As many as bytes at most.
                let _ = self.parts.push(Part { id, length: 1, rank: NEVER });
            }
        }
        (0..self.parts.len()).for_each(|place| self.set_rank(place));
        while let Some(place) = self.lowest() {
            self.join(place);
        }
    }

    /// The first part with the lowest rank.
    fn lowest(&self) -> Option<usize> {
        let ranks = self.parts.iter().enumerate().filter(|(_, part)| part.rank != NEVER);
        ranks.min_by_key(|(_, part)| part.rank).map(|(place, _)| place)
    }

    fn set_rank(&mut self, place: usize) {
        let next = self.parts.get(place + 1).map(|part| part.id);
        let pieces = self.pieces;
        if let Some(part) = self.parts.get_mut(place) {
            let rank = next.and_then(|next| pieces.rank(part.id, next));
            part.rank = rank.unwrap_or(NEVER);
        }
    }

    /// Merges a part with the next one; if their piece is missing they stay apart.
    fn join(&mut self, place: usize) {
        let (Some(left), Some(right)) = (self.parts.get(place), self.parts.get(place + 1)) else {
            return;
        };
        let (joined, length) = (self.pieces.joined(left.id, right.id), left.length + right.length);
        let Some(part) = self.parts.get_mut(place) else { return };
        match joined {
            None => part.rank = NEVER,
            Some(id) => {
                *part = Part { id, length, rank: NEVER };
                self.parts.remove(place + 1);
                self.set_rank(place);
                if let Some(before) = place.checked_sub(1) {
                    self.set_rank(before);
                }
            }
        }
    }
}
