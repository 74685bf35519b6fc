//! The decoder of a base, and what a task adds to it (`docs/method.md`, "Text out").

use super::channels::OutputChannels;
use super::error::ModelError;
use super::globals::{EmbeddingWeights, Globals, TokenWeights};
use super::layer::{Attention, Block, Layer};
use super::packages::Packages;
use super::view::{self, Linear, Shape, Table};
use crate::config::{Activation, Config, Embedding, LocalAttention, Rotary};
use crate::format::{GLOBAL_LAYER, GenerationRules, IdList, Package, Role, SpeechRules, limits};
use crate::kernels::NormWeights;
use crate::memory::DecoderDimensions;

/// A decoder: layers that attend to what stands before and to the encoder's states, and an output map.
/// Holds views only.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    packages: Packages<'a>,
    rules: GenerationRules<'a>,
    speech: Option<SpeechRules<'a>>,
    /// Ids that an answer may hold; empty for all.
    shortlist: IdList<'a>,
    /// The encoder's model dimension.
    encoder_hidden: usize,
}

/// One decoder layer. Empty slices are absent parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecoderLayer<'a> {
    /// Attention to what stands before, the feed-forward layer, and the task's adapter.
    pub block: Block<'a>,
    /// Attention to the encoder's states.
    pub cross: Attention<'a>,
}

/// What belongs to no layer of a decoder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecoderGlobals<'a> {
    pub(crate) tokens: TokenWeights<'a>,
    pub(crate) final_norm: Option<NormWeights<'a>>,
    /// `[heads, 2 D + 1]`; empty for none.
    pub(crate) relative_bias: &'a [f32],
    /// To one value for each token.
    pub(crate) logits: Linear<'a>,
    /// From the encoder's states to what cross attention reads; `None` if it reads them as they are.
    pub(crate) memory: Option<Linear<'a>>,
    /// Rows behind the encoder's states.
    pub(crate) appended: AppendedStates<'a>,
}

/// Rows that a decoder finds behind the encoder's states.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AppendedStates<'a> {
    /// Number of rows.
    pub(crate) rows: usize,
    /// `[rows, d of the encoder]`.
    pub(crate) table: Table<'a>,
}

/// What a decoder has not, though its configuration could say it.
const fn unsupported(config: &Config) -> Option<&'static str> {
    let Rotary { columns, .. } = config.rotary;
    let LocalAttention { distance, .. } = config.local;
    Some(match config.embedding {
        Embedding::Patches { .. } => "reads patches",
        #[cfg(feature = "frames")]
        Embedding::Frames { .. } => "reads frames",
        #[cfg(feature = "grid")]
        Embedding::Grid { .. } => "reads patches",
        Embedding::Tokens { token_types: 1.., .. } => "has token types",
        Embedding::Tokens { projected: 1.., .. } => "projects its embeddings",
        _ if columns > 0 => "has rotary positions",
        _ if distance > 0 => "attends locally",
        _ if config.layer_bias || config.grid_bias => "has a relative bias of layers or a grid",
        _ if config.shared_layers => "shares its layers",
        _ if config.bare_first_layer => "has a layer without a norm",
        _ if config.causal => "is said to be causal, which all are",
        Embedding::Tokens { .. } => return None,
    })
}

impl<'a> Decoder<'a> {
    /// The decoder of an encoder's packages, everything in it viewed once.
    pub(super) fn check(encoder: &Packages<'a>) -> Result<(), ModelError> {
        match encoder.has_decoder() {
            true => Self::check_found(encoder),
            false => Ok(()),
        }
    }

    // Not a part of the frame of those that have none.
    #[inline(never)]
    fn check_found(encoder: &Packages<'a>) -> Result<(), ModelError> {
        let Some(decoder) = Self::view(encoder)? else { return Ok(()) };
        let config = decoder.packages.config;
        if let Some(found) = unsupported(&config) {
            return Err(ModelError::Decoder { found });
        }
        if decoder.packages.task.is_some_and(|task| task.layers().len() != config.layers) {
            let found = decoder.packages.task.map_or(0, |task| task.layers().len());
            return Err(ModelError::LayerCount { expected: config.layers, found });
        }
        for tensor in decoder.packages.tensors() {
            let layer = usize::from(tensor.layer);
            if tensor.layer != GLOBAL_LAYER && layer >= config.layers {
                let (expected, found) = (config.layers, layer + 1);
                return Err(ModelError::LayerCount { expected, found });
            }
        }
        if !config.int8_attention && !cfg!(feature = "float") {
            return Err(ModelError::LeftOut { feature: "float" });
        }
        decoder.view_globals()?;
        (0..config.layers).try_for_each(|index| decoder.view_layer(index).map(drop))?;
        decoder.check_ids()
    }

    /// Every id of the generation section and of the shortlist is a row of the table, and an answer may end.
    fn check_ids(&self) -> Result<(), ModelError> {
        let expected = self.vocabulary();
        let mut ids = self.rules.ids().chain(self.shortlist.iter());
        if let Some(id) = ids.find(|id| *id as usize >= expected) {
            return Err(ModelError::VocabularySize { expected, found: id as usize + 1 });
        }
        let end = self.rules.end;
        if let Some(found) = self.speech.map(|rules| rules.vocabulary()).filter(|n| *n > expected) {
            return Err(ModelError::VocabularySize { expected, found });
        }
        let ends = self.shortlist.is_empty() || !self.shortlist.within(end..end + 1).is_empty();
        let found = "has a shortlist without the id that ends an answer";
        if ends { Ok(()) } else { Err(ModelError::Decoder { found }) }
    }

    /// The decoder of an encoder's packages, not yet checked.
    pub(super) fn view(encoder: &Packages<'a>) -> Result<Option<Self>, ModelError> {
        let of_task = encoder.task.as_ref().and_then(Package::decoder);
        let Some(base) = encoder.base.decoder() else {
            return match of_task {
                Some(_) => Err(ModelError::Decoder { found: "is one of the task alone" }),
                None => Ok(None),
            };
        };
        if let Some(task) = of_task.filter(|task| task.base_id() != base.content_id()) {
            let (expected, found) = (task.base_id(), base.content_id());
            return Err(ModelError::AnotherBase { expected, found });
        }
        let missing = ModelError::Decoder { found: "says not how an answer begins and ends" };
        let rules = of_task.and_then(|task| task.generation()).or(base.generation());
        let rules = rules.ok_or(missing)?;
        let config = *base.config().ok_or(missing)?;
        let table = encoder.base.tensor(Role::TokenEmbedding, GLOBAL_LAYER);
        let packages = Packages { base, task: of_task, config, table };
        let shortlist = of_task.map(|task| task.shortlist()).unwrap_or_default();
        let (speech, encoder_hidden) = (base.speech(), encoder.config.hidden);
        Ok(Some(Self { packages, rules, speech, shortlist, encoder_hidden }))
    }

    /// The decoder's layers: shapes and choices, as of an encoder.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.packages.config
    }

    /// How an answer is generated.
    #[must_use]
    pub const fn rules(&self) -> &GenerationRules<'a> {
        &self.rules
    }

    /// What the ids of a model of speech stand for.
    #[must_use]
    pub const fn speech(&self) -> Option<&SpeechRules<'a>> {
        self.speech.as_ref()
    }

    /// Ids that an answer may hold, ascending: the task's shortlist; empty for all.
    #[must_use]
    pub const fn shortlist(&self) -> IdList<'a> {
        self.shortlist
    }

    /// The output channels that are computed for a token.
    #[must_use]
    pub const fn channels(&self) -> OutputChannels<'a> {
        OutputChannels::new(self.vocabulary(), self.shortlist)
    }

    /// Tokens of its table.
    #[must_use]
    pub const fn vocabulary(&self) -> usize {
        match self.packages.config.embedding {
            Embedding::Tokens { vocabulary, .. } => vocabulary,
            _ => 0,
        }
    }

    /// Activation between the maps of the task's adapters.
    pub(crate) fn adapter_activation(&self) -> Option<Activation> {
        self.packages.task_config().map(|task| task.adapter_activation)
    }

    /// Everything the sizes of its buffers depend on.
    #[must_use]
    pub fn dimensions(&self) -> DecoderDimensions {
        let config = self.packages.config;
        let layers = || (0..config.layers).map(|index| self.layer(index));
        let globals = self.globals();
        let adapters = layers().filter_map(|layer| layer.block.adapter);
        let int8 = layers().any(|layer| {
            let adapter = layer.block.adapter;
            let adapter =
                adapter.is_some_and(|maps| maps.down.is_integer() || maps.up.is_integer());
            layer.block.is_int8() || layer.cross.query.is_integer() || adapter
        });
        DecoderDimensions {
            layers: config.layers,
            hidden: config.hidden,
            heads: config.heads,
            head_dim: config.head_dim,
            feed_forward: config.feed_forward,
            adapter: adapters.map(|maps| maps.down.outputs).max().unwrap_or(0),
            encoder_hidden: self.encoder_hidden,
            projected: globals.memory.is_some(),
            positions: config.max_tokens().unwrap_or(0),
            int8: int8 || globals.logits.is_integer(),
            half_keys: config.int8_attention,
            appended: globals.appended.rows,
        }
    }

    /// Layer `index`; empty past the last one.
    #[must_use]
    pub fn layer(&self, index: usize) -> DecoderLayer<'a> {
        let layer = self.view_layer(index);
        debug_assert!(layer.is_ok() || index >= self.packages.config.layers, "viewed by binding");
        layer.unwrap_or_default()
    }

    pub(crate) fn globals(&self) -> DecoderGlobals<'a> {
        let globals = self.view_globals();
        debug_assert!(globals.is_ok(), "binding has viewed them");
        globals.unwrap_or_default()
    }

    /// Columns of the rows that cross attention reads.
    fn memory_columns(&self) -> usize {
        let projected = self.packages.base.tensor(Role::MemoryWeight, GLOBAL_LAYER).is_some();
        if projected { self.packages.config.hidden } else { self.encoder_hidden }
    }

    fn view_layer(&self, index: usize) -> Result<DecoderLayer<'a>, ModelError> {
        let layer = Layer::view(&self.packages, index)?;
        if layer.routing.is_some() {
            return Err(ModelError::Decoder { found: "has a routed layer" });
        }
        let at = index as u16;
        let cross = Attention::view_cross(&self.packages, at, self.memory_columns())?;
        // As in `Layer::check_one_type`: rows are prepared for all maps of the layer.
        let is_integer = layer.block.is_int8();
        let maps = [
            (Role::CrossQuery, cross.query),
            (Role::CrossKey, cross.key),
            (Role::CrossValue, cross.value),
            (Role::CrossOutput, cross.output),
        ];
        for (role, map) in maps {
            if map.is_integer() != is_integer {
                return Err(ModelError::Encoding { role, layer: at });
            }
        }
        Ok(DecoderLayer { block: layer.block, cross })
    }

    /// As many rows as an encoder may have positions, at most.
    fn view_appended(&self) -> Result<AppendedStates<'a>, ModelError> {
        let role = Role::AppendedStates;
        let Some(tensor) = self.packages.tensor(role, GLOBAL_LAYER) else {
            return Ok(AppendedStates::default());
        };
        let (rows, columns) = (tensor.rows.min(limits::POSITIONS), self.encoder_hidden);
        let table = self.packages.table_of(role, Shape { rows, columns })?;
        Ok(AppendedStates { rows, table })
    }

    fn view_globals(&self) -> Result<DecoderGlobals<'a>, ModelError> {
        let packages = &self.packages;
        let globals = Globals::view(packages, None)?;
        let tokens = match globals.embedding {
            EmbeddingWeights::Tokens(tokens) => tokens,
            _ => TokenWeights::default(),
        };
        let (rows, columns) = (self.vocabulary(), packages.config.hidden);
        let shape = Shape { rows, columns };
        let bias = packages.optional(Role::LogitBias, GLOBAL_LAYER, rows)?;
        let own = packages.tensor(Role::LogitWeight, GLOBAL_LAYER);
        // Tied: the token table serves as the map.
        let weight = own.map_or(packages.required(Role::TokenEmbedding, GLOBAL_LAYER), Ok)?;
        let memory = packages.tensor(Role::MemoryWeight, GLOBAL_LAYER).map(|_| {
            let shape = Shape { rows: columns, columns: self.encoder_hidden };
            packages.float_linear(Role::MemoryWeight, Role::MemoryBias, shape)
        });
        Ok(DecoderGlobals {
            tokens,
            final_norm: globals.final_norm,
            relative_bias: globals.relative_bias,
            logits: view::linear(&weight, shape, bias)?,
            memory: memory.transpose()?,
            appended: self.view_appended()?,
        })
    }
}
