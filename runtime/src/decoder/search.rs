//! Hypotheses: which live on, which have ended (`docs/method.md`, "Text out"). The greedy search is that of one.

use super::logits::{Best, Continuation};
use crate::format::limits;
use crate::kernels::math;
use crate::memory::AnswerCapacity;
use crate::tensor::Part;
use heapless::Vec;

/// What else a search does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// The answer holds times.
    pub(super) times: bool,
    /// An answer that says the same again and again ends.
    pub(super) ends_loops: bool,
    /// One hypothesis has a score too.
    pub(super) scored: bool,
}

/// A hypothesis that may go on.
#[derive(Clone, Copy)]
pub(super) struct Hypothesis {
    /// Where its ids and its keys lie.
    pub(super) slot: usize,
    /// The sum of the log-probabilities of its new ids.
    sum: f32,
}

/// A hypothesis that goes on with an id.
#[derive(Clone, Copy)]
struct Child {
    /// Which hypothesis.
    parent: usize,
    id: u32,
    sum: f32,
}

/// A slot whose contents are copied to another.
#[derive(Clone, Copy)]
pub(super) struct Fork {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The best hypothesis that has ended.
#[derive(Clone, Copy)]
struct Ended {
    score: f32,
    /// Its ids, start ids included and the end left out.
    length: usize,
    /// By the end id, and not by the length of the answer.
    by_end: bool,
}

/// Hypotheses of one answer.
pub(super) struct Hypotheses<'b> {
    /// `[beams, positions]`, and behind them the best that has ended.
    ids: &'b mut [u32],
    /// Positions of a slot.
    positions: usize,
    beams: usize,
    /// Start ids.
    start: usize,
    /// Ids of every living hypothesis, start ids included.
    pub(super) length: usize,
    pub(super) living: Vec<Hypothesis, { limits::BEAMS }>,
    ended: usize,
    best: Option<Ended>,
    end: u32,
    length_penalty: f32,
}

impl<'b> Hypotheses<'b> {
    /// None yet: [`start`](Self::start) makes the first, in ids that [`with_ids`](Self::with_ids) gives.
    pub(super) fn new(extent: AnswerCapacity, end: u32, length_penalty: f32) -> Self {
        Self {
            ids: &mut [],
            positions: extent.positions,
            beams: extent.beams,
            start: 0,
            length: 0,
            living: Vec::new(),
            ended: 0,
            best: None,
            end,
            length_penalty,
        }
    }

    /// One hypothesis: the start ids.
    pub(super) fn start(&mut self, start: impl Iterator<Item = u32>) {
        for (slot, id) in self.ids.iter_mut().take(self.positions).zip(start) {
            *slot = id;
            self.length += 1;
        }
        self.start = self.length;
        let _ = self.living.push(Hypothesis { slot: 0, sum: 0.0 });
    }

    /// The same with other memory for the ids of all hypotheses and one more, which holds what was there.
    pub(super) fn with_ids(self, ids: &mut [u32]) -> Hypotheses<'_> {
        Hypotheses { ids, ..self }
    }

    /// Positions and hypotheses that there is room for.
    pub(super) const fn extent(&self) -> AnswerCapacity {
        AnswerCapacity { positions: self.positions, beams: self.beams }
    }

    /// The ids of a slot, start ids included.
    pub(super) fn slot(&self, slot: usize) -> &[u32] {
        let first = slot * self.positions;
        self.ids.part(first..first + self.length)
    }

    /// New ids of the best hypothesis.
    pub(super) fn tokens(&self) -> &[u32] {
        let (slot, length) = match (self.best, self.living.first()) {
            (Some(best), _) => (self.beams, best.length),
            (None, Some(living)) => (living.slot, self.length),
            (None, None) => (0, self.start),
        };
        self.ids.part(slot * self.positions + self.start..slot * self.positions + length)
    }

    /// The score of the best that has ended.
    pub(super) fn score(&self) -> Option<f32> {
        self.best.map(|best| best.score)
    }

    /// New ids of every living hypothesis.
    pub(super) const fn new_length(&self) -> usize {
        self.length - self.start
    }

    /// The best of those that have ended has by its end id.
    pub(super) const fn best_has_ended(&self) -> bool {
        matches!(self.best, Some(Ended { by_end: true, .. }))
    }

    /// As many have ended as there are to be, or none is left.
    pub(super) fn is_over(&self) -> bool {
        self.ended >= self.beams || self.living.is_empty()
    }

    /// The sum of log-probabilities of `length` new ids over their length to the power of the penalty.
    fn score_of(&self, sum: f32, length: usize) -> f32 {
        let length = length as f32;
        match self.length_penalty {
            0.0 => sum,
            1.0 => sum / length,
            penalty => sum / math::exp(penalty * math::ln(length)),
        }
    }

    /// A hypothesis has ended: it is kept if it is the best.
    fn end(&mut self, slot: usize, score: f32, by_end: bool) {
        if self.best.is_none_or(|best| score > best.score) {
            let (first, last) = (slot * self.positions, self.beams * self.positions);
            self.ids.copy_within(first..first + self.length, last);
            self.best = Some(Ended { score, length: self.length, by_end });
        }
    }

    /// Those that live count as ended.
    pub(super) fn end_all(&mut self) {
        let new = self.length - self.start;
        for hypothesis in self.living.clone() {
            self.end(hypothesis.slot, self.score_of(hypothesis.sum, new), false);
        }
    }

    /// Goes on with the best continuations of all: an end among the best as many as there are
    /// hypotheses has ended, the best of the others live on. Returns what must be copied, in ids as in
    /// keys, before anything is appended.
    pub(super) fn expand(&mut self, best: &Best<'_>) -> Vec<Fork, { limits::BEAMS }> {
        let children = self.choose(best);
        let forks = self.place(&children);
        for fork in &forks {
            let (from, to) = (fork.from * self.positions, fork.to * self.positions);
            self.ids.copy_within(from..from + self.length, to);
        }
        for (hypothesis, child) in self.living.iter().zip(&children) {
            if let Some(slot) = self.ids.get_mut(hypothesis.slot * self.positions + self.length) {
                *slot = child.id;
            }
        }
        self.length += 1;
        forks
    }

    /// The best continuations, in order, by a merge of those of each hypothesis.
    fn choose(&mut self, best: &Best<'_>) -> Vec<Child, { limits::BEAMS }> {
        let mut next = [0usize; limits::BEAMS];
        let (mut children, mut rank) = (Vec::new(), 0);
        while children.len() < self.beams {
            let mut first: Option<(usize, Continuation, f32)> = None;
            for (parent, hypothesis) in self.living.iter().enumerate() {
                let index = next.get(parent).copied().unwrap_or_default();
                let Some(found) = best.get(parent, index) else { continue };
                let sum = hypothesis.sum + found.log_probability;
                if first.is_none_or(|(_, _, best)| sum > best) {
                    first = Some((parent, found, sum));
                }
            }
            let Some((parent, found, sum)) = first else { break };
            next.iter_mut().skip(parent).take(1).for_each(|next| *next += 1);
            if found.id != self.end {
                let _ = children.push(Child { parent, id: found.id, sum });
            } else if rank < self.beams {
                let slot = self.living.get(parent).map_or(0, |hypothesis| hypothesis.slot);
                self.end(slot, self.score_of(sum, self.length + 1 - self.start), true);
                self.ended += 1;
            }
            rank += 1;
        }
        children
    }

    /// Gives every child a slot: the first of a hypothesis keeps its slot, others take those of hypotheses
    /// without a child.
    fn place(&mut self, children: &[Child]) -> Vec<Fork, { limits::BEAMS }> {
        let (mut forks, mut placed) = (Vec::new(), Vec::<Hypothesis, { limits::BEAMS }>::new());
        let slot_of = |parent: usize| self.living.get(parent).map_or(0, |living| living.slot);
        let keeps = |slot: usize| children.iter().any(|child| slot_of(child.parent) == slot);
        let mut free = (0..self.beams).filter(|slot| !keeps(*slot));
        for (index, child) in children.iter().enumerate() {
            let from = slot_of(child.parent);
            let is_first = !children.iter().take(index).any(|other| other.parent == child.parent);
            let slot = if is_first { Some(from) } else { free.next() };
            debug_assert!(slot.is_some(), "there are as many free slots as further children");
            let Some(slot) = slot else { continue };
            if !is_first {
                let _ = forks.push(Fork { from, to: slot });
            }
            let _ = placed.push(Hypothesis { slot, sum: child.sum });
        }
        self.living = placed;
        forks
    }
}
