//! Packages to layers with a meaning. After [`Model::bind`] every role is there and every shape agrees.

#[cfg(feature = "decoder")]
mod answer_cost;
#[cfg(feature = "decoder")]
mod channels;
mod cost;
#[cfg(feature = "decoder")]
mod decoder;
mod error;
#[cfg(feature = "frames")]
mod frames;
mod globals;
#[cfg(feature = "grid")]
mod grid;
mod layer;
mod packages;
mod probe;
#[cfg(feature = "pruning")]
mod pruning;
mod stage;
mod view;

#[cfg(feature = "decoder")]
pub use answer_cost::{AnswerMacs, AnswerSize};
#[cfg(feature = "decoder")]
pub use channels::OutputChannels;
#[cfg(feature = "decoder")]
pub(crate) use channels::Runs;
pub use cost::{EXPONENTIAL_MACS, Macs};
#[cfg(feature = "decoder")]
pub(crate) use decoder::DecoderGlobals;
#[cfg(feature = "decoder")]
pub use decoder::{Decoder, DecoderLayer};
pub use error::ModelError;
#[cfg(feature = "frames")]
pub(crate) use frames::FrameWeights;
pub(crate) use globals::{EmbeddingWeights, Globals, PatchWeights, TokenWeights};
#[cfg(feature = "grid")]
pub(crate) use grid::GridWeights;
pub(crate) use layer::LOW_RANK_WIDTH;
#[cfg(feature = "more-families")]
pub use layer::Places;
pub use layer::{Adapter, Attention, Block, FeedForward, Layer, LowRankKeys};
pub(crate) use probe::Probe;
pub use view::{Linear, Table, Weights};

use crate::config::{
    AttentionMode, Config, Embedding, Head, HeadKind, LayerPlan, Routing, TaskConfig,
};
use crate::format::{ContentId, GLOBAL_LAYER, Package, PackageKind, Role, StringList};
use crate::image::{InputNormalization, PatchGrid};
use crate::memory::Dimensions;
#[cfg(feature = "pieces")]
use crate::text::PieceTokenizer;
use crate::text::{Tokenizer, Vocabulary, WordPiece};
use packages::Packages;

/// A base and, unless it runs dense, a task bound to it. Holds views only: nothing is copied, and
/// binding another task leaves the base as it is.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    packages: Packages<'a>,
}

/// The base has every layer that a tensor or the task speaks of, and each can be viewed.
fn check_layers(packages: &Packages<'_>) -> Result<(), ModelError> {
    let expected = packages.config.layers;
    let of_task = packages.task.as_ref().map_or(expected, |task| task.layers().len());
    if of_task != expected {
        return Err(ModelError::LayerCount { expected, found: of_task });
    }
    for tensor in packages.tensors() {
        let layer = usize::from(tensor.layer);
        if tensor.layer != GLOBAL_LAYER && layer >= expected {
            return Err(ModelError::LayerCount { expected, found: layer + 1 });
        }
    }
    (0..expected).try_for_each(|index| Layer::view(packages, index).map(drop))
}

/// Values of a pooling by attention: its output, the norm of that, and behind them its own scratch or
/// the dense stages.
const fn pooled_by_attention(config: &Config, stages: usize) -> usize {
    let own = config.attention_width().saturating_mul(2).saturating_add(config.hidden);
    let behind = if stages > own { stages } else { own };
    config.hidden.saturating_mul(2).saturating_add(behind)
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
        let config = base.config().ok_or(wrong)?;
        if !config.int8_attention && !cfg!(feature = "float") {
            return Err(ModelError::LeftOut { feature: "float" });
        }
        // One copy, checked where it lies: a model is large, and stacks are small.
        let model = Self {
            packages: Packages {
                base: *base,
                task,
                config: *config,
                #[cfg(feature = "decoder")]
                table: None,
            },
        };
        Globals::view(&model.packages, model.head())?;
        check_layers(&model.packages)?;
        model.check_front_end()?;
        #[cfg(feature = "pruning")]
        pruning::check(&model.packages, model.head())?;
        #[cfg(feature = "decoder")]
        Decoder::check(&model.packages)?;
        if let Some(limit) = model.config().max_tokens()
            && let Some(position) = model.pinned().find(|position| *position >= limit)
        {
            return Err(ModelError::PinnedPosition { position, limit });
        }
        Ok(model)
    }

    fn check_front_end(&self) -> Result<(), ModelError> {
        if let (Some(found), Embedding::Tokens { vocabulary, .. }) =
            (self.vocabulary_size(), self.config().embedding)
            && found > vocabulary
        {
            return Err(ModelError::VocabularySize { expected: vocabulary, found });
        }
        if let (Some(image), Some(grid)) = (self.normalization(), self.patch_grid())
            && image.channels != grid.channels
        {
            return Err(ModelError::Channels { expected: grid.channels, found: image.channels });
        }
        Ok(())
    }

    /// The frozen encoder.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.packages.config
    }

    /// The task's settings; `None` when the base runs alone.
    #[must_use]
    pub fn task_config(&self) -> Option<&TaskConfig> {
        self.packages.task_config()
    }

    /// The base, for another task: [`Model::bind`].
    #[must_use]
    pub const fn base(&self) -> &Package<'a> {
        &self.packages.base
    }

    /// The task, if one is bound.
    #[must_use]
    pub const fn task(&self) -> Option<&Package<'a>> {
        self.packages.task.as_ref()
    }

    /// The content id of the base.
    #[must_use]
    pub const fn base_id(&self) -> ContentId {
        self.packages.base.content_id()
    }

    /// How each layer is executed; every layer is dense without a task.
    pub fn layer_plans(&self) -> impl Iterator<Item = LayerPlan> + use<'a> {
        self.packages.layer_plans()
    }

    /// How layer `index` is routed; `None` where it is dense.
    pub(crate) fn routing(&self, index: usize) -> Option<Routing> {
        self.packages.routing(index)
    }

    /// Positions that are always selected, ascending.
    pub fn pinned(&self) -> impl Iterator<Item = usize> + Clone + use<'a> {
        self.packages.pinned()
    }

    /// The head: the task's, or the base's.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        let task = self.packages.task.as_ref().and_then(Package::head);
        task.or(self.packages.base.head())
    }

    /// Names of the classes: from the package whose head is used.
    #[must_use]
    pub fn labels(&self) -> Option<StringList<'a>> {
        match self.packages.task.as_ref().filter(|task| task.head().is_some()) {
            Some(task) => task.labels(),
            None => self.packages.base.labels(),
        }
    }

    /// How pixels are normalised: as the task says, or the base.
    #[must_use]
    pub fn normalization(&self) -> Option<InputNormalization> {
        let task = self.packages.task.as_ref().and_then(Package::image);
        task.or(self.packages.base.image())
    }

    /// The patches of an image; `None` for an encoder of tokens, or of images of any size.
    #[must_use]
    pub const fn patch_grid(&self) -> Option<PatchGrid> {
        PatchGrid::of(&self.packages.config.embedding)
    }

    /// The vocabulary of the base.
    #[must_use]
    pub const fn vocabulary(&self) -> Option<Vocabulary<'a>> {
        self.packages.base.vocabulary()
    }

    /// One above the largest id that texts become.
    // Pieces are not a part of the frame of a bind without them.
    #[cfg_attr(feature = "pieces", inline(never))]
    fn vocabulary_size(&self) -> Option<usize> {
        #[cfg(feature = "pieces")]
        if let Some(pieces) = self.packages.base.pieces() {
            return Some(pieces.len());
        }
        self.vocabulary().map(|words| words.len())
    }

    /// The tokenizer, if the base carries one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<Tokenizer<'a>> {
        #[cfg(feature = "pieces")]
        if let Some(pieces) = self.packages.base.pieces() {
            return Some(Tokenizer::Pieces(PieceTokenizer::new(pieces)));
        }
        self.vocabulary().map(WordPiece::new).map(Tokenizer::WordPiece)
    }

    /// Longest input in tokens: the smallest of the bounds of the architecture, of the base's texts
    /// and of the task.
    #[must_use]
    pub fn max_tokens(&self) -> Option<usize> {
        let text = if cfg!(feature = "tokens") { self.packages.base.text().longest } else { 0 };
        let task = self.task_config().map_or(0, |task| task.max_tokens);
        let own = [text, task].into_iter().filter(|tokens| *tokens > 0);
        own.chain(self.config().max_tokens()).min()
    }

    /// Everything the size of the scratch buffer depends on.
    #[must_use]
    pub fn dimensions(&self) -> Dimensions {
        let config = self.config();
        let rows_of = |role| {
            let task = self.packages.task.iter().flat_map(Package::tensors);
            task.filter(|tensor| tensor.role == role).map(|t| t.rows).max().unwrap_or(0)
        };
        let stages = if cfg!(feature = "heads") { self.globals().stages } else { <_>::default() };
        let mut widths = stages.iter().flatten().map(|stage| stage.map.outputs);
        let poolings = self.head().map_or(1, |head| head.pooling.count());
        let pooled = config.hidden.saturating_mul(poolings);
        let stages = widths.clone().fold(0, usize::saturating_add);
        let by_attention = self.head().is_some_and(|head| head.pooling.is_attention());
        let modes = || self.layer_plans().map(|plan| plan.routing.map(|r| r.attention));
        // Layers behind one that prunes have no other tokens than the selected ones.
        #[cfg(feature = "pruning")]
        let modes = || {
            let before = modes().position(|mode| mode == Some(AttentionMode::Prune));
            modes().take(before.unwrap_or(usize::MAX))
        };
        Dimensions {
            hidden: config.hidden,
            attention_width: config.attention_width(),
            head_dim: config.head_dim,
            feed_forward: config.feed_forward,
            gated: config.gated,
            patch_inputs: self.embedding_inputs(),
            adapter: rows_of(Role::AdapterDown),
            low_rank: rows_of(Role::LowRankDown),
            pooled: match by_attention {
                true => pooled_by_attention(config, stages),
                false => pooled.saturating_add(stages),
            },
            outputs: match self.head().map(|head| head.kind) {
                Some(
                    HeadKind::Classification { labels } | HeadKind::TokenClassification { labels },
                ) => labels,
                Some(HeadKind::Embedding { .. }) => widths.next_back().unwrap_or(pooled),
                None => 0,
            },
            dense_layers: modes().any(|mode| mode.is_none()),
            keys_of_all: modes().any(|mode| mode != Some(AttentionMode::KToK)),
            int8_attention: config.int8_attention,
            int8: (0..config.layers).any(|index| self.layer(index).reads_int8()),
        }
    }

    /// Floats of the embedding for each token of a tile: columns of the rows that a map of it reads.
    fn embedding_inputs(&self) -> usize {
        match self.config().embedding {
            Embedding::Tokens { projected, .. } if cfg!(feature = "more-families") => projected,
            #[cfg(feature = "frames")]
            Embedding::Frames { bins, .. } => FrameWeights::scratch(bins, self.config().hidden),
            #[cfg(feature = "grid")]
            Embedding::Grid { channels, patch, .. } => grid::inputs(channels, patch),
            _ => self.patch_grid().map_or(0, |grid| grid.inputs()),
        }
    }

    /// The decoder, if the base has one.
    #[cfg(feature = "decoder")]
    #[must_use]
    pub fn decoder(&self) -> Option<Decoder<'a>> {
        let decoder = Decoder::view(&self.packages);
        debug_assert!(decoder.is_ok(), "binding has viewed it");
        decoder.unwrap_or_default()
    }

    /// Layer `index`; empty past the last one.
    #[must_use]
    pub fn layer(&self, index: usize) -> Layer<'a> {
        let layer = Layer::view(&self.packages, index);
        let exists = index < self.config().layers;
        debug_assert!(layer.is_ok() || !exists, "binding has viewed every layer");
        layer.unwrap_or_default()
    }

    /// What belongs to no layer.
    pub(crate) fn globals(&self) -> Globals<'a> {
        let globals = Globals::view(&self.packages, self.head());
        debug_assert!(globals.is_ok(), "binding has viewed them");
        globals.unwrap_or_default()
    }
}
