//! The dense stages of a head.

use super::error::ModelError;
use super::packages::Packages;
use super::view::{Linear, Shape};
use crate::config::{StageActivation, Stages};
use crate::format::{GLOBAL_LAYER, Role};

/// Weight and bias of each stage.
const ROLES: [(Role, Role); Stages::MOST] =
    [(Role::FirstStage, Role::FirstStageBias), (Role::SecondStage, Role::SecondStageBias)];

/// One dense stage: `activation(W x + b)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) map: Linear<'a>,
    pub(crate) activation: StageActivation,
}

impl<'a> Stage<'a> {
    /// Stage `index`, which reads `columns` values; its tensor says how many it gives.
    pub(super) fn view(
        packages: &Packages<'a>,
        stages: Stages,
        index: usize,
        columns: usize,
    ) -> Result<Option<Self>, ModelError> {
        let (Some(activation), Some((weight, bias))) = (stages.get(index), ROLES.get(index)) else {
            return Ok(None);
        };
        let d = packages.config.hidden;
        // The norm of a stage is one of d columns.
        let rows = match activation.has_norm() {
            true => d,
            false => packages.required(*weight, GLOBAL_LAYER)?.rows,
        };
        let map = packages.float_linear(*weight, *bias, Shape { rows, columns })?;
        Ok(Some(Self { map, activation }))
    }
}
