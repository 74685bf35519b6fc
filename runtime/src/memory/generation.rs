//! The buffers of an answer: three phases over one arena.
//!
//! ```text
//! encode     hidden states | keys, values, rows, ...            the encoder's plan, unchanged
//! memory     hidden states | memory | rows on their way to it
//! generate   step          | memory
//! ```
//!
//! The memory, which is the keys and values of the encoder's states, begins behind the longer of hidden states and
//! step. The arena is as long as the longest phase.

use super::ARENA_ALIGNMENT;
use super::arena::{Scratch, Tile};
use super::buffers::{Cutter, buffers, typed};
use super::plan::{Plan, PlanError};
use super::size::{largest, panels, product};
use crate::format::limits;
use crate::kernels::ROW_TILE;
use crate::panel::PANEL;
use core::mem::take;

/// Output channels whose logits are in memory together.
pub(crate) const LOGITS: usize = 1024;

/// Everything the size of a decoder's buffers depends on; `Decoder::dimensions` reads it from packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderDimensions {
    /// Decoder layers.
    pub layers: usize,
    /// Model dimension.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Feed-forward width.
    pub feed_forward: usize,
    /// Largest hidden width of an adapter; 0 for none.
    pub adapter: usize,
    /// The encoder's model dimension.
    pub encoder_hidden: usize,
    /// The encoder's states are mapped to the model dimension before they become keys and values.
    pub projected: bool,
    /// Rows of the position table, the longest answer; 0 for no bound of its own.
    pub positions: usize,
    /// Some map reads int8 rows.
    pub int8: bool,
    /// Keys and values are kept as f16, not as f32.
    pub half_keys: bool,
    /// Rows that the decoder finds behind the encoder's states.
    pub appended: usize,
}

/// The longest answer that a plan must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerCapacity {
    /// Start ids and new tokens.
    pub positions: usize,
    /// Hypotheses of a search; 1 for the greedy one.
    pub beams: usize,
}

/// Keys and values of one layer, of some positions: what their size depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyExtent {
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    /// Positions.
    pub(crate) capacity: usize,
    /// As f16.
    pub(crate) half: bool,
}

impl KeyExtent {
    /// Values of one head's keys: panels of 8 positions.
    pub(crate) const fn keys(&self) -> usize {
        product(&[panels(self.capacity), PANEL, self.head_dim])
    }

    /// Values of one head's values: panels of 8 columns.
    pub(crate) const fn values(&self) -> usize {
        product(&[panels(self.head_dim), PANEL, self.capacity])
    }

    /// Bytes of all heads, a multiple of 16.
    pub(crate) const fn bytes(&self) -> usize {
        let size = if self.half { 2 } else { 4 };
        let head = self.keys().saturating_add(self.values());
        product(&[self.heads, head, size]).saturating_add(15) / 16 * 16
    }
}

/// What the sizes of an answer's buffers depend on.
pub(super) struct AnswerExtent<'d> {
    of: &'d DecoderDimensions,
    answer: AnswerCapacity,
    /// Tokens of the encoder.
    tokens: usize,
}

impl AnswerExtent<'_> {
    const fn width(&self) -> usize {
        product(&[self.of.heads, self.of.head_dim])
    }

    const fn rows(&self, columns: usize) -> usize {
        product(&[self.answer.beams, columns])
    }

    const fn int8_rows(&self) -> usize {
        if self.of.int8 { self.answer.beams } else { 0 }
    }

    const fn int8_width(&self) -> usize {
        let of = self.of;
        panels(largest(&[of.hidden, self.width(), of.feed_forward, of.adapter])) * PANEL
    }

    /// States of the encoder and what follows them.
    const fn states(&self) -> usize {
        self.tokens.saturating_add(self.of.appended)
    }

    /// Rows of the memory at hand together.
    const fn tile(&self) -> usize {
        if self.tokens < ROW_TILE { self.tokens } else { ROW_TILE }
    }

    const fn memory_width(&self) -> usize {
        if self.of.projected { self.of.hidden } else { 0 }
    }

    /// Candidates of all hypotheses: of each twice as many as there are, so that as many are left when
    /// all the others end.
    const fn candidates(&self) -> usize {
        product(&[self.answer.beams, 2, self.answer.beams])
    }

    const fn self_keys(&self) -> KeyExtent {
        let DecoderDimensions { heads, head_dim, half_keys: half, .. } = *self.of;
        KeyExtent { heads, head_dim, capacity: self.answer.positions, half }
    }

    const fn memory_keys(&self) -> KeyExtent {
        KeyExtent { capacity: self.states(), ..self.self_keys() }
    }
}

buffers! {
    /// The buffers of a step: one row for each hypothesis.
    pub(crate) struct StepBuffers for of: AnswerExtent<'_> {
        /// X, `[beams, d]`.
        rows: f32 = of.rows(of.of.hidden), "decoder rows";
        /// Queries, then the attention context in their place, `[beams, attention width]`.
        queries: f32 = of.rows(of.width()), "decoder queries";
        /// `[beams, attention width]`.
        keys: f32 = of.rows(of.width()), "new keys";
        /// `[beams, attention width]`.
        values: f32 = of.rows(of.width()), "new values";
        /// Adapter rows, `[beams, h]`.
        low: f32 = of.rows(of.of.adapter), "adapter rows";
        /// Attention scores of one head of one hypothesis.
        scores: f32 = largest(&[of.answer.positions, of.states()]), "attention scores";
        /// Logits of some output channels, `[beams, channels]`.
        logits: f32 = of.rows(LOGITS), "logits";
        /// Rows on their way into a GEMM, `[beams, d]`.
        tile_floats: f32 = of.rows(of.of.hidden), "step tile f32";
        /// The same as int8.
        tile_int8: i8 = product(&[of.int8_rows(), of.int8_width()]), "step tile int8";
        /// Their scales.
        tile_scales: f32 = of.int8_rows(), "step tile scales";
        /// The feed-forward layer's rows.
        stage: u8 = product(&[of.answer.beams, of.of.feed_forward, 4]), "step scratch";
        /// Best continuations of each hypothesis: their logits, `[beams, 2 beams]`.
        best: f32 = of.candidates(), "best logits";
        /// Their ids.
        best_ids: u32 = of.candidates(), "best ids";
        /// Ids of each hypothesis, `[beams, positions]`, and behind them the best that has ended.
        ids: u32 = product(&[of.answer.beams + 1, of.answer.positions]), "hypotheses";
        /// Keys and values of what stands before, `[layers, beams]`.
        cache: u8 = product(&[of.of.layers, of.answer.beams, of.self_keys().bytes()]), "key cache";
    }
}

buffers! {
    /// What the memory is made with.
    pub(crate) struct MemoryBuffers for of: AnswerExtent<'_> {
        /// Keys and values of the encoder's states, of every layer.
        memory: u8 = product(&[of.of.layers, of.memory_keys().bytes()]), "memory";
        /// The encoder's states as keys and values read them, `[tile, d]`.
        mapped: f32 = product(&[of.tile(), of.memory_width()]), "mapped states";
        /// `[tile, attention width]`.
        keys: f32 = product(&[of.tile(), of.width()]), "memory keys";
        /// `[tile, attention width]`.
        values: f32 = product(&[of.tile(), of.width()]), "memory values";
        /// Rows on their way into a GEMM.
        tile_floats: f32 = product(&[of.tile(), largest(&[of.of.encoder_hidden, of.memory_width()])]), "memory tile f32";
        /// The same as int8.
        tile_int8: i8 = product(&[of.memory_int8(), panels(largest(&[of.of.encoder_hidden, of.memory_width()])), PANEL]), "memory tile int8";
        /// Their scales.
        tile_scales: f32 = of.memory_int8(), "memory tile scales";
    }
}

impl AnswerExtent<'_> {
    const fn memory_int8(&self) -> usize {
        if self.of.int8 { self.tile() } else { 0 }
    }
}

/// Where everything of an answer lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationPlan {
    encoder: Plan,
    dimensions: DecoderDimensions,
    answer: AnswerCapacity,
    memory_start: usize,
    arena_bytes: usize,
}

/// Bytes of buffers, one behind the other, each at a multiple of the arena's alignment.
const fn total(sizes: &[usize]) -> usize {
    let (mut end, mut index) = (0usize, 0);
    while index < sizes.len() {
        let Some(start) = end.checked_next_multiple_of(ARENA_ALIGNMENT) else { return usize::MAX };
        end = start.saturating_add(sizes[index]);
        index += 1;
    }
    end
}

impl GenerationPlan {
    /// Lays out the three phases of an answer behind an encoder's plan. Usable in a `const`.
    ///
    /// # Errors
    /// [`PlanError::Answer`], [`PlanError::TooManyPositions`], [`PlanError::TooLarge`].
    pub const fn new(
        encoder: Plan,
        dimensions: &DecoderDimensions,
        answer: AnswerCapacity,
    ) -> Result<Self, PlanError> {
        let AnswerCapacity { positions, beams } = answer;
        if positions < 2 || positions > limits::POSITIONS || beams == 0 || beams > limits::BEAMS {
            return Err(PlanError::Answer { positions, beams });
        }
        let limit = dimensions.positions;
        if limit > 0 && positions > limit {
            return Err(PlanError::TooManyPositions { positions, limit });
        }
        let tokens = encoder.capacity().tokens;
        let extent = AnswerExtent { of: dimensions, answer, tokens };
        let hidden = product(&[tokens, dimensions.encoder_hidden, 4]);
        let step = total(&StepBuffers::bytes(&extent));
        let before = largest(&[hidden, step]);
        let Some(memory_start) = before.checked_next_multiple_of(ARENA_ALIGNMENT) else {
            return Err(PlanError::TooLarge);
        };
        let memory = memory_start.saturating_add(total(&MemoryBuffers::bytes(&extent)));
        let arena_bytes = largest(&[encoder.arena_bytes(), memory]);
        if arena_bytes > isize::MAX as usize {
            return Err(PlanError::TooLarge);
        }
        Ok(Self { encoder, dimensions: *dimensions, answer, memory_start, arena_bytes })
    }

    /// Bytes of the arena, exactly.
    #[must_use]
    pub const fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// The encoder's plan.
    #[must_use]
    pub const fn encoder(&self) -> &Plan {
        &self.encoder
    }

    /// The dimensions it was made for.
    #[must_use]
    pub const fn dimensions(&self) -> &DecoderDimensions {
        &self.dimensions
    }

    /// The longest answer.
    #[must_use]
    pub const fn answer(&self) -> AnswerCapacity {
        self.answer
    }

    /// Bytes of the three phases: encoder, memory with the encoder's states before it, step with the
    /// memory behind it.
    #[must_use]
    pub const fn phases(&self) -> [usize; 3] {
        let extent = self.extent();
        let memory = MemoryBuffers::bytes(&extent);
        let all = self.memory_start.saturating_add(total(&memory));
        [self.encoder.arena_bytes(), all, self.memory_start.saturating_add(memory[0])]
    }

    /// Every buffer of the step and then of the memory, by name and bytes.
    pub fn buffers(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let extent = self.extent();
        let step = StepBuffers::NAMES.into_iter().zip(StepBuffers::bytes(&extent));
        step.chain(MemoryBuffers::NAMES.into_iter().zip(MemoryBuffers::bytes(&extent)))
    }

    const fn extent(&self) -> AnswerExtent<'_> {
        let tokens = self.encoder.capacity().tokens;
        AnswerExtent { of: &self.dimensions, answer: self.answer, tokens }
    }

    /// Keys and values of what stands before, of one hypothesis in one layer.
    pub(crate) const fn self_keys(&self) -> KeyExtent {
        self.extent().self_keys()
    }

    /// Keys and values of `tokens` states of the encoder, and of what follows them, in one layer.
    pub(crate) const fn memory_keys(&self, tokens: usize) -> KeyExtent {
        AnswerExtent { tokens, ..self.extent() }.memory_keys()
    }
}

impl<'a> StepBuffers<'a> {
    /// Takes the scratch of the one core out of the buffers.
    pub(crate) fn take_scratch(&mut self) -> Scratch<'a> {
        let tile = Tile {
            floats: take(&mut self.tile_floats),
            int8: take(&mut self.tile_int8),
            scales: take(&mut self.tile_scales),
        };
        Scratch::of_one(tile, take(&mut self.stage))
    }
}

/// The encoder's states, and what the memory is made with.
pub(crate) fn divide_memory<'a>(
    plan: &GenerationPlan,
    arena: &'a mut [u8],
) -> (&'a mut [u8], MemoryBuffers<'a>) {
    let (hidden, rest) = arena.split_at_mut_checked(plan.memory_start).unwrap_or_default();
    let mut cutter = Cutter::new(rest, ARENA_ALIGNMENT);
    (hidden, MemoryBuffers::cut(&mut cutter, MemoryBuffers::bytes(&plan.extent())))
}

/// The buffers of a step, and the memory.
pub(crate) fn divide_step<'a>(
    plan: &GenerationPlan,
    arena: &'a mut [u8],
) -> (StepBuffers<'a>, &'a mut [u8]) {
    let (step, rest) = arena.split_at_mut_checked(plan.memory_start).unwrap_or_default();
    let mut cutter = Cutter::new(step, ARENA_ALIGNMENT);
    let step = StepBuffers::cut(&mut cutter, StepBuffers::bytes(&plan.extent()));
    (step, Cutter::new(rest, ARENA_ALIGNMENT).cut(MemoryBuffers::bytes(&plan.extent())[0]))
}
