//! Which output channels of a decoder's map are computed.

use crate::format::IdList;
use crate::memory::LOGITS;
use crate::panel::PANEL;
use core::ops::Range;

/// The output channels of a decoder: one for each token, or the panels of those on a shortlist.
#[derive(Clone, Copy, Debug)]
pub struct OutputChannels<'a> {
    all: usize,
    /// Ascending; empty for all.
    shortlist: IdList<'a>,
}

impl<'a> OutputChannels<'a> {
    pub(super) const fn new(all: usize, shortlist: IdList<'a>) -> Self {
        Self { all, shortlist }
    }

    /// Channels that are computed for each token: whole panels.
    #[must_use]
    pub fn computed(&self) -> usize {
        self.parts().flat_map(|part| self.runs(part)).map(|run| run.len()).sum()
    }

    /// The channels whose logits are in memory together, part after part.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let all = self.all;
        (0..all).step_by(LOGITS).map(move |first| first..all.min(first + LOGITS))
    }

    /// Whole panels of a part that lie together, in ascending order.
    pub(crate) fn runs(&self, part: Range<usize>) -> Runs<'a> {
        let whole = self.shortlist.is_empty().then(|| part.clone());
        let listed = self.shortlist.within(part.start as u32..part.end as u32);
        Runs { whole, listed, end: part.end }
    }

    /// Minus infinity for every channel that is on no shortlist, of those from `first` on.
    pub(crate) fn leave_listed(&self, values: &mut [f32], first: usize) {
        if self.shortlist.is_empty() {
            return;
        }
        let first = first as u32;
        let mut listed = self.shortlist.within(first..first + values.len() as u32).iter();
        let mut next = listed.next();
        for (id, value) in (first..).zip(values) {
            if next == Some(id) {
                next = listed.next();
            } else {
                *value = f32::NEG_INFINITY;
            }
        }
    }
}

/// Ranges of channels.
#[derive(Clone, Debug)]
pub(crate) struct Runs<'a> {
    /// Without a shortlist: all at once.
    whole: Option<Range<usize>>,
    /// Those that are left.
    listed: IdList<'a>,
    /// Behind the last channel.
    end: usize,
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if let Some(whole) = self.whole.take() {
            return Some(whole);
        }
        let first = self.listed.iter().next()? as usize / PANEL * PANEL;
        let mut end = first + PANEL;
        for id in self.listed.iter().map(|id| id as usize) {
            if id >= end + PANEL {
                break;
            }
            end = (id / PANEL + 1) * PANEL;
        }
        let end = end.min(self.end);
        self.listed = self.listed.within(end as u32..self.end as u32);
        Some(first..end)
    }
}
