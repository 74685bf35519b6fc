//! An answer at work.

use super::deadline::AnswerChoice;
use super::logits::{Best, Suppressed};
use super::observer::StepObserver;
use super::search::{Hypotheses, Manner};
use super::step::{Entering, Step};
use super::times::TimeRule;
use crate::executor::RunError;
use crate::format::{IdList, limits};
use crate::memory::KeyExtent;
use crate::routing::DeadlineChoice;
use core::time::Duration;
use heapless::Vec;

/// The answer of one inference, growing; in the arena until the next.
///
/// The caller pulls: it may show a token, stop, or feed a watchdog between two steps.
pub struct Generation<'r> {
    pub(super) step: Step<'r, 'r>,
    pub(super) logits: &'r mut [f32],
    pub(super) best: Best<'r>,
    pub(super) hypotheses: Hypotheses<'r>,
    /// New tokens still allowed.
    pub(super) left: usize,
    /// Positions that have passed the layers.
    pub(super) done: usize,
    pub(super) over: bool,
    pub(super) manner: Manner,
    pub(super) choice: Option<AnswerChoice>,
}

/// Why an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// By its end id.
    End,
    /// It is as long as was asked for.
    Longest,
    /// It says the same again and again.
    Loop {
        /// New tokens until it does, what is repeated once among them.
        tokens: usize,
    },
}

/// An answer that is set aside: what it has besides its arena, without a borrow. [`Generator::resume`] goes on
/// with it, so a program may keep generator and answer apart, or hold neither between two steps.
///
/// [`Generator::resume`]: super::Generator::resume
pub struct PausedGeneration {
    /// Without their ids, which stay in the arena.
    pub(super) hypotheses: Hypotheses<'static>,
    /// Keys and values of the encoder's states in one layer.
    pub(super) memory: KeyExtent,
    pub(super) left: usize,
    pub(super) done: usize,
    pub(super) over: bool,
    pub(super) manner: Manner,
    pub(super) choice: Option<AnswerChoice>,
}

impl core::fmt::Debug for PausedGeneration {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let extent = self.hypotheses.extent();
        f.debug_struct("PausedGeneration").field("extent", &extent).finish_non_exhaustive()
    }
}

impl core::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Generation").field("tokens", &self.tokens()).finish_non_exhaustive()
    }
}

impl Generation<'_> {
    /// One more token for every hypothesis. False when there is none: the answer has ended, or is as long as
    /// was asked for.
    ///
    /// # Errors
    /// [`RunError::NotFinite`]: a logit is NaN or infinite, and there is no answer.
    pub fn step(&mut self) -> Result<bool, RunError> {
        self.step_observed(&mut ())
    }

    /// The same, and shows the inner states to `observer`.
    ///
    /// # Errors
    /// As [`Generation::step`].
    pub fn step_observed(&mut self, observer: &mut impl StepObserver) -> Result<bool, RunError> {
        if self.over {
            return Ok(false);
        }
        let is_first = self.hypotheses.new_length() == 0;
        let rows = self.forward(observer);
        let rules = *self.step.decoder.rules();
        let first = if is_first { rules.suppressed_first } else { IdList::default() };
        let channels = self.step.decoder.channels();
        let speech = self.step.decoder.speech().filter(|_| self.manner.times);
        let times = speech.map(|speech| TimeRule::new(speech, rules.end, self.tokens()));
        let suppressed = Suppressed { always: rules.suppressed, first, channels, times };
        let Self { best, step, logits, hypotheses, .. } = self;
        if !best.find(step, logits, rows, &suppressed, observer) {
            self.over = true;
            return Err(RunError::NotFinite);
        }
        let forks = hypotheses.expand(best);
        forks.iter().for_each(|fork| step.fork(fork.from, fork.to));
        self.left = self.left.saturating_sub(1);
        if self.hypotheses.is_over() {
            self.over = true;
            return Ok(false);
        }
        if self.left == 0 || self.repeats().is_some() {
            self.hypotheses.end_all();
            self.over = true;
        }
        Ok(true)
    }

    /// Sets the answer aside. The arena must stay as it is until [`Generator::resume`]: what another call has
    /// overwritten gives another answer, and does no other harm.
    ///
    /// [`Generator::resume`]: super::Generator::resume
    #[must_use]
    pub fn pause(self) -> PausedGeneration {
        let Self { step, hypotheses, left, done, over, manner, choice, .. } = self;
        let (hypotheses, memory) = (hypotheses.with_ids(&mut []), step.memory_extent);
        PausedGeneration { hypotheses, memory, left, done, over, manner, choice }
    }

    /// What has not yet passed the layers: the start ids at first, then the last id of each hypothesis. Returns
    /// the number of rows.
    fn forward(&mut self, observer: &mut impl StepObserver) -> usize {
        let length = self.hypotheses.length;
        let vocabulary = self.step.decoder.vocabulary();
        let mut rows = 0;
        for position in self.done..length {
            let mut entering = Vec::<Entering, { limits::BEAMS }>::new();
            for living in &self.hypotheses.living {
                let id = self.hypotheses.slot(living.slot).get(position).copied();
                // Of a resumed answer: nobody knows what was done to its arena.
                let id = id.filter(|id| (*id as usize) < vocabulary).unwrap_or_default();
                let _ = entering.push(Entering { slot: living.slot, id });
            }
            self.step.forward(&entering, position, observer);
            rows = entering.len();
        }
        self.done = length;
        rows
    }

    /// New tokens of the best hypothesis, start ids and the end left out. With one beam they only grow, so they
    /// may be shown as they come.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        self.hypotheses.tokens()
    }

    /// The score of the best hypothesis that has ended: its log-probability over its length to the power of the
    /// length penalty. `None` before one has, and with one beam unless it is [asked for](super::Search::scored).
    #[must_use]
    pub fn score(&self) -> Option<f32> {
        self.hypotheses.score().filter(|_| self.manner.scored || self.hypotheses.extent().beams > 1)
    }

    /// There is no further token: [`step`](Self::step) would do nothing.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// The answer has ended by its end id, and not by its length.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.over && self.hypotheses.best_has_ended()
    }

    /// Why it is over; `None` before it is.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        let ending = match (self.hypotheses.best_has_ended(), self.repeats()) {
            (true, _) => Ending::End,
            (false, Some(tokens)) => Ending::Loop { tokens },
            (false, None) => Ending::Longest,
        };
        self.over.then_some(ending)
    }

    /// New tokens until the answer says the same again and again, if it does and is not to. Times are all alike.
    fn repeats(&self) -> Option<usize> {
        let speech = self.step.decoder.speech();
        let is_time = |id: u32| speech.is_some_and(|speech| speech.time(id).is_some());
        let alike = |a: u32, b: u32| a == b || is_time(a) && is_time(b);
        if self.manner.ends_loops { before_loop(self.tokens(), alike) } else { None }
    }

    /// What was chosen for the encoder under a deadline; `None` under another budget.
    #[must_use]
    pub fn choice(&self) -> Option<DeadlineChoice> {
        self.choice.map(|choice| choice.encoder)
    }

    /// The time that a deadline sets aside for the tokens of the answer; `None` under another budget.
    #[must_use]
    pub fn reserved(&self) -> Option<Duration> {
        self.choice.map(|choice| choice.reserved)
    }
}

/// Ids of the longest phrase that is looked for.
const LONGEST_PHRASE: usize = 32;
/// How often a phrase is said before it is a loop, and how many ids that are at least.
const LOOP_TIMES: usize = 4;
const LOOP_IDS: usize = 16;

/// Ids until the end is the same phrase again and again, the phrase once among them (ours): at least
/// [`LOOP_TIMES`] times, and at least [`LOOP_IDS`] ids, so that a laugh is none.
fn before_loop(ids: &[u32], alike: impl Fn(u32, u32) -> bool) -> Option<usize> {
    (1..=LONGEST_PHRASE).find_map(|phrase| {
        let needed = (phrase * LOOP_TIMES).max(LOOP_IDS);
        let (earlier, later) = (ids.iter().rev().skip(phrase), ids.iter().rev());
        let same = earlier.zip(later).take_while(|(a, b)| alike(**a, **b)).count();
        (same + phrase >= needed).then(|| ids.len() - same)
    })
}

#[cfg(test)]
mod tests {
    use super::before_loop;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn a_phrase_that_is_said_again_and_again_is_a_loop() {
        let looped = |ids: &[u32]| before_loop(ids, |a, b| a == b);
        let (mut ids, phrase) = (vec![1, 2, 3], [7, 8, 9, 10]);
        for times in 1..=3 {
            ids.extend(phrase);
            assert_eq!(looped(&ids), None, "said {times} times");
        }
        ids.extend(phrase);
        assert_eq!(looped(&ids), Some(3 + phrase.len()));
        assert_eq!(looped(&[5; 15]), None, "a laugh");
        assert_eq!(looped(&[5; 16]), Some(1));
        assert_eq!(looped(&[]), None);
    }

    #[test]
    fn times_between_do_not_hide_a_loop() {
        let is_time = |id: u32| id >= 100;
        let alike = |a: u32, b: u32| a == b || is_time(a) && is_time(b);
        let ids = (0..4).flat_map(|i| [100 + i, 4, 5, 6, 101 + i]).collect::<Vec<_>>();
        assert_eq!(before_loop(&ids, alike), Some(5));
    }
}
