//! A frozen encoder with the trainable tensors of a task, in the runtime's definitions.

mod affine;
mod batch;
mod forward;
mod initial;
mod low_rank;
mod spec;

pub(crate) use batch::ranges;
pub use batch::{Batch, Inputs};
pub use forward::{Encoded, LayerTrace};
pub use initial::{Initializer, blank_task, fill_base};
pub use low_rank::low_rank;
pub use spec::{Method, Selector, TaskSpec};

use crate::ops::FrozenMap;
use affine::{Affine, FEED_FORWARD_IN, FEED_FORWARD_OUT, KEY, OUTPUT, QUERY, VALUE};
use candle_core::{DType, Device, Result, Tensor, Var};
use coda_converter::source::{FloatTensor, Place};
use coda_runtime::config::{Config, Embedding, LocalAttention, Rotary};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::collections::BTreeMap;

/// Tensors by place, as the converter reads them.
pub type Tensors = BTreeMap<Place, FloatTensor>;

/// An encoder whose trainable tensors are candle variables.
#[derive(Debug)]
pub struct Model {
    /// The encoder.
    pub config: Config,
    /// What the task adds.
    pub spec: TaskSpec,
    tensors: BTreeMap<Place, Tensor>,
    variables: BTreeMap<Place, Var>,
    /// The maps of the layers that are not trained, by the place of their weight.
    frozen: BTreeMap<Place, FrozenMap>,
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

/// The maps of a frozen layer.
const MAPS: [Affine; 6] = [QUERY, KEY, VALUE, OUTPUT, FEED_FORWARD_IN, FEED_FORWARD_OUT];

impl Model {
    /// A model of `values`; those that `is_trained` names become variables.
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
        let mut model = Self {
            config,
            spec,
            tensors: BTreeMap::new(),
            variables: BTreeMap::new(),
            frozen: BTreeMap::new(),
        };
        for (place, tensor) in values {
            let found = Tensor::from_slice(&tensor.values, tensor.shape.as_slice(), &Device::Cpu)?
                .to_dtype(dtype)?;
            if is_trained(*place) {
                let variable = Var::from_tensor(&found)?;
                model.tensors.insert(*place, variable.as_tensor().clone());
                model.variables.insert(*place, variable);
            } else {
                model.tensors.insert(*place, found);
            }
        }
        model.freeze_maps()?;
        Ok(model)
    }

    fn freeze_maps(&mut self) -> Result<()> {
        for layer in 0..self.config.layers as u16 {
            for Affine { weight, bias } in MAPS {
                let (weight, bias) = ((layer, weight), (layer, bias));
                let Some(own) = self.tensors.get(&weight) else { continue };
                if !self.variables.contains_key(&weight) && !self.variables.contains_key(&bias) {
                    let map = FrozenMap::new(own, self.tensors.get(&bias))?;
                    self.frozen.insert(weight, map);
                }
            }
        }
        Ok(())
    }

    /// The variables, by place.
    #[must_use]
    pub const fn variables(&self) -> &BTreeMap<Place, Var> {
        &self.variables
    }

    /// The values of the trained tensors.
    ///
    /// # Errors
    /// Never for a tensor in main memory.
    pub fn trained(&self) -> Result<Tensors> {
        let values = |(place, variable): (&Place, &Var)| {
            let shape = variable.dims().to_vec();
            let values = variable.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok((*place, FloatTensor { shape, values }))
        };
        self.variables.iter().map(values).collect()
    }

    /// Number of values that are trained.
    #[must_use]
    pub fn trained_values(&self) -> usize {
        self.variables.values().map(|variable| variable.elem_count()).sum()
    }

    /// Number of values that are not trained.
    #[must_use]
    pub fn frozen_values(&self) -> usize {
        let all: usize = self.tensors.values().map(Tensor::elem_count).sum();
        all - self.trained_values()
    }

    fn find(&self, layer: u16, role: Role) -> Option<&Tensor> {
        self.tensors.get(&(layer, role))
    }

    fn need(&self, layer: u16, role: Role) -> Result<&Tensor> {
        match self.find(layer, role) {
            Some(tensor) => Ok(tensor),
            None if layer == GLOBAL_LAYER => {
                candle_core::bail!("the model has no {}", role.name())
            }
            None => candle_core::bail!("layer {layer} has no {}", role.name()),
        }
    }
}
