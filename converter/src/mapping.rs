//! A file mapped to memory, read only.

use std::fs::File;
use std::io;

/// Bytes that are brought to memory at once.
#[cfg(target_os = "linux")]
const PART: usize = 1 << 20;

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

    /// Asks for every page at once, where the system can do that: they come one by one otherwise.
    ///
    /// Part by part: no other thread gets memory from the system while it brings one.
    pub(crate) fn populate(&self) {
        #[cfg(target_os = "linux")]
        for start in (0..self.0.len()).step_by(PART) {
            let length = PART.min(self.0.len() - start);
            let _ = self.0.advise_range(memmap2::Advice::PopulateRead, start, length);
        }
    }
}

impl std::ops::Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
