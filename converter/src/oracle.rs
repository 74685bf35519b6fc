//! An independent dense encoder, and decoder: the same weights as graphs of tract-core's operators.
//!
//! `coda verify` compares the runtime's dense path with it. Nothing here is shared with the
//! runtime's kernels: every sum, norm, softmax and activation is tract's own, in f32.

mod decoder;
mod head;
mod weights;

pub use decoder::{DecoderOracle, DecoderStates};

use crate::source::Base;
use crate::source::roles::{
    ATTENTION_NORM, CONTRACT, CROSS_NORM, EMBEDDING_NORM, EXPAND, FEED_FORWARD_NORM, FINAL_NORM,
    FIRST_CONVOLUTION, GATE, KEY, OUTPUT, PATCH, PROJECTION, QUERY, Roles, SECOND_CONVOLUTION,
    VALUE,
};
use coda_runtime::config::{Activation, Config, Embedding, Head, Norm, NormPlacement, Rotary};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::image::PatchGrid;
use std::sync::Arc;
use thiserror::Error;
use tract_core::internal::{
    AxesMapping, AxisOp, Datum, DatumExt, IntoRunnable, IntoTValue, OutletId, SpecialOps, TDim,
    TValue, Tensor, TractError, TractResult, TypedFact, TypedModel, TypedOp, TypedRunnableModel,
    tensor1, tvec,
};
use tract_core::ops::array::{Gather, Slice, TypedConcat};
use tract_core::ops::cast::cast;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::math::{add, erf, max, mul, rsqrt, square, sub, tanh};
use tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};
use weights::Weights;

/// A dense encoder as a tract graph for one input length: no adapter, no routing.
///
/// **Shapes**: n tokens, the class token included; model dimension d. Computed in f32 throughout.
///
/// Source: the definitions in [`Config`]'s documentation. Tract's own approximations bound the
/// agreement. Measured on tract 0.23.9: erf to 1.7e-6, tanh to 5e-7, softmax to a relative 1.2e-6;
/// hidden states of up to 3 layers to 2.4e-6 of a float64 reference.
#[derive(Clone, Debug)]
pub struct Oracle {
    plan: Arc<TypedRunnableModel>,
    config: Config,
    tokens: usize,
}

/// What an [`Oracle`] reads.
#[derive(Clone, Copy, Debug)]
pub enum OracleInput<'a> {
    /// Token ids `[n]`.
    Tokens(&'a [u32]),
    /// Normalised patches `[patches, channels * patch * patch]` in row-major order of the grid;
    /// inside a patch channel, then row, then column.
    Patches(&'a [f32]),
    /// Log-mel features `[2 n, bins]`.
    Features(&'a [f32]),
}

/// What an [`Oracle`] computes, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OracleStates {
    /// Hidden states before the first layer `[n, d]`, after the embedding norm if there is one.
    pub embedded: Vec<f32>,
    /// Hidden states after each layer `[n, d]`, before any final norm.
    pub layers: Vec<Vec<f32>>,
    /// Hidden states after the final norm `[n, d]`; those of the last layer when there is none.
    pub hidden: Vec<f32>,
    /// Logits `[labels]` or the embedding `[d]` of the base's head; empty without a head.
    pub answer: Vec<f32>,
}

/// Why an oracle cannot be built or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OracleError {
    /// The encoder cannot take an input of this length.
    #[error("the encoder takes {expected} tokens, not {tokens}")]
    Length {
        /// Tokens asked for.
        tokens: usize,
        /// What it takes.
        expected: String,
    },
    /// The configuration asks for a tensor that the base does not have.
    #[error("the {} is missing", place(*role, *layer))]
    Missing {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
    },
    /// A tensor's shape is not the one that the configuration asks for.
    #[error("the {} has shape {found:?} instead of {expected:?}", place(*role, *layer))]
    Shape {
        /// Its role.
        role: Role,
        /// Its layer.
        layer: u16,
        /// Rows and columns needed.
        expected: [usize; 2],
        /// The shape found.
        found: Vec<usize>,
    },
    /// Tokens were given to an image encoder, or patches to a text encoder.
    #[error("the encoder takes {expected}")]
    InputKind {
        /// What it takes.
        expected: &'static str,
    },
    /// The input does not have the length that the graph was built for.
    #[error("the input has {found} values instead of {expected}")]
    InputLength {
        /// Values needed.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A token id is beyond the vocabulary.
    #[error("token {index} has id {id}; the vocabulary has {vocabulary} entries")]
    TokenId {
        /// Its position.
        index: usize,
        /// Its id.
        id: u32,
        /// Rows of the token table.
        vocabulary: usize,
    },
    /// The base has no decoder.
    #[error("the base has no decoder")]
    NoDecoder,
    /// Tract refused the graph or failed on it.
    #[error("tract failed at {step}")]
    Graph {
        /// The node or the step.
        step: String,
        /// The cause.
        source: TractError,
    },
}

impl Oracle {
    /// Builds the graph for inputs of `tokens` tokens, the class token included.
    ///
    /// # Errors
    /// [`OracleError::Length`] if the encoder does not take that many; [`OracleError::Missing`] and
    /// [`OracleError::Shape`] if the base's tensors do not fit its configuration;
    /// [`OracleError::Graph`] if tract refuses the graph.
    pub fn new(base: &Base, tokens: usize) -> Result<Self, OracleError> {
        check_length(&base.config, tokens)?;
        let mut builder = Builder::new(Weights::of_base(base), base.config, tokens);
        let outputs = builder.encoder(base.head)?;
        let plan = builder.finish(&outputs)?;
        Ok(Self { plan, config: base.config, tokens })
    }

    /// Runs the graph on one input of the length that it was built for.
    ///
    /// # Errors
    /// [`OracleError::InputKind`], [`OracleError::InputLength`] and [`OracleError::TokenId`] if the
    /// input does not fit; [`OracleError::Graph`] if tract fails.
    pub fn run(&self, input: OracleInput<'_>) -> Result<OracleStates, OracleError> {
        let input = self.input(input)?;
        let outputs = self.plan.run(tvec![input.into_tvalue()]).map_err(at("the run"))?;
        let outputs: Vec<Vec<f32>> =
            outputs.iter().map(values).collect::<TractResult<_>>().map_err(at("the outputs"))?;
        let mut outputs = outputs.into_iter();
        let embedded = outputs.next().unwrap_or_default();
        let layers: Vec<Vec<f32>> = outputs.by_ref().take(self.config.layers).collect();
        let hidden = if self.config.final_norm {
            outputs.next().unwrap_or_default()
        } else {
            layers.last().unwrap_or(&embedded).clone()
        };
        let answer = outputs.next().unwrap_or_default();
        Ok(OracleStates { embedded, layers, hidden, answer })
    }

    /// The input as tract reads it.
    fn input(&self, input: OracleInput<'_>) -> Result<Tensor, OracleError> {
        match (self.config.embedding, input) {
            (Embedding::Tokens { vocabulary, .. }, OracleInput::Tokens(ids)) => {
                ids_tensor(ids, self.tokens, vocabulary)
            }
            (
                Embedding::Patches { channels, patch, prefix_tokens, .. },
                OracleInput::Patches(p),
            ) => {
                let shape = [self.tokens - prefix_tokens, channels * patch * patch];
                check_input(p.len(), shape.iter().product())?;
                Tensor::from_shape(&shape, p).map_err(at("the input"))
            }
            (Embedding::Frames { bins, .. }, OracleInput::Features(values)) => {
                let shape = [2 * self.tokens, bins];
                check_input(values.len(), shape.iter().product())?;
                Tensor::from_shape(&shape, values).map_err(at("the input"))
            }
            (Embedding::Grid { channels, patch, .. }, OracleInput::Patches(p)) => {
                let shape = [self.tokens, channels * patch * patch + 2];
                check_input(p.len(), shape.iter().product())?;
                Tensor::from_shape(&shape, p).map_err(at("the input"))
            }
            (Embedding::Tokens { .. }, _) => Err(OracleError::InputKind { expected: "token ids" }),
            (Embedding::Patches { .. } | Embedding::Grid { .. }, _) => {
                Err(OracleError::InputKind { expected: "patches" })
            }
            (Embedding::Frames { .. }, _) => Err(OracleError::InputKind { expected: "features" }),
        }
    }
}

/// Token ids as the indices of tract's gather, which does not check them itself.
fn ids_tensor(ids: &[u32], tokens: usize, vocabulary: usize) -> Result<Tensor, OracleError> {
    check_input(ids.len(), tokens)?;
    let beyond = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocabulary);
    if let Some((index, &id)) = beyond {
        return Err(OracleError::TokenId { index, id, vocabulary });
    }
    let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
    Ok(tensor1(&ids))
}

fn check_input(found: usize, expected: usize) -> Result<(), OracleError> {
    if found == expected { Ok(()) } else { Err(OracleError::InputLength { expected, found }) }
}

fn check_length(config: &Config, tokens: usize) -> Result<(), OracleError> {
    let longest = config.max_tokens();
    let image = matches!(config.embedding, Embedding::Patches { .. });
    let fits =
        tokens > 0 && longest.is_none_or(|longest| tokens == longest || !image && tokens < longest);
    if fits {
        return Ok(());
    }
    let expected = match longest {
        Some(longest) if image => format!("exactly {longest}"),
        Some(longest) => format!("1 to {longest}"),
        None => "at least 1".to_owned(),
    };
    Err(OracleError::Length { tokens, expected })
}

/// The name of a tensor for people.
fn place(role: Role, layer: u16) -> String {
    match layer {
        GLOBAL_LAYER => role.name().to_owned(),
        _ => format!("{} of layer {layer}", role.name()),
    }
}

/// Adds the step to an error of tract.
fn at(step: &str) -> impl FnOnce(TractError) -> OracleError {
    move |source| OracleError::Graph { step: step.to_owned(), source }
}

/// The values of an output.
fn values(output: &TValue) -> TractResult<Vec<f32>> {
    Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

/// A wire, or why there is none.
type Wire = Result<OutletId, OracleError>;

/// What surrounds one of the updates of a layer.
struct Update {
    norm: Roles,
    scale: Option<Role>,
}

const ATTENTION: Update = Update { norm: ATTENTION_NORM, scale: Some(Role::AttentionScale) };
const CROSS: Update = Update { norm: CROSS_NORM, scale: None };
const FEED_FORWARD: Update =
    Update { norm: FEED_FORWARD_NORM, scale: Some(Role::FeedForwardScale) };

/// Wires an encoder or a decoder, stage by stage. Hidden states are `[n, d]`.
struct Builder<'b> {
    weights: Weights<'b>,
    config: Config,
    tokens: usize,
    model: TypedModel,
    /// The layer that is being wired.
    layer: u16,
    /// The relative position bias `[heads, n, n]`, of every layer or of the one that is wired.
    relative: Option<OutletId>,
}

impl<'b> Builder<'b> {
    fn new(weights: Weights<'b>, config: Config, tokens: usize) -> Self {
        let (model, layer) = (TypedModel::default(), GLOBAL_LAYER);
        Self { weights, config, tokens, model, layer, relative: None }
    }

    /// The outputs in the order of [`OracleStates`]; an absent final norm or head has none.
    fn encoder(&mut self, head: Option<Head>) -> Result<Vec<OutletId>, OracleError> {
        let mut hidden = self.embedding()?;
        let mut outputs = vec![hidden];
        if !self.config.layer_bias {
            self.relative = self.relative_bias(Role::RelativeBias)?;
        }
        for layer in (0..GLOBAL_LAYER).take(self.config.layers) {
            self.layer = layer;
            hidden = self.layer(hidden)?;
            outputs.push(hidden);
        }
        self.layer = GLOBAL_LAYER;
        if self.config.final_norm {
            hidden = self.norm(hidden, FINAL_NORM)?;
            outputs.push(hidden);
        }
        if let Some(head) = head {
            outputs.push(self.head(hidden, head)?);
        }
        Ok(outputs)
    }

    fn finish(mut self, outputs: &[OutletId]) -> Result<Arc<TypedRunnableModel>, OracleError> {
        self.model.select_output_outlets(outputs).map_err(at("the outputs"))?;
        let model = self.model.into_optimized().map_err(at("the optimisation"))?;
        model.into_runnable().map_err(at("the plan"))
    }

    // Stages.

    fn embedding(&mut self) -> Wire {
        match self.config.embedding {
            Embedding::Tokens { vocabulary, positions, token_types, norm, projected } => {
                let d = self.config.hidden;
                let width = if projected > 0 { projected } else { d };
                let mut sum = self.token_rows([vocabulary, width])?;
                if positions > 0 {
                    let shape = [positions, width];
                    sum = self.add_rows(sum, Role::PositionEmbedding, shape, self.tokens)?;
                }
                if token_types > 0 {
                    sum = self.add_rows(sum, Role::TokenTypeEmbedding, [token_types, width], 1)?;
                }
                if norm {
                    sum = self.norm_of(sum, EMBEDDING_NORM, width)?;
                }
                if projected > 0 { self.linear(sum, PROJECTION, [d, projected]) } else { Ok(sum) }
            }
            Embedding::Patches { channels, patch, prefix_tokens, norm, .. } => {
                let mut sum = self.patch_rows(channels * patch * patch, prefix_tokens)?;
                let shape = [self.tokens, self.config.hidden];
                if self.config.rotary.columns == 0 {
                    sum = self.add_rows(sum, Role::PositionEmbedding, shape, self.tokens)?;
                }
                if norm { self.norm(sum, EMBEDDING_NORM) } else { Ok(sum) }
            }
            Embedding::Frames { bins, positions } => {
                let sum = self.convolved(bins)?;
                let shape = [positions, self.config.hidden];
                self.add_rows(sum, Role::PositionEmbedding, shape, self.tokens)
            }
            Embedding::Grid { rows, columns, channels, patch, .. } => {
                self.grid_rows([rows, columns], channels * patch * patch)
            }
        }
    }

    /// Projected patches with the rows of their places, which stand before their values, counted from 1.
    fn grid_rows(&mut self, [rows, columns]: [usize; 2], width: usize) -> Wire {
        let shape = [rows + columns, self.config.hidden];
        let patches = self.source(f32::fact([self.tokens, width + 2]))?;
        let values = self.wire("values", Slice::new(1, 2, width + 2), &[patches])?;
        let mut sum = self.linear(values, PATCH, [self.config.hidden, width])?;
        let table = self.tensor(Role::PositionEmbedding, shape)?;
        for (axis, first, count) in [(0, 0, rows), (1, rows, columns)] {
            let place = self.wire("place", Slice::new(1, axis, axis + 1), &[patches])?;
            let place = self.wire("place", AxisOp::Rm(1), &[place])?;
            let one = self.scalar(1.0, 1)?;
            let place = self.wire("place from 0", sub(), &[place, one])?;
            let place = self.wire("place", cast(i64::datum_type()), &[place])?;
            let own = self.wire("places", Slice::new(0, first, first + count), &[table])?;
            let added = self.wire("rows of places", Gather::new(0), &[own, place])?;
            sum = self.wire("embedding sum", add(), &[sum, added])?;
        }
        Ok(sum)
    }

    fn token_rows(&mut self, shape: [usize; 2]) -> Wire {
        let ids = self.source(i64::fact([self.tokens]))?;
        let table = self.tensor(Role::TokenEmbedding, shape)?;
        self.wire("tokens", Gather::new(0), &[table, ids])
    }

    /// Projected patches, after the prefix tokens.
    fn patch_rows(&mut self, width: usize, prefix_tokens: usize) -> Wire {
        let patches = self.source(f32::fact([self.tokens - prefix_tokens, width]))?;
        let rows = self.linear(patches, PATCH, [self.config.hidden, width])?;
        if prefix_tokens == 0 {
            return Ok(rows);
        }
        let prefix = self.tensor(Role::ClassToken, [prefix_tokens, self.config.hidden])?;
        self.wire("prefix tokens", TypedConcat::new(0), &[prefix, rows])
    }

    /// Frames through both convolutions, `[n, d]`. Of rows `[a_0, b_0, a_1, b_1, ...]` the second reads
    /// `[b_(i-1), a_i, b_i]`.
    fn convolved(&mut self, bins: usize) -> Wire {
        let (n, d) = (self.tokens, self.config.hidden);
        let dims = |shape: [usize; 2]| shape.map(TDim::from).into_iter().collect();
        let zero = self.constant("zero frame", &[1, bins], &vec![0.0; bins])?;
        let frames = self.source(f32::fact([2 * n, bins]))?;
        let frames = self.wire("padded frames", TypedConcat::new(0), &[zero, frames, zero])?;
        let [before, own, behind] = [0, 1, 2].map(|start| self.rows(frames, start, 2 * n));
        let three = self.wire("three frames", TypedConcat::new(1), &[before?, own?, behind?])?;
        let first = self.linear(three, FIRST_CONVOLUTION, [d, 3 * bins])?;
        let first = self.activation(first, Activation::GeluErf)?;
        let pairs = AxisOp::Reshape(0, dims([2 * n, d]), dims([n, 2 * d]));
        let pairs = self.wire("pairs", pairs, &[first])?;
        let odd = self.wire("odd", Slice::new(1, d, 2 * d), &[pairs])?;
        let zero = self.constant("zero row", &[1, d], &vec![0.0; d])?;
        let before = self.wire("rows before", TypedConcat::new(0), &[zero, odd])?;
        let before = self.rows(before, 0, n)?;
        let three = self.wire("three rows", TypedConcat::new(1), &[before, pairs])?;
        let second = self.linear(three, SECOND_CONVOLUTION, [d, 3 * d])?;
        self.activation(second, Activation::GeluErf)
    }

    /// `count` rows from `start` on.
    fn rows(&mut self, x: OutletId, start: usize, count: usize) -> Wire {
        self.wire("rows", Slice::new(0, start, start + count), &[x])
    }

    /// Adds the first `count` rows of a table; a single row is added to every token.
    fn add_rows(&mut self, x: OutletId, role: Role, shape: [usize; 2], count: usize) -> Wire {
        let table = self.tensor(role, shape)?;
        let first = self.wire(role.name(), Slice::new(0, 0, count), &[table])?;
        self.wire("embedding sum", add(), &[x, first])
    }

    /// Twice `x + update(norm(x))`, or twice `norm(x + update(x))`.
    fn layer(&mut self, x: OutletId) -> Wire {
        if self.config.layer_bias {
            self.relative = self.relative_bias(Role::LayerRelativeBias)?;
        }
        let input = self.before(x, &ATTENTION)?;
        let change = self.attention(input)?;
        let middle = self.after(x, change, &ATTENTION)?;
        let input = self.before(middle, &FEED_FORWARD)?;
        let change = self.feed_forward(input)?;
        self.after(middle, change, &FEED_FORWARD)
    }

    fn before(&mut self, x: OutletId, update: &Update) -> Wire {
        match self.config.placement {
            NormPlacement::Pre if self.is_bare(update) => Ok(x),
            NormPlacement::Pre => self.norm(x, update.norm),
            NormPlacement::Post => Ok(x),
        }
    }

    /// Nothing stands before the attention of the first layer.
    fn is_bare(&self, update: &Update) -> bool {
        self.config.bare_first_layer && self.layer == 0 && update.norm == ATTENTION_NORM
    }

    /// Adds the change, times its LayerScale if there is one, to the residual.
    fn after(&mut self, x: OutletId, mut change: OutletId, update: &Update) -> Wire {
        let scale = update.scale.filter(|role| self.weights.tensor(*role, self.layer).is_some());
        if let Some(role) = scale {
            let scale = self.vector(role)?;
            change = self.wire("layer scale", mul(), &[change, scale])?;
        }
        let sum = self.wire("residual", add(), &[x, change])?;
        match self.config.placement {
            NormPlacement::Pre => Ok(sum),
            NormPlacement::Post => self.norm(sum, update.norm),
        }
    }

    fn attention(&mut self, x: OutletId) -> Wire {
        let config = self.config;
        let d = config.hidden;
        let (query, key) = (self.heads(x, QUERY, d)?, self.heads(x, KEY, d)?);
        let (query, key) = (self.turned(query)?, self.turned(key)?);
        let mut scores = self.scores(query, key)?;
        if let Some(bias) = self.relative {
            scores = self.wire("biased scores", add(), &[scores, bias])?;
        }
        if config.causal {
            let mask = self.mask_of_later()?;
            scores = self.wire("causal scores", add(), &[scores, mask])?;
        }
        if let Some(distance) = self.config.local.distance_of(self.layer.into()) {
            let mask = self.local_mask(distance)?;
            scores = self.wire("near scores", add(), &[scores, mask])?;
        }
        let value = self.heads(x, VALUE, d)?;
        self.mix(scores, value, OUTPUT)
    }

    /// Scaled products of queries `[n, heads, head_dim]` and keys `[m, heads, head_dim]`, `[heads, n, m]`.
    fn scores(&mut self, query: OutletId, key: OutletId) -> Wire {
        let products = self.einsum("scores", "nhe,mhe->hnm", [query, key])?;
        let scale = self.scalar(self.config.attention_scale, 3)?;
        self.wire("scaled scores", mul(), &[products, scale])
    }

    /// Values mixed by the softmax of scores, `[n, d]`.
    fn mix(&mut self, scores: OutletId, value: OutletId, output: Roles) -> Wire {
        let config = self.config;
        let softmax = Softmax::new(tvec![2], None, SoftmaxKind::Softmax);
        let weights = self.wire("softmax", softmax, &[scores])?;
        let mixed = self.einsum("mix", "hnm,mhe->nhe", [weights, value])?;
        let width = config.attention_width();
        let joined = self.reshape(mixed, &[config.heads, config.head_dim], &[width])?;
        self.linear(joined, output, [config.hidden, width])
    }

    /// A projection `[n, heads, head_dim]` of rows of so many columns.
    fn heads(&mut self, x: OutletId, roles: Roles, columns: usize) -> Wire {
        let config = self.config;
        let width = config.attention_width();
        let rows = self.linear(x, roles, [width, columns])?;
        self.reshape(rows, &[width], &[config.heads, config.head_dim])
    }

    /// Queries or keys, `[n, heads, head_dim]`, with their pairs of columns turned by rotary positions.
    fn turned(&mut self, x: OutletId) -> Wire {
        let (config, n) = (self.config, self.tokens);
        let Rotary { columns, own_of_local, .. } = config.rotary;
        if columns == 0 {
            return Ok(x);
        }
        let is_local = config.local.distance_of(self.layer.into()).is_some();
        let role = if own_of_local && is_local { Role::LocalRotary } else { Role::Rotary };
        let (table, half) = (self.rotary_table(role)?, columns / 2);
        let rows = || table.chunks_exact(columns).take(n);
        let cosines: Vec<f32> = rows().flat_map(|row| &row[..half]).copied().collect();
        let sines: Vec<f32> = rows().flat_map(|row| &row[half..]).copied().collect();
        let cos = self.constant("cosines", &[n, 1, half], &cosines)?;
        let sin = self.constant("sines", &[n, 1, half], &sines)?;
        let first = self.wire("first of pairs", Slice::new(2, 0, half), &[x])?;
        let second = self.wire("second of pairs", Slice::new(2, half, columns), &[x])?;
        let mut product = |a, b| self.wire("turning", mul(), &[a, b]);
        let [a_cos, b_sin] = [product(first, cos)?, product(second, sin)?];
        let [b_cos, a_sin] = [product(second, cos)?, product(first, sin)?];
        let turned = [
            self.wire("turned first", sub(), &[a_cos, b_sin])?,
            self.wire("turned second", add(), &[b_cos, a_sin])?,
        ];
        let rest = self.wire("not turned", Slice::new(2, columns, config.head_dim), &[x])?;
        let parts = [turned[0], turned[1], rest];
        let count = if columns < config.head_dim { 3 } else { 2 };
        self.wire("turned", TypedConcat::new(2), &parts[..count])
    }

    /// A table of angles, which belongs to no layer.
    fn rotary_table(&self, role: Role) -> Result<&'b [f32], OracleError> {
        let Rotary { columns, positions, .. } = self.config.rotary;
        self.checked_at(GLOBAL_LAYER, role, [positions, columns])
    }

    /// What is added to scores, `[1, n, n]`: next to nothing is left of a key that is too far away.
    fn local_mask(&mut self, distance: usize) -> Wire {
        let n = self.tokens;
        let entry = |at: usize| if (at / n).abs_diff(at % n) <= distance { 0.0 } else { -1e9 };
        let mask: Vec<f32> = (0..n * n).map(entry).collect();
        self.constant("local mask", &[1, n, n], &mask)
    }

    /// Row i, column j of a head is the table's entry `clamp(j - i, -D, D) + D`.
    fn relative_bias(&mut self, role: Role) -> Result<Option<OutletId>, OracleError> {
        let (heads, distance, n) = (self.config.heads, self.config.relative_distance, self.tokens);
        if distance == 0 {
            return Ok(None);
        }
        let columns = self.config.bias_entries();
        let table = self.checked(role, [heads, columns])?;
        let grid = PatchGrid::of(&self.config.embedding).filter(|_| self.config.grid_bias);
        let entry = |i: usize, j: usize| match (grid, i, j) {
            (None, ..) => (j + distance).saturating_sub(i).min(2 * distance),
            (Some(_), 0, 0) => columns - 1,
            (Some(_), 0, _) => columns - 3,
            (Some(_), _, 0) => columns - 2,
            (Some(PatchGrid { rows, columns: wide, .. }), i, j) => {
                let down = (j - 1) / wide + rows - 1 - (i - 1) / wide;
                let right = (j - 1) % wide + wide - 1 - (i - 1) % wide;
                down * (2 * wide - 1) + right
            }
        };
        let bias: Vec<f32> = table
            .chunks_exact(columns)
            .flat_map(|head| (0..n).flat_map(move |i| (0..n).map(move |j| (head, i, j))))
            .filter_map(|(head, i, j)| head.get(entry(i, j)).copied())
            .collect();
        self.constant("relative bias", &[heads, n, n], &bias).map(Some)
    }

    /// What hides from each token those behind it, `[1, n, n]`.
    fn mask_of_later(&mut self) -> Wire {
        let n = self.tokens;
        let hidden = |query: usize, key: usize| if key > query { f32::MIN / 2.0 } else { 0.0 };
        let mask = (0..n).flat_map(|query| (0..n).map(move |key| hidden(query, key)));
        self.constant("mask of later tokens", &[1, n, n], &mask.collect::<Vec<f32>>())
    }

    fn feed_forward(&mut self, x: OutletId) -> Wire {
        let (d, wide) = (self.config.hidden, self.config.feed_forward);
        let expanded = self.linear(x, EXPAND, [wide, d])?;
        let inner = if self.config.gated {
            let gate = self.linear(x, GATE, [wide, d])?;
            let gate = self.activation(gate, self.config.activation)?;
            self.wire("gated", mul(), &[gate, expanded])?
        } else {
            self.activation(expanded, self.config.activation)?
        };
        self.linear(inner, CONTRACT, [d, wide])
    }

    // Parts of stages.

    fn norm(&mut self, x: OutletId, roles: Roles) -> Wire {
        self.norm_of(x, roles, self.config.hidden)
    }

    /// A norm over so many columns.
    fn norm_of(&mut self, x: OutletId, roles: Roles, width: usize) -> Wire {
        let weight = self.tensor(roles.weight, [1, width])?;
        match self.config.norm {
            Norm::RmsNorm => {
                let scaled = self.divide_by_root_mean_square(x, width)?;
                self.wire("norm", mul(), &[scaled, weight])
            }
            Norm::LayerNorm => {
                let mean = self.mean(x, 1, width)?;
                let centred = self.wire("centred", sub(), &[x, mean])?;
                let scaled = self.divide_by_root_mean_square(centred, width)?;
                let weighted = self.wire("weighted", mul(), &[scaled, weight])?;
                let bias = self.tensor(roles.bias, [1, width])?;
                self.wire("norm", add(), &[weighted, bias])
            }
        }
    }

    /// `x / sqrt(mean(x^2) + eps)`, each row alone.
    fn divide_by_root_mean_square(&mut self, x: OutletId, width: usize) -> Wire {
        let squares = self.wire("squares", square(), &[x])?;
        let mean = self.mean(squares, 1, width)?;
        let eps = self.scalar(self.config.norm_eps, 2)?;
        let shifted = self.wire("shifted", add(), &[mean, eps])?;
        let inverse = self.wire("inverse root", rsqrt(), &[shifted])?;
        self.wire("scaled", mul(), &[x, inverse])
    }

    /// The mean over an axis of `length` entries, which stays as an axis of 1.
    fn mean(&mut self, x: OutletId, axis: usize, length: usize) -> Wire {
        let sum = self.wire("sum", Reduce::new(tvec![axis], Reducer::Sum), &[x])?;
        let factor = self.scalar((1.0 / length as f64) as f32, 2)?;
        self.wire("mean", mul(), &[sum, factor])
    }

    fn activation(&mut self, x: OutletId, activation: Activation) -> Wire {
        match activation {
            Activation::Relu => {
                let zero = self.scalar(0.0, 2)?;
                self.wire("relu", max(), &[x, zero])
            }
            Activation::GeluErf => {
                let factor = self.scalar(std::f32::consts::FRAC_1_SQRT_2, 2)?;
                let argument = self.wire("gelu argument", mul(), &[x, factor])?;
                let curve = self.wire("erf", erf(), &[argument])?;
                self.half_of_one_plus(x, curve)
            }
            Activation::GeluTanh => {
                let argument = self.gelu_tanh_argument(x)?;
                let curve = self.wire("tanh", tanh(), &[argument])?;
                self.half_of_one_plus(x, curve)
            }
            Activation::Silu => self.swish(x, 1.0),
            Activation::GeluQuick => self.swish(x, 1.702),
        }
    }

    /// `x / (1 + e^(-rate x))`, which is `x/2 (1 + tanh(rate x / 2))`.
    fn swish(&mut self, x: OutletId, rate: f32) -> Wire {
        let half = self.scalar(rate / 2.0, 2)?;
        let argument = self.wire("swish argument", mul(), &[x, half])?;
        let curve = self.wire("tanh", tanh(), &[argument])?;
        self.half_of_one_plus(x, curve)
    }

    /// `sqrt(2/pi) (x + 0.044715 x^3)`.
    fn gelu_tanh_argument(&mut self, x: OutletId) -> Wire {
        let square = self.wire("gelu square", square(), &[x])?;
        let cube = self.wire("gelu cube", mul(), &[square, x])?;
        let weight = self.scalar(0.044_715, 2)?;
        let weighted = self.wire("gelu cubic", mul(), &[cube, weight])?;
        let sum = self.wire("gelu sum", add(), &[x, weighted])?;
        let factor = self.scalar((std::f64::consts::FRAC_2_PI).sqrt() as f32, 2)?;
        self.wire("gelu argument", mul(), &[sum, factor])
    }

    /// `x/2 (1 + curve)`.
    fn half_of_one_plus(&mut self, x: OutletId, curve: OutletId) -> Wire {
        let (one, half) = (self.scalar(1.0, 2)?, self.scalar(0.5, 2)?);
        let half = self.wire("gelu half", mul(), &[x, half])?;
        let curve = self.wire("gelu curve", add(), &[curve, one])?;
        self.wire("gelu", mul(), &[half, curve])
    }

    /// `x W^T + b`, W `[outputs, inputs]`; without a bias tensor there is no bias.
    fn linear(&mut self, x: OutletId, roles: Roles, shape: [usize; 2]) -> Wire {
        let weight = self.tensor(roles.weight, shape)?;
        let product = self.einsum(roles.weight.name(), "ni,oi->no", [x, weight])?;
        if self.weights.tensor(roles.bias, self.layer).is_none() {
            return Ok(product);
        }
        let bias = self.tensor(roles.bias, [1, shape[0]])?;
        self.wire(roles.bias.name(), add(), &[product, bias])
    }

    // Nodes.

    fn einsum(&mut self, name: &str, axes: &str, inputs: [OutletId; 2]) -> Wire {
        let axes: AxesMapping = axes.parse().map_err(at(name))?;
        self.wire(name, EinSum::new(axes, f32::datum_type()), &inputs)
    }

    /// Regroups the axes after the first.
    fn reshape(&mut self, x: OutletId, from: &[usize], to: &[usize]) -> Wire {
        let dims = |shape: &[usize]| shape.iter().map(|side| TDim::from(*side)).collect();
        self.wire("reshape", AxisOp::Reshape(1, dims(from), dims(to)), &[x])
    }

    fn wire(&mut self, name: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> Wire {
        let name = self.name(name);
        let outlets = self.model.wire_node(&name, op, inputs).map_err(at(&name))?;
        let first = outlets.first().copied();
        first.ok_or_else(|| at(&name)(TractError::msg("the operator has no output")))
    }

    fn source(&mut self, fact: TypedFact) -> Wire {
        let name = self.name("input");
        self.model.add_source(name, fact).map_err(at("the input"))
    }

    fn scalar(&mut self, value: f32, rank: usize) -> Wire {
        self.constant("constant", &vec![1; rank], &[value])
    }

    fn vector(&mut self, role: Role) -> Wire {
        self.tensor(role, [1, self.config.hidden])
    }

    /// A tensor of the layer that is being wired.
    fn tensor(&mut self, role: Role, shape: [usize; 2]) -> Wire {
        let values = self.checked(role, shape)?;
        self.constant(role.name(), &shape, values)
    }

    fn checked(&self, role: Role, expected: [usize; 2]) -> Result<&'b [f32], OracleError> {
        self.checked_at(self.layer, role, expected)
    }

    fn checked_at(
        &self,
        layer: u16,
        role: Role,
        expected: [usize; 2],
    ) -> Result<&'b [f32], OracleError> {
        let tensor =
            self.weights.tensor(role, layer).ok_or(OracleError::Missing { role, layer })?;
        if tensor.shape != expected || tensor.values.len() != expected[0] * expected[1] {
            let found = tensor.shape.clone();
            return Err(OracleError::Shape { role, layer, expected, found });
        }
        Ok(&tensor.values)
    }

    fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Wire {
        let name = self.name(name);
        let tensor = Tensor::from_shape(shape, values).map_err(at(&name))?;
        self.model.add_const(&name, tensor).map_err(at(&name))
    }

    /// A name that no node has yet.
    fn name(&self, name: &str) -> String {
        let name = match self.layer {
            GLOBAL_LAYER => name.to_owned(),
            layer => format!("layer {layer}: {name}"),
        };
        self.model.unique_name(name).into_owned()
    }
}
