#![doc = include_str!("../../FORMAT.md")]

mod codec;
mod error;
#[cfg(feature = "decoder")]
mod generation;
mod layout;
mod role;
#[cfg(feature = "self-test")]
mod self_test;
#[cfg(feature = "decoder")]
mod speech;
mod strings;
mod text_rules;

pub use codec::{
    decode_config, decode_head, decode_image, decode_layer, decode_task, encode_config,
    encode_head, encode_image, encode_layer, encode_task,
};
pub use error::FormatError;
#[cfg(feature = "decoder")]
pub use generation::{GenerationRules, IdList, encode_generation};
#[cfg(feature = "self-test")]
pub use layout::self_test as self_test_layout;
pub use layout::{
    ALIGNMENT, Encoding, GLOBAL_LAYER, MAGIC, MEMORY_ALIGNMENT, PackageKind, SectionKind, VERSION,
    Version, config, generation as generation_fields, head, header, image, layer, limits, section,
    speech as speech_fields, task, tensor, text,
};
pub use role::Role;
#[cfg(feature = "self-test")]
pub use self_test::{CaseInput, SelfTest, SelfTestCase, encode_self_test};
#[cfg(feature = "decoder")]
pub use speech::{Languages, SpeechRules, encode_speech};
pub use strings::{StringList, string_list_bytes};
pub use text_rules::{TextRules, encode_text};

use crate::config::{Config, Head, HeadKind, LayerPlan, TaskConfig};
use crate::image::InputNormalization;
#[cfg(feature = "pieces")]
use crate::text::Pieces;
use crate::text::Vocabulary;
use codec::{size_at, u16_at, u32_at};

/// Bytes at a multiple of 64 in memory, the alignment of sections and tensors.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// Embeds a package file, aligned for use in place: a `&'static [u8]`. The path is as in
/// [`include_bytes!`].
#[macro_export]
macro_rules! include_package {
    ($path:expr $(,)?) => {{
        static ALIGNED: &$crate::format::Aligned<[u8]> =
            &$crate::format::Aligned(*include_bytes!($path));
        &ALIGNED.0
    }};
}

/// Identifies the content of a package: the first 16 bytes of the SHA-256 of the file with its
/// checksum and content id fields zero.
pub type ContentId = [u8; 16];

/// The checksum of a package: CRC-32 (as in zip, PNG and the checksum unit of most
/// microcontrollers) of `bytes` with the header's checksum field taken as zero.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    let first = bytes.get(..header::CHECKSUM.start).unwrap_or(bytes);
    match bytes.get(header::CHECKSUM.end..) {
        Some(rest) => crc32([first, &[0; 4], rest]),
        None => crc32([first, &[], &[]]),
    }
}

/// By the CPU's own instructions where it has them.
#[cfg(feature = "std")]
fn crc32(parts: [&[u8]; 3]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Four bits at a time, by a table of 64 bytes.
#[cfg(not(feature = "std"))]
fn crc32(parts: [&[u8]; 3]) -> u32 {
    let step = |sum: u32| (sum >> 4) ^ CRC_OF_NIBBLE[(sum & 15) as usize];
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0, |sum, byte| step(step(sum ^ u32::from(*byte))))
}

/// What four bits of a sum become.
#[cfg(not(feature = "std"))]
static CRC_OF_NIBBLE: [u32; 16] = {
    const REVERSED_POLYNOMIAL: u32 = 0xedb8_8320;
    let mut table = [0; 16];
    let mut nibble = 0;
    while nibble < 16 {
        let (mut sum, mut bit) = (nibble, 0);
        while bit < 4 {
            sum = (sum >> 1) ^ (REVERSED_POLYNOMIAL * (sum & 1));
            bit += 1;
        }
        table[nibble as usize] = sum;
        nibble += 1;
    }
    table
};

/// A tensor of a package, its bytes borrowed in place.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// What it is for.
    pub role: Role,
    /// Its layer, or [`GLOBAL_LAYER`].
    pub layer: u16,
    /// How its values are stored.
    pub encoding: Encoding,
    /// Rows: output channels.
    pub rows: usize,
    /// Columns: inputs.
    pub columns: usize,
    /// Values and scales; exactly [`Encoding::bytes`] long.
    pub bytes: &'a [u8],
}

/// A checked view of a package: after [`Package::parse`] no accessor can fail. Nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    kind: PackageKind,
    version: Version,
    content_id: ContentId,
    base_id: ContentId,
    bytes: &'a [u8],
    config: Option<Config>,
    task: Option<TaskConfig>,
    head: Option<Head>,
    image: Option<InputNormalization>,
    vocabulary: Option<Vocabulary<'a>>,
    labels: Option<StringList<'a>>,
    sections: Sections<'a>,
}

/// The sections as bytes; an absent one is empty.
#[derive(Clone, Copy, Debug, Default)]
struct Sections<'a> {
    layers: &'a [u8],
    pinned: &'a [u8],
    provenance: &'a str,
    text: &'a [u8],
    #[cfg(feature = "pieces")]
    tokenizer: &'a [u8],
    #[cfg(feature = "self-test")]
    self_test: &'a [u8],
    tensors: &'a [u8],
    data: &'a [u8],
    data_offset: usize,
    base: &'a [u8],
    task: &'a [u8],
}

/// Whether a checksum must be computed: the parts of a bundle are covered by the bundle's, and a
/// caller may see to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Verify,
    Covered,
}

impl<'a> Package<'a> {
    /// Checks `bytes` and views them as a package.
    ///
    /// Every offset, length, code and number is checked here, once. Time is linear in the length
    /// (the checksum reads every byte); nothing is copied or allocated.
    ///
    /// # Errors
    /// A [`FormatError`] for anything that `FORMAT.md` does not allow.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let package = Self::parse_whole(bytes, Checksum::Verify)?;
        package.check_vocabulary()?;
        Ok(package)
    }

    /// [`Package::parse`] without the checksum and the order of the vocabulary, in time that does
    /// not grow with the weights: for storage that was verified before, or where
    /// [`Package::verify`] runs on a second core meanwhile. A package that is damaged in spite of
    /// that gives wrong answers, and does no other harm.
    ///
    /// # Errors
    /// A [`FormatError`] for anything that `FORMAT.md` does not allow, but for these two.
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Self::parse_whole(bytes, Checksum::Covered)
    }

    /// Checks what [`Package::parse_unverified`] leaves out.
    ///
    /// # Errors
    /// [`FormatError::BadChecksum`], [`FormatError::Vocabulary`].
    pub fn verify(&self) -> Result<(), FormatError> {
        check_sum(self.bytes)?;
        self.check_vocabulary()
    }

    fn check_vocabulary(&self) -> Result<(), FormatError> {
        // The base of a bundle is parsed: once, and not without need.
        let base = if cfg!(feature = "tokens") { self.base() } else { None };
        #[cfg(feature = "pieces")]
        if let Some(pieces) = base.as_ref().and_then(Package::pieces) {
            pieces.check_order().map_err(damaged_tokenizer)?;
        }
        match base.and_then(|base| base.vocabulary) {
            Some(vocabulary) => vocabulary.check_order().map_err(FormatError::Vocabulary),
            None => Ok(()),
        }
    }

    fn parse_whole(bytes: &'a [u8], sum: Checksum) -> Result<Self, FormatError> {
        let package = Self::parse_with(bytes, sum)?;
        if package.kind == PackageKind::Bundle {
            let parts = [
                (package.sections.base, PackageKind::Base),
                (package.sections.task, PackageKind::Task),
            ];
            for (part, expected) in parts {
                let part = Self::parse_with(part, Checksum::Covered)?;
                if part.kind != expected {
                    return Err(FormatError::WrongPart { expected });
                }
                #[cfg(feature = "decoder")]
                part.check_decoder()?;
            }
        }
        #[cfg(feature = "decoder")]
        package.check_decoder()?;
        Ok(package)
    }

    /// A decoder is a package of the same kind, without a decoder of its own.
    // Not a part of the frame of those that hold none.
    #[cfg(feature = "decoder")]
    #[inline(never)]
    fn check_decoder(&self) -> Result<(), FormatError> {
        let Some(decoder) = self.section(SectionKind::Decoder) else { return Ok(()) };
        let decoder = Self::parse_with(decoder, Checksum::Covered)?;
        match decoder.kind == self.kind && decoder.section(SectionKind::Decoder).is_none() {
            true => Ok(()),
            false => Err(FormatError::WrongPart { expected: self.kind }),
        }
    }

    /// The bytes of a section whose place is not kept.
    #[cfg(feature = "decoder")]
    fn section(&self, kind: SectionKind) -> Option<&'a [u8]> {
        let count = usize::from(u16_at(self.bytes, header::SECTIONS));
        let table = self.bytes.get(header::LENGTH_BYTES..)?;
        let mut entries = table.chunks_exact(section::ENTRY_BYTES).take(count);
        let entry = entries.find(|entry| u16_at(entry, section::KIND) == kind as u16)?;
        let start = size_at(entry, section::OFFSET);
        self.bytes.get(start..start.saturating_add(size_at(entry, section::LENGTH)))
    }

    fn parse_with(bytes: &'a [u8], sum: Checksum) -> Result<Self, FormatError> {
        let kind = check_header(bytes, sum)?;
        let mut package = Package {
            kind,
            version: Version {
                major: u16_at(bytes, header::MAJOR),
                minor: u16_at(bytes, header::MINOR),
            },
            content_id: id_at(bytes, header::CONTENT_ID),
            base_id: id_at(bytes, header::BASE_ID),
            bytes,
            config: None,
            task: None,
            head: None,
            image: None,
            vocabulary: None,
            labels: None,
            sections: Sections::default(),
        };
        let present = package.read_sections()?;
        check_required(kind, present)?;
        package.check_tensors()?;
        package.check_counts()?;
        Ok(package)
    }

    /// Reads the section table; returns the set of kinds seen, one bit a code.
    fn read_sections(&mut self) -> Result<u64, FormatError> {
        let count = usize::from(u16_at(self.bytes, header::SECTIONS));
        let table_end = header::LENGTH_BYTES + count * section::ENTRY_BYTES;
        let Some(table) = self.bytes.get(header::LENGTH_BYTES..table_end) else {
            return Err(FormatError::TooManySections { found: count });
        };
        let (mut end, mut present) = (table_end, 0u64);
        for (index, entry) in table.chunks_exact(section::ENTRY_BYTES).enumerate() {
            let reserved = header::LENGTH_BYTES + index * section::ENTRY_BYTES;
            self.zero(reserved + section::RESERVED.start, reserved + section::RESERVED.end)?;
            let body = self.section_body(index, entry, &mut end)?;
            let start = end - body.len();
            if let Some(kind) = self.section_kind(entry, present)? {
                present |= 1 << kind as u16;
                self.read_section(kind, body, start)?;
            }
        }
        if end != self.bytes.len() {
            let index = count.saturating_sub(1);
            return Err(FormatError::SectionEnd { index, found: end, length: self.bytes.len() });
        }
        Ok(present)
    }

    /// The kind of a section that is not yet among those `present`; `None` for one to skip.
    fn section_kind(&self, entry: &[u8], present: u64) -> Result<Option<SectionKind>, FormatError> {
        let found = u16_at(entry, section::KIND);
        let flags = u16_at(entry, section::FLAGS);
        let Some(kind) = SectionKind::from_code(found) else {
            let skipped = flags == section::SKIPPABLE;
            return if skipped { Ok(None) } else { Err(FormatError::UnknownSection { found }) };
        };
        if flags & !section::SKIPPABLE != 0 {
            return Err(FormatError::UnknownSection { found });
        }
        if present & 1 << found != 0 {
            return Err(FormatError::DuplicateSection { kind });
        }
        if !kind.allowed_in(self.kind) {
            return Err(FormatError::ForeignSection { kind, package: self.kind });
        }
        Ok(Some(kind))
    }

    /// The bytes of one section, which must start at the first free aligned offset.
    fn section_body(
        &self,
        index: usize,
        entry: &[u8],
        end: &mut usize,
    ) -> Result<&'a [u8], FormatError> {
        let expected = end.next_multiple_of(ALIGNMENT);
        let found = size_at(entry, section::OFFSET);
        if found != expected {
            return Err(FormatError::SectionOffset { index, expected, found });
        }
        let stop = found.saturating_add(size_at(entry, section::LENGTH));
        let Some(body) = self.bytes.get(found..stop) else {
            let length = self.bytes.len();
            return Err(FormatError::SectionEnd { index, found: stop, length });
        };
        self.zero(*end, found)?;
        *end = stop;
        Ok(body)
    }

    fn read_section(
        &mut self,
        kind: SectionKind,
        body: &'a [u8],
        start: usize,
    ) -> Result<(), FormatError> {
        let sections = &mut self.sections;
        match kind {
            SectionKind::Config => self.config = Some(decode_config(body)?),
            SectionKind::Task => self.task = Some(decode_task(body)?),
            SectionKind::Head => self.head = Some(decode_head(body)?),
            SectionKind::Image => self.image = Some(decode_image(body)?),
            SectionKind::Vocabulary => self.vocabulary = parse_vocabulary(body)?,
            SectionKind::Labels => {
                self.labels = Some(StringList::parse(body).ok_or(FormatError::Labels)?);
            }
            SectionKind::Provenance => {
                let text = core::str::from_utf8(body);
                sections.provenance = text.map_err(|_| FormatError::Provenance)?;
            }
            SectionKind::Text if cfg!(feature = "tokens") => {
                TextRules::parse(body)?;
                sections.text = body;
            }
            SectionKind::Text => {}
            #[cfg(feature = "pieces")]
            SectionKind::Tokenizer => {
                Pieces::parse_unordered(body).map_err(damaged_tokenizer)?;
                sections.tokenizer = body;
            }
            #[cfg(feature = "self-test")]
            SectionKind::SelfTest => {
                SelfTest::parse(body)?;
                sections.self_test = body;
            }
            SectionKind::Layers => sections.layers = check_layers(body)?,
            SectionKind::Pinned => sections.pinned = check_pinned(body)?,
            SectionKind::Tensors if !body.len().is_multiple_of(tensor::ENTRY_BYTES) => {
                return Err(FormatError::SectionLength { kind, found: body.len() });
            }
            SectionKind::Tensors => sections.tensors = body,
            SectionKind::Data => (sections.data, sections.data_offset) = (body, start),
            SectionKind::BasePackage => sections.base = body,
            SectionKind::TaskPackage => sections.task = body,
            #[cfg(feature = "decoder")]
            SectionKind::Generation => {
                GenerationRules::parse(body)?;
            }
            #[cfg(feature = "decoder")]
            SectionKind::Shortlist => {
                IdList::shortlist(body)?;
            }
            #[cfg(feature = "decoder")]
            SectionKind::Speech => {
                SpeechRules::parse(body)?;
            }
            #[cfg(not(feature = "decoder"))]
            SectionKind::Generation | SectionKind::Shortlist => {}
            SectionKind::Decoder => {}
        }
        Ok(())
    }

    fn check_tensors(&self) -> Result<(), FormatError> {
        let (mut end, mut previous) = (0usize, None);
        for (index, entry) in self.sections.tensors.chunks_exact(tensor::ENTRY_BYTES).enumerate() {
            let checked = check_tensor(self.kind, index, entry)?;
            if previous.is_some_and(|before| before >= (checked.layer, checked.role)) {
                return Err(FormatError::TensorOrder { index });
            }
            previous = Some((checked.layer, checked.role));
            let expected = end.next_multiple_of(ALIGNMENT);
            if checked.offset != expected {
                let found = checked.offset;
                return Err(FormatError::TensorOffset { index, expected, found });
            }
            let data = self.sections.data_offset;
            self.zero(data.saturating_add(end), data.saturating_add(expected))?;
            end = expected.saturating_add(checked.length);
            if end > self.sections.data.len() {
                break;
            }
        }
        if end != self.sections.data.len() {
            return Err(FormatError::DataEnd { expected: end, found: self.sections.data.len() });
        }
        Ok(())
    }

    /// Numbers that two sections must agree on.
    fn check_counts(&self) -> Result<(), FormatError> {
        if let (Some(head), Some(labels)) = (self.head, self.labels)
            && head.kind != (HeadKind::Classification { labels: labels.len() })
            && !(cfg!(feature = "heads") && head == Head::of_each_token(labels.len()))
        {
            return Err(FormatError::Labels);
        }
        Ok(())
    }

    fn zero(&self, start: usize, end: usize) -> Result<(), FormatError> {
        let bytes = self.bytes.get(start..end).unwrap_or(&[]);
        match bytes.iter().position(|byte| *byte != 0) {
            Some(position) => Err(FormatError::NotZero { offset: start + position }),
            None => Ok(()),
        }
    }

    /// Base, task or bundle.
    #[must_use]
    pub const fn kind(&self) -> PackageKind {
        self.kind
    }

    /// Format version of the file.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Identifies the content.
    #[must_use]
    pub const fn content_id(&self) -> ContentId {
        self.content_id
    }

    /// In a task package the content id of the base it was made for; else zero.
    #[must_use]
    pub const fn base_id(&self) -> ContentId {
        self.base_id
    }

    /// The whole package.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The base: this package, or the one inside a bundle.
    #[must_use]
    pub fn base(&self) -> Option<Package<'a>> {
        self.part(PackageKind::Base, self.sections.base)
    }

    /// The task: this package, or the one inside a bundle.
    #[must_use]
    pub fn task(&self) -> Option<Package<'a>> {
        self.part(PackageKind::Task, self.sections.task)
    }

    /// The decoder of a base, or what a task adds to it: a package of the same kind.
    #[cfg(feature = "decoder")]
    #[must_use]
    pub fn decoder(&self) -> Option<Package<'a>> {
        Self::parse_with(self.section(SectionKind::Decoder)?, Checksum::Covered).ok()
    }

    /// There is such a decoder.
    #[cfg(feature = "decoder")]
    pub(crate) fn has_decoder(&self) -> bool {
        self.section(SectionKind::Decoder).is_some()
    }

    /// What the ids of a model of speech stand for, if the package says so: one inside another, as
    /// [`decoder`](Self::decoder) gives it.
    #[cfg(feature = "decoder")]
    #[must_use]
    pub fn speech(&self) -> Option<SpeechRules<'a>> {
        SpeechRules::parse(self.section(SectionKind::Speech)?).ok()
    }

    /// How an answer is generated, if the package says so: one inside another, as
    /// [`decoder`](Self::decoder) gives it.
    #[cfg(feature = "decoder")]
    #[must_use]
    pub fn generation(&self) -> Option<GenerationRules<'a>> {
        GenerationRules::parse(self.section(SectionKind::Generation)?).ok()
    }

    /// The ids that an answer may hold, ascending; empty for all. Of a decoder's part of a task, as
    /// [`decoder`](Self::decoder) gives it.
    #[cfg(feature = "decoder")]
    #[must_use]
    pub fn shortlist(&self) -> IdList<'a> {
        let section = self.section(SectionKind::Shortlist);
        section.and_then(|bytes| IdList::shortlist(bytes).ok()).unwrap_or_default()
    }

    fn part(&self, kind: PackageKind, bytes: &'a [u8]) -> Option<Package<'a>> {
        match self.kind {
            PackageKind::Bundle => Self::parse_with(bytes, Checksum::Covered).ok(),
            own => (own == kind).then_some(*self),
        }
    }

    /// The encoder of a base package.
    #[must_use]
    pub const fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// The settings of a task package.
    #[must_use]
    pub const fn task_config(&self) -> Option<&TaskConfig> {
        self.task.as_ref()
    }

    /// The head, if the package has one.
    #[must_use]
    pub const fn head(&self) -> Option<Head> {
        self.head
    }

    /// How pixels are normalised, if the package says so.
    #[must_use]
    pub const fn image(&self) -> Option<InputNormalization> {
        self.image
    }

    /// The WordPiece vocabulary, if the package has one.
    #[must_use]
    pub const fn vocabulary(&self) -> Option<Vocabulary<'a>> {
        self.vocabulary
    }

    /// The pieces of a byte-pair or Unigram model, if the package has them.
    #[cfg(feature = "pieces")]
    #[must_use]
    pub fn pieces(&self) -> Option<Pieces<'a>> {
        Pieces::parse_unordered(self.sections.tokenizer).ok()
    }

    /// The names of the classes, if the package has them.
    #[must_use]
    pub const fn labels(&self) -> Option<StringList<'a>> {
        self.labels
    }

    /// How texts are cut and what stands before them, if a base says so.
    #[must_use]
    pub fn text(&self) -> TextRules<'a> {
        TextRules::parse(self.sections.text).unwrap_or_default()
    }

    /// Inputs and their answers, if the package carries them: [`self_test`](crate::self_test) runs them.
    #[cfg(feature = "self-test")]
    #[must_use]
    pub fn self_test(&self) -> Option<SelfTest<'a>> {
        SelfTest::parse(self.sections.self_test).ok()
    }

    /// Where the weights come from; empty if not said.
    #[must_use]
    pub const fn provenance(&self) -> &'a str {
        self.sections.provenance
    }

    /// How each layer of a task is executed; empty in a base.
    #[must_use]
    pub fn layers(&self) -> impl ExactSizeIterator<Item = LayerPlan> + use<'a> {
        self.sections
            .layers
            .chunks_exact(layer::ENTRY_BYTES)
            .map(|entry| decode_layer(entry).unwrap_or(LayerPlan { routing: None }))
    }

    /// Positions that are always selected, strictly ascending.
    #[must_use]
    pub fn pinned(&self) -> impl ExactSizeIterator<Item = usize> + Clone + use<'a> {
        self.sections.pinned.as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry) as usize)
    }

    /// Every tensor, ascending by layer, then role.
    #[must_use]
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'a>> + use<'a> {
        let data = self.sections.data;
        let entries = self.sections.tensors.chunks_exact(tensor::ENTRY_BYTES);
        entries.map(move |entry| view_tensor(entry, data))
    }

    /// The tensor of `role` in `layer` ([`GLOBAL_LAYER`] for a role that belongs to no layer).
    #[must_use]
    pub fn tensor(&self, role: Role, layer: u16) -> Option<Tensor<'a>> {
        let (entries, _) = self.sections.tensors.as_chunks::<{ tensor::ENTRY_BYTES }>();
        let wanted = (layer, role.code());
        let key = |entry: &[u8; tensor::ENTRY_BYTES]| {
            (u16_at(entry, tensor::LAYER), u16_at(entry, tensor::ROLE))
        };
        let index = entries.binary_search_by_key(&wanted, key).ok()?;
        entries.get(index).map(|entry| view_tensor(entry, self.sections.data))
    }
}

fn id_at(bytes: &[u8], range: core::ops::Range<usize>) -> ContentId {
    bytes.get(range).and_then(|id| id.try_into().ok()).unwrap_or_default()
}

fn check_sum(bytes: &[u8]) -> Result<(), FormatError> {
    let (expected, found) = (u32_at(bytes, header::CHECKSUM), checksum(bytes));
    if expected == found { Ok(()) } else { Err(FormatError::BadChecksum { expected, found }) }
}

/// Every section that a kind of package needs is among those `present`, one bit a code.
fn check_required(package: PackageKind, present: u64) -> Result<(), FormatError> {
    let missing =
        |kind: &SectionKind| kind.required_in(package) && present & 1 << *kind as u16 == 0;
    match (0..64).filter_map(SectionKind::from_code).find(missing) {
        Some(kind) => Err(FormatError::MissingSection { kind }),
        None => Ok(()),
    }
}

fn check_header(bytes: &[u8], sum: Checksum) -> Result<PackageKind, FormatError> {
    check_start(bytes)?;
    if sum == Checksum::Verify {
        check_sum(bytes)?;
    }
    if !bytes.as_ptr().addr().is_multiple_of(MEMORY_ALIGNMENT) {
        return Err(FormatError::Misaligned);
    }
    let found = u16_at(bytes, header::KIND);
    let kind = PackageKind::from_code(found).ok_or(FormatError::UnknownKind { found })?;
    let sections = usize::from(u16_at(bytes, header::SECTIONS));
    if sections > limits::SECTIONS {
        return Err(FormatError::TooManySections { found: sections });
    }
    let zeros = if kind == PackageKind::Task {
        header::RESERVED
    } else {
        header::BASE_ID.start..header::RESERVED.end
    };
    match bytes.get(zeros.clone()).and_then(|b| b.iter().position(|byte| *byte != 0)) {
        Some(position) => Err(FormatError::NotZero { offset: zeros.start + position }),
        None => Ok(kind),
    }
}

/// Magic, version and length.
fn check_start(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() < header::LENGTH_BYTES {
        return Err(FormatError::TooShort { found: bytes.len() });
    }
    if bytes.get(header::MAGIC) != Some(&MAGIC) {
        return Err(FormatError::BadMagic);
    }
    let (major, minor) = (u16_at(bytes, header::MAJOR), u16_at(bytes, header::MINOR));
    if major != VERSION.major {
        return Err(FormatError::UnsupportedVersion { major, minor });
    }
    let expected = size_at(bytes, header::LENGTH);
    if expected != bytes.len() {
        return Err(FormatError::WrongLength { expected, found: bytes.len() });
    }
    Ok(())
}

#[cfg(feature = "pieces")]
fn damaged_tokenizer(error: crate::text::TokenizerError) -> FormatError {
    FormatError::InvalidField { kind: SectionKind::Tokenizer, offset: error.offset }
}

fn parse_vocabulary(body: &[u8]) -> Result<Option<Vocabulary<'_>>, FormatError> {
    if !cfg!(feature = "tokens") {
        return Ok(None);
    }
    Vocabulary::parse_unordered(body).map(Some).map_err(FormatError::Vocabulary)
}

fn check_layers(body: &[u8]) -> Result<&[u8], FormatError> {
    let entries = body.chunks_exact(layer::ENTRY_BYTES);
    let count = body.len() / layer::ENTRY_BYTES;
    if !entries.remainder().is_empty() || count == 0 || count > limits::LAYERS {
        let kind = SectionKind::Layers;
        return Err(FormatError::SectionLength { kind, found: body.len() });
    }
    entries.map(decode_layer).try_for_each(|entry| entry.map(drop))?;
    Ok(body)
}

fn check_pinned(body: &[u8]) -> Result<&[u8], FormatError> {
    let (kind, entries) = (SectionKind::Pinned, body.chunks_exact(4));
    if !entries.remainder().is_empty() || body.len() / 4 > limits::PINNED {
        return Err(FormatError::SectionLength { kind, found: body.len() });
    }
    let mut previous = None;
    for (index, entry) in entries.enumerate() {
        let position = size_at(entry, 0..4);
        if position >= limits::POSITIONS || previous.is_some_and(|before| before >= position) {
            return Err(FormatError::InvalidField { kind, offset: index * 4 });
        }
        previous = Some(position);
    }
    Ok(body)
}

impl PackageKind {
    /// A package of this kind may hold a tensor of the role.
    const fn holds(self, role: Role) -> bool {
        match self {
            Self::Base => role.belongs_to_base(),
            Self::Task => role.belongs_to_task(),
            Self::Bundle => false,
        }
    }
}

/// A tensor entry whose codes, shape and length agree.
struct CheckedEntry {
    role: Role,
    layer: u16,
    offset: usize,
    length: usize,
}

fn check_tensor(
    kind: PackageKind,
    index: usize,
    entry: &[u8],
) -> Result<CheckedEntry, FormatError> {
    let found = u16_at(entry, tensor::ROLE);
    let role = Role::from_code(found).ok_or(FormatError::UnknownRole { index, found })?;
    let layer = u16_at(entry, tensor::LAYER);
    if !kind.holds(role) || role.is_per_layer() == (layer == GLOBAL_LAYER) {
        return Err(FormatError::ForeignTensor { role, layer });
    }
    let code = u16_at(entry, tensor::ENCODING);
    let unknown = FormatError::UnknownEncoding { index, found: code };
    let encoding = Encoding::from_code(code).ok_or(unknown)?;
    if u16_at(entry, tensor::RESERVED) != 0 {
        return Err(unknown);
    }
    let (rows, columns) = (size_at(entry, tensor::ROWS), size_at(entry, tensor::COLUMNS));
    if rows == 0 || columns == 0 {
        return Err(FormatError::EmptyTensor { index });
    }
    let found = size_at(entry, tensor::LENGTH);
    if encoding.bytes(rows, columns) != Some(found) {
        return Err(FormatError::TensorLength { index, encoding, found });
    }
    Ok(CheckedEntry { role, layer, offset: size_at(entry, tensor::OFFSET), length: found })
}

/// Views an entry that [`check_tensor`] has accepted.
fn view_tensor<'a>(entry: &[u8], data: &'a [u8]) -> Tensor<'a> {
    let offset = size_at(entry, tensor::OFFSET);
    let end = offset.saturating_add(size_at(entry, tensor::LENGTH));
    Tensor {
        role: Role::from_code(u16_at(entry, tensor::ROLE)).unwrap_or(Role::TokenEmbedding),
        layer: u16_at(entry, tensor::LAYER),
        encoding: Encoding::from_code(u16_at(entry, tensor::ENCODING)).unwrap_or(Encoding::RowsF32),
        rows: size_at(entry, tensor::ROWS),
        columns: size_at(entry, tensor::COLUMNS),
        bytes: data.get(offset..end).unwrap_or(&[]),
    }
}
