//! What the targets need: bytes from the fuzzer as a package that gets past the checksum.

use coda_runtime::format::{checksum, header};

/// A package in memory that is aligned for use in place.
pub struct Aligned {
    words: Vec<u64>,
    length: usize,
}

impl Aligned {
    /// Copies `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = Vec::with_capacity(bytes.len().div_ceil(8));
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            words.push(u64::from_ne_bytes(word));
        }
        Self { words, length: bytes.len() }
    }

    /// Copies `bytes` and makes the header's length and checksum right, as a hostile sender does.
    pub fn sealed(bytes: &[u8]) -> Self {
        let mut copy = bytes.to_vec();
        let length = copy.len() as u32;
        if let Some(field) = copy.get_mut(header::LENGTH) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        let sum = checksum(&copy);
        if let Some(field) = copy.get_mut(header::CHECKSUM) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
        Self::new(&copy)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        let start = self.words.as_ptr().cast();
        // SAFETY: the words are one allocation of at least `length` initialised bytes
        // (`Aligned::new`), borrowed for as long as `self`.
        unsafe { std::slice::from_raw_parts(start, self.length) }
    }
}
