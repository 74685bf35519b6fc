//! The two convolutions that make tokens of log-mel frames.

use super::error::ModelError;
use super::packages::Packages;
use super::view::{Linear, Shape, Table};
use crate::format::{GLOBAL_LAYER, Role};

/// Frames that a convolution reads together.
const KERNEL: usize = 3;

/// Two convolutions, as maps of three adjacent rows, and positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameWeights<'a> {
    /// Mel bins of a frame.
    pub(crate) bins: usize,
    /// `[d, 3 bins]`.
    pub(crate) first: Linear<'a>,
    /// `[d, 3 d]`.
    pub(crate) second: Linear<'a>,
    pub(crate) positions: Table<'a>,
}

impl<'a> FrameWeights<'a> {
    pub(super) fn view(
        packages: &Packages<'a>,
        bins: usize,
        positions: usize,
    ) -> Result<Self, ModelError> {
        let d = packages.config.hidden;
        let map = |weight, bias, inputs| {
            let shape = Shape { rows: d, columns: KERNEL * inputs };
            packages.linear(weight, bias, GLOBAL_LAYER, shape)
        };
        Ok(Self {
            bins,
            first: map(Role::FirstConvolution, Role::FirstConvolutionBias, bins)?,
            second: map(Role::SecondConvolution, Role::SecondConvolutionBias, d)?,
            positions: packages.table(Role::PositionEmbedding, positions)?,
        })
    }

    /// Floats that the embedding needs for each token of a tile: three rows of the wider convolution, and
    /// of n tokens `2 n + 1` rows between the two.
    pub(super) const fn scratch(bins: usize, d: usize) -> usize {
        let wider = if bins > d { bins } else { d };
        wider.saturating_add(d).saturating_mul(KERNEL)
    }
}
