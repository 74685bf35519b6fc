//! The bytes of a package, of memory or of a file.

use crate::mapping::Mapping;
use coda_runtime::format::{FormatError, Package};
use std::sync::Arc;

/// The bytes of a package, aligned for use in place.
#[derive(Clone)]
pub struct PackageBytes(Storage);

#[derive(Clone)]
enum Storage {
    Copied { words: Vec<u64>, length: usize },
    Mapped(Arc<Mapping>),
}

/// The smallest file that is mapped in place of being read.
const MAPPED: u64 = 64 << 20;

impl PackageBytes {
    /// Copies `bytes` to aligned memory.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self(Storage::Copied { words, length: bytes.len() })
    }

    /// Reads a file; one of 64 MiB or more is mapped to memory and used in place. A mapped file must
    /// not be cut or written to while it is in use: the system ends a program that reads what was cut,
    /// and a copy would cost as much memory again. Replacing it by another under its name, as this
    /// crate does, is no harm.
    ///
    /// # Errors
    /// Any error of opening or reading.
    pub fn read(path: &std::path::Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() >= MAPPED {
            return Ok(Self(Storage::Mapped(Arc::new(Mapping::new(&file)?))));
        }
        Ok(Self::new(&std::fs::read(path)?))
    }

    /// Parses the package.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(&self) -> Result<Package<'_>, FormatError> {
        Package::parse(self)
    }
}

impl std::ops::Deref for PackageBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Storage::Copied { words, length } => &bytemuck::cast_slice(words)[..*length],
            Storage::Mapped(mapping) => mapping,
        }
    }
}

impl PartialEq for PackageBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for PackageBytes {}

impl std::fmt::Debug for PackageBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackageBytes({} bytes)", self.len())
    }
}
