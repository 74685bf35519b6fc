//! A frozen model with the trainable tensors of a task, in the runtime's definitions.

mod affine;
mod batch;
mod decoder;
mod forward;
mod initial;
mod low_rank;
mod spec;
mod stack;

pub(crate) use batch::ranges;
pub use batch::{Batch, DecoderInputs, Inputs};
pub use forward::{Encoded, LayerTrace};
pub use initial::{Initializer, blank_decoder_task, blank_task, fill_base};
pub use low_rank::low_rank;
pub use spec::{Method, Selector, TaskSpec};
pub use stack::Tensors;

use candle_core::{DType, Result, Var};
use coda_converter::source::{self, FloatTensor, Place};
use coda_runtime::config::{Config, Embedding, LocalAttention, Rotary};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use decoder::Decoder;
use stack::{Built, Making, Stack, as_read};
use std::collections::BTreeMap;

/// A half of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half {
    /// What reads.
    Encoder,
    /// What writes.
    Decoder,
}

/// A tensor of a model: whose, and which.
pub type Key = (Half, Place);

/// Tensors of both halves, as the converter reads them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trained {
    /// Those of the encoder.
    pub encoder: Tensors,
    /// Those of the decoder, if there is one.
    pub decoder: Tensors,
}

/// A model whose trainable tensors are candle variables.
#[derive(Debug)]
pub struct Model {
    /// What the task adds.
    pub spec: TaskSpec,
    encoder: Stack,
    decoder: Option<Decoder>,
    variables: BTreeMap<Key, Var>,
}

/// Why an encoder is not trained, and what can be done; `None` if it is.
#[must_use]
pub fn untrained(config: &Config) -> Option<&'static str> {
    let plain = config.rotary == Rotary::default() && config.local == LocalAttention::default();
    if !plain || config.bare_first_layer {
        return Some(
            "the trainer does not compute rotary positions and local attention (rope_parameters, \
             local_attention): take a base with positions of its own, such as bert, roberta or dinov2",
        );
    }
    if matches!(config.embedding, Embedding::Frames { .. }) {
        return Some(
            "the trainer does not compute encoders of audio (whisper): take a base of texts or images",
        );
    }
    if config.layer_bias || config.grid_bias {
        return Some(
            "the trainer does not compute a relative bias of each layer or over patches \
             (use_relative_position_bias, umt5): take a base such as vit, deit, dinov2 or t5",
        );
    }
    if let Embedding::Grid { .. } = config.embedding {
        return Some(
            "the trainer does not read images of any size (pix2struct): take a base of images of one \
             size, such as vit or dinov2",
        );
    }
    config.causal.then_some(
        "the trainer does not compute causal attention (the text tower of CLIP): take a base whose \
         tokens see all others, such as bert or the text tower of SigLIP",
    )
}

impl Model {
    /// An encoder of `values`; those that `is_trained` names become variables. A relative bias that is trained is
    /// given by bucket, `[buckets, heads]`, one that is not by distance, `[heads, 2 D + 1]`.
    ///
    /// # Errors
    /// A tensor's values and shape disagree.
    pub fn new(
        config: Config,
        spec: TaskSpec,
        values: &Tensors,
        is_trained: impl Fn(Place) -> bool,
        dtype: DType,
    ) -> Result<Self> {
        if let Some(why) = untrained(&config) {
            candle_core::bail!("{why}");
        }
        let adapter_activation = spec.adapter_activation;
        let making = Making { config, adapter_activation, is_trained, causal: false, dtype };
        let Built { stack, variables } = making.build(values)?;
        let variables = named(Half::Encoder, variables).collect();
        Ok(Self { spec, encoder: stack, decoder: None, variables })
    }

    /// The same with a decoder of `values`.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_decoder(
        mut self,
        decoder: &source::Decoder,
        values: &Tensors,
        is_trained: impl Fn(Place) -> bool,
        dtype: DType,
    ) -> Result<Self> {
        if values.contains_key(&(GLOBAL_LAYER, Role::AppendedStates)) {
            candle_core::bail!("the trainer does not compute states that a task appends");
        }
        let (config, adapter_activation) = (decoder.config, self.spec.adapter_activation);
        let making = Making { config, adapter_activation, is_trained, causal: true, dtype };
        let Built { stack, variables } = making.build(values)?;
        self.variables.extend(named(Half::Decoder, variables));
        let rules = &decoder.generation;
        let (embedding_scale, logit_scale) = (rules.embedding_scale, rules.logit_scale);
        self.decoder = Some(Decoder {
            stack,
            embedding_scale: f64::from(embedding_scale),
            logit_scale: f64::from(logit_scale),
        });
        Ok(self)
    }

    /// The encoder.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.encoder.config
    }

    /// It writes answers, and chooses no label.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.decoder.is_some()
    }

    /// The variables.
    #[must_use]
    pub const fn variables(&self) -> &BTreeMap<Key, Var> {
        &self.variables
    }

    /// The values of the trained tensors, as the converter reads them.
    ///
    /// # Errors
    /// Never for a tensor in main memory.
    pub fn trained(&self) -> Result<Trained> {
        let decoder = self.decoder.as_ref().map(|decoder| &decoder.stack.config);
        let mut trained = Trained::default();
        for ((half, place), variable) in &self.variables {
            let shape = variable.dims().to_vec();
            let values = variable.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let own = FloatTensor { shape, values };
            let (config, causal, tensors) = match (half, decoder) {
                (Half::Decoder, Some(config)) => (config, true, &mut trained.decoder),
                _ => (self.config(), false, &mut trained.encoder),
            };
            tensors.insert(*place, as_read(config, causal, *place, own));
        }
        Ok(trained)
    }

    /// Number of values that are trained.
    #[must_use]
    pub fn trained_values(&self) -> usize {
        self.variables.values().map(|variable| variable.elem_count()).sum()
    }

    /// Number of values that are not trained.
    #[must_use]
    pub fn frozen_values(&self) -> usize {
        let decoder = self.decoder.as_ref().map_or(0, |decoder| decoder.stack.values());
        self.encoder.values() + decoder - self.trained_values()
    }
}

fn named(half: Half, variables: BTreeMap<Place, Var>) -> impl Iterator<Item = (Key, Var)> {
    variables.into_iter().map(move |(place, variable)| ((half, place), variable))
}
