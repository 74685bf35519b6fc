//! Which buffers an inference needs, and where they lie.

use super::ARENA_ALIGNMENT;
use crate::kernels::ROW_TILE;
use crate::panel::PANEL;
use core::fmt;

/// Everything the size of the scratch buffer depends on; [`Model::dimensions`] reads it from
/// packages, a firmware may write it down to plan in a `const`.
///
/// [`Model::dimensions`]: crate::model::Model::dimensions
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Model dimension d.
    pub hidden: usize,
    /// Width of queries, keys and values.
    pub attention_width: usize,
    /// Their part of one head.
    pub head_dim: usize,
    /// Feed-forward width.
    pub feed_forward: usize,
    /// The feed-forward layer is gated.
    pub gated: bool,
    /// Values of a patch; 0 for an encoder of tokens.
    pub patch_inputs: usize,
    /// Largest hidden width of an adapter; 0 for none.
    pub adapter: usize,
    /// Largest rank of low-rank keys; 0 for none.
    pub low_rank: usize,
    /// Values of the answer: labels, or d for an embedding; 0 without a head.
    pub outputs: usize,
    /// Some layer takes every token.
    pub dense_layers: bool,
    /// Some layer needs keys and values of every token (dense, k-to-all, k-to-low-rank).
    pub keys_of_all: bool,
    /// Some layer, or the task in it, has int8 weights.
    pub int8: bool,
    /// Attention multiplies int8 values.
    pub int8_attention: bool,
}

/// The largest call that a plan must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Longest input in tokens.
    pub tokens: usize,
    /// Largest k of a routed layer; every smaller budget fits too.
    pub selected: usize,
}

impl Capacity {
    /// Any budget for up to `tokens` tokens, r = 1 included.
    #[must_use]
    pub const fn any_budget(tokens: usize) -> Self {
        Self { tokens, selected: tokens }
    }
}

/// One buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What it holds.
    pub name: &'static str,
    /// Where it starts, from the start of the arena.
    pub offset: usize,
    /// Its bytes; the next buffer starts at the next multiple of [`ARENA_ALIGNMENT`].
    pub bytes: usize,
}

/// Where every buffer of an inference lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) dimensions: Dimensions,
    capacity: Capacity,
    workers: usize,
    buffers: [Buffer; COUNT],
    arena_bytes: usize,
}

/// Queries whose scores are in memory together.
pub(crate) const ATTENTION_TILE: usize = 32;

pub(super) const COUNT: usize = 13;
pub(super) const HIDDEN: usize = 0;
pub(super) const SCORES: usize = 1;
pub(super) const GATES: usize = 2;
pub(super) const ORDER: usize = 3;
pub(super) const KEYS: usize = 4;
pub(super) const VALUES: usize = 5;
pub(super) const QUERIES: usize = 6;
pub(super) const UPDATE: usize = 7;
pub(super) const TILE_FLOAT: usize = 8;
pub(super) const TILE_INT8: usize = 9;
pub(super) const TILE_SCALES: usize = 10;
pub(super) const STAGE: usize = 11;
pub(super) const OUTPUT: usize = 12;

const NAMES: [&str; COUNT] = [
    "hidden states",
    "router scores",
    "gates",
    "token order",
    "keys",
    "values",
    "queries and context",
    "layer output",
    "row tile f32",
    "row tile int8",
    "row tile scales",
    "stage scratch",
    "answer",
];

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// No token, or no selected token.
    Empty,
    /// No worker.
    NoWorker,
    /// More selected tokens than tokens.
    SelectedAboveTokens {
        /// Largest k.
        selected: usize,
        /// Longest input.
        tokens: usize,
    },
    /// The size does not fit the address space of this machine.
    TooLarge,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "a plan needs at least one token and one selected token"),
            Self::NoWorker => write!(f, "a plan needs at least one worker"),
            Self::SelectedAboveTokens { selected, tokens } => {
                write!(f, "{selected} selected tokens are more than {tokens} tokens")
            }
            Self::TooLarge => write!(f, "the arena would be larger than the address space"),
        }
    }
}

impl core::error::Error for PlanError {}

const fn product(factors: &[usize]) -> usize {
    let (mut result, mut index) = (1usize, 0);
    while index < factors.len() {
        result = result.saturating_mul(factors[index]);
        index += 1;
    }
    result
}

const fn largest(values: &[usize]) -> usize {
    let (mut result, mut index) = (0, 0);
    while index < values.len() {
        if values[index] > result {
            result = values[index];
        }
        index += 1;
    }
    result
}

/// Panels of [`PANEL`] values that hold `count`.
const fn panels(count: usize) -> usize {
    count.saturating_add(PANEL - 1) / PANEL
}

/// Scratch of the attention stage, in floats: one head's keys and values as panels, a tile of
/// queries, their scores and their context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionScratch {
    pub(crate) keys: usize,
    pub(crate) values: usize,
    pub(crate) queries: usize,
    pub(crate) scores: usize,
    pub(crate) context: usize,
}

impl AttentionScratch {
    /// For `rows` queries, at most [`ATTENTION_TILE`] at a time.
    pub(crate) const fn new(head_dim: usize, rows: usize, key_rows: usize) -> Self {
        let tile = if rows < ATTENTION_TILE { rows } else { ATTENTION_TILE };
        Self {
            keys: product(&[panels(key_rows), PANEL, head_dim]),
            values: product(&[panels(head_dim), PANEL, key_rows]),
            queries: product(&[tile, head_dim]),
            scores: product(&[tile, key_rows]),
            context: product(&[tile, head_dim]),
        }
    }

    const fn floats(self) -> usize {
        let sum = self.keys.saturating_add(self.values).saturating_add(self.queries);
        sum.saturating_add(self.scores).saturating_add(self.context)
    }
}

/// Scratch of the int8 attention stage: one head's keys and values as panels, a tile of queries or
/// softmax weights, in bytes; the scales of all of them, scores and context, in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int8AttentionScratch {
    pub(crate) key_scales: usize,
    pub(crate) value_scales: usize,
    /// Sums of the values' columns.
    pub(crate) value_sums: usize,
    pub(crate) row_scales: usize,
    /// What is added to each softmax weight of a row.
    pub(crate) row_rests: usize,
    pub(crate) scores: usize,
    pub(crate) context: usize,
    pub(crate) keys: usize,
    pub(crate) values: usize,
    pub(crate) rows: usize,
    /// Low-rank queries and mixes of a tile, as floats.
    pub(crate) low: usize,
    /// The same as int8 rows.
    pub(crate) low_rows: usize,
}

impl Int8AttentionScratch {
    /// For `rows` queries, at most [`ATTENTION_TILE`] at a time, and low-rank keys of `rank`; 0 for
    /// none. The key rows are all, the low-rank ones included.
    pub(crate) const fn new(head_dim: usize, rows: usize, key_rows: usize, rank: usize) -> Self {
        let tile = if rows < ATTENTION_TILE { rows } else { ATTENTION_TILE };
        let (key_panels, head_panels) = (panels(key_rows), panels(head_dim));
        let panel_bytes = product(&[key_panels, head_panels, PANEL, PANEL]);
        Self {
            key_scales: product(&[key_panels, PANEL]),
            value_scales: product(&[head_panels, PANEL]),
            value_sums: head_dim,
            row_scales: tile,
            row_rests: tile,
            scores: product(&[tile, key_rows]),
            context: product(&[tile, head_dim]),
            keys: panel_bytes,
            values: panel_bytes,
            // The rows of low-rank keys start anywhere in a row, so that the last may end behind it.
            rows: product(&[tile, largest(&[key_panels, head_panels]), PANEL])
                .saturating_add(if rank == 0 { 0 } else { PANEL }),
            low: product(&[tile, rank]),
            low_rows: product(&[tile, panels(rank), PANEL]),
        }
    }

    pub(crate) const fn floats(self) -> usize {
        let sum = self.key_scales.saturating_add(self.value_scales).saturating_add(self.value_sums);
        let sum = sum.saturating_add(self.row_scales).saturating_add(self.row_rests);
        let sum = sum.saturating_add(self.scores).saturating_add(self.context);
        sum.saturating_add(self.low)
    }

    const fn bytes(self) -> usize {
        let sum = self.keys.saturating_add(self.values).saturating_add(self.rows);
        let sum = sum.saturating_add(self.low_rows);
        sum.saturating_add(product(&[self.floats(), 4]))
    }
}

impl Plan {
    /// Lays out the buffers for `dimensions` and `capacity`. Usable in a `const`.
    ///
    /// # Errors
    /// [`PlanError`] for an empty or contradictory capacity, or a size beyond the address space.
    pub const fn new(dimensions: &Dimensions, capacity: Capacity) -> Result<Self, PlanError> {
        Self::with_workers(dimensions, capacity, 1)
    }

    /// The same for an executor that shares its rows among `workers` cores, each with scratch of its
    /// own. Usable in a `const`.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`PlanError::NoWorker`] for none.
    pub const fn with_workers(
        dimensions: &Dimensions,
        capacity: Capacity,
        workers: usize,
    ) -> Result<Self, PlanError> {
        let Capacity { tokens, selected } = capacity;
        if tokens == 0 || selected == 0 {
            return Err(PlanError::Empty);
        }
        if workers == 0 {
            return Err(PlanError::NoWorker);
        }
        if selected > tokens {
            return Err(PlanError::SelectedAboveTokens { selected, tokens });
        }
        let sizes = Self::sizes(dimensions, capacity, workers);
        let mut buffers = [Buffer { name: "", offset: 0, bytes: 0 }; COUNT];
        let (mut end, mut index) = (0usize, 0);
        while index < COUNT {
            let Some(offset) = end.checked_next_multiple_of(ARENA_ALIGNMENT) else {
                return Err(PlanError::TooLarge);
            };
            buffers[index] = Buffer { name: NAMES[index], offset, bytes: sizes[index] };
            end = offset.saturating_add(sizes[index]);
            index += 1;
        }
        if end > isize::MAX as usize {
            return Err(PlanError::TooLarge);
        }
        Ok(Self { dimensions: *dimensions, capacity, workers, buffers, arena_bytes: end })
    }

    const fn sizes(
        of: &Dimensions,
        Capacity { tokens, selected }: Capacity,
        workers: usize,
    ) -> [usize; COUNT] {
        let rows = if of.dense_layers { tokens } else { selected };
        let key_rows = if of.keys_of_all { tokens } else { rows };
        let tile = if tokens < ROW_TILE { tokens } else { ROW_TILE };
        let int8_width =
            largest(&[of.hidden, of.attention_width, of.feed_forward, of.adapter, of.low_rank]);
        let int8_tile = if of.int8 { tile } else { 0 };
        let keys = product(&[key_rows, of.attention_width, 4]);
        let mut sizes = [0; COUNT];
        sizes[HIDDEN] = product(&[tokens, of.hidden, 4]);
        sizes[SCORES] = product(&[tokens, 4]);
        sizes[GATES] = product(&[tokens, 4]);
        sizes[ORDER] = product(&[tokens, 4]);
        sizes[KEYS] = keys;
        sizes[VALUES] = keys;
        sizes[QUERIES] = product(&[rows, of.attention_width, 4]);
        sizes[UPDATE] = product(&[rows, of.hidden, 4]);
        sizes[TILE_FLOAT] = product(&[workers, tile, largest(&[of.hidden, of.patch_inputs]), 4]);
        sizes[TILE_INT8] = product(&[workers, int8_tile, panels(int8_width), PANEL]);
        sizes[TILE_SCALES] = product(&[workers, int8_tile, 4]);
        sizes[STAGE] = product(&[workers, Self::stage(of, tokens, rows, key_rows)]);
        sizes[OUTPUT] = product(&[of.outputs, 4]);
        sizes
    }

    /// The stages of a layer come one after the other and share one buffer; a multiple of 8 bytes.
    const fn stage(of: &Dimensions, tokens: usize, rows: usize, key_rows: usize) -> usize {
        let tile = if tokens < ROW_TILE { tokens } else { ROW_TILE };
        let routing = product(&[tokens, 8 + 4]);
        let attention = if of.int8_attention {
            Int8AttentionScratch::new(of.head_dim, rows, key_rows, of.low_rank).bytes()
        } else {
            product(&[AttentionScratch::new(of.head_dim, rows, key_rows).floats(), 4])
        };
        let feed_forward = product(&[tile, of.feed_forward, 4]);
        let adapter = product(&[tile, of.adapter, 4]);
        let low_rank = product(&[tile, of.low_rank, 4]);
        let head = product(&[of.hidden, 4]);
        let bytes = largest(&[routing, attention, feed_forward, adapter, low_rank, head]);
        bytes.saturating_add(7) / 8 * 8
    }

    /// Workers that have scratch.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// Bytes of the arena, exactly.
    #[must_use]
    pub const fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// The call that the plan holds.
    #[must_use]
    pub const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The dimensions it was made for.
    #[must_use]
    pub const fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    /// Every buffer, in order.
    #[must_use]
    pub const fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }
}
