//! Why bytes are not a package. Variants are numbered in `FORMAT.md`; each has a test.

use super::layout::{Encoding, PackageKind, SectionKind};
use super::role::Role;
use crate::text::VocabularyError;
use core::fmt;

/// Why bytes are not a package. The number of a variant is that of `FORMAT.md`, "Rejections".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// 1. Fewer bytes than a header.
    TooShort {
        /// Bytes given.
        found: usize,
    },
    /// 2. The first eight bytes are not the magic.
    BadMagic,
    /// 3. Another major version.
    UnsupportedVersion {
        /// Major version of the file.
        major: u16,
        /// Minor version of the file.
        minor: u16,
    },
    /// 4. The header's length is not the number of bytes given.
    WrongLength {
        /// Length in the header.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// 5. The checksum does not match.
    BadChecksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    },
    /// 6. The bytes do not start at a multiple of [`MEMORY_ALIGNMENT`](super::MEMORY_ALIGNMENT) in memory.
    Misaligned,
    /// 7. Not a kind of package.
    UnknownKind {
        /// The stored code.
        found: u16,
    },
    /// 8. More sections than [`limits::SECTIONS`](super::limits::SECTIONS), or more than fit.
    TooManySections {
        /// The stored number.
        found: usize,
    },
    /// 9. A reserved byte, unused field or padding byte is not zero.
    NotZero {
        /// Offset from the start of the package.
        offset: usize,
    },
    /// 10. A section does not start at the first free multiple of 64.
    SectionOffset {
        /// Index in the table.
        index: usize,
        /// Where it must start.
        expected: usize,
        /// Where it starts.
        found: usize,
    },
    /// 11. A section ends behind the file, or the file ends behind the last section.
    SectionEnd {
        /// Index in the table.
        index: usize,
        /// Its end.
        found: usize,
        /// The length of the file.
        length: usize,
    },
    /// 12. A section of an unknown kind that may not be skipped, or unknown flags.
    UnknownSection {
        /// The stored code.
        found: u16,
    },
    /// 13. The same section twice.
    DuplicateSection {
        /// Its kind.
        kind: SectionKind,
    },
    /// 14. A section that this kind of package does not have.
    ForeignSection {
        /// The kind of the section.
        kind: SectionKind,
        /// The kind of the package.
        package: PackageKind,
    },
    /// 15. A section that this kind of package needs.
    MissingSection {
        /// Its kind.
        kind: SectionKind,
    },
    /// 16. A section of a wrong length.
    SectionLength {
        /// Its kind.
        kind: SectionKind,
        /// Its length.
        found: usize,
    },
    /// 17. A field with a value that has no meaning or is out of its limits.
    InvalidField {
        /// The section.
        kind: SectionKind,
        /// Offset of the field from the start of the section.
        offset: usize,
    },
    /// 18. A tensor entry with an unknown role.
    UnknownRole {
        /// Index in the table.
        index: usize,
        /// The stored code.
        found: u16,
    },
    /// 19. A tensor that this kind of package does not hold, or a layer that does not fit its role.
    ForeignTensor {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
    },
    /// 20. A tensor entry with an unknown encoding.
    UnknownEncoding {
        /// Index in the table.
        index: usize,
        /// The stored code.
        found: u16,
    },
    /// 21. Tensor entries are not strictly ascending by layer, then role.
    TensorOrder {
        /// Index in the table.
        index: usize,
    },
    /// 22. A tensor without rows or columns.
    EmptyTensor {
        /// Index in the table.
        index: usize,
    },
    /// 23. A tensor does not start at the first free multiple of 64.
    TensorOffset {
        /// Index in the table.
        index: usize,
        /// Where it must start, from the start of the data section.
        expected: usize,
        /// Where it starts.
        found: usize,
    },
    /// 24. The length of a tensor is not that of its shape and encoding.
    TensorLength {
        /// Index in the table.
        index: usize,
        /// How it is stored.
        encoding: Encoding,
        /// Its length.
        found: usize,
    },
    /// 25. The data section ends before or behind the last tensor.
    DataEnd {
        /// End of the last tensor.
        expected: usize,
        /// Length of the section.
        found: usize,
    },
    /// 26. The vocabulary is damaged.
    Vocabulary(VocabularyError),
    /// 27. The labels are not a string list, or not as many as the head has.
    Labels,
    /// 28. The provenance is not UTF-8.
    Provenance,
    /// 29. A package inside a bundle is of the wrong kind.
    WrongPart {
        /// The kind it must have.
        expected: PackageKind,
    },
}

impl FormatError {
    /// The number of this rejection in `FORMAT.md`.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::TooShort { .. } => 1,
            Self::BadMagic => 2,
            Self::UnsupportedVersion { .. } => 3,
            Self::WrongLength { .. } => 4,
            Self::BadChecksum { .. } => 5,
            Self::Misaligned => 6,
            Self::UnknownKind { .. } => 7,
            Self::TooManySections { .. } => 8,
            Self::NotZero { .. } => 9,
            Self::SectionOffset { .. } => 10,
            Self::SectionEnd { .. } => 11,
            Self::UnknownSection { .. } => 12,
            Self::DuplicateSection { .. } => 13,
            Self::ForeignSection { .. } => 14,
            Self::MissingSection { .. } => 15,
            Self::SectionLength { .. } => 16,
            Self::InvalidField { .. } => 17,
            Self::UnknownRole { .. } => 18,
            Self::ForeignTensor { .. } => 19,
            Self::UnknownEncoding { .. } => 20,
            Self::TensorOrder { .. } => 21,
            Self::EmptyTensor { .. } => 22,
            Self::TensorOffset { .. } => 23,
            Self::TensorLength { .. } => 24,
            Self::DataEnd { .. } => 25,
            Self::Vocabulary(_) => 26,
            Self::Labels => 27,
            Self::Provenance => 28,
            Self::WrongPart { .. } => 29,
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { found } => {
                write!(f, "{found} bytes are too few for a package: the header alone has 64")
            }
            Self::BadMagic => write!(f, "this is not a coda package: the first bytes differ"),
            Self::UnsupportedVersion { major, minor } => write!(
                f,
                "the package has format version {major}.{minor}, this reader takes {}.x",
                super::VERSION.major
            ),
            Self::WrongLength { expected, found } => write!(
                f,
                "the header says {expected} bytes, there are {found}: the file is cut or has a tail"
            ),
            Self::BadChecksum { expected, found } => write!(
                f,
                "the checksum is {found:#010x} where the header says {expected:#010x}: the file is damaged"
            ),
            Self::Misaligned => write!(
                f,
                "the package does not start at a multiple of {} bytes in memory",
                super::MEMORY_ALIGNMENT
            ),
            Self::UnknownKind { found } => write!(f, "package kind {found} is unknown"),
            Self::TooManySections { found } => write!(f, "{found} sections are too many"),
            Self::NotZero { offset } => write!(f, "byte {offset} must be zero"),
            Self::SectionOffset { index, expected, found } => {
                write!(f, "section {index} starts at {found} instead of {expected}")
            }
            Self::SectionEnd { index, found, length } => {
                write!(f, "section {index} ends at {found} in a file of {length} bytes")
            }
            Self::UnknownSection { found } => {
                write!(f, "section kind {found} is unknown and may not be skipped")
            }
            Self::DuplicateSection { kind } => {
                write!(f, "the {} section stands twice", kind.name())
            }
            Self::ForeignSection { kind, package } => {
                write!(f, "a {} package has no {} section", package.name(), kind.name())
            }
            Self::MissingSection { kind } => write!(f, "the {} section is missing", kind.name()),
            Self::SectionLength { kind, found } => {
                write!(f, "the {} section has a wrong length, {found} bytes", kind.name())
            }
            Self::InvalidField { kind, offset } => {
                write!(f, "the field at byte {offset} of the {} section is invalid", kind.name())
            }
            Self::UnknownRole { index, found } => {
                write!(f, "tensor {index} has the unknown role {found}")
            }
            Self::ForeignTensor { role, layer } => {
                write!(f, "a tensor \"{}\" of layer {layer} does not belong here", role.name())
            }
            Self::UnknownEncoding { index, found } => {
                write!(f, "tensor {index} has the unknown encoding {found}")
            }
            Self::TensorOrder { index } => {
                write!(f, "tensor {index} is not behind its predecessor in layer and role")
            }
            Self::EmptyTensor { index } => write!(f, "tensor {index} has no values"),
            Self::TensorOffset { index, expected, found } => {
                write!(f, "tensor {index} starts at {found} instead of {expected}")
            }
            Self::TensorLength { index, encoding, found } => write!(
                f,
                "tensor {index} has {found} bytes, which is not its shape as {}",
                encoding.name()
            ),
            Self::DataEnd { expected, found } => {
                write!(f, "the tensors end at {expected} in a data section of {found} bytes")
            }
            Self::Vocabulary(error) => write!(f, "the vocabulary is damaged: {error}"),
            Self::Labels => write!(f, "the labels are damaged or not as many as the head has"),
            Self::Provenance => write!(f, "the provenance is not UTF-8 text"),
            Self::WrongPart { expected } => {
                write!(f, "a part of the bundle is not a {} package", expected.name())
            }
        }
    }
}

impl core::error::Error for FormatError {}
