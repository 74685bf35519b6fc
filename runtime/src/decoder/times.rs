//! Answers that hold times (`docs/method.md`, "Times, languages, silence"): which ids may follow.

use super::exp_sum::ExpSum;
use crate::format::SpeechRules;
use core::ops::Range;

/// Which ids may follow where an answer holds times: they come in pairs, the end of what was said and the
/// beginning of what follows, and never fall.
#[derive(Clone, Debug)]
pub(super) struct TimeRule {
    /// The id of time 0 and one behind the last.
    all: Range<u32>,
    /// Times that may follow.
    times: Range<u32>,
    /// The id behind which no times follow.
    without_times: u32,
    /// Ids of text that may not follow.
    text: Range<u32>,
}

impl TimeRule {
    /// What may follow the new ids `before` of an answer that ends with `end`.
    pub(super) fn new(rules: &SpeechRules<'_>, end: u32, before: &[u32]) -> Self {
        let all = rules.first_time..rules.first_time.saturating_add(rules.times);
        let is_time = |id: &u32| all.contains(id);
        let (text, times) = match before {
            // An answer begins with a time.
            [] => {
                let latest = rules.first_time.saturating_add(rules.latest_start);
                (0..all.start, all.start..all.end.min(latest.saturating_add(1)))
            }
            [time] if is_time(time) => (0..0, 0..0),
            [.., first, second] if is_time(first) && is_time(second) => (0..0, 0..0),
            // The end of what was said: what follows begins there or later, or nothing follows.
            [.., last] if is_time(last) => (0..end, *last..all.end),
            _ => {
                let last = before.iter().rev().copied().find(is_time);
                (0..0, last.map_or(all.start, |last| last.saturating_add(1))..all.end)
            }
        };
        Self { all, times, without_times: rules.without_times, text }
    }

    /// Ids below the times.
    pub(super) const fn text_ids(&self) -> Range<u32> {
        0..self.all.start
    }

    /// Minus infinity for what may not follow among the channels from `first` on.
    pub(super) fn apply(&self, values: &mut [f32], first: usize) {
        for (id, value) in (first as u32..).zip(values) {
            let is_time = self.all.contains(&id);
            let may_not = is_time && !self.times.contains(&id)
                || self.text.contains(&id)
                || id == self.without_times;
            if may_not {
                *value = f32::NEG_INFINITY;
            }
        }
    }
}

/// Whether a time follows: all times together are likelier than every other id.
#[derive(Clone, Copy)]
pub(super) struct TimeChoice {
    times: ExpSum,
    /// The likeliest time and its logit.
    best: Option<(f32, u32)>,
    text: f32,
}

impl TimeChoice {
    pub(super) const NONE: Self =
        Self { times: ExpSum::EMPTY, best: None, text: f32::NEG_INFINITY };

    /// Takes the logits of some ids, in order, behind what may not follow was taken out.
    pub(super) fn add(
        &mut self,
        rule: &TimeRule,
        values: impl Iterator<Item = (u32, f32)> + Clone,
    ) {
        let times = values.clone().filter(|(id, _)| rule.all.contains(id));
        self.times.add(times.clone().map(|(_, value)| value));
        for (id, value) in times {
            let best = self.best.map_or(f32::NEG_INFINITY, |(best, _)| best);
            if value > best {
                self.best = Some((value, id));
            }
        }
        let text = values.filter(|(id, _)| !rule.all.contains(id));
        self.text =
            text.fold(self.text, |best, (_, value)| if value > best { value } else { best });
    }

    /// The time that follows, its logit, and ln of the sum of exp of all times; `None` if the likeliest id does.
    pub(super) fn time(&self) -> Option<(u32, f32, f32)> {
        let (logit, id) = self.best?;
        let sum = self.times.ln();
        (sum > self.text).then_some((id, logit, sum))
    }
}
