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

impl PackageBytes {
    /// Copies `bytes` to aligned memory.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self(Storage::Copied { words, length: bytes.len() })
    }

    /// Maps a file to memory, where it is used in place; what cannot be mapped (a pipe, an empty
    /// file) is read. The file must not be cut or written to while it is in use; replacing it by
    /// another under its name, as this crate does, is no harm.
    ///
    /// # Errors
    /// Any error of opening or reading.
    pub fn read(path: &std::path::Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() > 0 {
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
