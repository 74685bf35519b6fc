//! The embedding of an image of any size (`docs/method.md`, "Images of any size").

use super::error::ModelError;
use super::packages::Packages;
use super::view::{Linear, Shape, Table};
use crate::format::Role;
use crate::image::PatchGrid;

/// Projected patches, and the rows that are added for where each is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GridWeights<'a> {
    /// The largest grid.
    pub(crate) most: PatchGrid,
    pub(crate) projection: Linear<'a>,
    /// A row for each line of patches, then one for each column.
    pub(crate) places: Table<'a>,
}

/// Values of a patch.
pub(super) const fn inputs(channels: usize, side: usize) -> usize {
    channels.saturating_mul(side).saturating_mul(side)
}

impl<'a> GridWeights<'a> {
    pub(super) fn view(packages: &Packages<'a>) -> Result<Self, ModelError> {
        let most = PatchGrid::largest(&packages.config.embedding).unwrap_or_default();
        let shape = Shape { rows: packages.config.hidden, columns: most.inputs() };
        let places = most.rows.saturating_add(most.columns);
        Ok(Self {
            most,
            projection: packages.float_linear(Role::PatchWeight, Role::PatchBias, shape)?,
            places: packages.table(Role::PositionEmbedding, places)?,
        })
    }
}
