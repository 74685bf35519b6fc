//! Sections, tables and the header of a package, laid out and sealed.

use super::storage::{Storage, Tables, WeightType, storage_of};
use crate::bytes::PackageBytes;
use crate::preparation::{self, Preparation};
use crate::quantize;
use crate::source::{FloatTensor, Place, SourceError};
use coda_runtime::config::Head;
use coda_runtime::format::{
    self, ALIGNMENT, ContentId, FormatError, GLOBAL_LAYER, MAGIC, PackageKind, SectionKind,
    VERSION, header, section, string_list_bytes, tensor,
};
use coda_runtime::model::ModelError;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why packages cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A value that an f16 cannot hold.
    #[error("tensor \"{name}\" holds {value}, which f16 cannot: use --weights f32")]
    F16Range {
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// The package would be 4 GiB or more.
    #[error("the package would have {bytes} bytes; the format ends at 4 GiB")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The vocabulary cannot be packed.
    #[error("the vocabulary cannot be packed: {0}")]
    Vocabulary(String),
    /// The written package is refused by the reader.
    #[error("the package cannot be read back: {0}")]
    Format(#[from] FormatError),
    /// The written packages are refused by the model.
    #[error("base and task do not fit: {0}")]
    Model(#[from] ModelError),
}

/// Where one tensor went.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TensorReport {
    /// Name in the source file.
    pub name: String,
    /// Name of its role.
    pub role: &'static str,
    /// Its layer, if it belongs to one.
    pub layer: Option<u16>,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// How it is stored.
    pub encoding: &'static str,
    /// Bits of one weight.
    pub bits: usize,
    /// Bytes in the package, scales included.
    pub bytes: usize,
    /// Why it is wider than asked for; empty if it is not.
    pub reason: &'static str,
}

impl TensorReport {
    fn new(
        name: String,
        place: Place,
        tensor: &FloatTensor,
        storage: &Storage,
        bytes: usize,
    ) -> Self {
        let (layer, role) = place;
        Self {
            name,
            role: role.name(),
            layer: (layer != GLOBAL_LAYER).then_some(layer),
            shape: (tensor.shape[0], tensor.shape[1]),
            encoding: storage.encoding.name(),
            bits: storage.encoding.bits(),
            bytes,
            reason: storage.reason,
        }
    }
}

/// A package and where its tensors went.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The package.
    pub bytes: PackageBytes,
    /// Every tensor.
    pub tensors: Vec<TensorReport>,
}

/// Collects the sections of a package.
pub(super) struct Writer {
    kind: PackageKind,
    base_id: ContentId,
    sections: Vec<(u16, bool, Vec<u8>)>,
}

impl Writer {
    pub(super) const fn new(kind: PackageKind, base_id: ContentId) -> Self {
        Self { kind, base_id, sections: Vec::new() }
    }

    pub(super) fn section(&mut self, kind: SectionKind, bytes: Vec<u8>) {
        let skippable = [SectionKind::Provenance, SectionKind::SelfTest, SectionKind::Speech];
        let skippable = skippable.contains(&kind);
        self.raw(kind as u16, skippable, bytes);
    }

    /// A section of any kind.
    pub(super) fn raw(&mut self, kind: u16, skippable: bool, bytes: Vec<u8>) {
        self.sections.push((kind, skippable, bytes));
    }

    pub(super) fn head(&mut self, head: Option<Head>, labels: &[String]) {
        let Some(head) = head else { return };
        self.section(SectionKind::Head, format::encode_head(&head).to_vec());
        if !labels.is_empty() {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            self.section(SectionKind::Labels, string_list_bytes(&labels).collect());
        }
    }

    /// How pictures are prepared: for hosts, devices skip it.
    pub(super) fn preparation(&mut self, preparation: &Preparation) {
        if let Some(bytes) = preparation.section() {
            self.raw(preparation::SECTION, true, bytes);
        }
    }

    pub(super) fn provenance(&mut self, text: &str) {
        if !text.is_empty() {
            self.section(SectionKind::Provenance, text.as_bytes().to_vec());
        }
    }

    /// Encodes the tensors and adds the table and data sections.
    pub(super) fn tensors(
        &mut self,
        tensors: &BTreeMap<Place, FloatTensor>,
        names: &BTreeMap<Place, String>,
        weights: WeightType,
        tables: Tables,
    ) -> Result<Vec<TensorReport>, PackError> {
        let (mut table, mut data, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for (place @ (layer, role), values) in tensors {
            let storage = storage_of(*role, weights, tables);
            let (rows, columns) = (values.shape[0], values.shape[1]);
            let name = names.get(place).cloned().unwrap_or_else(|| role.name().to_owned());
            let bytes = quantize::encode(storage.encoding, rows, columns, &values.values)
                .map_err(|error| PackError::F16Range { name: name.clone(), value: error.value })?;
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
            for field in [role.code(), *layer, storage.encoding as u16, 0] {
                table.extend(field.to_le_bytes());
            }
            for field in [rows, columns, data.len(), bytes.len()] {
                table.extend(size_u32(field)?.to_le_bytes());
            }
            reports.push(TensorReport::new(name, *place, values, &storage, bytes.len()));
            data.extend(bytes);
        }
        debug_assert_eq!(table.len(), tensors.len() * tensor::ENTRY_BYTES);
        self.section(SectionKind::Tensors, table);
        self.section(SectionKind::Data, data);
        Ok(reports)
    }

    /// Lays the sections out, writes header and table, seals and parses.
    pub(super) fn finish(self) -> Result<PackageBytes, PackError> {
        let table_end = header::LENGTH_BYTES + self.sections.len() * section::ENTRY_BYTES;
        let mut bytes = vec![0; table_end];
        for (index, (kind, skippable, body)) in self.sections.iter().enumerate() {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let (offset, length) = (size_u32(bytes.len())?, size_u32(body.len())?);
            let entry = &mut bytes[header::LENGTH_BYTES + index * section::ENTRY_BYTES..];
            let flags = if *skippable { section::SKIPPABLE } else { 0 };
            entry[section::KIND].copy_from_slice(&kind.to_le_bytes());
            entry[section::FLAGS].copy_from_slice(&flags.to_le_bytes());
            entry[section::OFFSET].copy_from_slice(&offset.to_le_bytes());
            entry[section::LENGTH].copy_from_slice(&length.to_le_bytes());
            bytes.extend(body);
        }
        self.write_header(&mut bytes)?;
        seal(&mut bytes);
        let bytes = PackageBytes::new(&bytes);
        bytes.parse()?;
        Ok(bytes)
    }

    /// Everything of the header but checksum and content id.
    fn write_header(&self, bytes: &mut [u8]) -> Result<(), PackError> {
        let length = size_u32(bytes.len())?;
        bytes[header::MAGIC].copy_from_slice(&MAGIC);
        bytes[header::MAJOR].copy_from_slice(&VERSION.major.to_le_bytes());
        bytes[header::MINOR].copy_from_slice(&VERSION.minor.to_le_bytes());
        bytes[header::KIND].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[header::SECTIONS].copy_from_slice(&(self.sections.len() as u16).to_le_bytes());
        bytes[header::LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes[header::BASE_ID].copy_from_slice(&self.base_id);
        Ok(())
    }
}

fn size_u32(size: usize) -> Result<u32, PackError> {
    u32::try_from(size).map_err(|_| PackError::TooLarge { bytes: size })
}

/// The content id of a package: SHA-256 of the file with checksum and id zero, first 16 bytes.
#[must_use]
pub fn content_id(bytes: &[u8]) -> ContentId {
    let mut hash = Sha256::new();
    let (before, rest) = bytes.split_at(header::CHECKSUM.start.min(bytes.len()));
    let (hidden, behind) = rest.split_at((header::CONTENT_ID.end - before.len()).min(rest.len()));
    hash.update(before);
    hash.update(vec![0; hidden.len()]);
    hash.update(behind);
    let mut id = ContentId::default();
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}

/// Sets checksum and content id of a finished package anew.
pub fn seal(bytes: &mut [u8]) {
    let id = content_id(bytes);
    bytes[header::CONTENT_ID].copy_from_slice(&id);
    let sum = format::checksum(bytes);
    bytes[header::CHECKSUM].copy_from_slice(&sum.to_le_bytes());
}
