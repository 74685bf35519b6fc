//! An answer at work.

use super::deadline::AnswerChoice;
use super::logits::{Best, Suppressed};
use super::observer::StepObserver;
use super::search::Hypotheses;
use super::step::{Entering, Step};
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
    pub(super) choice: Option<AnswerChoice>,
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
        let suppressed = Suppressed { always: rules.suppressed, first, channels };
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
        if self.left == 0 {
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
        let Self { step, hypotheses, left, done, over, choice, .. } = self;
        let (hypotheses, memory) = (hypotheses.with_ids(&mut []), step.memory_extent);
        PausedGeneration { hypotheses, memory, left, done, over, choice }
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
    /// length penalty. `None` before one has, and with one beam, which needs none.
    #[must_use]
    pub fn score(&self) -> Option<f32> {
        self.hypotheses.score()
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
