//! Which buffers an inference needs, and where they lie.

use super::ARENA_ALIGNMENT;
use super::attention::HeadExtent;
use super::buffers::{Cutter, buffers, typed};
use super::size::{largest, panels, product};
#[cfg(feature = "decoder")]
use crate::format::limits;
use crate::kernels::{INT8_PRODUCTS, ROW_TILE};
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
    /// Values of a patch, or of what two convolutions hold for a token; 0 for an encoder of tokens.
    pub patch_inputs: usize,
    /// Largest hidden width of an adapter; 0 for none.
    pub adapter: usize,
    /// Largest rank of low-rank keys; 0 for none.
    pub low_rank: usize,
    /// Values of the pooled vector and of every dense stage behind it: d for one pooling without a
    /// stage, and without a head; 0 where each token has an answer of its own.
    pub pooled: usize,
    /// Values of the answer, or of that of each token: labels, or the width of the embedding; 0
    /// without a head.
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

    /// Why no plan can hold it.
    const fn error(self) -> Option<PlanError> {
        let Self { tokens, selected } = self;
        match tokens == 0 || selected == 0 {
            true => Some(PlanError::Empty),
            false if selected > tokens => Some(PlanError::SelectedAboveTokens { selected, tokens }),
            false => None,
        }
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
    dimensions: Dimensions,
    capacity: Capacity,
    workers: usize,
    pub(super) buffers: [Buffer; COUNT],
    arena_bytes: usize,
}

/// Buffers of a plan.
const COUNT: usize = Buffers::NAMES.len();

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
    /// No position for an answer, or no hypothesis; or more than a package may ask for.
    #[cfg(feature = "decoder")]
    Answer {
        /// Positions asked for.
        positions: usize,
        /// Hypotheses asked for.
        beams: usize,
    },
    /// More positions than the decoder has.
    #[cfg(feature = "decoder")]
    TooManyPositions {
        /// Positions asked for.
        positions: usize,
        /// Positions of the decoder.
        limit: usize,
    },
    /// More keys than the sums of int8 attention hold.
    TooManyKeys {
        /// Keys of a query.
        keys: usize,
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
            #[cfg(feature = "decoder")]
            Self::Answer { positions, beams } => write!(
                f,
                "an answer of {positions} positions and {beams} hypotheses: plans hold 2 to {} and 1 to {}",
                limits::POSITIONS,
                limits::BEAMS
            ),
            #[cfg(feature = "decoder")]
            Self::TooManyPositions { positions, limit } => {
                write!(f, "an answer of {positions} positions, the decoder has {limit}")
            }
            Self::TooManyKeys { keys } => {
                write!(f, "int8 attention to {keys} keys: its sums hold {INT8_PRODUCTS}")
            }
            Self::TooLarge => write!(f, "the arena would be larger than the address space"),
        }
    }
}

impl core::error::Error for PlanError {}

/// What the sizes of an inference's buffers depend on.
pub(super) struct Extent<'d> {
    of: &'d Dimensions,
    workers: usize,
    tokens: usize,
    /// Rows that pass a layer.
    rows: usize,
    /// Rows that are attended to.
    key_rows: usize,
    /// Rows on their way into a GEMM, of one worker.
    tile: usize,
}

buffers! {
    /// The buffers of one inference, in the order of the arena: n tokens, k rows that pass a layer, m
    /// key rows.
    pub(crate) struct Buffers for of: Extent<'_> {
        /// X, `[n, d]`.
        hidden: f32 = product(&[of.tokens, of.of.hidden]), "hidden states";
        /// Router scores, `[n]`.
        scores: f32 = of.tokens, "router scores";
        /// lambda of every token, `[n]`.
        gates: f32 = of.tokens, "gates";
        /// Selected tokens ascending, then the rest ascending, `[n]`.
        order: u32 = of.tokens, "token order";
        /// `[m, attention width]`.
        keys: f32 = product(&[of.key_rows, of.of.attention_width]), "keys";
        /// `[m, attention width]`.
        values: f32 = product(&[of.key_rows, of.of.attention_width]), "values";
        /// Queries, then the attention context in their place, `[k, attention width]`.
        queries: f32 = product(&[of.rows, of.of.attention_width]), "queries and context";
        /// The layer's output for the selected tokens, `[k, d]`.
        update: f32 = product(&[of.rows, of.of.hidden]), "layer output";
        /// Rows on their way into a GEMM, of every worker.
        tile_floats: f32 = product(&[of.workers, of.tile, of.float_width()]), "row tile f32";
        /// The same as int8.
        tile_int8: i8 = product(&[of.workers, of.int8_tile(), of.int8_width()]), "row tile int8";
        /// Their scales.
        tile_scales: f32 = product(&[of.workers, of.int8_tile()]), "row tile scales";
        /// Scratch of one stage, of every worker.
        stage: u8 = product(&[of.workers, of.stage()]), "stage scratch";
        /// The answer.
        output: f32 = product(&[of.answers(), of.of.outputs]), "answer";
    }
}

impl<'d> Extent<'d> {
    const fn new(of: &'d Dimensions, capacity: Capacity, workers: usize) -> Self {
        let Capacity { tokens, selected } = capacity;
        let rows = if of.dense_layers { tokens } else { selected };
        let key_rows = if of.keys_of_all { tokens } else { rows };
        let tile = if tokens < ROW_TILE { tokens } else { ROW_TILE };
        Self { of, workers, tokens, rows, key_rows, tile }
    }

    /// Answers of an inference: one, or that of each token.
    const fn answers(&self) -> usize {
        if cfg!(feature = "heads") && self.of.pooled == 0 { self.tokens } else { 1 }
    }

    const fn float_width(&self) -> usize {
        largest(&[self.of.hidden, self.of.patch_inputs])
    }

    /// Columns of a row of int8 values, a multiple of [`PANEL`].
    const fn int8_width(&self) -> usize {
        let of = self.of;
        let widths = [of.hidden, of.attention_width, of.feed_forward, of.adapter, of.low_rank];
        panels(largest(&widths)).saturating_mul(PANEL)
    }

    const fn int8_tile(&self) -> usize {
        if self.of.int8 { self.tile } else { 0 }
    }

    /// The stages of a layer come one after the other and share one buffer; a multiple of 8 bytes.
    const fn stage(&self) -> usize {
        let of = self.of;
        let head = HeadExtent {
            head_dim: of.head_dim,
            queries: self.rows,
            packed: self.key_rows,
            key_rows: self.key_rows,
            rank: of.low_rank,
        };
        let routing = product(&[self.tokens, 8 + 4]);
        let attention = if of.int8_attention { head.int8_bytes() } else { head.float_bytes() };
        let widest = largest(&[of.feed_forward, of.adapter, of.low_rank]);
        let rows = product(&[self.tile, widest, 4]);
        let pooled = product(&[of.pooled, 4]);
        largest(&[routing, attention, rows, pooled]).saturating_add(7) / 8 * 8
    }
}

impl Plan {
    /// Lays out the buffers for `dimensions` and `capacity`. Usable in a `const`.
    ///
    /// # Errors
    /// [`PlanError`] for an empty or contradictory capacity, more keys than int8 attention takes, or
    /// a size beyond the address space.
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
        if let Some(error) = capacity.error() {
            return Err(error);
        }
        if workers == 0 {
            return Err(PlanError::NoWorker);
        }
        let extent = Extent::new(dimensions, capacity, workers);
        let sizes = Buffers::bytes(&extent);
        let mut buffers = [Buffer { name: "", offset: 0, bytes: 0 }; COUNT];
        let (mut end, mut index) = (0usize, 0);
        while index < COUNT {
            let Some(offset) = end.checked_next_multiple_of(ARENA_ALIGNMENT) else {
                return Err(PlanError::TooLarge);
            };
            buffers[index] = Buffer { name: Buffers::NAMES[index], offset, bytes: sizes[index] };
            end = offset.saturating_add(sizes[index]);
            index += 1;
        }
        match dimensions.int8_attention && extent.key_rows > INT8_PRODUCTS {
            _ if end > isize::MAX as usize => Err(PlanError::TooLarge),
            true => Err(PlanError::TooManyKeys { keys: extent.key_rows }),
            false => {
                Ok(Self { dimensions: *dimensions, capacity, workers, buffers, arena_bytes: end })
            }
        }
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
