//! Multiply-accumulates of a layer, counted on paper (`docs/method.md`, "Cost of one layer").

use super::{Layer, Linear, Model};
use crate::config::{AttentionMode, Gate};

/// What an exponential of the iterated gate counts for: its polynomial and its scaling.
pub const EXPONENTIAL_MACS: u64 = 16;

/// Multiply-accumulates, by what they run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    /// Frozen linear maps.
    pub frozen: u64,
    /// Attention scores and the mix of values.
    pub attention: u64,
    /// Task parts: adapter, router, low-rank keys and values, sweeps of the gate.
    pub task: u64,
}

impl Macs {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.frozen + self.attention + self.task
    }
}

impl core::iter::Sum for Macs {
    fn sum<I: Iterator<Item = Self>>(macs: I) -> Self {
        macs.fold(Self::default(), |sum, macs| Self {
            frozen: sum.frozen + macs.frozen,
            attention: sum.attention + macs.attention,
            task: sum.task + macs.task,
        })
    }
}

impl Linear<'_> {
    /// Multiply-accumulates of one row.
    const fn macs(&self) -> u64 {
        self.inputs as u64 * self.outputs as u64
    }
}

impl Layer<'_> {
    /// Multiply-accumulates for `tokens` tokens of which `selected` pass the layer, without those of the
    /// gate: [`Model::layer_macs`] has them too.
    #[must_use]
    pub fn macs(&self, tokens: usize, selected: usize) -> Macs {
        let (maps, wide) = (&self.block.attention, &self.block.feed_forward);
        let mode = self.routing.map(|routing| routing.attention).filter(|_| selected < tokens);
        let (n, k) = (tokens as u64, selected as u64);
        let exact_keys = if mode == Some(AttentionMode::KToAll) { n } else { k };
        let prunes = cfg!(feature = "pruning") && mode == Some(AttentionMode::Prune);
        let of_selected = prunes || matches!(mode, None | Some(AttentionMode::KToK));
        let key_rows = if of_selected { k } else { n };
        let left = if prunes { k } else { n };
        let gate = wide.gate.map_or(0, |gate| gate.macs());
        let row = maps.query.macs() + maps.output.macs();
        let row = row + wide.expand.macs() + gate + wide.contract.macs();
        let adapter =
            self.block.adapter.map_or(0, |adapter| adapter.down.macs() + adapter.up.macs());
        let low_rank = match (mode, &self.low_rank) {
            (Some(AttentionMode::KToLowRank), Some(low_rank)) => {
                low_rank.down.macs() + low_rank.key.macs() + low_rank.value.macs()
            }
            _ => 0,
        };
        Macs {
            frozen: k * row + exact_keys * (maps.key.macs() + maps.value.macs()),
            attention: 2 * k * key_rows * maps.query.outputs as u64,
            task: left * adapter + n * self.router.len() as u64 + (n - k.min(n)) * low_rank,
        }
    }
}

impl Model<'_> {
    /// Multiply-accumulates of layer `index` for `tokens` tokens of which `selected` pass it, with the sweeps
    /// of the iterated gate: an exponential for each token and sweep, [`EXPONENTIAL_MACS`] each.
    #[must_use]
    pub fn layer_macs(&self, index: usize, tokens: usize, selected: usize) -> Macs {
        let layer = self.layer(index);
        let macs = layer.macs(tokens, selected);
        let sweeps = match self.task_config().map(|task| task.gate) {
            Some(Gate::Iterated { sweeps, .. }) if layer.routing.is_some() && selected < tokens => {
                u64::from(sweeps)
            }
            _ => 0,
        };
        Macs { task: macs.task + sweeps * tokens as u64 * EXPONENTIAL_MACS, ..macs }
    }
}
