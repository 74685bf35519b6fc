//! Why bytes are not a package. Variants are numbered in `FORMAT.md`; each has a test.

use super::layout::{Encoding, MEMORY_ALIGNMENT, PackageKind, SectionKind, VERSION};
use super::role::Role;
use crate::text::VocabularyError;
use core::fmt;

/// Every rejection with its number, its fields and its sentence.
macro_rules! rejections {
    ($(
        $(#[$doc:meta])*
        $number:literal $name:ident
        $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })? $(($inner:ident: $of:ty))?
        => $($sentence:expr),+;
    )*) => {
        /// Why bytes are not a package, numbered as in `FORMAT.md`, "Rejections".
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum FormatError {
            $(
                #[doc = concat!($number, ".")]
                $(#[$doc])*
                $name $({ $($(#[$field_doc])* $field: $type,)* })? $(($of))?,
            )*
        }

        impl FormatError {
            /// The number of this rejection in `FORMAT.md`.
            #[must_use]
            pub const fn number(&self) -> u8 {
                match self {
                    $(Self::$name { .. } => $number,)*
                }
            }
        }

        impl fmt::Display for FormatError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name $({ $($field),* })? $(($inner))? => write!(f, $($sentence),+),)*
                }
            }
        }
    };
}

rejections! {
    /// Fewer bytes than a header.
    1 TooShort {
        /// Bytes given.
        found: usize,
    } => "{found} bytes are too few for a package: the header alone has 64";
    /// The first eight bytes are not the magic.
    2 BadMagic => "this is not a coda package: the first bytes differ";
    /// Another major version.
    3 UnsupportedVersion {
        /// Major version of the file.
        major: u16,
        /// Minor version of the file.
        minor: u16,
    } => "the package has format version {major}.{minor}, this reader takes {}.x", VERSION.major;
    /// The header's length is not the number of bytes given.
    4 WrongLength {
        /// Length in the header.
        expected: usize,
        /// Bytes given.
        found: usize,
    } => "the header says {expected} bytes, there are {found}: the file is cut or has a tail";
    /// The checksum does not match.
    5 BadChecksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    } =>
        "the checksum is {found:#010x} where the header says {expected:#010x}: the file is damaged";
    /// The bytes do not start at a multiple of [`MEMORY_ALIGNMENT`](super::MEMORY_ALIGNMENT) in
    /// memory.
    6 Misaligned =>
        "the package does not start at a multiple of {} bytes in memory", MEMORY_ALIGNMENT;
    /// Not a kind of package.
    7 UnknownKind {
        /// The stored code.
        found: u16,
    } => "package kind {found} is unknown";
    /// More sections than [`limits::SECTIONS`](super::limits::SECTIONS), or more than fit.
    8 TooManySections {
        /// The stored number.
        found: usize,
    } => "{found} sections are too many";
    /// A reserved byte, unused field or padding byte is not zero.
    9 NotZero {
        /// Offset from the start of the package.
        offset: usize,
    } => "byte {offset} must be zero";
    /// A section does not start at the first free multiple of 64.
    10 SectionOffset {
        /// Index in the table.
        index: usize,
        /// Where it must start.
        expected: usize,
        /// Where it starts.
        found: usize,
    } => "section {index} starts at {found} instead of {expected}";
    /// A section ends after the file, or the file ends after the last section.
    11 SectionEnd {
        /// Index in the table.
        index: usize,
        /// Its end.
        found: usize,
        /// The length of the file.
        length: usize,
    } => "section {index} ends at {found} in a file of {length} bytes";
    /// A section of an unknown kind that may not be skipped, or unknown flags.
    12 UnknownSection {
        /// The stored code.
        found: u16,
    } => "section kind {found} is unknown and may not be skipped";
    /// The same section twice.
    13 DuplicateSection {
        /// Its kind.
        kind: SectionKind,
    } => "the {} section stands twice", kind.name();
    /// A section that this kind of package does not have.
    14 ForeignSection {
        /// The kind of the section.
        kind: SectionKind,
        /// The kind of the package.
        package: PackageKind,
    } => "a {} package has no {} section", package.name(), kind.name();
    /// A section that this kind of package needs.
    15 MissingSection {
        /// Its kind.
        kind: SectionKind,
    } => "the {} section is missing", kind.name();
    /// A section of a wrong length.
    16 SectionLength {
        /// Its kind.
        kind: SectionKind,
        /// Its length.
        found: usize,
    } => "the {} section has a wrong length, {found} bytes", kind.name();
    /// A field with a value that has no meaning or is out of its limits.
    17 InvalidField {
        /// The section.
        kind: SectionKind,
        /// Offset of the field from the start of the section.
        offset: usize,
    } => "the field at byte {offset} of the {} section is invalid", kind.name();
    /// A tensor entry with an unknown role.
    18 UnknownRole {
        /// Index in the table.
        index: usize,
        /// The stored code.
        found: u16,
    } => "tensor {index} has the unknown role {found}";
    /// A tensor that this kind of package does not hold, or a layer that does not fit its role.
    19 ForeignTensor {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
    } => "a tensor \"{}\" of layer {layer} does not belong here", role.name();
    /// A tensor entry with an unknown encoding.
    20 UnknownEncoding {
        /// Index in the table.
        index: usize,
        /// The stored code.
        found: u16,
    } => "tensor {index} has the unknown encoding {found}";
    /// Tensor entries are not strictly ascending by layer, then role.
    21 TensorOrder {
        /// Index in the table.
        index: usize,
    } => "tensor {index} is not behind its predecessor in layer and role";
    /// A tensor without rows or columns.
    22 EmptyTensor {
        /// Index in the table.
        index: usize,
    } => "tensor {index} has no values";
    /// A tensor does not start at the first free multiple of 64.
    23 TensorOffset {
        /// Index in the table.
        index: usize,
        /// Where it must start, from the start of the data section.
        expected: usize,
        /// Where it starts.
        found: usize,
    } => "tensor {index} starts at {found} instead of {expected}";
    /// The length of a tensor is not that of its shape and encoding.
    24 TensorLength {
        /// Index in the table.
        index: usize,
        /// How it is stored.
        encoding: Encoding,
        /// Its length.
        found: usize,
    } => "tensor {index} has {found} bytes, which is not its shape as {}", encoding.name();
    /// The data section ends before or after the last tensor.
    25 DataEnd {
        /// End of the last tensor.
        expected: usize,
        /// Length of the section.
        found: usize,
    } => "the tensors end at {expected} in a data section of {found} bytes";
    /// The vocabulary is damaged.
    26 Vocabulary(error: VocabularyError) => "the vocabulary is damaged: {error}";
    /// The labels are not a string list, or not as many as the head has.
    27 Labels => "the labels are damaged or not as many as the head has";
    /// The provenance is not UTF-8.
    28 Provenance => "the provenance is not UTF-8 text";
    /// A package inside a bundle is of the wrong kind.
    29 WrongPart {
        /// The kind it must have.
        expected: PackageKind,
    } => "a part of the bundle is not a {} package", expected.name();
}

impl core::error::Error for FormatError {}
