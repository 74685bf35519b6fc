//! Writes packages. Constants and fixed sections come from `coda_runtime::format`, so the writer
//! cannot drift from the reader; every package is parsed before it is handed out.

use crate::mapping::Mapping;
use crate::quantize;
use crate::smooth;
use crate::source::{Base, FloatTensor, SourceError, Task};
use coda_runtime::config::{Config, Head};
use coda_runtime::format::{
    self, ALIGNMENT, ContentId, Encoding, FormatError, GLOBAL_LAYER, MAGIC, Package, PackageKind,
    Role, SectionKind, VERSION, header, section, string_list_bytes, tensor,
};
use coda_runtime::model::{Model, ModelError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// How the frozen weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightType {
    /// int8, one scale for each output channel, adapters too; small tensors stay f16 or f32.
    Int8,
    /// int4, one f16 scale for 32 values of an output channel; the token table and the task are int8,
    /// small tensors stay f16 or f32.
    Int4,
    /// f16; vectors stay f32.
    F16,
    /// f32.
    F32,
}

impl WeightType {
    /// int8 or int4.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }
}

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
    /// The float model could not be run to measure its columns.
    #[error("the float model cannot be run: {0}")]
    Smoothing(String),
    /// The written package is refused by the reader.
    #[error("the package cannot be read back: {0}")]
    Format(#[from] FormatError),
    /// The written packages are refused by the model.
    #[error("base and task do not fit: {0}")]
    Model(#[from] ModelError),
}

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

/// A package and where its tensors went.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The package.
    pub bytes: PackageBytes,
    /// Every tensor.
    pub tensors: Vec<TensorReport>,
}

/// Packs a base.
///
/// # Errors
/// [`PackError`].
pub fn pack_base(base: &Base, weights: WeightType, provenance: &str) -> Result<Packed, PackError> {
    let mut writer = Writer::new(PackageKind::Base, ContentId::default());
    let int8_attention = weights.is_integer() && !base.float_attention;
    let config = Config { int8_attention, ..base.config };
    writer.section(SectionKind::Config, format::encode_config(&config).to_vec());
    writer.head(base.head, &base.labels);
    if let Some(image) = &base.image {
        writer.section(SectionKind::Image, format::encode_image(image).to_vec());
    }
    if let Some(tokenizer) = &base.tokenizer {
        let bytes = tokenizer.section().map_err(PackError::Vocabulary)?;
        writer.section(SectionKind::Vocabulary, bytes);
    }
    writer.provenance(provenance);
    let tensors = if weights.is_integer() {
        writer.tensors(&smooth::smooth(base)?, &base.names, weights)?
    } else {
        writer.tensors(&base.tensors, &base.names, weights)?
    };
    let bytes = writer.finish()?;
    Model::dense(&bytes.parse()?)?;
    Ok(Packed { bytes, tensors })
}

/// Packs a task for a packed base.
///
/// # Errors
/// [`PackError`].
pub fn pack_task(
    task: &Task,
    base: &Package<'_>,
    weights: WeightType,
    provenance: &str,
) -> Result<Packed, PackError> {
    let mut writer = Writer::new(PackageKind::Task, base.content_id());
    writer.section(SectionKind::Task, format::encode_task(&task.config).to_vec());
    let layers = task.layers.iter().flat_map(format::encode_layer).collect();
    writer.section(SectionKind::Layers, layers);
    if !task.pinned.is_empty() {
        let bytes = task.pinned.iter().flat_map(|position| position.to_le_bytes());
        writer.section(SectionKind::Pinned, bytes.collect());
    }
    writer.head(task.head, &task.labels);
    writer.provenance(provenance);
    let tensors = if weights.is_integer() {
        writer.tensors(&smooth::follow_base(task, base), &task.names, weights)?
    } else {
        writer.tensors(&task.tensors, &task.names, weights)?
    };
    let bytes = writer.finish()?;
    Model::bind(base, &bytes.parse()?)?;
    Ok(Packed { bytes, tensors })
}

/// Joins a base and its task in one file; both stay byte for byte what they are.
///
/// # Errors
/// [`PackError`], also if the task was made for another base.
pub fn bundle(base: &Package<'_>, task: &Package<'_>) -> Result<PackageBytes, PackError> {
    Model::bind(base, task)?;
    let mut writer = Writer::new(PackageKind::Bundle, ContentId::default());
    writer.section(SectionKind::BasePackage, base.bytes().to_vec());
    writer.section(SectionKind::TaskPackage, task.bytes().to_vec());
    writer.finish()
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

/// Collects the sections of a package.
struct Writer {
    kind: PackageKind,
    base_id: ContentId,
    sections: Vec<(SectionKind, Vec<u8>)>,
}

impl Writer {
    const fn new(kind: PackageKind, base_id: ContentId) -> Self {
        Self { kind, base_id, sections: Vec::new() }
    }

    fn section(&mut self, kind: SectionKind, bytes: Vec<u8>) {
        self.sections.push((kind, bytes));
    }

    fn head(&mut self, head: Option<Head>, labels: &[String]) {
        let Some(head) = head else { return };
        self.section(SectionKind::Head, format::encode_head(&head).to_vec());
        if !labels.is_empty() {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            self.section(SectionKind::Labels, string_list_bytes(&labels).collect());
        }
    }

    fn provenance(&mut self, text: &str) {
        if !text.is_empty() {
            self.section(SectionKind::Provenance, text.as_bytes().to_vec());
        }
    }

    /// Encodes the tensors and adds the table and data sections.
    fn tensors(
        &mut self,
        tensors: &BTreeMap<(u16, Role), FloatTensor>,
        names: &BTreeMap<(u16, Role), String>,
        weights: WeightType,
    ) -> Result<Vec<TensorReport>, PackError> {
        let (mut table, mut data, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for (place @ (layer, role), values) in tensors {
            let name = names.get(place).cloned().unwrap_or_else(|| role.name().to_owned());
            let (rows, columns) = (values.shape[0], values.shape[1]);
            let (encoding, reason) = encoding_of(*role, weights);
            let bytes = quantize::encode(encoding, rows, columns, &values.values)
                .map_err(|error| PackError::F16Range { name: name.clone(), value: error.value })?;
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
            let entry = [rows, columns, data.len(), bytes.len()];
            table.extend(role.code().to_le_bytes());
            table.extend(layer.to_le_bytes());
            table.extend((encoding as u16).to_le_bytes());
            table.extend([0; 2]);
            for field in entry {
                table.extend(size_u32(field)?.to_le_bytes());
            }
            reports.push(TensorReport {
                name,
                role: role.name(),
                layer: (*layer != GLOBAL_LAYER).then_some(*layer),
                shape: (rows, columns),
                encoding: encoding.name(),
                bits: encoding.bits(),
                bytes: bytes.len(),
                reason,
            });
            data.extend(bytes);
        }
        debug_assert_eq!(table.len(), tensors.len() * tensor::ENTRY_BYTES);
        self.section(SectionKind::Tensors, table);
        self.section(SectionKind::Data, data);
        Ok(reports)
    }

    /// Lays the sections out, writes header and table, seals and parses.
    fn finish(self) -> Result<PackageBytes, PackError> {
        let table_end = header::LENGTH_BYTES + self.sections.len() * section::ENTRY_BYTES;
        let mut bytes = vec![0; table_end];
        for (index, (kind, body)) in self.sections.iter().enumerate() {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let (offset, length) = (size_u32(bytes.len())?, size_u32(body.len())?);
            let entry = &mut bytes[header::LENGTH_BYTES + index * section::ENTRY_BYTES..];
            let skippable = *kind == SectionKind::Provenance;
            let flags = if skippable { section::SKIPPABLE } else { 0 };
            entry[section::KIND].copy_from_slice(&(*kind as u16).to_le_bytes());
            entry[section::FLAGS].copy_from_slice(&flags.to_le_bytes());
            entry[section::OFFSET].copy_from_slice(&offset.to_le_bytes());
            entry[section::LENGTH].copy_from_slice(&length.to_le_bytes());
            bytes.extend(body);
        }
        let length = size_u32(bytes.len())?;
        bytes[header::MAGIC].copy_from_slice(&MAGIC);
        bytes[header::MAJOR].copy_from_slice(&VERSION.major.to_le_bytes());
        bytes[header::MINOR].copy_from_slice(&VERSION.minor.to_le_bytes());
        bytes[header::KIND].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[header::SECTIONS].copy_from_slice(&(self.sections.len() as u16).to_le_bytes());
        bytes[header::LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes[header::BASE_ID].copy_from_slice(&self.base_id);
        seal(&mut bytes);
        let bytes = PackageBytes::new(&bytes);
        bytes.parse()?;
        Ok(bytes)
    }
}

fn size_u32(size: usize) -> Result<u32, PackError> {
    u32::try_from(size).map_err(|_| PackError::TooLarge { bytes: size })
}

/// How a role is stored, and why it is wider than asked for.
fn encoding_of(role: Role, weights: WeightType) -> (Encoding, &'static str) {
    const VECTOR: &str = "a vector: nothing to gain";
    match kind_of(role) {
        Kind::Vector => (Encoding::RowsF32, reason(weights, WeightType::F32, VECTOR)),
        Kind::Frozen => match weights {
            WeightType::Int8 => (Encoding::Panel8x8Int8, ""),
            WeightType::Int4 => (Encoding::Panel8x8Int4, ""),
            WeightType::F16 => (Encoding::Panel8F16, ""),
            WeightType::F32 => (Encoding::Panel8F32, ""),
        },
        Kind::Task => match weights {
            WeightType::Int8 => (Encoding::Panel8x8Int8, ""),
            WeightType::Int4 => {
                (Encoding::Panel8x8Int8, "trained, and small beside the frozen maps")
            }
            WeightType::F16 => (Encoding::Panel8F16, ""),
            WeightType::F32 => (Encoding::Panel8F32, ""),
        },
        Kind::TokenTable => match weights {
            WeightType::Int8 => (Encoding::RowsInt8, ""),
            WeightType::Int4 => {
                (Encoding::RowsInt8, "looked up, not multiplied: one scale a row is int8's")
            }
            WeightType::F16 => (Encoding::RowsF16, ""),
            WeightType::F32 => (Encoding::RowsF32, ""),
        },
        Kind::SmallTable => match weights {
            WeightType::F32 => (Encoding::RowsF32, ""),
            _ => {
                let why = "added to every token, so its error would reach all of them";
                (Encoding::RowsF16, reason(weights, WeightType::F16, why))
            }
        },
        Kind::ReadsFloat(why) => match weights {
            WeightType::F32 => (Encoding::Panel8F32, ""),
            _ => (Encoding::Panel8F16, reason(weights, WeightType::F16, why)),
        },
    }
}

/// The reason, if the tensor is wider than asked for.
fn reason(asked: WeightType, stored: WeightType, why: &'static str) -> &'static str {
    if asked == stored { "" } else { why }
}

/// What a tensor's role means for its storage.
enum Kind {
    Vector,
    Frozen,
    TokenTable,
    SmallTable,
    Task,
    ReadsFloat(&'static str),
}

fn kind_of(role: Role) -> Kind {
    match role {
        Role::TokenEmbedding => Kind::TokenTable,
        Role::PositionEmbedding | Role::TokenTypeEmbedding => Kind::SmallTable,
        Role::PatchWeight => Kind::ReadsFloat("reads pixels, which every later error builds on"),
        Role::HeadWeight => Kind::ReadsFloat("decides the answer and is small"),
        Role::AdapterDown
        | Role::AdapterUp
        | Role::LowRankDown
        | Role::LowRankKey
        | Role::LowRankValue => Kind::Task,
        Role::Query
        | Role::Key
        | Role::Value
        | Role::AttentionOutput
        | Role::FeedForwardIn
        | Role::FeedForwardGate
        | Role::FeedForwardOut => Kind::Frozen,
        _ => Kind::Vector,
    }
}
