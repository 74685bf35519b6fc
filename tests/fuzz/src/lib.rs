//! What the targets need: bytes from the fuzzer as a package that gets past the checksum, and flash.

#[path = "../../src/hostile.rs"]
pub mod hostile;
#[path = "../../src/nor.rs"]
pub mod nor;

use bytemuck::{cast_slice, cast_slice_mut};
use hostile::fix_checksum;

/// A package in memory that is aligned for use in place.
pub struct Aligned {
    words: Vec<u64>,
    length: usize,
}

impl Aligned {
    /// Copies `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let (mut words, length) = (vec![0; bytes.len().div_ceil(8)], bytes.len());
        cast_slice_mut(&mut words)[..length].copy_from_slice(bytes);
        Self { words, length }
    }

    /// Copies `bytes` and makes the header's length and checksum right, as a hostile sender does.
    pub fn sealed(bytes: &[u8]) -> Self {
        let mut copy = Self::new(bytes);
        fix_checksum(&mut cast_slice_mut(&mut copy.words)[..bytes.len()]);
        copy
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &cast_slice(&self.words)[..self.length]
    }
}
