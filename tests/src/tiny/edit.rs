//! Changes to the bytes of a package, field by field.

use coda_converter::pack;
use coda_runtime::format::{SectionKind, header, section};
use std::ops::Range;

/// The bytes of a package on their way to become another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Edit(Vec<u8>);

impl Edit {
    /// Starts from a valid package.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes as they are.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// The bytes with a new content id and checksum, as a writer leaves them.
    #[must_use]
    pub fn sealed(mut self) -> Vec<u8> {
        pack::seal(&mut self.0);
        self.0
    }

    /// Writes a u16 field of the structure at `start`.
    pub fn u16(mut self, start: usize, field: Range<usize>, value: u16) -> Self {
        self.0[start + field.start..start + field.end].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Writes a u32 field of the structure at `start`.
    pub fn u32(mut self, start: usize, field: Range<usize>, value: u32) -> Self {
        self.0[start + field.start..start + field.end].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Writes one byte.
    pub fn byte(mut self, at: usize, value: u8) -> Self {
        self.0[at] = value;
        self
    }

    /// The u32 field of the structure at `start`.
    #[must_use]
    pub fn get(&self, start: usize, field: Range<usize>) -> usize {
        let mut value = [0; 4];
        value.copy_from_slice(&self.0[start + field.start..start + field.end]);
        u32::from_le_bytes(value) as usize
    }

    /// Where the table entry of a section is.
    ///
    /// # Panics
    /// The package has no such section.
    #[must_use]
    pub fn entry(&self, kind: SectionKind) -> usize {
        let code = (kind as u16).to_le_bytes();
        let entries = (header::LENGTH_BYTES..).step_by(section::ENTRY_BYTES).take(self.count());
        let mut found = entries.filter(|at| self.0[*at..*at + 2] == code);
        found.next().expect("the package has no such section")
    }

    /// Where the bytes of a section are.
    #[must_use]
    pub fn section(&self, kind: SectionKind) -> usize {
        self.get(self.entry(kind), section::OFFSET)
    }

    /// Number of sections.
    #[must_use]
    pub fn count(&self) -> usize {
        let [low, high] = [0, 1].map(|byte| self.0[header::SECTIONS.start + byte]);
        usize::from(u16::from_le_bytes([low, high]))
    }

    /// Exchanges the kinds of two sections, whose bytes stay.
    pub fn exchange(self, first: SectionKind, second: SectionKind) -> Self {
        let (a, b) = (self.entry(first), self.entry(second));
        self.u16(a, section::KIND, second as u16).u16(b, section::KIND, first as u16)
    }

    /// Says that a section is of another kind, with other flags.
    pub fn relabel(self, kind: SectionKind, code: u16, flags: u16) -> Self {
        let entry = self.entry(kind);
        self.u16(entry, section::KIND, code).u16(entry, section::FLAGS, flags)
    }

    /// Appends `bytes` to the last section, which is the one of `kind`.
    pub fn grow(self, kind: SectionKind, bytes: &[u8]) -> Self {
        let entry = self.entry(kind);
        let length = self.get(entry, section::LENGTH) + bytes.len();
        self.append(bytes).u32(entry, section::LENGTH, length as u32)
    }

    /// Appends `bytes` to the file.
    pub fn append(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        let length = self.0.len() as u32;
        self.u32(0, header::LENGTH, length)
    }
}
