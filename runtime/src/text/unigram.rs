//! Unigram: the pieces of a word with the largest sum of scores (Viterbi).

use super::pieces::{Pieces, layout};
use super::wordpiece::Ids;

/// Bytes of a word that are held at once.
const WINDOW: usize = 2 * layout::MOST_PIECE_BYTES;
/// What is taken off the lowest score for a character without a piece.
const PENALTY: f64 = 10.0;
/// No piece ends here.
const NONE: u16 = u16::MAX;

/// The best way to one place of the word.
#[derive(Clone, Copy, Debug)]
struct Node {
    score: f64,
    /// The last piece.
    id: u32,
    /// Where that piece starts.
    start: u16,
    /// The end of the piece from here on, while pieces are handed out.
    next: u16,
}

const UNREACHED: Node = Node { score: 0.0, id: 0, start: NONE, next: 0 };

/// A word while it is read.
///
/// At most 256 bytes are held. When they are full, the pieces up to where all ways that are still open
/// meet are decided, and make room: the answer is that of the whole word. Only if they never meet
/// within the window (no language does that) the best way up to it is taken.
///
/// Sums are f64, taken from the start of the word, as `tokenizers` takes them.
pub(super) struct Lattice<'p, 'a> {
    pieces: &'p Pieces<'a>,
    unknown_score: f64,
    bytes: heapless::Vec<u8, WINDOW>,
    nodes: [Node; WINDOW + 1],
    /// Up to here all pieces that start before are known.
    reached: usize,
    /// The last id was the unknown one: the next is part of it.
    unknown: bool,
}

impl<'p, 'a> Lattice<'p, 'a> {
    pub(super) fn new(pieces: &'p Pieces<'a>) -> Self {
        Self {
            pieces,
            unknown_score: pieces.lowest_score() - PENALTY,
            bytes: heapless::Vec::new(),
            nodes: [UNREACHED; WINDOW + 1],
            reached: 0,
            unknown: false,
        }
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
        let end = self.bytes.len();
        self.reach(end);
        self.hand_out(end, ids);
        self.nodes.iter_mut().take(end + 1).for_each(|node| *node = UNREACHED);
        self.bytes.clear();
        (self.reached, self.unknown) = (0, false);
    }

    /// Follows the pieces from every place before `end`.
    fn reach(&mut self, end: usize) {
        while self.reached < end {
            let start = self.reached;
            let rest = self.bytes.get(start..).unwrap_or(&[]);
            let single = rest.first().map_or(1, |byte| character_bytes(*byte));
            let score = self.nodes.get(start).map_or(0.0, |node| node.score);
            let (nodes, pieces) = (&mut self.nodes, self.pieces);
            let mut has_single = false;
            pieces.prefixes(rest, |id, length| {
                has_single |= length == single;
                improve(nodes, start, length, pieces.score(id) + score, id);
            });
            if let Some(id) = pieces.unknown().filter(|_| !has_single) {
                improve(nodes, start, single, self.unknown_score + score, id);
            }
            self.reached = start + single;
        }
    }

    /// Decides pieces from the front, and gives their bytes up.
    fn make_room(&mut self, ids: &mut Ids<'_>) {
        self.reach(self.bytes.len().saturating_sub(layout::MOST_PIECE_BYTES));
        let open = self.nodes.iter().enumerate().skip(self.reached);
        let open = open.filter(|(_, node)| node.start != NONE).map(|(place, _)| place);
        let mut end = open.fold(self.reached, |meeting, place| self.meet(meeting, place));
        if end == 0 {
            end = self.reached;
        }
        self.hand_out(end, ids);
        self.bytes.rotate_left(end);
        self.bytes.truncate(self.bytes.len().saturating_sub(end));
        self.shift(end);
    }

    /// Where the ways to two places part.
    fn meet(&self, mut a: usize, mut b: usize) -> usize {
        while a != b {
            let later = if a > b { &mut a } else { &mut b };
            *later = self.start(*later);
        }
        a
    }

    /// The start of the piece that ends at a place, always before it.
    fn start(&self, place: usize) -> usize {
        let start = self.nodes.get(place).map_or(0, |node| usize::from(node.start));
        start.min(place.saturating_sub(1))
    }

    /// Moves the nodes to the front; ways that start before `end` are not open any more.
    fn shift(&mut self, end: usize) {
        self.nodes.rotate_left(end);
        let kept = self.nodes.len().saturating_sub(end);
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let open = place < kept && node.start != NONE && usize::from(node.start) >= end;
            let first = place == 0;
            *node = match (open, first) {
                (true, false) => Node { start: node.start - end as u16, ..*node },
                (_, true) => Node { start: NONE, ..*node },
                _ => UNREACHED,
            };
        }
        self.reached = self.reached.saturating_sub(end);
    }

    /// Writes the ids of the best way to `end`.
    fn hand_out(&mut self, end: usize, ids: &mut Ids<'_>) {
        let mut place = end;
        while place > 0 {
            let start = self.start(place);
            if let Some(node) = self.nodes.get_mut(start) {
                node.next = place as u16;
            }
            place = start;
        }
        while place < end {
            let next = self.nodes.get(place).map_or(end, |node| usize::from(node.next));
            let next = next.max(place + 1);
            let id = self.nodes.get(next).map_or(0, |node| node.id);
            // The text of the unknown piece, alone, is that piece.
            let bytes = self.bytes.get(place..next);
            let alone = self.pieces.piece(id) == bytes && !self.unknown_after(next, end);
            self.push_id(id, [place, next], alone, ids);
            place = next;
        }
    }

    /// Whether the piece behind a place is the unknown one.
    fn unknown_after(&self, place: usize, end: usize) -> bool {
        let next = self.nodes.get(place).filter(|_| place < end).map(|node| usize::from(node.next));
        let id = next.and_then(|next| self.nodes.get(next)).map(|node| node.id);
        id.is_some() && id == self.pieces.unknown()
    }

    fn push_id(&mut self, id: u32, [start, end]: [usize; 2], alone: bool, ids: &mut Ids<'_>) {
        let is_unknown = self.pieces.unknown() == Some(id);
        if !is_unknown {
            ids.push(id);
        } else if self.pieces.has(layout::BYTE_FALLBACK) && (self.unknown || !alone) {
            for byte in self.bytes.get(start..end).unwrap_or(&[]) {
                ids.push(self.pieces.id(&byte_piece(*byte)).unwrap_or(id));
            }
        } else if !self.unknown {
            ids.unknown += 1;
            ids.push(id);
        }
        self.unknown = is_unknown;
    }
}

/// Takes a way to `start + length` if it is the first or better.
fn improve(nodes: &mut [Node], start: usize, length: usize, score: f64, id: u32) {
    if let Some(node) = nodes.get_mut(start + length)
        && (node.start == NONE || score > node.score)
    {
        *node = Node { score, id, start: start as u16, next: 0 };
    }
}

/// Bytes of the character that begins with a byte.
const fn character_bytes(first: u8) -> usize {
    match first {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
    }
}

/// The piece of a byte: `<0x0A>`.
fn byte_piece(byte: u8) -> [u8; 6] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>']
}
