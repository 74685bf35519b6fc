//! A file mapped to memory, read only.

use std::fs::File;
use std::io;

/// The bytes of a file, in place.
pub(crate) struct Mapping(memmap2::Mmap);

impl Mapping {
    /// Maps all of `file`.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is private and read only. That nobody cuts or writes to the file
        // meanwhile is asked of the caller of `PackageBytes::read`; `coda` itself replaces packages
        // by rename, which leaves a mapped file as it was.
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }
}

impl std::ops::Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
