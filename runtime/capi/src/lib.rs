//! The C interface: what `include/coda.h` declares.
//!
//! | file | what it holds |
//! |---|---|
//! | `abi` | the exported functions |
//! | `types` | structures that cross the border |
//! | `status` | statuses, their texts, the error behind one |
//! | `state` | a context, in safe Rust |
//! | `pointers` | the only file that reads through a pointer |
//!
//! Nothing allocates; with the profile `capi` nothing unwinds. `tests/header.rs` keeps the header
//! equal to what cbindgen makes of this crate.
#![no_std]
#![deny(unsafe_code)]

mod abi;
#[cfg(all(feature = "panic-handler", not(feature = "std")))]
mod panic;
mod pointers;
mod state;
mod status;
mod types;

pub use abi::*;
pub use status::Status;
pub use types::{
    Budget, BudgetKind, CODA_CONTEXT_WORDS, Context, Costs, HeadType, Info, InputKind, Output,
};
