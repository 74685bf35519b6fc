//! The exact size of the scratch buffer, and its division.
//!
//! [`Plan::new`] is a `const fn`: a firmware computes the size at compile time, the converter prints
//! the same number, and [`Executor::new`](crate::executor::Executor::new) refuses a smaller buffer.

mod arena;
mod attention;
mod buffers;
#[cfg(feature = "decoder")]
mod generation;
mod plan;
mod size;

pub use arena::Arena;
pub(crate) use arena::{Scratch, Tile};
pub(crate) use attention::{
    ATTENTION_TILE, FloatTile, HeadExtent, Int8Keys, Int8Rows, Int8Tile, divide_float, divide_int8,
};
pub(crate) use buffers::{bytes_of, typed};
#[cfg(feature = "decoder")]
pub use generation::{AnswerCapacity, DecoderDimensions, GenerationPlan};
#[cfg(feature = "decoder")]
pub(crate) use generation::{
    KeyExtent, LOGITS, MemoryBuffers, StepBuffers, divide_memory, divide_step,
};
pub(crate) use plan::Buffers;
pub use plan::{Buffer, Capacity, Dimensions, Plan, PlanError};

/// The arena and every buffer in it start at multiples of this many bytes.
pub const ARENA_ALIGNMENT: usize = 16;
