//! Layers of one shape with the tensors around them: what encoder and decoder are made of.

use super::affine::{
    ADAPTER_DOWN, ADAPTER_UP, ATTENTION_NORM, Affine, FEED_FORWARD_GATE, FEED_FORWARD_IN,
    FEED_FORWARD_OUT, FROZEN_MAPS,
};
use crate::ops::{
    FrozenMap, Segment, activation, attention, attention_with_bias, frozen_feed_forward,
    layer_norm, linear, linear_without_bias, rms_norm,
};
use candle_core::{DType, Device, Result, Tensor, Var};
use coda_converter::source::{Buckets, FloatTensor, Place};
use coda_runtime::config::{Activation, Config, Norm, NormPlacement};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::collections::BTreeMap;

/// Tensors by place, as the converter reads them.
pub type Tensors = BTreeMap<Place, FloatTensor>;

/// Layers of one shape with the tensors around them.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) config: Config,
    adapter_activation: Activation,
    tensors: BTreeMap<Place, Tensor>,
    /// The maps that are not trained, by the place of their weight.
    frozen: BTreeMap<Place, FrozenMap>,
    /// The row of the bias table of each distance from -D to D.
    entries: Vec<u32>,
}

/// Rows of one sequence: the first one, and the position of each in the text or image.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'p> {
    pub(super) start: usize,
    pub(super) positions: &'p [u32],
}

/// Keys and values with the sequences they belong to.
pub(super) struct Keys {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
    pub(super) segments: Vec<Segment>,
}

/// A stack and its variables.
pub(super) struct Built {
    pub(super) stack: Stack,
    pub(super) variables: BTreeMap<Place, Var>,
}

/// How a stack is made of values.
pub(super) struct Making<F> {
    pub(super) config: Config,
    pub(super) adapter_activation: Activation,
    /// Whether the tensor of a place is trained.
    pub(super) is_trained: F,
    /// Its tokens see those before them alone.
    pub(super) causal: bool,
    pub(super) dtype: DType,
}

impl<F: Fn(Place) -> bool> Making<F> {
    /// A stack of `values`; those that are trained become variables. A relative bias that is trained is given
    /// by bucket, `[buckets, heads]`, one that is not by distance, `[heads, 2 D + 1]`.
    pub(super) fn build(self, values: &Tensors) -> Result<Built> {
        let (mut tensors, mut variables) = (BTreeMap::new(), BTreeMap::new());
        for (place, tensor) in values {
            let found = Tensor::from_slice(&tensor.values, tensor.shape.as_slice(), &Device::Cpu)?
                .to_dtype(self.dtype)?;
            if (self.is_trained)(*place) {
                let variable = Var::from_tensor(&found)?;
                tensors.insert(*place, variable.as_tensor().clone());
                variables.insert(*place, variable);
            } else if place.1 == Role::RelativeBias {
                tensors.insert(*place, found.t()?.contiguous()?);
            } else {
                tensors.insert(*place, found);
            }
        }
        let entries = entries(&self.config, &variables, self.causal);
        let (config, adapter_activation) = (self.config, self.adapter_activation);
        let frozen = BTreeMap::new();
        let mut stack = Stack { config, adapter_activation, tensors, frozen, entries };
        stack.freeze_maps(&variables)?;
        Ok(Built { stack, variables })
    }
}

/// Rows of the bias table: one for each distance, or for each bucket of distances.
fn entries(config: &Config, variables: &BTreeMap<Place, Var>, causal: bool) -> Vec<u32> {
    let most = config.relative_distance as i64;
    match variables.get(&(GLOBAL_LAYER, Role::RelativeBias)) {
        None => (0..=2 * most as u32).collect(),
        Some(table) => {
            let count = table.dims().first().copied().unwrap_or(0);
            let buckets = Buckets { count, most: config.relative_distance, causal };
            (-most..=most).map(|distance| buckets.of(distance).unwrap_or(0) as u32).collect()
        }
    }
}

impl Stack {
    fn freeze_maps(&mut self, variables: &BTreeMap<Place, Var>) -> Result<()> {
        for layer in (0..self.config.layers as u16).chain([GLOBAL_LAYER]) {
            for Affine { weight, bias } in FROZEN_MAPS {
                let (weight, bias) = ((layer, weight), (layer, bias));
                let Some(own) = self.tensors.get(&weight) else { continue };
                if !variables.contains_key(&weight) && !variables.contains_key(&bias) {
                    let map = FrozenMap::new(own, self.tensors.get(&bias))?;
                    self.frozen.insert(weight, map);
                }
            }
        }
        Ok(())
    }

    /// Number of values.
    pub(super) fn values(&self) -> usize {
        self.tensors.values().map(Tensor::elem_count).sum()
    }

    pub(super) fn find(&self, layer: u16, role: Role) -> Option<&Tensor> {
        self.tensors.get(&(layer, role))
    }

    pub(super) fn need(&self, layer: u16, role: Role) -> Result<&Tensor> {
        match self.find(layer, role) {
            Some(tensor) => Ok(tensor),
            None if layer == GLOBAL_LAYER => {
                candle_core::bail!("the model has no {}", role.name())
            }
            None => candle_core::bail!("layer {layer} has no {}", role.name()),
        }
    }

    pub(super) fn norm(&self, layer: u16, affine: Affine, x: &Tensor) -> Result<Tensor> {
        let Affine { weight, bias } = affine;
        let (weight, eps) = (self.need(layer, weight)?, f64::from(self.config.norm_eps));
        match self.config.norm {
            Norm::LayerNorm => layer_norm(x, weight, self.need(layer, bias)?, eps),
            Norm::RmsNorm => rms_norm(x, weight, eps),
        }
    }

    pub(super) fn map(&self, layer: u16, affine: Affine, x: &Tensor) -> Result<Tensor> {
        let Affine { weight, bias } = affine;
        if let Some(map) = self.frozen.get(&(layer, weight)) {
            return map.apply(x);
        }
        let weight = self.need(layer, weight)?;
        match self.find(layer, bias) {
            Some(bias) => linear(x, weight, bias),
            None => linear_without_bias(x, weight),
        }
    }

    /// What attention and the adapter read of a layer's input.
    pub(super) fn layer_input(&self, layer: u16, x: &Tensor) -> Result<Tensor> {
        match self.config.placement {
            NormPlacement::Pre => self.norm(layer, ATTENTION_NORM, x),
            NormPlacement::Post => Ok(x.clone()),
        }
    }

    /// `up(act(down(u)))`, if the layer has an adapter.
    pub(super) fn adapter(&self, layer: u16, u: &Tensor) -> Result<Option<Tensor>> {
        if self.find(layer, Role::AdapterDown).is_none() {
            return Ok(None);
        }
        let low = self.map(layer, ADAPTER_DOWN, u)?;
        let low = activation(&low, self.adapter_activation)?;
        self.map(layer, ADAPTER_UP, &low).map(Some)
    }

    /// A sequence's queries and keys, with the bias of each pair, if the layers have one.
    pub(super) fn segment(&self, queries: Sequence<'_>, keys: Sequence<'_>) -> Segment {
        let most = self.config.relative_distance as i64;
        let mut entries = Vec::new();
        for query in queries.positions.iter().filter(|_| most > 0) {
            let at = |key: &u32| {
                let apart = i64::from(*key) - i64::from(*query);
                self.entries[(apart.clamp(-most, most) + most) as usize]
            };
            entries.extend(keys.positions.iter().map(at));
        }
        Segment {
            query_start: queries.start,
            queries: queries.positions.len(),
            key_start: keys.start,
            keys: keys.positions.len(),
            causal: false,
            entries,
        }
    }

    /// What queries find among keys, of every sequence.
    pub(super) fn attend(&self, queries: &Tensor, keys: Keys) -> Result<Tensor> {
        let Keys { keys, values, segments } = keys;
        let (heads, scale) = (self.config.heads, f64::from(self.config.attention_scale));
        if segments.iter().all(|segment| segment.entries.is_empty()) {
            return attention(queries, &keys, &values, segments, heads, scale);
        }
        let table = self.need(GLOBAL_LAYER, Role::RelativeBias)?;
        attention_with_bias(queries, [&keys, &values], table, segments, heads, scale)
    }

    pub(super) fn feed_forward(&self, layer: u16, x: &Tensor) -> Result<Tensor> {
        let kind = self.config.activation;
        let frozen = |role| self.frozen.get(&(layer, role));
        if self.find(layer, Role::FeedForwardGate).is_none()
            && let Some(first) = frozen(Role::FeedForwardIn)
            && let Some(second) = frozen(Role::FeedForwardOut)
        {
            let out = frozen_feed_forward(x, first, second, kind)?;
            return self.scaled(layer, Role::FeedForwardScale, out);
        }
        let expanded = self.map(layer, FEED_FORWARD_IN, x)?;
        let wide = match self.find(layer, Role::FeedForwardGate) {
            None => activation(&expanded, kind)?,
            Some(_) => (activation(&self.map(layer, FEED_FORWARD_GATE, x)?, kind)? * expanded)?,
        };
        let out = self.map(layer, FEED_FORWARD_OUT, &wide)?;
        self.scaled(layer, Role::FeedForwardScale, out)
    }

    /// Multiplies by a LayerScale, if there is one.
    pub(super) fn scaled(&self, layer: u16, role: Role, x: Tensor) -> Result<Tensor> {
        match self.find(layer, role) {
            None => Ok(x),
            Some(scale) => x.broadcast_mul(scale),
        }
    }
}

pub(super) fn add_optional(x: Tensor, other: Option<Tensor>) -> Result<Tensor> {
    match other {
        None => Ok(x),
        Some(other) => x + other,
    }
}

/// A trained relative bias by distance, as the converter reads it; other tensors as they are.
pub(super) fn as_read(
    config: &Config,
    causal: bool,
    place: Place,
    own: FloatTensor,
) -> FloatTensor {
    if place.1 != Role::RelativeBias {
        return own;
    }
    let count = own.shape.first().copied().unwrap_or(0);
    let buckets = Buckets { count, most: config.relative_distance, causal };
    let shape = vec![config.heads, 2 * config.relative_distance + 1];
    FloatTensor { shape, values: buckets.by_distance(&own.values, config.heads) }
}
