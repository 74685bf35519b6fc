#![doc = include_str!("../../SIGNED.md")]

pub mod envelope;
mod error;
mod keys;
mod kind;
mod trust;

pub use envelope::{
    ENVELOPE_MAGIC as MAGIC, ENVELOPE_MAJOR as MAJOR, ENVELOPE_MINOR as MINOR, base_of,
};
pub use error::{KeyId, SignatureError};
pub use keys::{KEYS, Keys, key_id, key_list};
pub use kind::SignedKind;
pub use trust::{Change, Manifest, Pieces, Scope, Signed, Trust, digest};
