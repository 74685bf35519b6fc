//! What every stage needs to know.

use super::workers::Cores;
use crate::config::{Activation, Config, Norm, NormPlacement};
use crate::kernels::{Kernels, NormWeights};

/// What every stage needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Context<'m> {
    pub(crate) config: &'m Config,
    pub(crate) kernels: &'m Kernels,
    pub(crate) workers: Cores<'m>,
    /// Activation between the two maps of an adapter.
    pub(crate) adapter_activation: Option<Activation>,
}

impl Context<'_> {
    /// Normalises one row.
    pub(crate) fn norm(&self, out: &mut [f32], row: &[f32], weights: NormWeights<'_>) {
        match self.config.norm {
            Norm::LayerNorm => (self.kernels.layer_norm)(out, row, weights),
            Norm::RmsNorm => (self.kernels.rms_norm)(out, row, weights),
        }
    }

    /// The norm before a part of a layer; `None` where there is none, which reads X itself: in a
    /// post-norm layer, and before the first attention of some.
    pub(crate) fn norm_before<'a>(&self, weights: NormWeights<'a>) -> Option<NormWeights<'a>> {
        match self.config.placement {
            NormPlacement::Pre if cfg!(feature = "more-families") => {
                Some(weights).filter(|weights| !weights.weight.is_empty())
            }
            NormPlacement::Pre => Some(weights),
            NormPlacement::Post => None,
        }
    }
}
