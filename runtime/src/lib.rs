//! Runs Conditional Adapters (CoDA) on small machines.
//!
//! A frozen transformer layer is expensive and most tokens do not need it: every token takes a tiny
//! adapter, and only the k tokens with the highest router score take the frozen layer as well
//! (Lei et al., NeurIPS 2023). This crate executes such models from packages that are used in place,
//! without `std`, without an allocator, in one scratch buffer whose exact size is known beforehand.
//!
//! ```
//! use coda_runtime::{Arena, Budget, Capacity, Executor, Input, Kernels, Model, Package, Plan};
//!
//! # macro_rules! model { () => {
//! #     concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/bert-int8-v1.0.coda")
//! # } }
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let flash: &'static [u8] = coda_runtime::include_package!(model!()); // used in place
//! let package = Package::parse(flash)?; // magic, version, checksum, every offset, once
//! let model = Model::from_package(&package)?; // roles complete, shapes agree, the task is for this base
//! let plan = Plan::new(&model.dimensions(), Capacity { tokens: 8, selected: 4 })?;
//! let mut arena = Arena::<16_384>::new(); // `plan.arena_bytes()` says how much it must be
//! let mut executor = Executor::new(&model, Kernels::best(), plan, &mut arena.0)?;
//! let output = executor.run(Input::tokens(&[2, 5, 6, 3]), Budget::Reduction(2.0))?;
//! assert!(output.label().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! Rooms, lowest first; a room uses only those above it in this list:
//!
//! | room | what it is |
//! |---|---|
//! | [`config`] | what a package describes: shapes and choices |
//! | [`panel`] | how weights and rows lie in memory |
//! | [`tensor`] | two-dimensional views of floats |
//! | [`text`] | WordPiece, byte pairs, Unigram: a text to token ids and back |
//! | [`image`] | pixels to normalised patches |
//! | `slots` | an update of a task in flash that survives a power cut at any moment |
//! | [`kernels`] | arithmetic on rows and panels, one table of functions for each instruction set |
//! | `audio` | sound to log-mel features, while it arrives |
//! | [`format`] | bytes to a checked view of a package |
//! | `signature` | packages that a device takes only from one sender, and none older than the one it has |
//! | `updates` | signed updates over slots: refused before an erase, or tried before they count |
//! | [`memory`] | the exact size of the scratch buffer, and its division |
//! | [`model`] | a view to layers with a meaning |
//! | [`routing`] | budgets, scores, soft top-k, selection |
//! | `block` | what layers are made of: rows into maps, attention over given keys, feed-forward |
//! | [`executor`] | one inference |
//! | `decoder` | an answer of many tokens: text out |
//! | `self_test` | inputs and answers that a task carries, compared to the bit |
//!
//! `slots`, `signature`, `updates` and `self_test` are off unless a feature asks for them, `audio` and `decoder` are
//! on; `block` is not public.
//!
//! # Numbers
//!
//! The same package and input give the same bits for every caller and on every CPU: floats are
//! summed in one written order without fused multiply-add, `exp`, `ln` and `erf` are this crate's
//! own, and integer sums are exact. See [`kernels`].
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(not(target_endian = "little"))]
compile_error!(
    "packages are little-endian and used in place: big-endian targets are not supported"
);

#[cfg(feature = "audio")]
pub mod audio;
mod block;
pub mod config;
#[cfg(feature = "decoder")]
pub mod decoder;
pub mod executor;
pub mod format;
pub mod image;
pub mod kernels;
pub mod memory;
pub mod model;
pub mod panel;
pub mod routing;
#[cfg(feature = "self-test")]
pub mod self_test;
#[cfg(feature = "signature")]
pub mod signature;
#[cfg(feature = "slots")]
pub mod slots;
pub mod tensor;
pub mod text;
#[cfg(feature = "updates")]
pub mod updates;

#[cfg(feature = "decoder")]
pub use decoder::{Generation, Generator, Search};
pub use executor::{Executor, Input, Output};
pub use format::Package;
pub use kernels::Kernels;
#[cfg(feature = "decoder")]
pub use memory::{AnswerCapacity, GenerationPlan};
pub use memory::{Arena, Capacity, Plan};
pub use model::Model;
pub use routing::Budget;
