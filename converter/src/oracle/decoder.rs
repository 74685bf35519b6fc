//! A decoder: causal self attention, attention to the encoder's states, the output map.

use super::weights::Weights;
use super::{
    ATTENTION, Builder, CROSS, FEED_FORWARD, OracleError, Wire, at, check_input, ids_tensor, values,
};
use crate::source::roles::{
    ADAPTER_DOWN, ADAPTER_UP, CROSS_KEY, CROSS_OUTPUT, CROSS_QUERY, CROSS_VALUE, EMBEDDING_NORM,
    FINAL_NORM, LOGITS, MEMORY, Roles,
};
use crate::source::{Base, Decoder, Task};
use coda_runtime::config::{Activation, Config, Embedding};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::sync::Arc;
use tract_core::internal::{
    DatumExt, IntoTValue, OutletId, TValue, Tensor, TractResult, TypedRunnableModel, tvec,
};
use tract_core::ops::array::{Gather, TypedConcat};
use tract_core::ops::math::{add, mul};

/// A decoder as a tract graph: all positions of an answer at once, behind the states of an encoder.
///
/// **Shapes**: n states of the encoder's dimension; t ids.
///
/// Source: `docs/method.md`, "Text out". Agreement as of [`Oracle`](super::Oracle).
#[derive(Clone, Debug)]
pub struct DecoderOracle {
    plan: Arc<TypedRunnableModel>,
    layers: usize,
    vocabulary: usize,
    /// n and the encoder's dimension.
    states: [usize; 2],
    /// Most ids of an answer.
    positions: usize,
}

/// What a [`DecoderOracle`] computes, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecoderStates {
    /// What enters the first layer `[t, d]`.
    pub embedded: Vec<f32>,
    /// Hidden states after each layer `[t, d]`, before any final norm.
    pub layers: Vec<Vec<f32>>,
    /// Logits of what follows each position `[t, vocabulary]`, nothing suppressed.
    pub logits: Vec<f32>,
}

impl DecoderOracle {
    /// Builds the graph for `states` states of the encoder and answers of at most `positions` ids, with the
    /// adapters and norms of a task if there is one.
    ///
    /// # Errors
    /// [`OracleError::NoDecoder`]; [`OracleError::Length`] if the decoder has no so many positions;
    /// [`OracleError::Missing`] and [`OracleError::Shape`] if its tensors do not fit its configuration;
    /// [`OracleError::Graph`] if tract refuses the graph.
    pub fn new(
        base: &Base,
        task: Option<&Task>,
        states: usize,
        positions: usize,
    ) -> Result<Self, OracleError> {
        let decoder = base.decoder.as_ref().ok_or(OracleError::NoDecoder)?;
        let Embedding::Tokens { vocabulary, .. } = decoder.config.embedding else {
            return Err(OracleError::InputKind { expected: "token ids" });
        };
        // Every layer sees what stands before alone: that is what a decoder is.
        let config = Config { causal: true, ..decoder.config };
        super::check_length(&config, positions)?;
        let weights =
            Weights::of_decoder(base, decoder, task.and_then(|task| task.decoder.as_ref()));
        let states = [states, base.config.hidden];
        let mut writer = Writer {
            builder: Builder::new(weights, config, positions),
            decoder,
            adapters: task.map(|task| task.config.adapter_activation),
        };
        let outputs = writer.wire(states)?;
        let plan = writer.builder.finish(&outputs)?;
        Ok(Self { plan, layers: config.layers, vocabulary, states, positions })
    }

    /// States of the encoder that it was built for.
    #[must_use]
    pub const fn states(&self) -> usize {
        self.states[0]
    }

    /// Runs the graph on the encoder's states `[n, d]` and the ids of an answer, start ids included.
    ///
    /// # Errors
    /// [`OracleError::InputLength`] and [`OracleError::TokenId`] if they do not fit; [`OracleError::Graph`] if
    /// tract fails.
    pub fn run(&self, states: &[f32], ids: &[u32]) -> Result<DecoderStates, OracleError> {
        check_input(states.len(), self.states.iter().product())?;
        if ids.is_empty() || ids.len() > self.positions {
            return Err(OracleError::InputLength { expected: self.positions, found: ids.len() });
        }
        // What stands behind changes nothing before it.
        let mut padded = ids.to_vec();
        padded.resize(self.positions, 0);
        let ids_in = ids_tensor(&padded, self.positions, self.vocabulary)?;
        let states = Tensor::from_shape(&self.states, states).map_err(at("the input"))?;
        let inputs = tvec![ids_in.into_tvalue(), states.into_tvalue()];
        let outputs = self.plan.run(inputs).map_err(at("the run"))?;
        let first = |output: &TValue| -> TractResult<Vec<f32>> {
            let mut all = values(output)?;
            all.truncate(all.len() / self.positions * ids.len());
            Ok(all)
        };
        let outputs: Vec<Vec<f32>> =
            outputs.iter().map(first).collect::<TractResult<_>>().map_err(at("the outputs"))?;
        let mut outputs = outputs.into_iter();
        let embedded = outputs.next().unwrap_or_default();
        let layers = outputs.by_ref().take(self.layers).collect();
        Ok(DecoderStates { embedded, layers, logits: outputs.next().unwrap_or_default() })
    }
}

/// Wires a decoder.
struct Writer<'b> {
    builder: Builder<'b>,
    decoder: &'b Decoder,
    /// The activation of a task's adapters.
    adapters: Option<Activation>,
}

/// The encoder's states as cross attention reads them.
#[derive(Clone, Copy)]
struct Memory {
    rows: OutletId,
    columns: usize,
}

impl Writer<'_> {
    /// The outputs in the order of [`DecoderStates`].
    fn wire(&mut self, states: [usize; 2]) -> Result<Vec<OutletId>, OracleError> {
        let mut hidden = self.embedding()?;
        let memory = self.memory(states)?;
        let mut outputs = vec![hidden];
        self.builder.relative = self.builder.relative_bias(Role::RelativeBias)?;
        for layer in (0..GLOBAL_LAYER).take(self.builder.config.layers) {
            self.builder.layer = layer;
            hidden = self.layer(hidden, memory)?;
            outputs.push(hidden);
        }
        self.builder.layer = GLOBAL_LAYER;
        outputs.push(self.logits(hidden)?);
        Ok(outputs)
    }

    /// `norm(scale * word + position)`.
    fn embedding(&mut self) -> Wire {
        let (builder, config) = (&mut self.builder, self.decoder.config);
        let Embedding::Tokens { vocabulary, positions, norm, .. } = config.embedding else {
            return Err(OracleError::InputKind { expected: "token ids" });
        };
        let ids = builder.source(i64::fact([builder.tokens]))?;
        let table = builder.tensor(Role::TokenEmbedding, [vocabulary, config.hidden])?;
        let words = builder.wire("tokens", Gather::new(0), &[table, ids])?;
        let scale = builder.scalar(self.decoder.generation.embedding_scale, 2)?;
        let mut sum = builder.wire("scaled tokens", mul(), &[words, scale])?;
        if positions > 0 {
            let (shape, count) = ([positions, config.hidden], builder.tokens);
            sum = builder.add_rows(sum, Role::PositionEmbedding, shape, count)?;
        }
        if norm { builder.norm(sum, EMBEDDING_NORM) } else { Ok(sum) }
    }

    /// The encoder's states and what a task appends to them, mapped if the decoder has a map for them.
    fn memory(&mut self, states: [usize; 2]) -> Result<Memory, OracleError> {
        let (builder, d) = (&mut self.builder, self.decoder.config.hidden);
        let [_, columns] = states;
        let mut rows = builder.source(f32::fact(states))?;
        if let Some(tensor) = builder.weights.tensor(Role::AppendedStates, GLOBAL_LAYER) {
            let count = tensor.shape.first().copied().unwrap_or(0);
            let appended = builder.tensor(Role::AppendedStates, [count, columns])?;
            rows = builder.wire("states", TypedConcat::new(0), &[rows, appended])?;
        }
        if builder.weights.tensor(MEMORY.weight, GLOBAL_LAYER).is_none() {
            return Ok(Memory { rows, columns });
        }
        let rows = builder.linear(rows, MEMORY, [d, columns])?;
        Ok(Memory { rows, columns: d })
    }

    /// Self attention, cross attention and feed-forward layer, then the adapter of what self attention reads.
    fn layer(&mut self, x: OutletId, memory: Memory) -> Wire {
        let builder = &mut self.builder;
        let input = builder.before(x, &ATTENTION)?;
        let change = builder.attention(input)?;
        let own = builder.after(x, change, &ATTENTION)?;
        let asking = builder.before(own, &CROSS)?;
        let change = cross_attention(builder, asking, memory)?;
        let crossed = builder.after(own, change, &CROSS)?;
        let wide = builder.before(crossed, &FEED_FORWARD)?;
        let change = builder.feed_forward(wide)?;
        let y = builder.after(crossed, change, &FEED_FORWARD)?;
        self.adapted(y, input)
    }

    /// `y + up(activation(down(u)))`, where the task has an adapter.
    fn adapted(&mut self, y: OutletId, u: OutletId) -> Wire {
        let (builder, d) = (&mut self.builder, self.decoder.config.hidden);
        let down = builder.weights.tensor(ADAPTER_DOWN.weight, builder.layer);
        let (Some(activation), Some(down)) = (self.adapters, down) else { return Ok(y) };
        let width = down.shape.first().copied().unwrap_or(0);
        let low = builder.linear(u, ADAPTER_DOWN, [width, d])?;
        let low = builder.activation(low, activation)?;
        let up = builder.linear(low, ADAPTER_UP, [d, width])?;
        builder.wire("adapted", add(), &[y, up])
    }

    /// The final norm and the output map, the token table's if there is none of its own.
    fn logits(&mut self, hidden: OutletId) -> Wire {
        let (builder, config) = (&mut self.builder, self.decoder.config);
        let Embedding::Tokens { vocabulary, .. } = config.embedding else { return Ok(hidden) };
        let x = if config.final_norm { builder.norm(hidden, FINAL_NORM)? } else { hidden };
        let own = builder.weights.tensor(LOGITS.weight, GLOBAL_LAYER).map(|_| LOGITS.weight);
        let weight = own.unwrap_or(Role::TokenEmbedding);
        let maps = Roles { weight, ..LOGITS };
        let logits = builder.linear(x, maps, [vocabulary, config.hidden])?;
        let scale = builder.scalar(self.decoder.generation.logit_scale, 2)?;
        builder.wire("logits", mul(), &[logits, scale])
    }
}

/// Attention of decoder rows to the encoder's states.
fn cross_attention(builder: &mut Builder<'_>, x: OutletId, memory: Memory) -> Wire {
    let query = builder.heads(x, CROSS_QUERY, builder.config.hidden)?;
    let key = builder.heads(memory.rows, CROSS_KEY, memory.columns)?;
    let scores = builder.scores(query, key)?;
    let value = builder.heads(memory.rows, CROSS_VALUE, memory.columns)?;
    builder.mix(scores, value, CROSS_OUTPUT)
}
