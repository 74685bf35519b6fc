//! Bytes at a multiple of 64, as packages and arenas need them.

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};
use std::path::Path;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Block([u8; 64]);

/// Aligned bytes.
pub(super) struct Bytes {
    blocks: Vec<Block>,
    length: usize,
}

impl Bytes {
    pub(super) fn zero(length: usize) -> Self {
        Self { blocks: vec![Block([0; 64]); length.div_ceil(64)], length }
    }

    /// The file, with its name in the error.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut aligned = Self::zero(bytes.len());
        aligned.get_mut().copy_from_slice(&bytes);
        Ok(aligned)
    }

    pub(super) fn get(&self) -> &[u8] {
        &cast_slice(&self.blocks)[..self.length]
    }

    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        &mut cast_slice_mut(&mut self.blocks)[..self.length]
    }
}
