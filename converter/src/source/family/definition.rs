//! What a family is.

use super::checkpoint::Checkpoint;
use super::entries::Entries;
use crate::source::error::SourceError;
use coda_runtime::config::{Activation, Config, Head, HeadKind, Pooling, StageActivation, Stages};

/// How one kind of encoder is described and stored.
pub(super) struct Family {
    /// Its names in the `model_type` of a `config.json`.
    pub(super) model_types: &'static [&'static str],
    /// What may stand before every name: the head classes of a family add a prefix.
    pub(super) prefixes: &'static [&'static str],
    /// A tensor that no checkpoint lacks, by which the prefix is found.
    pub(super) probe: &'static str,
    /// The encoder that the fields describe.
    pub(super) config: fn(&Checkpoint<'_>) -> Result<Config, SourceError>,
    /// The tensors of that encoder.
    pub(super) tensors: fn(&Checkpoint<'_>, &mut Entries<'_>) -> Result<(), SourceError>,
    /// The tensors `classifier.{weight,bias}`, if there are any, read the pooled vector itself; else a
    /// stage stands between.
    pub(super) classifier: bool,
    /// The answer where nothing describes one.
    pub(super) head: Option<Head>,
}

/// The answer of a pooling by attention, whose two stages have the activation of the layers between them.
/// `None` if no stage has that activation.
pub(super) fn pooled_by_attention(activation: Activation) -> Option<Head> {
    let activation = match activation {
        Activation::Relu => StageActivation::Relu,
        Activation::GeluErf => StageActivation::GeluErf,
        Activation::GeluTanh => StageActivation::GeluTanh,
        Activation::Silu | Activation::GeluQuick => return None,
    };
    let stages = Stages::NONE.then(activation)?.then(StageActivation::Identity)?;
    Some(Head { stages, ..embedding(Pooling::Attention) })
}

/// The norm of the mean of the patches as the answer.
pub(super) const fn mean_with_norm() -> Head {
    let head = embedding(Pooling::MeanOfRest);
    Head { pooling: head.pooling.with_norm(), ..head }
}

/// The pooled vector as the answer.
pub(super) const fn embedding(pooling: Pooling) -> Head {
    Head::new(pooling, HeadKind::Embedding { normalize: false })
}
