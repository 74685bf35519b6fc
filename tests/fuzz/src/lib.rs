//! What the targets need: bytes from the fuzzer as a package that gets past the checksum, as the files of a
//! directory, and flash.

#[path = "../../src/hostile.rs"]
pub mod hostile;
#[path = "../../src/mutants.rs"]
pub mod mutants;
#[path = "../../src/nor.rs"]
pub mod nor;

use bytemuck::{cast_slice, cast_slice_mut};
use hostile::fix_checksum;
use std::path::{Path, PathBuf};

/// Writes the parts of `bytes` between zero bytes as the files `names` of a directory of this process; an
/// empty part is no file. Returns the directory and what is left of `bytes`.
///
/// # Panics
/// A file cannot be written.
#[must_use]
pub fn files<'b>(bytes: &'b [u8], names: &[&str]) -> (PathBuf, &'b [u8]) {
    let directory = std::env::temp_dir().join(format!("coda-fuzz-{}", std::process::id()));
    let mut rest = bytes;
    for name in names {
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        write(&directory.join(name), part);
    }
    (directory, rest)
}

/// Writes a file in its folder, or removes it if it would be empty.
///
/// # Panics
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8]) {
    if bytes.is_empty() {
        // It may not be there.
        drop(std::fs::remove_file(path));
        return;
    }
    let folder = path.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).expect("a directory");
    std::fs::write(path, bytes).expect("a file");
}

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
