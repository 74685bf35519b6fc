//! Evens out the columns of rows before they are quantised to int8.
//!
//! A row has one scale, so one column of large values leaves few steps for the others. Multiplying
//! each column by a factor and dividing the weights that read it changes nothing but the rounding
//! (SmoothQuant, Xiao et al., 2022). The factors are powers of two, so the product is the same float.
//! The sizes of the columns before a layer are measured by running the float model; on token ids
//! drawn evenly from the vocabulary (ours), because the large columns of a layer are the same for
//! every input, and no text is needed. Those before a feed-forward layer are read off its norm.

use crate::pack::{PackError, WeightType, pack_base};
use crate::session::Session;
use crate::source::{Base, FloatTensor, Place};
use coda_runtime::config::{Embedding, NormPlacement};
use coda_runtime::executor::{Input, Observer};
use coda_runtime::format::Role;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::tensor::Matrix;
use std::borrow::Cow;
use std::collections::BTreeMap;
use thiserror::Error;

/// Sequences that are run.
const SEQUENCES: u32 = 8;
/// Tokens of a sequence, at most.
const TOKENS: usize = 64;
/// How much of a column's size moves from the rows to the weights. Of 0.5, 0.7, 0.85 and 1.0 this
/// kept the worst of 100 MiniLM embeddings closest to the float ones.
const STRENGTH: f32 = 0.7;

/// Why the columns of a base cannot be measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SmoothError {
    /// The float model cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The float model could not be run.
    #[error("the float model cannot be run: {0}")]
    Run(String),
}

/// `base` as it is packed with `weights`. For integer weights post-norm layers get an input scale for
/// their query, key and value projections and one for their feed-forward layer, other tensors are as
/// they were. (In a pre-norm layer the norm before the projections leaves no large columns.)
///
/// # Errors
/// [`SmoothError`].
pub fn smooth(base: &Base, weights: WeightType) -> Result<Cow<'_, Base>, SmoothError> {
    // Layers that share their weights would need one factor for the columns of all.
    let fits = base.config.placement == NormPlacement::Post && !base.config.shared_layers;
    if !weights.is_integer() || !fits {
        return Ok(Cow::Borrowed(base));
    }
    let mut smoothed = base.clone();
    let tensors = &mut smoothed.tensors;
    let sizes = column_sizes(base)?;
    for (layer, sizes) in (0u16..).zip(sizes).take(base.config.layers) {
        let readers = [Role::Query, Role::Key, Role::Value];
        scale_inputs(tensors, layer, &sizes, &readers, Role::AttentionInputScale);
        let Some(sizes) = norm_sizes(base, layer) else { continue };
        let readers = [Role::FeedForwardIn, Role::FeedForwardGate];
        scale_inputs(tensors, layer, &sizes, &readers, Role::FeedForwardInputScale);
    }
    Ok(Cow::Owned(smoothed))
}

/// Divides the weights that read columns of these sizes by factors, which become the tensor `role`.
fn scale_inputs(
    tensors: &mut BTreeMap<Place, FloatTensor>,
    layer: u16,
    sizes: &[f32],
    readers: &[Role],
    role: Role,
) {
    let factors = factors(tensors, layer, sizes, readers);
    for reader in readers {
        let weights = tensors.get_mut(&(layer, *reader)).into_iter();
        for row in weights.flat_map(|t| t.values.chunks_exact_mut(factors.len())) {
            row.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight /= factor);
        }
    }
    let tensor = FloatTensor { shape: vec![1, factors.len()], values: factors };
    tensors.insert((layer, role), tensor);
}

/// How large the columns behind the attention norm are: their spread and their offset.
fn norm_sizes(base: &Base, layer: u16) -> Option<Vec<f32>> {
    let weight = &base.tensor(Role::AttentionNormWeight, layer)?.values;
    let bias = &base.tensor(Role::AttentionNormBias, layer)?.values;
    Some(weight.iter().zip(bias).map(|(weight, bias)| weight.abs() + bias.abs()).collect())
}

/// The largest magnitude of each column before each layer.
#[derive(Default)]
struct Columns {
    inputs: Vec<Vec<f32>>,
}

impl Columns {
    fn see(&mut self, layer: usize, hidden: Matrix<'_>) {
        if self.inputs.len() <= layer {
            self.inputs.resize(layer + 1, vec![0.0; hidden.columns()]);
        }
        for row in hidden.iter() {
            for (most, x) in self.inputs[layer].iter_mut().zip(row) {
                *most = most.max(x.abs());
            }
        }
    }
}

impl Observer for Columns {
    fn embedded(&mut self, hidden: Matrix<'_>) {
        self.see(0, hidden);
    }

    fn layer(&mut self, layer: usize, hidden: Matrix<'_>) {
        self.see(layer + 1, hidden);
    }
}

/// The largest magnitude of each column of the input of each layer, `[layers + 1, d]`.
fn column_sizes(base: &Base) -> Result<Vec<Vec<f32>>, SmoothError> {
    let Embedding::Tokens { vocabulary, .. } = base.config.embedding else {
        return Ok(Vec::new());
    };
    let packed = pack_base(base, WeightType::F32, "")?.bytes;
    let package = packed.parse().map_err(PackError::from)?;
    let model = Model::dense(&package).map_err(PackError::from)?;
    let tokens = model.max_tokens().map_or(TOKENS, |limit| limit.min(TOKENS));
    let mut columns = Columns::default();
    let unusable = |error: anyhow::Error| SmoothError::Run(error.to_string());
    let mut session = Session::new(&model, Capacity::any_budget(tokens)).map_err(unusable)?;
    let mut state = 1u32;
    for _ in 0..SEQUENCES {
        let mut draw = || {
            // Numerical Recipes' linear congruential generator; its high bits are good enough.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((u64::from(state) * vocabulary as u64) >> 32) as u32
        };
        let ids: Vec<u32> = (0..tokens).map(|_| draw()).collect();
        session.run(Input::tokens(&ids), Budget::Task, &mut columns, |_| ()).map_err(unusable)?;
    }
    Ok(columns.inputs)
}

/// `weight^(1 - STRENGTH) / size^STRENGTH`, as a power of two, for the largest weight that reads a
/// column and the column's size.
fn factors(
    tensors: &BTreeMap<Place, FloatTensor>,
    layer: u16,
    sizes: &[f32],
    readers: &[Role],
) -> Vec<f32> {
    let mut largest = vec![0.0f32; sizes.len()];
    for tensor in readers.iter().filter_map(|role| tensors.get(&(layer, *role))) {
        for row in tensor.values.chunks_exact(sizes.len()) {
            for (most, weight) in largest.iter_mut().zip(row) {
                *most = most.max(weight.abs());
            }
        }
    }
    let factor = |(size, weight): (&f32, &f32)| {
        let exponent = (1.0 - STRENGTH) * weight.log2() - STRENGTH * size.log2();
        let exponent = exponent.round();
        if exponent.is_finite() { exponent.clamp(-30.0, 30.0).exp2() } else { 1.0 }
    };
    sizes.iter().zip(&largest).map(factor).collect()
}
