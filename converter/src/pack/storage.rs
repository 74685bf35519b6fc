//! How each role is stored for a weight type.

use coda_runtime::format::{Encoding, Role};

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

/// How a tensor is stored.
pub(super) struct Storage {
    /// Its encoding.
    pub(super) encoding: Encoding,
    /// Why it is wider than asked for; empty if it is not.
    pub(super) reason: &'static str,
}

/// What else the tables of a package are.
#[derive(Clone, Copy, Default)]
pub(super) struct Tables {
    /// The token table is the output map of a decoder too: stored once, as that map.
    pub(super) output_map: bool,
}

/// How a role is stored.
pub(super) fn storage_of(role: Role, weights: WeightType, tables: Tables) -> Storage {
    let is_int4 = weights == WeightType::Int4;
    let (encoding, reason) = match kind_of(role) {
        Kind::Vector => {
            let why = "a vector: nothing to gain";
            (Encoding::RowsF32, unless(weights, WeightType::F32, why))
        }
        Kind::Angles => {
            let why = "turns every query and key, so its error would reach all of them";
            (Encoding::RowsF32, unless(weights, WeightType::F32, why))
        }
        Kind::Task if is_int4 => {
            (panels(WeightType::Int8), "trained, and small beside the frozen maps")
        }
        Kind::Frozen | Kind::Task => (panels(weights), ""),
        Kind::TokenTable if tables.output_map && is_int4 => {
            (panels(WeightType::Int8), "looked up as well as multiplied: one scale a row is int8's")
        }
        Kind::TokenTable if tables.output_map => (panels(weights), ""),
        Kind::TokenTable if is_int4 => {
            (Encoding::RowsInt8, "looked up, not multiplied: one scale a row is int8's")
        }
        Kind::TokenTable => (rows(weights), ""),
        Kind::SmallTable if weights == WeightType::F32 => (Encoding::RowsF32, ""),
        Kind::SmallTable => {
            let why = "part of what every token reads, so its error would reach all of them";
            (Encoding::RowsF16, unless(weights, WeightType::F16, why))
        }
        Kind::ReadsFloat(_) if weights == WeightType::F32 => (Encoding::Panel8F32, ""),
        Kind::ReadsFloat(why) => (Encoding::Panel8F16, unless(weights, WeightType::F16, why)),
    };
    Storage { encoding, reason }
}

/// Of a map that is multiplied.
const fn panels(weights: WeightType) -> Encoding {
    match weights {
        WeightType::Int8 => Encoding::Panel8x8Int8,
        WeightType::Int4 => Encoding::Panel8x8Int4,
        WeightType::F16 => Encoding::Panel8F16,
        WeightType::F32 => Encoding::Panel8F32,
    }
}

/// Of a table that is looked up.
const fn rows(weights: WeightType) -> Encoding {
    match weights {
        WeightType::Int8 | WeightType::Int4 => Encoding::RowsInt8,
        WeightType::F16 => Encoding::RowsF16,
        WeightType::F32 => Encoding::RowsF32,
    }
}

/// The reason, unless the tensor is stored as asked for.
fn unless(asked: WeightType, stored: WeightType, why: &'static str) -> &'static str {
    if asked == stored { "" } else { why }
}

/// What a tensor's role means for its storage.
enum Kind {
    Vector,
    Angles,
    Frozen,
    TokenTable,
    SmallTable,
    Task,
    ReadsFloat(&'static str),
}

fn kind_of(role: Role) -> Kind {
    match role {
        Role::TokenEmbedding => Kind::TokenTable,
        Role::PositionEmbedding | Role::TokenTypeEmbedding | Role::AppendedStates => {
            Kind::SmallTable
        }
        Role::PatchWeight => Kind::ReadsFloat("reads pixels, which every later error builds on"),
        Role::Rotary | Role::LocalRotary => Kind::Angles,
        Role::ProjectionWeight | Role::MemoryWeight => {
            Kind::ReadsFloat("reads embeddings, which every later error builds on")
        }
        Role::HeadWeight
        | Role::FirstStage
        | Role::SecondStage
        | Role::ProbeValue
        | Role::ProbeOutput => Kind::ReadsFloat("decides the answer and is small"),
        Role::AdapterDown
        | Role::AdapterUp
        | Role::LowRankDown
        | Role::LowRankKey
        | Role::LowRankValue => Kind::Task,
        Role::FirstConvolution
        | Role::SecondConvolution
        | Role::LogitWeight
        | Role::CrossQuery
        | Role::CrossKey
        | Role::CrossValue
        | Role::CrossOutput
        | Role::Query
        | Role::Key
        | Role::Value
        | Role::AttentionOutput
        | Role::FeedForwardIn
        | Role::FeedForwardGate
        | Role::FeedForwardOut => Kind::Frozen,
        _ => Kind::Vector,
    }
}
