//! The scratch buffer and the typed buffers carved from it.

use super::ARENA_ALIGNMENT;
use super::buffers::Cutter;
use super::plan::{Buffers, Plan};
use crate::panel::RowsInt8;
use crate::tensor::{Matrix, Part};
use core::mem::take;

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

#[cfg(feature = "decoder")]
impl<'a> Scratch<'a> {
    /// Scratch of one worker.
    pub(crate) const fn of_one(tile: Tile<'a>, stage: &'a mut [u8]) -> Self {
        Self { workers: 1, tile, stage }
    }
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
            values.parts_mut(middle)
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
        Matrix::new(self.floats.part(0..rows * columns), columns)
    }

    /// The first `rows` int8 rows.
    pub(crate) fn int8_rows(&self, rows: usize, stride: usize) -> RowsInt8<'_> {
        RowsInt8 {
            values: self.int8.part(0..rows * stride),
            scales: self.scales.part(0..rows),
            stride,
        }
    }
}

impl<'a> Buffers<'a> {
    /// Divides an arena of at least [`Plan::arena_bytes`] bytes, aligned to [`ARENA_ALIGNMENT`].
    pub(crate) fn divide(plan: &Plan, arena: &'a mut [u8]) -> Self {
        let mut cutter = Cutter::new(arena, ARENA_ALIGNMENT);
        Self::cut(&mut cutter, plan.buffers.each_ref().map(|buffer| buffer.bytes))
    }

    /// Takes the scratch of `workers` workers out of the buffers.
    pub(crate) fn take_scratch(&mut self, workers: usize) -> Scratch<'a> {
        let tile = Tile {
            floats: take(&mut self.tile_floats),
            int8: take(&mut self.tile_int8),
            scales: take(&mut self.tile_scales),
        };
        Scratch { workers, tile, stage: take(&mut self.stage) }
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
        pooled: 20,
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
            size_of_val(&*buffers.tile_floats),
            size_of_val(&*buffers.tile_int8),
            size_of_val(&*buffers.tile_scales),
            size_of_val(&*buffers.stage),
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
