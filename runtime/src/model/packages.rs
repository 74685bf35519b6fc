//! A base and a task as one set of tensors: the task's before the base's.

use super::error::ModelError;
use super::view::{self, Linear, Shape, Table};
use crate::config::{Config, LayerPlan, Norm, RouterInput, Routing, TaskConfig};
use crate::format::{GLOBAL_LAYER, Package, Role, Tensor};
use crate::kernels::NormWeights;

/// The packages of a model, and what the base describes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packages<'a> {
    pub(super) base: Package<'a>,
    pub(super) task: Option<Package<'a>>,
    pub(super) config: Config,
    /// Of a decoder, the encoder's token table, which it uses unless it has its own.
    #[cfg(feature = "decoder")]
    pub(super) table: Option<Tensor<'a>>,
}

impl<'a> Packages<'a> {
    /// Base or task speak of a decoder.
    #[cfg(feature = "decoder")]
    pub(super) fn has_decoder(&self) -> bool {
        self.base.has_decoder() || self.task.as_ref().is_some_and(Package::has_decoder)
    }

    /// The task's settings; `None` when the base runs alone.
    pub(super) fn task_config(&self) -> Option<&TaskConfig> {
        self.task.as_ref().and_then(Package::task_config)
    }

    /// Tensors of both.
    pub(super) fn tensors(&self) -> impl Iterator<Item = Tensor<'a>> {
        self.base.tensors().chain(self.task.iter().flat_map(Package::tensors))
    }

    /// How each layer is executed; every layer is dense without a task.
    pub(super) fn layer_plans(&self) -> impl Iterator<Item = LayerPlan> + use<'a> {
        let packages = *self;
        (0..self.config.layers).map(move |index| LayerPlan { routing: packages.routing(index) })
    }

    /// How layer `index` is routed; `None` where it is dense.
    pub(super) fn routing(&self, index: usize) -> Option<Routing> {
        self.task.as_ref()?.layers().nth(index)?.routing
    }

    /// The task's routed layers have a router each.
    pub(super) fn has_routers(&self) -> bool {
        let input = || self.task_config().map(|task| task.router_input);
        !cfg!(feature = "pruning") || input() != Some(RouterInput::Grid)
    }

    /// Positions that are always selected, ascending.
    pub(super) fn pinned(&self) -> impl Iterator<Item = usize> + Clone + use<'a> {
        self.task.as_ref().map(Package::pinned).into_iter().flatten()
    }

    /// The tensor of a role: the task's, or the base's.
    pub(super) fn tensor(&self, role: Role, layer: u16) -> Option<Tensor<'a>> {
        let own = self
            .task
            .as_ref()
            .and_then(|task| task.tensor(role, layer))
            .or_else(|| self.base.tensor(role, self.stored(layer)));
        #[cfg(feature = "decoder")]
        if role == Role::TokenEmbedding {
            return own.or(self.table);
        }
        own
    }

    /// Where the base keeps what layer `layer` reads.
    const fn stored(&self, layer: u16) -> u16 {
        let shared = cfg!(feature = "more-families") && self.config.shared_layers;
        if shared && layer != GLOBAL_LAYER { 0 } else { layer }
    }

    pub(super) fn required(&self, role: Role, layer: u16) -> Result<Tensor<'a>, ModelError> {
        self.tensor(role, layer).ok_or(ModelError::MissingTensor { role, layer })
    }

    /// A vector of `length` values.
    pub(super) fn vector(
        &self,
        role: Role,
        layer: u16,
        length: usize,
    ) -> Result<&'a [f32], ModelError> {
        view::vector(&self.required(role, layer)?, length)
    }

    /// A vector that may be absent: then it is empty.
    pub(super) fn optional(
        &self,
        role: Role,
        layer: u16,
        length: usize,
    ) -> Result<&'a [f32], ModelError> {
        self.tensor(role, layer).map_or(Ok(&[]), |tensor| view::vector(&tensor, length))
    }

    /// A linear map and its optional bias.
    pub(super) fn linear(
        &self,
        weight: Role,
        bias: Role,
        layer: u16,
        shape: Shape,
    ) -> Result<Linear<'a>, ModelError> {
        let bias = self.optional(bias, layer, shape.rows)?;
        view::linear(&self.required(weight, layer)?, shape, bias)
    }

    /// A linear map of the model that reads float rows: patches, the head.
    pub(super) fn float_linear(
        &self,
        weight: Role,
        bias: Role,
        shape: Shape,
    ) -> Result<Linear<'a>, ModelError> {
        let linear = self.linear(weight, bias, GLOBAL_LAYER, shape)?;
        match linear.is_integer() {
            true => Err(ModelError::Encoding { role: weight, layer: GLOBAL_LAYER }),
            false => Ok(linear),
        }
    }

    pub(super) fn norm(
        &self,
        weight: Role,
        bias: Role,
        layer: u16,
    ) -> Result<NormWeights<'a>, ModelError> {
        self.norm_of(weight, bias, layer, self.config.hidden)
    }

    /// A norm of so many columns.
    pub(super) fn norm_of(
        &self,
        weight: Role,
        bias: Role,
        layer: u16,
        columns: usize,
    ) -> Result<NormWeights<'a>, ModelError> {
        Ok(NormWeights {
            weight: self.vector(weight, layer, columns)?,
            bias: match self.config.norm {
                Norm::LayerNorm => self.vector(bias, layer, columns)?,
                Norm::RmsNorm => &[],
            },
            eps: self.config.norm_eps,
        })
    }

    /// A table of the model whose rows are looked up.
    pub(super) fn table(&self, role: Role, rows: usize) -> Result<Table<'a>, ModelError> {
        self.table_of(role, Shape { rows, columns: self.config.hidden })
    }

    /// A table of any width.
    pub(super) fn table_of(&self, role: Role, shape: Shape) -> Result<Table<'a>, ModelError> {
        view::table(&self.required(role, GLOBAL_LAYER)?, shape)
    }
}
