//! Why packages are not a model.

use crate::format::{ContentId, GLOBAL_LAYER, PackageKind, Role};
use core::fmt;

/// Why packages are not a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// A package of another kind is needed.
    WrongKind {
        /// The kind needed.
        expected: PackageKind,
        /// The kind given.
        found: PackageKind,
    },
    /// The task was made for another base.
    AnotherBase {
        /// Content id of the base that the task names.
        expected: ContentId,
        /// Content id of the base given.
        found: ContentId,
    },
    /// The task has another number of layers, or a tensor belongs to a layer that does not exist.
    LayerCount {
        /// Layers of the base.
        expected: usize,
        /// Layers found.
        found: usize,
    },
    /// A tensor is missing.
    MissingTensor {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
    },
    /// A tensor has another shape.
    Shape {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
        /// Rows and columns needed.
        expected: (usize, usize),
        /// Rows and columns found.
        found: (usize, usize),
    },
    /// A tensor is stored in a way that its role cannot have.
    Encoding {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
    },
    /// A layer attends to low-rank keys, but asks where its tokens stand: rotary positions, or local
    /// attention.
    PlacesOfLowRank {
        /// The layer.
        layer: u16,
    },
    /// A layer prunes tokens that what is behind it asks for.
    #[cfg(feature = "pruning")]
    Pruning {
        /// The layer.
        layer: usize,
        /// What asks for them.
        found: &'static str,
    },
    /// A decoder that asks for what decoders have not.
    Decoder {
        /// What it asks for.
        found: &'static str,
    },
    /// The packages need a part of this crate that the build leaves out.
    LeftOut {
        /// The cargo feature of that part.
        feature: &'static str,
    },
    /// A pinned position lies behind the longest input.
    PinnedPosition {
        /// The position.
        position: usize,
        /// The longest input.
        limit: usize,
    },
    /// The vocabulary has more tokens than the embedding table has rows.
    VocabularySize {
        /// Rows of the table.
        expected: usize,
        /// Tokens of the vocabulary.
        found: usize,
    },
    /// The input normalisation has another number of colour channels.
    Channels {
        /// Channels of the encoder.
        expected: usize,
        /// Channels of the normalisation.
        found: usize,
    },
}

/// A tensor's place for people.
struct Place(Role, u16);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            GLOBAL_LAYER => write!(f, "\"{}\"", self.0.name()),
            layer => write!(f, "\"{}\" of layer {layer}", self.0.name()),
        }
    }
}

/// The first bytes of a content id, in hexadecimal.
struct ShortId(ContentId);

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WrongKind { expected, found } => {
                write!(f, "a {} package is needed, this is a {}", expected.name(), found.name())
            }
            Self::AnotherBase { expected, found } => write!(
                f,
                "the task was made for the base {}, this base is {}",
                ShortId(expected),
                ShortId(found)
            ),
            Self::LayerCount { expected, found } => {
                write!(f, "the base has {expected} layers, the package speaks of {found}")
            }
            Self::MissingTensor { role, layer } => {
                write!(f, "the tensor {} is missing", Place(role, layer))
            }
            Self::Shape { role, layer, expected, found } => write!(
                f,
                "the tensor {} is {} by {} instead of {} by {}",
                Place(role, layer),
                found.0,
                found.1,
                expected.0,
                expected.1
            ),
            Self::Encoding { role, layer } => {
                write!(
                    f,
                    "the tensor {} is stored in a way its role cannot have",
                    Place(role, layer)
                )
            }
            Self::PlacesOfLowRank { layer } => write!(
                f,
                "layer {layer} attends by rotary positions or locally, which k-to-low-rank cannot: \
                 use k-to-k or k-to-all"
            ),
            #[cfg(feature = "pruning")]
            Self::Pruning { layer, found } => {
                write!(f, "layer {layer} prunes tokens, but {found}")
            }
            Self::Decoder { found } => write!(f, "the decoder {found}, which no decoder can"),
            Self::LeftOut { feature } => {
                write!(f, "this build leaves out what the model needs: the feature \"{feature}\"")
            }
            Self::PinnedPosition { position, limit } => {
                write!(f, "position {position} is pinned, but inputs have at most {limit} tokens")
            }
            Self::VocabularySize { expected, found } => {
                write!(f, "the vocabulary has {found} tokens, the embedding table {expected} rows")
            }
            Self::Channels { expected, found } => write!(
                f,
                "the encoder reads {expected} colour channels, the normalisation has {found}"
            ),
        }
    }
}

impl core::error::Error for ModelError {}
