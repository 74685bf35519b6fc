//! Packages to layers with a meaning. After [`Model::bind`] every role is there and every shape agrees.

mod cost;
mod error;
mod layer;
mod view;

pub use cost::Macs;
pub use error::ModelError;
pub(crate) use layer::LOW_RANK_WIDTH;
pub use layer::{Adapter, FeedForward, Layer, LowRankKeys, Projections};
pub use view::{Linear, Table, Weights};

use crate::config::{
    AttentionMode, Config, Embedding, Head, HeadKind, LayerPlan, Norm, Routing, TaskConfig,
};
use crate::format::{ContentId, GLOBAL_LAYER, Package, PackageKind, Role, StringList, Tensor};
use crate::image::{InputNormalization, PatchGrid};
use crate::kernels::NormWeights;
use crate::memory::Dimensions;
use crate::text::{Vocabulary, WordPiece};

/// A base and, unless it runs dense, a task bound to it. Holds views only: nothing is copied, and
/// binding another task leaves the base as it is.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    base: Package<'a>,
    task: Option<Package<'a>>,
    config: Config,
}

/// This build has what the encoder needs.
fn check_build(config: &Config) -> Result<(), ModelError> {
    let feature = match config.embedding {
        Embedding::Tokens { .. } if !cfg!(feature = "tokens") => "tokens",
        Embedding::Patches { .. } if !cfg!(feature = "patches") => "patches",
        _ if !config.int8_attention && !cfg!(feature = "float") => "float",
        _ => return Ok(()),
    };
    Err(ModelError::LeftOut { feature })
}

impl<'a> Model<'a> {
    /// Binds a task to the base it was made for.
    ///
    /// # Errors
    /// A [`ModelError`] if the packages are of other kinds, the task names another base, a tensor is
    /// missing, or a shape or encoding does not fit.
    pub fn bind(base: &Package<'a>, task: &Package<'a>) -> Result<Self, ModelError> {
        if task.kind() != PackageKind::Task {
            return Err(ModelError::WrongKind { expected: PackageKind::Task, found: task.kind() });
        }
        if task.base_id() != base.content_id() {
            return Err(ModelError::AnotherBase {
                expected: task.base_id(),
                found: base.content_id(),
            });
        }
        Self::checked(base, Some(*task))
    }

    /// Binds a base alone: every token passes every layer, with the base's own head.
    ///
    /// # Errors
    /// As [`Model::bind`].
    pub fn dense(base: &Package<'a>) -> Result<Self, ModelError> {
        Self::checked(base, None)
    }

    /// Binds what one file holds: a bundle's task to its base, or a base alone.
    ///
    /// # Errors
    /// As [`Model::bind`]; a task package alone is the wrong kind.
    pub fn from_package(package: &Package<'a>) -> Result<Self, ModelError> {
        let wrong = ModelError::WrongKind { expected: PackageKind::Base, found: package.kind() };
        let base = package.base().ok_or(wrong)?;
        match package.task() {
            Some(task) => Self::bind(&base, &task),
            None => Self::dense(&base),
        }
    }

    fn checked(base: &Package<'a>, task: Option<Package<'a>>) -> Result<Self, ModelError> {
        let wrong = ModelError::WrongKind { expected: PackageKind::Base, found: base.kind() };
        let config = *base.config().ok_or(wrong)?;
        check_build(&config)?;
        let model = Self { base: *base, task, config };
        model.check_layers()?;
        model.check_embedding()?;
        model.check_front_end()?;
        model.check_head()?;
        if let Some(limit) = config.max_tokens()
            && let Some(position) = model.pinned().find(|position| *position >= limit)
        {
            return Err(ModelError::PinnedPosition { position, limit });
        }
        Ok(model)
    }

    fn check_layers(&self) -> Result<(), ModelError> {
        let expected = self.config.layers;
        if let Some(task) = &self.task
            && task.layers().len() != expected
        {
            return Err(ModelError::LayerCount { expected, found: task.layers().len() });
        }
        let tensors = self.base.tensors().chain(self.task.iter().flat_map(Package::tensors));
        for tensor in tensors {
            if tensor.layer != GLOBAL_LAYER && usize::from(tensor.layer) >= expected {
                return Err(ModelError::LayerCount {
                    expected,
                    found: usize::from(tensor.layer) + 1,
                });
            }
        }
        (0..expected).try_for_each(|index| self.layer(index).map(drop))
    }

    fn check_embedding(&self) -> Result<(), ModelError> {
        match self.config.embedding {
            Embedding::Tokens { .. } if !cfg!(feature = "tokens") => {}
            Embedding::Patches { .. } if !cfg!(feature = "patches") => {}
            Embedding::Tokens { positions, token_types, norm, .. } => {
                self.token_table()?;
                if positions > 0 {
                    self.position_table()?;
                }
                if token_types > 0 {
                    self.type_table()?;
                }
                if norm {
                    self.embedding_norm()?;
                }
            }
            Embedding::Patches { class_token, .. } => {
                self.patch_projection()?;
                self.position_table()?;
                if class_token {
                    self.class_token()?;
                }
            }
        }
        if self.config.final_norm {
            self.final_norm()?;
        }
        if self.config.relative_distance > 0 {
            self.relative_bias()?;
        }
        Ok(())
    }

    fn check_front_end(&self) -> Result<(), ModelError> {
        if let (Some(words), Embedding::Tokens { vocabulary, .. }) =
            (self.base.vocabulary(), self.config.embedding)
            && words.len() > vocabulary
        {
            return Err(ModelError::VocabularySize { expected: vocabulary, found: words.len() });
        }
        if let (Some(image), Some(grid)) = (self.normalization(), self.patch_grid())
            && image.channels != grid.channels
        {
            return Err(ModelError::Channels { expected: grid.channels, found: image.channels });
        }
        Ok(())
    }

    fn check_head(&self) -> Result<(), ModelError> {
        match self.head() {
            Some(Head { kind: HeadKind::Classification { .. }, .. }) => self.classifier().map(drop),
            _ => Ok(()),
        }
    }

    /// The frozen encoder.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The task's settings; `None` when the base runs alone.
    #[must_use]
    pub fn task_config(&self) -> Option<&TaskConfig> {
        self.task.as_ref().and_then(Package::task_config)
    }

    /// The base, for another task: [`Model::bind`].
    #[must_use]
    pub const fn base(&self) -> &Package<'a> {
        &self.base
    }

    /// The content id of the base.
    #[must_use]
    pub const fn base_id(&self) -> ContentId {
        self.base.content_id()
    }

    /// How each layer is executed; every layer is dense without a task.
    pub fn layer_plans(&self) -> impl Iterator<Item = LayerPlan> + use<'a> {
        let model = *self;
        (0..self.config.layers).map(move |index| LayerPlan { routing: model.routing(index) })
    }

    /// How layer `index` is routed; `None` where it is dense.
    pub(crate) fn routing(&self, index: usize) -> Option<Routing> {
        self.task?.layers().nth(index)?.routing
    }

    /// Positions that are always selected, ascending.
    pub fn pinned(&self) -> impl Iterator<Item = usize> + Clone + use<'a> {
        self.task.map(|task| task.pinned()).into_iter().flatten()
    }

    /// The head: the task's, or the base's.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.task.and_then(|task| task.head()).or(self.base.head())
    }

    /// Names of the classes: from the package whose head is used.
    #[must_use]
    pub fn labels(&self) -> Option<StringList<'a>> {
        match self.task.filter(|task| task.head().is_some()) {
            Some(task) => task.labels(),
            None => self.base.labels(),
        }
    }

    /// How pixels are normalised: as the task says, or the base.
    #[must_use]
    pub fn normalization(&self) -> Option<InputNormalization> {
        self.task.and_then(|task| task.image()).or(self.base.image())
    }

    /// The patches of an image; `None` for an encoder of tokens.
    #[must_use]
    pub const fn patch_grid(&self) -> Option<PatchGrid> {
        PatchGrid::of(&self.config.embedding)
    }

    /// The vocabulary of the base.
    #[must_use]
    pub const fn vocabulary(&self) -> Option<Vocabulary<'a>> {
        self.base.vocabulary()
    }

    /// The tokenizer, if the base carries a vocabulary.
    #[must_use]
    pub fn tokenizer(&self) -> Option<WordPiece<'a>> {
        self.base.vocabulary().map(WordPiece::new)
    }

    /// Longest input in tokens: the smaller of the architecture's and the task's bound.
    #[must_use]
    pub fn max_tokens(&self) -> Option<usize> {
        let task = self.task_config().map(|task| task.max_tokens).filter(|tokens| *tokens > 0);
        match (self.config.max_tokens(), task) {
            (Some(base), Some(task)) => Some(base.min(task)),
            (base, task) => base.or(task),
        }
    }

    /// Everything the size of the scratch buffer depends on.
    #[must_use]
    pub fn dimensions(&self) -> Dimensions {
        let config = &self.config;
        let rows_of = |role| {
            let task = self.task.iter().flat_map(Package::tensors);
            task.filter(|tensor| tensor.role == role).map(|t| t.rows).max().unwrap_or(0)
        };
        let modes = || self.layer_plans().map(|plan| plan.routing.map(|r| r.attention));
        Dimensions {
            hidden: config.hidden,
            attention_width: config.attention_width(),
            head_dim: config.head_dim,
            feed_forward: config.feed_forward,
            gated: config.gated,
            patch_inputs: self.patch_grid().map_or(0, |grid| grid.inputs()),
            adapter: rows_of(Role::AdapterDown),
            low_rank: rows_of(Role::LowRankDown),
            outputs: match self.head().map(|head| head.kind) {
                Some(HeadKind::Classification { labels }) => labels,
                Some(HeadKind::Embedding { .. }) => config.hidden,
                None => 0,
            },
            dense_layers: modes().any(|mode| mode.is_none()),
            keys_of_all: modes().any(|mode| mode != Some(AttentionMode::KToK)),
            int8_attention: config.int8_attention,
            int8: (0..config.layers).any(|i| self.layer(i).is_ok_and(|l| l.reads_int8())),
        }
    }

    /// The tensor of a role: the task's, or the base's.
    fn tensor(&self, role: Role, layer: u16) -> Option<Tensor<'a>> {
        self.task
            .and_then(|task| task.tensor(role, layer))
            .or_else(|| self.base.tensor(role, layer))
    }

    fn required(&self, role: Role, layer: u16) -> Result<Tensor<'a>, ModelError> {
        self.tensor(role, layer).ok_or(ModelError::MissingTensor { role, layer })
    }

    /// A vector of `length` values.
    fn vector(&self, role: Role, layer: u16, length: usize) -> Result<&'a [f32], ModelError> {
        view::vector(&self.required(role, layer)?, length)
    }

    /// A vector that may be absent: then it is empty.
    fn optional(&self, role: Role, layer: u16, length: usize) -> Result<&'a [f32], ModelError> {
        self.tensor(role, layer).map_or(Ok(&[]), |tensor| view::vector(&tensor, length))
    }

    /// A linear map and its optional bias.
    fn linear(
        &self,
        (weight, bias): (Role, Role),
        layer: u16,
        shape: (usize, usize),
    ) -> Result<Linear<'a>, ModelError> {
        let bias = self.optional(bias, layer, shape.0)?;
        view::linear(&self.required(weight, layer)?, shape, bias)
    }

    fn norm(
        &self,
        (weight, bias): (Role, Role),
        layer: u16,
    ) -> Result<NormWeights<'a>, ModelError> {
        let d = self.config.hidden;
        Ok(NormWeights {
            weight: self.vector(weight, layer, d)?,
            bias: match self.config.norm {
                Norm::LayerNorm => self.vector(bias, layer, d)?,
                Norm::RmsNorm => &[],
            },
            eps: self.config.norm_eps,
        })
    }

    fn table(&self, role: Role, rows: usize) -> Result<Table<'a>, ModelError> {
        view::table(&self.required(role, GLOBAL_LAYER)?, (rows, self.config.hidden))
    }

    /// Token embedding table.
    pub(crate) fn token_table(&self) -> Result<Table<'a>, ModelError> {
        let rows = match self.config.embedding {
            Embedding::Tokens { vocabulary, .. } => vocabulary,
            Embedding::Patches { .. } => 0,
        };
        self.table(Role::TokenEmbedding, rows)
    }

    /// Position table.
    pub(crate) fn position_table(&self) -> Result<Table<'a>, ModelError> {
        self.table(Role::PositionEmbedding, self.config.max_tokens().unwrap_or(0))
    }

    /// Token type table.
    pub(crate) fn type_table(&self) -> Result<Table<'a>, ModelError> {
        let rows = match self.config.embedding {
            Embedding::Tokens { token_types, .. } => token_types,
            Embedding::Patches { .. } => 0,
        };
        self.table(Role::TokenTypeEmbedding, rows)
    }

    /// Norm after the embedding sum.
    pub(crate) fn embedding_norm(&self) -> Result<NormWeights<'a>, ModelError> {
        self.norm((Role::EmbeddingNormWeight, Role::EmbeddingNormBias), GLOBAL_LAYER)
    }

    /// Patch projection.
    pub(crate) fn patch_projection(&self) -> Result<Linear<'a>, ModelError> {
        let inputs = self.patch_grid().map_or(0, |grid| grid.inputs());
        let shape = (self.config.hidden, inputs);
        self.float_linear(Role::PatchWeight, Some(Role::PatchBias), GLOBAL_LAYER, shape)
    }

    /// Class token.
    pub(crate) fn class_token(&self) -> Result<&'a [f32], ModelError> {
        self.vector(Role::ClassToken, GLOBAL_LAYER, self.config.hidden)
    }

    /// Norm after the last layer.
    pub(crate) fn final_norm(&self) -> Result<NormWeights<'a>, ModelError> {
        self.norm((Role::FinalNormWeight, Role::FinalNormBias), GLOBAL_LAYER)
    }

    /// Relative position bias by head and distance, `[heads, 2 D + 1]`.
    pub(crate) fn relative_bias(&self) -> Result<&'a [f32], ModelError> {
        let tensor = self.required(Role::RelativeBias, GLOBAL_LAYER)?;
        view::floats(&tensor, (self.config.heads, 2 * self.config.relative_distance + 1))
    }

    /// The classifier.
    pub(crate) fn classifier(&self) -> Result<Linear<'a>, ModelError> {
        let labels = match self.head().map(|head| head.kind) {
            Some(HeadKind::Classification { labels }) => labels,
            _ => 0,
        };
        let shape = (labels, self.config.hidden);
        self.float_linear(Role::HeadWeight, Some(Role::HeadBias), GLOBAL_LAYER, shape)
    }
}
