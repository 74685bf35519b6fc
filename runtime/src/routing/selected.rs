//! Who passes a layer, and where each update goes.

use crate::tensor::Part;
use core::ops::Range;

/// The rows that a layer computes and the tokens that get their updates, whoever chose them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selected<'s> {
    /// Tokens: those whose rows are computed ascending, then the rest ascending.
    pub(crate) order: &'s [u32],
    /// Rows that are computed.
    pub(crate) count: usize,
    /// The gate of each token; empty where every gate is 1.
    pub(crate) gates: &'s [f32],
    /// The rest has been pruned: the tokens that are left stand in rows 0 to `count`.
    #[cfg(feature = "pruning")]
    pub(crate) pruned: bool,
}

/// An update of one token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    /// The token, or its row where the rest has been pruned.
    pub(crate) token: usize,
    /// Row of the computed ones.
    pub(crate) row: usize,
    /// Gate m.
    pub(crate) gate: f32,
}

impl<'s> Selected<'s> {
    /// All tokens.
    pub(crate) const fn tokens(&self) -> usize {
        self.order.len()
    }

    /// Tokens whose rows are computed, ascending.
    pub(crate) fn computed(&self) -> &'s [u32] {
        self.order.part(0..self.count)
    }

    /// Tokens whose rows are not computed, ascending.
    pub(crate) fn rest(&self) -> &'s [u32] {
        self.order.part(self.count..self.order.len())
    }

    /// Updates of the tokens of a range, ascending.
    pub(crate) fn updates(&self, tokens: Range<usize>) -> impl Iterator<Item = Update> + use<'s> {
        let (computed, gates) = (self.computed(), self.gates);
        let first = match self.is_pruned() {
            true => tokens.start,
            false => computed.partition_point(|token| (*token as usize) < tokens.start),
        };
        let (pruned, rows) = (self.is_pruned(), computed.iter().enumerate().skip(first));
        let rows = rows.map(move |(row, token)| {
            let token = *token as usize;
            let gate = gates.get(token).copied().unwrap_or(1.0);
            Update { token: if pruned { row } else { token }, row, gate }
        });
        rows.take_while(move |update| tokens.contains(&update.token))
    }

    const fn is_pruned(&self) -> bool {
        #[cfg(feature = "pruning")]
        if self.pruned {
            return true;
        }
        false
    }
}
