//! The exact size of the scratch buffer, and its division.
//!
//! [`Plan::new`] is a `const fn`: a firmware computes the size at compile time, the converter prints
//! the same number, and [`Executor::new`](crate::executor::Executor::new) refuses a smaller buffer.

mod arena;
mod plan;

pub use arena::Arena;
pub(crate) use arena::{Buffers, Scratch, Tile, bytes_of, typed};
pub(crate) use plan::{ATTENTION_TILE, AttentionScratch, Int8AttentionScratch};
pub use plan::{Buffer, Capacity, Dimensions, Plan, PlanError};

/// The arena and every buffer in it start at multiples of this many bytes.
pub const ARENA_ALIGNMENT: usize = 16;
