//! The scratch buffer and the typed buffers carved from it.

use super::plan::{self, Plan};
use crate::panel::RowsInt8;
use crate::tensor::Matrix;
use bytemuck::{AnyBitPattern, NoUninit, try_cast_slice_mut};

/// `N` bytes with the alignment that an executor needs, for a `static` in a firmware.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Arena<const N: usize>(pub [u8; N]);

impl<const N: usize> Arena<N> {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The buffers of one inference. Shapes are in the plan: n tokens, k selected rows, m key rows.
#[derive(Debug)]
pub(crate) struct Buffers<'a> {
    /// X, `[n, d]`.
    pub(crate) hidden: &'a mut [f32],
    /// Router scores, `[n]`.
    pub(crate) scores: &'a mut [f32],
    /// lambda of every token, `[n]`.
    pub(crate) gates: &'a mut [f32],
    /// Selected tokens ascending, then the rest ascending, `[n]`.
    pub(crate) order: &'a mut [u32],
    /// `[m, attention width]`.
    pub(crate) keys: &'a mut [f32],
    /// `[m, attention width]`.
    pub(crate) values: &'a mut [f32],
    /// Queries, then the attention context in their place, `[k, attention width]`.
    pub(crate) queries: &'a mut [f32],
    /// The layer's output for the selected tokens, `[k, d]`.
    pub(crate) update: &'a mut [f32],
    /// Scratch of every worker.
    pub(crate) scratch: Scratch<'a>,
    /// The answer.
    pub(crate) output: &'a mut [f32],
}

/// Scratch of one or more workers; the parts of a worker are adjacent.
#[derive(Debug)]
pub(crate) struct Scratch<'a> {
    workers: usize,
    /// Rows on their way into a GEMM.
    pub(crate) tile: Tile<'a>,
    /// Scratch of one stage.
    pub(crate) stage: &'a mut [u8],
}

/// A tile of rows on their way into a GEMM: as floats, as int8, or both.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// `[tile, columns]` of the stage at hand.
    pub(crate) floats: &'a mut [f32],
    /// `[tile, stride]` of the stage at hand.
    pub(crate) int8: &'a mut [i8],
    /// `[tile]`.
    pub(crate) scales: &'a mut [f32],
}

impl Scratch<'_> {
    /// Workers it has scratch for.
    pub(crate) const fn workers(&self) -> usize {
        self.workers
    }

    /// The same scratch for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Scratch<'_> {
        let Tile { floats, int8, scales } = &mut self.tile;
        let tile = Tile { floats, int8, scales };
        Scratch { workers: self.workers, tile, stage: self.stage }
    }

    /// Cut for `left` of `workers` workers and the others.
    pub(crate) fn split(&mut self, workers: usize, left: usize) -> (Scratch<'_>, Scratch<'_>) {
        fn cut<T>(values: &mut [T], workers: usize, left: usize) -> (&mut [T], &mut [T]) {
            let middle = values.len() / workers.max(1) * left;
            values.split_at_mut_checked(middle).unwrap_or_default()
        }
        let unit = self.workers;
        let Tile { floats, int8, scales } = &mut self.tile;
        let (float_left, float_right) = cut(floats, unit, left);
        let (int8_left, int8_right) = cut(int8, unit, left);
        let (scale_left, scale_right) = cut(scales, unit, left);
        let (stage_left, stage_right) = cut(self.stage, unit, left);
        let scratch = |workers, floats, int8, scales, stage| Scratch {
            workers,
            tile: Tile { floats, int8, scales },
            stage,
        };
        (
            scratch(left, float_left, int8_left, scale_left, stage_left),
            scratch(workers - left, float_right, int8_right, scale_right, stage_right),
        )
    }
}

impl Tile<'_> {
    /// The first `rows` float rows.
    pub(crate) fn float_rows(&self, rows: usize, columns: usize) -> Matrix<'_> {
        Matrix::new(self.floats.get(..rows * columns).unwrap_or(&[]), columns)
    }

    /// The first `rows` int8 rows.
    pub(crate) fn int8_rows(&self, rows: usize, stride: usize) -> RowsInt8<'_> {
        RowsInt8 {
            values: self.int8.get(..rows * stride).unwrap_or(&[]),
            scales: self.scales.get(..rows).unwrap_or(&[]),
            stride,
        }
    }
}

/// A byte slice as values of another type; empty if it is misaligned, which a plan never makes it.
pub(crate) fn typed<T: AnyBitPattern + NoUninit>(bytes: &mut [u8]) -> &mut [T] {
    let whole = bytes.len() / size_of::<T>() * size_of::<T>();
    let bytes = bytes.get_mut(..whole).unwrap_or_default();
    try_cast_slice_mut(bytes).unwrap_or_default()
}

/// The bytes of some floats.
pub(crate) fn bytes_of(values: &mut [f32]) -> &mut [u8] {
    try_cast_slice_mut(values).unwrap_or_default()
}

/// Cuts buffers off the front of the arena, in the order of the plan.
struct Cutter<'p, 'a> {
    plan: &'p Plan,
    rest: &'a mut [u8],
    position: usize,
}

impl<'a> Cutter<'_, 'a> {
    fn cut(&mut self, index: usize) -> &'a mut [u8] {
        let Some(buffer) = self.plan.buffers().get(index) else { return &mut [] };
        let padding = buffer.offset.saturating_sub(self.position);
        let rest = core::mem::take(&mut self.rest);
        let taken = rest.split_at_mut_checked(padding + buffer.bytes);
        let Some((taken, rest)) = taken else { return &mut [] };
        self.rest = rest;
        self.position = buffer.offset + buffer.bytes;
        taken.get_mut(padding..).unwrap_or_default()
    }

    fn typed<T: AnyBitPattern + NoUninit>(&mut self, index: usize) -> &'a mut [T] {
        typed(self.cut(index))
    }
}

impl<'a> Buffers<'a> {
    /// Divides an arena of at least [`Plan::arena_bytes`] bytes, aligned to
    /// [`ARENA_ALIGNMENT`](super::ARENA_ALIGNMENT).
    pub(crate) fn divide(plan: &Plan, arena: &'a mut [u8]) -> Self {
        let mut cutter = Cutter { plan, rest: arena, position: 0 };
        Self {
            hidden: cutter.typed(plan::HIDDEN),
            scores: cutter.typed(plan::SCORES),
            gates: cutter.typed(plan::GATES),
            order: cutter.typed(plan::ORDER),
            keys: cutter.typed(plan::KEYS),
            values: cutter.typed(plan::VALUES),
            queries: cutter.typed(plan::QUERIES),
            update: cutter.typed(plan::UPDATE),
            scratch: Scratch {
                workers: plan.workers(),
                tile: Tile {
                    floats: cutter.typed(plan::TILE_FLOAT),
                    int8: cutter.typed(plan::TILE_INT8),
                    scales: cutter.typed(plan::TILE_SCALES),
                },
                stage: cutter.cut(plan::STAGE),
            },
            output: cutter.typed(plan::OUTPUT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Capacity, Dimensions};
    use super::*;

    const DIMENSIONS: Dimensions = Dimensions {
        hidden: 20,
        attention_width: 24,
        head_dim: 6,
        feed_forward: 33,
        gated: true,
        patch_inputs: 0,
        adapter: 3,
        low_rank: 2,
        outputs: 5,
        dense_layers: false,
        keys_of_all: true,
        int8: true,
        int8_attention: true,
    };
    const PLAN: Plan = match Plan::new(&DIMENSIONS, Capacity { tokens: 37, selected: 11 }) {
        Ok(plan) => plan,
        Err(_) => panic!(),
    };
    static ARENA: Arena<{ PLAN.arena_bytes() }> = Arena::new();

    #[test]
    fn a_plan_in_a_const_sizes_a_static() {
        assert_eq!(ARENA.0.len(), PLAN.arena_bytes());
    }

    #[test]
    fn dividing_gives_every_buffer_its_planned_bytes_and_leaves_none() {
        let mut arena = ARENA.clone();
        let buffers = Buffers::divide(&PLAN, &mut arena.0);
        let found = [
            size_of_val(&*buffers.hidden),
            size_of_val(&*buffers.scores),
            size_of_val(&*buffers.gates),
            size_of_val(&*buffers.order),
            size_of_val(&*buffers.keys),
            size_of_val(&*buffers.values),
            size_of_val(&*buffers.queries),
            size_of_val(&*buffers.update),
            size_of_val(&*buffers.scratch.tile.floats),
            size_of_val(&*buffers.scratch.tile.int8),
            size_of_val(&*buffers.scratch.tile.scales),
            size_of_val(&*buffers.scratch.stage),
            size_of_val(&*buffers.output),
        ];
        assert_eq!(found, core::array::from_fn(|i| PLAN.buffers()[i].bytes));
        let last = PLAN.buffers().last().unwrap();
        assert_eq!(last.offset + last.bytes, PLAN.arena_bytes());
    }

    #[test]
    fn one_byte_less_leaves_the_last_buffer_short() {
        let mut arena = ARENA.clone();
        let short = PLAN.arena_bytes() - 1;
        assert!(Buffers::divide(&PLAN, &mut arena.0[..short]).output.is_empty());
    }

    #[test]
    fn sizes_beyond_the_address_space_are_refused() {
        let huge = Dimensions { hidden: usize::MAX / 2, ..DIMENSIONS };
        assert!(Plan::new(&huge, Capacity::any_budget(9)).is_err());
        assert!(Plan::new(&DIMENSIONS, Capacity { tokens: 0, selected: 0 }).is_err());
        assert!(Plan::new(&DIMENSIONS, Capacity { tokens: 3, selected: 4 }).is_err());
    }
}
