//! The C interface: what `include/coda.h` declares.
//!
//! | file | what it holds |
//! |---|---|
//! | `abi` | the exported functions |
//! | `types` | structures that cross the border |
//! | `status` | statuses, their texts, the error behind one |
//! | `state` | a context, in safe Rust |
//! | `pointers` | the only file that reads through a pointer of a context |
//! | `updates` | signed packages and updates over two slots, with the feature of that name |
//! | `flash` | the flash of a C program |
//! | `generation` | models that write, with the feature `decoder` |
//! | `answers` | their structures |
//! | `writer` | an answer between two calls, in safe Rust |
//!
//! Nothing allocates; with the profile `capi` nothing unwinds. `tests/header.rs` keeps the header
//! equal to what cbindgen makes of this crate.
#![no_std]
#![deny(unsafe_code)]

mod abi;
#[cfg(feature = "decoder")]
mod answers;
#[cfg(feature = "updates")]
mod flash;
#[cfg(feature = "decoder")]
mod generation;
#[cfg(all(feature = "panic-handler", not(feature = "std")))]
mod panic;
mod pointers;
mod state;
mod status;
mod types;
#[cfg(feature = "updates")]
mod updates;
#[cfg(feature = "decoder")]
mod writer;

pub use abi::*;
#[cfg(feature = "decoder")]
pub use answers::{Answer, CODA_GENERATION_WORDS, Capacity, Generation, Search};
#[cfg(feature = "updates")]
pub use flash::{Flash, FlashFailure};
#[cfg(feature = "decoder")]
pub use generation::{
    coda_detokenize, coda_generate_pixels, coda_generate_tokens, coda_generation_bytes,
    coda_get_answer, coda_plan_generation, coda_start_generation, coda_step,
};
pub use status::Status;
pub use types::{
    Budget, BudgetKind, CODA_CONTEXT_WORDS, Context, Costs, HeadType, Info, InputKind, Output,
};
#[cfg(feature = "updates")]
pub use updates::{
    Signed, SlotsConfig, TrustConfig, coda_open_signed, coda_updates_alignment, coda_updates_bytes,
    coda_updates_cancel, coda_updates_confirm, coda_updates_error, coda_updates_find,
    coda_updates_finish, coda_updates_init, coda_updates_offer, coda_updates_write,
};
