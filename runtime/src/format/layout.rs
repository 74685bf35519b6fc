//! Byte ranges and codes of the package format. Reader and writer both use these.

use crate::panel::{INT4_GROUP, INT4_GROUP_BYTES, PANEL};
use core::ops::Range;

/// First bytes of every package. The high bit and the line ends show a file damaged in text
/// transfer.
pub const MAGIC: [u8; 8] = *b"\x89CoDA\r\n\x1a";
/// Format version written, and the major version read.
pub const VERSION: Version = Version { major: 1, minor: 2 };
/// Sections and tensors start at multiples of this many bytes from the start of the package.
pub const ALIGNMENT: usize = 64;
/// A package must lie in memory at a multiple of this many bytes; 64 is best for vector loads.
pub const MEMORY_ALIGNMENT: usize = 4;
/// Layer number of tensors that belong to no layer.
pub const GLOBAL_LAYER: u16 = u16::MAX;

/// A format version. A reader takes its own major version and any minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Raised when an older reader could misread the file.
    pub major: u16,
    /// Raised when sections or codes are added.
    pub minor: u16,
}

/// Byte ranges of the header.
pub mod header {
    use super::Range;
    /// [`super::MAGIC`].
    pub const MAGIC: Range<usize> = 0..8;
    /// Major version, u16.
    pub const MAJOR: Range<usize> = 8..10;
    /// Minor version, u16.
    pub const MINOR: Range<usize> = 10..12;
    /// [`super::PackageKind`], u16.
    pub const KIND: Range<usize> = 12..14;
    /// Number of sections, u16.
    pub const SECTIONS: Range<usize> = 14..16;
    /// Length of the file in bytes, u32.
    pub const LENGTH: Range<usize> = 16..20;
    /// CRC-32 of the file with this field zero, u32.
    pub const CHECKSUM: Range<usize> = 20..24;
    /// Content id, 16 bytes.
    pub const CONTENT_ID: Range<usize> = 24..40;
    /// In a task package the content id of its base, else zero.
    pub const BASE_ID: Range<usize> = 40..56;
    /// Zero.
    pub const RESERVED: Range<usize> = 56..64;
    /// Length of the header.
    pub const LENGTH_BYTES: usize = 64;
}

/// Byte ranges of a section entry; entries follow the header.
pub mod section {
    use super::Range;
    /// [`super::SectionKind`], u16.
    pub const KIND: Range<usize> = 0..2;
    /// Bit 0: a reader that does not know the kind may skip the section. u16.
    pub const FLAGS: Range<usize> = 2..4;
    /// Offset from the start of the package, u32.
    pub const OFFSET: Range<usize> = 4..8;
    /// Length in bytes, u32.
    pub const LENGTH: Range<usize> = 8..12;
    /// Zero.
    pub const RESERVED: Range<usize> = 12..16;
    /// Length of an entry.
    pub const ENTRY_BYTES: usize = 16;
    /// The flag that allows skipping.
    pub const SKIPPABLE: u16 = 1;
}

/// Byte ranges of a tensor entry.
pub mod tensor {
    use super::Range;
    /// [`super::super::Role`], u16.
    pub const ROLE: Range<usize> = 0..2;
    /// Layer, or [`super::GLOBAL_LAYER`], u16.
    pub const LAYER: Range<usize> = 2..4;
    /// [`super::Encoding`], u16.
    pub const ENCODING: Range<usize> = 4..6;
    /// Zero.
    pub const RESERVED: Range<usize> = 6..8;
    /// Rows (output channels), u32.
    pub const ROWS: Range<usize> = 8..12;
    /// Columns (inputs), u32.
    pub const COLUMNS: Range<usize> = 12..16;
    /// Offset from the start of the data section, u32.
    pub const OFFSET: Range<usize> = 16..20;
    /// Length in bytes, scales included, u32.
    pub const LENGTH: Range<usize> = 20..24;
    /// Length of an entry.
    pub const ENTRY_BYTES: usize = 24;
}

/// Byte ranges of the configuration section of a base.
pub mod config {
    use super::Range;
    /// 1 tokens, 2 patches, 3 frames, 4 patches of an image of any size.
    pub const EMBEDDING: Range<usize> = 0..4;
    /// Model dimension.
    pub const HIDDEN: Range<usize> = 4..8;
    /// Encoder layers.
    pub const LAYERS: Range<usize> = 8..12;
    /// Attention heads.
    pub const HEADS: Range<usize> = 12..16;
    /// Width of a head.
    pub const HEAD_DIM: Range<usize> = 16..20;
    /// Feed-forward width.
    pub const FEED_FORWARD: Range<usize> = 20..24;
    /// 1 LayerNorm, 2 RMSNorm.
    pub const NORM: Range<usize> = 24..28;
    /// f32.
    pub const NORM_EPS: Range<usize> = 28..32;
    /// 1 pre-norm, 2 post-norm.
    pub const PLACEMENT: Range<usize> = 32..36;
    /// 1 ReLU, 2 GELU (erf), 3 GELU (tanh), 4 SiLU, 5 GELU (quick).
    pub const ACTIVATION: Range<usize> = 36..40;
    /// Bit 0 gated feed-forward, bit 1 final norm, bit 2 int8 attention, bit 3 shared layers,
    /// bit 4 a relative bias of each layer, bit 5 causal attention,
    /// bit 6 a relative bias over the grid of patches, bit 16 no attention norm in layer 0,
    /// bit 17 a rotary table of local layers.
    pub const FLAGS: Range<usize> = 40..44;
    /// f32.
    pub const ATTENTION_SCALE: Range<usize> = 44..48;
    /// Largest relative distance, 0 for none.
    pub const RELATIVE_DISTANCE: Range<usize> = 48..52;
    /// Six values: vocabulary, positions, token types, norm, projected width, 0; or height, width,
    /// channels, patch, prefix tokens, norm; or mel bins, positions, four times 0; or most rows, most
    /// columns, channels, patch, most patches, 0.
    pub const EMBEDDING_FIELDS: [Range<usize>; 6] =
        [52..56, 56..60, 60..64, 64..68, 68..72, 72..76];
    /// Rotated columns of a head, 0 for none.
    pub const ROTARY_COLUMNS: Range<usize> = 76..80;
    /// Rows of the rotary tables, 0 for none.
    pub const ROTARY_POSITIONS: Range<usize> = 80..84;
    /// Largest distance of local attention, 0 for none.
    pub const LOCAL_DISTANCE: Range<usize> = 84..88;
    /// Every so many layers one attends to all tokens; 0 without local attention.
    pub const LOCAL_PERIOD: Range<usize> = 88..92;
    /// Length of the section; bytes from 92 are zero.
    pub const BYTES: usize = 96;
}

/// Byte ranges of the task section.
pub mod task {
    use super::Range;
    /// Adapter activation, as in the configuration.
    pub const ADAPTER_ACTIVATION: Range<usize> = 0..4;
    /// 1 norm, 2 raw, 3 rms.
    pub const ROUTER_INPUT: Range<usize> = 4..8;
    /// 1 exact, 2 iterated, 3 sigmoid, 4 ones.
    pub const GATE: Range<usize> = 8..12;
    /// f32.
    pub const EPS: Range<usize> = 12..16;
    /// Sweeps of the iterated solver.
    pub const SWEEPS: Range<usize> = 16..20;
    /// f32.
    pub const EPS_START: Range<usize> = 20..24;
    /// f32.
    pub const DECAY: Range<usize> = 24..28;
    /// Default reduction, f32.
    pub const REDUCTION: Range<usize> = 28..32;
    /// Longest input, 0 for no bound of its own.
    pub const MAX_TOKENS: Range<usize> = 32..36;
    /// Length of the section; bytes from 36 are zero.
    pub const BYTES: usize = 64;
}

/// Byte ranges of an entry of the layers section.
pub mod layer {
    use super::Range;
    /// 0 dense, 1 k-to-k, 2 k-to-all, 3 k-to-low-rank.
    pub const MODE: Range<usize> = 0..4;
    /// The layer's own reduction, f32; 0 for none.
    pub const REDUCTION: Range<usize> = 4..8;
    /// Length of an entry.
    pub const ENTRY_BYTES: usize = 8;
}

/// Byte ranges of the head section.
pub mod head {
    use super::Range;
    /// The sum of the codes of [`Pooling`](crate::config::Pooling); 0 for labels of tokens.
    pub const POOLING: Range<usize> = 0..4;
    /// 1 classification, 2 embedding, 3 labels of tokens.
    pub const KIND: Range<usize> = 4..8;
    /// Labels, or 1 for a normalised embedding.
    pub const ARGUMENT: Range<usize> = 8..12;
    /// A byte for each dense stage: the code of its activation, or 0; then what the logits say.
    pub const STAGES: Range<usize> = 12..16;
    /// Where the reading of the logits begins in that u32.
    pub const READING_SHIFT: u32 = 16;
    /// Length of the section.
    pub const BYTES: usize = 16;
}

/// Byte ranges of the text section.
pub mod text {
    use super::Range;
    /// Longest text in tokens, the special ones included; 0 for no bound of its own.
    pub const LONGEST: Range<usize> = 0..4;
    /// 1 and the number of the prompt that a text gets unless another is asked for; 0 for none.
    pub const DEFAULT: Range<usize> = 4..8;
    /// Where the string list of the prompts begins: the name and the text of each in turn.
    pub const PROMPTS: usize = 8;
}

/// Byte ranges of the generation section.
pub mod generation {
    use super::Range;
    /// Factor on a row of the token table, f32.
    pub const EMBEDDING_SCALE: Range<usize> = 0..4;
    /// Factor on the logits, f32.
    pub const LOGIT_SCALE: Range<usize> = 4..8;
    /// The id that ends an answer, u32.
    pub const END: Range<usize> = 8..12;
    /// Most new tokens of an answer when a call names none.
    pub const LONGEST: Range<usize> = 12..16;
    /// Hypotheses when a call names none.
    pub const BEAMS: Range<usize> = 16..20;
    /// Power of the length that a hypothesis' score is divided by, f32.
    pub const LENGTH_PENALTY: Range<usize> = 20..24;
    /// Number of ids of each list: start ids, suppressed ids, ids suppressed at the begin.
    pub const COUNTS: [Range<usize>; 3] = [24..28, 28..32, 32..36];
    /// Where the ids begin, list after list.
    pub const IDS: usize = 40;
}

/// Byte ranges of the speech section. Optional ids are one above themselves, 0 for none.
pub mod speech {
    use super::Range;
    /// The id that an answer begins with, u32.
    pub const START: Range<usize> = 0..4;
    /// The id whose probability says that nobody speaks, u32.
    pub const NO_SPEECH: Range<usize> = 4..8;
    /// The id behind which no times follow, u32.
    pub const WITHOUT_TIMES: Range<usize> = 8..12;
    /// The id of time 0, u32.
    pub const FIRST_TIME: Range<usize> = 12..16;
    /// Number of times, u32.
    pub const TIMES: Range<usize> = 16..20;
    /// Most steps before the first time of an answer, u32.
    pub const LATEST_START: Range<usize> = 20..24;
    /// The id before a text that was said before, optional.
    pub const PREVIOUS: Range<usize> = 24..28;
    /// The id that asks for what is said, optional.
    pub const TRANSCRIBE: Range<usize> = 28..32;
    /// The id that asks for English, optional.
    pub const TRANSLATE: Range<usize> = 32..36;
    /// Where the languages begin: an id, u32, and a code of two to four letters, filled with zeros.
    pub const LANGUAGES: usize = 36;
    /// Bytes of a language.
    pub const LANGUAGE_BYTES: usize = 8;
}

/// Byte ranges of the self-test section.
#[cfg(feature = "self-test")]
pub mod self_test {
    use super::Range;
    /// Number of cases.
    pub const COUNT: Range<usize> = 0..4;
    /// What the inputs are: [`TOKENS`] or [`PIXELS`].
    pub const INPUT: Range<usize> = 4..8;
    /// Token ids.
    pub const TOKENS: u32 = 1;
    /// Bytes of images.
    pub const PIXELS: u32 = 2;
    /// Where the first case begins.
    pub const CASES: usize = 8;
    /// Of a case: ids, or bytes of an image.
    pub const INPUTS: Range<usize> = 0..4;
    /// Of a case: k, 0 for the task's own budget.
    pub const SELECTED: Range<usize> = 4..8;
    /// Of a case: values of the answer.
    pub const VALUES: Range<usize> = 8..12;
    /// Bytes of a case before its input.
    pub const CASE_BYTES: usize = 12;
}

/// Byte ranges of the image section.
pub mod image {
    use super::Range;
    /// Colour channels, 1 to 4.
    pub const CHANNELS: Range<usize> = 0..4;
    /// Factor on a pixel, f32.
    pub const RESCALE: Range<usize> = 4..8;
    /// Mean of a channel, f32.
    #[must_use]
    pub const fn mean(channel: usize) -> Range<usize> {
        8 + 4 * channel..12 + 4 * channel
    }
    /// Standard deviation of a channel, f32.
    #[must_use]
    pub const fn std(channel: usize) -> Range<usize> {
        24 + 4 * channel..28 + 4 * channel
    }
    /// Length of the section.
    pub const BYTES: usize = 40;
}

/// What a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PackageKind {
    /// A frozen pretrained encoder.
    Base = 1,
    /// Adapters, routers, changed norms and a head for one base.
    Task = 2,
    /// A base and a task for it, each a whole package, in one file.
    Bundle = 3,
}

impl PackageKind {
    /// The kind of a stored code.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Base),
            2 => Some(Self::Task),
            3 => Some(Self::Bundle),
            _ => None,
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Task => "task",
            Self::Bundle => "bundle",
        }
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum SectionKind {
    /// [`config`].
    Config = 1,
    /// [`task`].
    Task = 2,
    /// One [`layer`] entry for each layer.
    Layers = 3,
    /// Pinned positions, u32, strictly ascending.
    Pinned = 4,
    /// [`head`].
    Head = 5,
    /// A string list: the labels.
    Labels = 6,
    /// [`image`].
    Image = 7,
    /// The WordPiece vocabulary.
    Vocabulary = 8,
    /// Where the weights come from: UTF-8 text. Skippable.
    Provenance = 9,
    /// [`text`].
    Text = 10,
    /// The decoder: a package of the same kind.
    Decoder = 11,
    /// [`generation`].
    Generation = 12,
    /// Byte pairs or Unigram: [`crate::text::pieces::layout`].
    #[cfg(feature = "pieces")]
    Tokenizer = 13,
    /// The ids that an answer may hold, u32, strictly ascending.
    Shortlist = 14,
    /// [`self_test`]. Skippable.
    #[cfg(feature = "self-test")]
    SelfTest = 15,
    /// [`tensor`] entries.
    Tensors = 16,
    /// The bytes of the tensors.
    Data = 17,
    /// [`speech`]. Skippable.
    #[cfg(feature = "decoder")]
    Speech = 18,
    /// A base package.
    BasePackage = 32,
    /// A task package.
    TaskPackage = 33,
}

impl SectionKind {
    /// The kind of a stored code. A build without the feature `decoder` knows no decoder.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            11 | 12 | 14 if !cfg!(feature = "decoder") => return None,
            1 => Self::Config,
            2 => Self::Task,
            3 => Self::Layers,
            4 => Self::Pinned,
            5 => Self::Head,
            6 => Self::Labels,
            7 => Self::Image,
            8 => Self::Vocabulary,
            9 => Self::Provenance,
            10 => Self::Text,
            11 => Self::Decoder,
            12 => Self::Generation,
            #[cfg(feature = "pieces")]
            13 => Self::Tokenizer,
            14 => Self::Shortlist,
            #[cfg(feature = "self-test")]
            15 => Self::SelfTest,
            16 => Self::Tensors,
            17 => Self::Data,
            #[cfg(feature = "decoder")]
            18 => Self::Speech,
            32 => Self::BasePackage,
            33 => Self::TaskPackage,
            _ => return None,
        })
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Task => "task",
            Self::Layers => "layers",
            Self::Pinned => "pinned",
            Self::Head => "head",
            Self::Labels => "labels",
            Self::Image => "image",
            Self::Vocabulary => "vocabulary",
            Self::Provenance => "provenance",
            Self::Text => "text",
            Self::Decoder => "decoder",
            Self::Generation => "generation",
            #[cfg(feature = "pieces")]
            Self::Tokenizer => "tokenizer",
            Self::Shortlist => "shortlist",
            #[cfg(feature = "self-test")]
            Self::SelfTest => "self-test",
            Self::Tensors => "tensors",
            Self::Data => "data",
            #[cfg(feature = "decoder")]
            Self::Speech => "speech",
            Self::BasePackage => "base package",
            Self::TaskPackage => "task package",
        }
    }

    /// A package of `kind` may hold this section.
    #[must_use]
    pub const fn allowed_in(self, kind: PackageKind) -> bool {
        match self {
            Self::Config | Self::Vocabulary | Self::Text => matches!(kind, PackageKind::Base),
            #[cfg(feature = "pieces")]
            Self::Tokenizer => matches!(kind, PackageKind::Base),
            #[cfg(feature = "decoder")]
            Self::Speech => matches!(kind, PackageKind::Base),
            Self::Task | Self::Layers | Self::Pinned | Self::Shortlist => {
                matches!(kind, PackageKind::Task)
            }
            Self::BasePackage | Self::TaskPackage => matches!(kind, PackageKind::Bundle),
            Self::Head
            | Self::Labels
            | Self::Image
            | Self::Tensors
            | Self::Data
            | Self::Decoder
            | Self::Generation => !matches!(kind, PackageKind::Bundle),
            #[cfg(feature = "self-test")]
            Self::SelfTest => !matches!(kind, PackageKind::Bundle),
            Self::Provenance => true,
        }
    }

    /// A package of `kind` must hold this section.
    #[must_use]
    pub const fn required_in(self, kind: PackageKind) -> bool {
        match self {
            Self::Config => matches!(kind, PackageKind::Base),
            Self::Task | Self::Layers => matches!(kind, PackageKind::Task),
            Self::Tensors | Self::Data => !matches!(kind, PackageKind::Bundle),
            Self::BasePackage | Self::TaskPackage => matches!(kind, PackageKind::Bundle),
            _ => false,
        }
    }
}

/// How the values of a tensor are stored.
///
/// `Panel8` groups 8 output channels: for each input, the 8 channels' values are adjacent.
/// `Panel8x8` also groups 8 inputs: blocks of 64 bytes, 8 consecutive inputs for each of 8
/// channels. Missing channels and inputs are zero. Quantised tensors are followed, at the next
/// multiple of 64 bytes, by one f32 scale for each row (padded to 8 rows in panels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Encoding {
    /// f32, row after row.
    RowsF32 = 1,
    /// f16, row after row.
    RowsF16 = 2,
    /// int8, row after row, one scale a row.
    RowsInt8 = 3,
    /// f32 panels.
    Panel8F32 = 4,
    /// f16 panels.
    Panel8F16 = 5,
    /// int8 panels in blocks of 8 by 8, one scale an output channel.
    Panel8x8Int8 = 6,
    /// int4 panels: groups of 32 inputs of 8 output channels, each with 8 f16 scales.
    Panel8x8Int4 = 7,
}

impl Encoding {
    /// The encoding of a stored code.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::RowsF32,
            2 => Self::RowsF16,
            3 => Self::RowsInt8,
            4 => Self::Panel8F32,
            5 => Self::Panel8F16,
            6 => Self::Panel8x8Int8,
            7 => Self::Panel8x8Int4,
            _ => return None,
        })
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RowsF32 => "f32 rows",
            Self::RowsF16 => "f16 rows",
            Self::RowsInt8 => "int8 rows",
            Self::Panel8F32 => "f32 panel8",
            Self::Panel8F16 => "f16 panel8",
            Self::Panel8x8Int8 => "int8 panel8x8",
            Self::Panel8x8Int4 => "int4 panel8x8",
        }
    }

    /// Bits of one weight.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            Self::RowsF32 | Self::Panel8F32 => 32,
            Self::RowsF16 | Self::Panel8F16 => 16,
            Self::RowsInt8 | Self::Panel8x8Int8 => 8,
            Self::Panel8x8Int4 => 4,
        }
    }

    /// Bytes of the values of a `[rows, columns]` tensor, without the f32 scales that follow them;
    /// `None` above [`limits::EXTENT`] and for more than this machine can address.
    #[must_use]
    pub const fn value_bytes(self, rows: usize, columns: usize) -> Option<usize> {
        if rows > limits::EXTENT || columns > limits::EXTENT {
            return None;
        }
        // At most 2^24 by 2^24 values: in u64 no product overflows.
        let (rows, columns, panel) = (rows as u64, columns as u64, PANEL as u64);
        let bytes = match self {
            Self::RowsF32 | Self::RowsF16 | Self::RowsInt8 => rows * columns,
            Self::Panel8F32 | Self::Panel8F16 => rows.next_multiple_of(panel) * columns,
            Self::Panel8x8Int8 => rows.next_multiple_of(panel) * columns.next_multiple_of(panel),
            Self::Panel8x8Int4 => {
                let groups = rows.div_ceil(panel) * columns.div_ceil(INT4_GROUP as u64);
                groups * INT4_GROUP_BYTES as u64
            }
        };
        let bytes = if self.bits() < 8 { bytes } else { bytes * (self.bits() / 8) as u64 };
        if bytes <= isize::MAX as u64 { Some(bytes as usize) } else { None }
    }

    /// Number of f32 scales that follow the values; of at most [`limits::EXTENT`] rows.
    #[must_use]
    pub const fn scales(self, rows: usize) -> usize {
        match self {
            Self::RowsInt8 => rows,
            // It wraps for rows that no tensor may have, which a 32-bit number holds all the same.
            Self::Panel8x8Int8 => rows.wrapping_add(PANEL - 1) / PANEL * PANEL,
            _ => 0,
        }
    }

    /// Bytes of a whole tensor, scales included; `None` as of [`value_bytes`](Self::value_bytes).
    #[must_use]
    pub const fn bytes(self, rows: usize, columns: usize) -> Option<usize> {
        match (self.value_bytes(rows, columns), self.scales(rows)) {
            // The values end below half of the addresses, and 2^24 scales take 2^26 bytes.
            (Some(values), scales @ 1..) => Some(values.next_multiple_of(ALIGNMENT) + scales * 4),
            (values, _) => values,
        }
    }
}

/// Limits that keep every later size computation inside 32 bits' reach and every integer sum exact.
pub mod limits {
    /// Most sections in a package.
    pub const SECTIONS: usize = 32;
    /// Most encoder layers.
    pub const LAYERS: usize = 1024;
    /// Largest model dimension, attention width and feed-forward width, and most inputs of an int8
    /// map: their products add up in an i32.
    pub const WIDTH: usize = crate::kernels::INT8_PRODUCTS;
    /// Most rows and columns of a tensor.
    pub const EXTENT: usize = VOCABULARY;
    /// Most rows of a token table.
    pub const VOCABULARY: usize = 1 << 24;
    /// Most positions, relative distances and image sides.
    pub const POSITIONS: usize = 1 << 16;
    /// Most labels.
    pub const LABELS: usize = 1 << 16;
    /// Most pinned positions.
    pub const PINNED: usize = 1 << 10;
    /// Most hypotheses of a search.
    pub const BEAMS: usize = 16;
    /// Most ids of a list of the generation section.
    pub const IDS: usize = 1 << 12;
    /// Most ids of a shortlist.
    pub const SHORTLIST: usize = 1 << 16;
    /// Languages of a model of speech.
    pub const LANGUAGES: usize = 1 << 10;
    /// Most sweeps of the iterated solver.
    pub const SWEEPS: u32 = 1000;
    /// Most cases of a self-test.
    #[cfg(feature = "self-test")]
    pub const SELF_TEST_CASES: usize = 64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shape_of_a_file_overflows() {
        let all = [1, 2, 3, 4, 5, 6, 7, 8, 9].into_iter().filter_map(Encoding::from_code);
        for encoding in all {
            for rows in [1, 8, limits::EXTENT] {
                let bytes = encoding.bytes(rows, 1).expect("a shape within the limits");
                assert!(bytes >= rows * encoding.bits() / 8);
            }
            for beyond in [limits::EXTENT + 1, 1 << 30, u32::MAX as usize] {
                assert_eq!(encoding.bytes(beyond, 1), None);
                assert_eq!(encoding.bytes(1, beyond), None);
                assert_eq!(encoding.bytes(beyond, beyond), None);
            }
        }
        // More than 32 bits address.
        let bytes = Encoding::RowsF32.bytes(limits::EXTENT, limits::EXTENT);
        assert_eq!(bytes.is_none(), usize::BITS == 32);
    }
}
