//! First values of what is trained.

use super::low_rank::low_rank;
use super::spec::TaskSpec;
use super::{Half, Tensors};
use crate::random::{Draws, Purpose};
use coda_converter::source::{FloatTensor, Place};
use coda_runtime::config::Config;
use coda_runtime::format::Role;

/// Spread of new weights of a base, as in Hugging Face's initialisation.
const BASE_SPREAD: f32 = 0.02;

/// What tells the draws of a decoder from those of an encoder.
const OF_DECODER: u64 = 1 << 32;

/// Draws first values.
#[derive(Clone, Copy, Debug)]
pub struct Initializer {
    /// Seed of all draws.
    pub seed: u64,
    /// Whose values are drawn.
    pub half: Half,
}

impl Initializer {
    /// Normal values of a place: the same for a seed whatever else is drawn.
    fn normal(self, place: Place, [rows, columns]: [usize; 2], spread: f32) -> FloatTensor {
        let (layer, role) = place;
        let half = if self.half == Half::Decoder { OF_DECODER } else { 0 };
        let index = half | u64::from(layer) << 16 | u64::from(role.code());
        let mut draws = Draws::new(self.seed, Purpose::Initial, index);
        let values = (0..rows * columns).map(|_| spread * draws.normal()).collect();
        FloatTensor { shape: vec![rows, columns], values }
    }
}

fn constant([rows, columns]: [usize; 2], value: f32) -> FloatTensor {
    FloatTensor { shape: vec![rows, columns], values: vec![value; rows * columns] }
}

/// The tensors that a task adds to `base`, norms apart. Adapters begin as zero maps (the model begins
/// as the frozen one), routers with scores of spread about 1, low-rank keys and values as the best
/// low-rank approximation of the frozen projections, the head small.
#[must_use]
pub fn blank_task(
    config: &Config,
    spec: &TaskSpec,
    base: &Tensors,
    initializer: Initializer,
) -> Tensors {
    let mut tensors = begin(spec.places(config), config, initializer);
    for layer in 0..config.layers as u16 {
        if tensors.contains_key(&(layer, Role::LowRankDown)) {
            low_rank_keys(&mut tensors, base, layer, config, spec.low_rank);
        }
    }
    tensors
}

/// The tensors that a task adds to a decoder, norms apart: adapters that begin as zero maps.
#[must_use]
pub fn blank_decoder_task(config: &Config, spec: &TaskSpec, initializer: Initializer) -> Tensors {
    begin(spec.adapter_places(config), config, initializer)
}

fn begin(places: Vec<(Place, [usize; 2])>, config: &Config, initializer: Initializer) -> Tensors {
    let spread = 1.0 / (config.hidden as f32).sqrt();
    let first = |(place, shape): (Place, [usize; 2])| {
        let tensor = match place.1 {
            Role::AdapterDown | Role::Router | Role::HeadWeight => {
                initializer.normal(place, shape, spread)
            }
            _ => constant(shape, 0.0),
        };
        (place, tensor)
    };
    places.into_iter().map(first).collect()
}

/// One singular value decomposition for keys and values together: they share the down projection.
fn low_rank_keys(tensors: &mut Tensors, base: &Tensors, layer: u16, config: &Config, rank: usize) {
    let values = |role| base.get(&(layer, role)).map_or(&[][..], |tensor| &tensor.values);
    let both = [values(Role::Key), values(Role::Value)].concat();
    let (up, down) = low_rank(&both, config.hidden, rank);
    let width = config.attention_width();
    let (keys, rest) = up.split_at(width * rank);
    let mut put = |role, shape: [usize; 2], values: &[f32]| {
        if values.len() == shape[0] * shape[1] {
            let tensor = FloatTensor { shape: shape.to_vec(), values: values.to_vec() };
            tensors.insert((layer, role), tensor);
        }
    };
    put(Role::LowRankDown, [rank, config.hidden], &down);
    put(Role::LowRankKey, [width, rank], keys);
    put(Role::LowRankValue, [width, rank], rest);
    put(Role::LowRankKeyBias, [1, width], values(Role::KeyBias));
    put(Role::LowRankValueBias, [1, width], values(Role::ValueBias));
}

/// Fills a half of a model without weights: norms are the identity, a relative bias is none, maps and tables
/// are normal.
pub fn fill_base(base: &mut Tensors, initializer: Initializer) {
    for (place, tensor) in base.iter_mut() {
        let shape = [tensor.shape[0], tensor.shape[1]];
        *tensor = match place.1 {
            Role::AttentionNormWeight
            | Role::FeedForwardNormWeight
            | Role::CrossNormWeight
            | Role::FinalNormWeight
            | Role::EmbeddingNormWeight
            | Role::AttentionScale
            | Role::FeedForwardScale => constant(shape, 1.0),
            Role::RelativeBias => constant(shape, 0.0),
            Role::PatchWeight | Role::ProjectionWeight => {
                initializer.normal(*place, shape, 1.0 / (shape[1] as f32).sqrt())
            }
            _ if shape[0] == 1 && place.1 != Role::ClassToken => constant(shape, 0.0),
            _ => initializer.normal(*place, shape, BASE_SPREAD),
        };
    }
}
