//! The best continuations of rows: logits of some output channels at a time, so that no row of all of
//! them is ever in memory, and with a shortlist those of its panels alone.

use super::exp_sum::ExpSum;
use super::observer::StepObserver;
use super::step::Step;
use super::times::{TimeChoice, TimeRule};
use crate::block::{PreparedRows, Transform, apply};
use crate::executor::all_finite;
use crate::format::{IdList, limits};
use crate::kernels::{Epilogue, Kernels};
use crate::model::{Linear, OutputChannels, Runs};
use crate::tensor::{Matrix, MatrixMut, Part};
use core::ops::Range;

/// The best continuations of each row, in the arena.
pub(super) struct Best<'b> {
    /// `[rows, most]`, descending; minus infinity behind the last.
    logits: &'b mut [f32],
    /// Their ids; of equal logits the lower first.
    ids: &'b mut [u32],
    /// Continuations of a row.
    most: usize,
    /// The logits become probabilities.
    scored: bool,
    /// ln of the sum of exp of all logits of each row; 0 where nobody asks.
    log_sums: [f32; limits::BEAMS],
}

/// Ids that may not follow.
pub(super) struct Suppressed<'a> {
    pub(super) always: IdList<'a>,
    /// Before the first new token.
    pub(super) first: IdList<'a>,
    /// What is on no shortlist.
    pub(super) channels: OutputChannels<'a>,
    /// Where an answer holds times.
    pub(super) times: Option<TimeRule>,
}

impl Suppressed<'_> {
    /// Minus infinity for those among the channels from `first` on.
    fn apply(&self, values: &mut [f32], first: usize) {
        let ids = first as u32..(first + values.len()) as u32;
        // Times are among what never follows an answer without them.
        let always = match &self.times {
            Some(rule) => self.always.within(rule.text_ids()).within(ids.clone()),
            None => self.always.within(ids.clone()),
        };
        for id in always.iter().chain(self.first.within(ids).iter()) {
            let slot = (id as usize).checked_sub(first).and_then(|index| values.get_mut(index));
            if let Some(slot) = slot {
                *slot = f32::NEG_INFINITY;
            }
        }
        if let Some(rule) = &self.times {
            rule.apply(values, first);
        }
        self.channels.leave_listed(values, first);
    }
}

impl<'b> Best<'b> {
    /// Room for the best of `beams` rows: twice as many of each. Several have probabilities, one if it is to.
    pub(super) const fn new(
        logits: &'b mut [f32],
        ids: &'b mut [u32],
        beams: usize,
        scored: bool,
    ) -> Self {
        let scored = scored || beams > 1;
        Self { logits, ids, most: 2 * beams, scored, log_sums: [0.0; limits::BEAMS] }
    }
}

impl Best<'_> {
    /// Computes the logits of the first `rows` rows of a step, and keeps the best. False if one is not
    /// finite.
    pub(super) fn find(
        &mut self,
        step: &mut Step<'_, '_>,
        logits: &mut [f32],
        rows: usize,
        suppressed: &Suppressed<'_>,
        observer: &mut impl StepObserver,
    ) -> bool {
        let (channels, asking) = (suppressed.channels, Asking::new(step, rows));
        let (mut sums, mut finite) = ([ExpSum::EMPTY; limits::BEAMS], true);
        let mut time = TimeChoice::NONE;
        self.logits.fill(f32::NEG_INFINITY);
        for runs in channels.parts().map(|part| channels.runs(part)) {
            let mut end = 0;
            for run in runs.clone() {
                let chunk = logits.part_mut(end..end + rows * run.len());
                end += rows * run.len();
                finite &= asking.logits(&run, chunk);
                for (row, values) in chunk.chunks_exact_mut(run.len()).enumerate() {
                    observer.logits(row, run.start, values);
                    suppressed.apply(values, run.start);
                    self.keep(row, run.start, values);
                }
            }
            if let Some(rule) = &suppressed.times {
                let ids = runs.clone().flatten().map(|id| id as u32);
                time.add(rule, ids.zip(of_row(logits, runs.clone(), 0, rows)));
            }
            for (row, sum) in sums.iter_mut().enumerate().take(self.summed(rows)) {
                sum.add(of_row(logits, runs.clone(), row, rows));
            }
        }
        if self.scored {
            self.log_sums = sums.map(ExpSum::ln);
        }
        if let Some((id, logit, sum)) = time.time() {
            self.keep_alone(id, logit, sum);
        }
        finite
    }

    /// A time follows the one row: no other id does.
    fn keep_alone(&mut self, id: u32, logit: f32, log_sum: f32) {
        self.logits.fill(f32::NEG_INFINITY);
        let first = self.logits.first_mut().zip(self.ids.first_mut());
        if let (Some((slot, id_slot)), [sum, ..]) = (first, &mut self.log_sums) {
            (*slot, *id_slot) = (logit, id);
            *sum = if self.scored { log_sum } else { 0.0 };
        }
    }

    /// Rows whose logits are added up.
    const fn summed(&self, rows: usize) -> usize {
        if self.scored { rows } else { 0 }
    }

    /// Keeps the best of some logits of a row.
    fn keep(&mut self, row: usize, first: usize, values: &[f32]) {
        let range = row * self.most..(row + 1) * self.most;
        let (logits, ids) = (self.logits.part_mut(range.clone()), self.ids.part_mut(range));
        for (id, value) in (first as u32..).zip(values) {
            if logits.last().is_none_or(|last| *value <= *last || value.is_nan()) {
                continue;
            }
            let place = logits.partition_point(|kept| *kept >= *value);
            logits.copy_within(place..logits.len() - 1, place + 1);
            ids.copy_within(place..ids.len() - 1, place + 1);
            if let (Some(slot), Some(id_slot)) = (logits.get_mut(place), ids.get_mut(place)) {
                (*slot, *id_slot) = (*value, id);
            }
        }
    }

    /// Continuation `index` of a row: its id and logit; `None` where there is none that may follow.
    pub(super) fn get(&self, row: usize, index: usize) -> Option<Continuation> {
        let at = (index < self.most).then_some(row * self.most + index)?;
        let (logit, id) = (*self.logits.get(at)?, *self.ids.get(at)?);
        let log_sum = self.log_sums.get(row).copied().unwrap_or_default();
        let follows = logit > f32::NEG_INFINITY;
        follows.then_some(Continuation { id, log_probability: logit - log_sum })
    }
}

/// Rows of a step, ready for the output map.
struct Asking<'a> {
    kernels: &'a Kernels,
    map: Linear<'a>,
    rows: PreparedRows<'a>,
    scale: f32,
}

impl<'a> Asking<'a> {
    /// The first `count` rows, behind the final norm.
    fn new(step: &'a mut Step<'_, '_>, count: usize) -> Self {
        let (context, map) = (step.context, step.globals.logits);
        let x = Matrix::new(step.rows.hidden, context.config.hidden).first_rows(count);
        let norm = Transform { norm: step.globals.final_norm, scale: &[] };
        let rows = context.load(&mut step.scratch.tile, x.iter(), norm, &map);
        let scale = step.decoder.rules().logit_scale;
        Self { kernels: context.kernels, map, rows, scale }
    }

    /// The logits of some channels, `[rows, channels]`. False if one is not finite.
    fn logits(&self, channels: &Range<usize>, out: &mut [f32]) -> bool {
        let part = self.map.outputs_from(channels.start, channels.len());
        let mut matrix = MatrixMut::new(&mut *out, channels.len());
        apply(self.kernels, &mut matrix, self.rows, &part, &Epilogue::overwrite(part.bias));
        out.iter_mut().for_each(|x| *x *= self.scale);
        all_finite(out)
    }
}

/// The logits of a row, run after run: the runs lie behind each other, each `[rows, its channels]`.
fn of_row<'l>(
    logits: &'l [f32],
    runs: Runs<'l>,
    row: usize,
    rows: usize,
) -> impl Iterator<Item = f32> + Clone {
    let parts = runs.scan(0, move |end, run| {
        let first = *end + row * run.len();
        *end += rows * run.len();
        Some(logits.part(first..first + run.len()))
    });
    parts.flatten().copied()
}

/// An id that may follow.
#[derive(Clone, Copy)]
pub(super) struct Continuation {
    pub(super) id: u32,
    /// Up to a constant, where nobody asks.
    pub(super) log_probability: f32,
}
