//! The pooling of a head by attention: one learned query over all tokens.

use super::error::ModelError;
use super::packages::Packages;
use super::view::{self, Linear, Shape};
use crate::format::{GLOBAL_LAYER, Role};
use crate::kernels::NormWeights;

/// Its weights. Query and keys are one: what is the same for every token changes no softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    /// What a head multiplies a token's vector by for its score, `[heads, d]`.
    pub(crate) keys: &'a [f32],
    /// d to attention width.
    pub(crate) value: Linear<'a>,
    /// Attention width to d.
    pub(crate) output: Linear<'a>,
    /// The norm of the output, before the dense stages.
    pub(crate) norm: NormWeights<'a>,
}

impl<'a> Probe<'a> {
    pub(super) fn view(packages: &Packages<'a>) -> Result<Self, ModelError> {
        let config = &packages.config;
        let (d, width) = (config.hidden, config.attention_width());
        let of_heads = Shape { rows: config.heads, columns: d };
        let (inner, outer) = (Shape { rows: width, columns: d }, Shape { rows: d, columns: width });
        let (output, bias) = (Role::ProbeOutput, Role::ProbeOutputBias);
        // No role is the bias of the values: it is a part of that of the output.
        let value = packages.required(Role::ProbeValue, GLOBAL_LAYER)?;
        let value = view::linear(&value, inner, &[])?;
        if value.is_integer() {
            return Err(ModelError::Encoding { role: Role::ProbeValue, layer: GLOBAL_LAYER });
        }
        Ok(Self {
            keys: view::floats(&packages.required(Role::Probe, GLOBAL_LAYER)?, of_heads)?,
            value,
            output: packages.float_linear(output, bias, outer)?,
            norm: packages.norm(Role::PooledNormWeight, Role::PooledNormBias, GLOBAL_LAYER)?,
        })
    }
}
