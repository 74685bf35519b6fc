//! One encoder layer, frozen parts and task parts.

use super::error::ModelError;
use super::packages::Packages;
use super::view::{self, Linear, Shape};
#[cfg(feature = "more-families")]
use crate::config::Rotary;
use crate::config::{AttentionMode, Routing};
#[cfg(feature = "more-families")]
use crate::format::GLOBAL_LAYER;
use crate::format::Role;
use crate::kernels::NormWeights;

/// One encoder layer as the executor reads it. Empty slices are absent parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layer<'a> {
    /// The layer and the task's adapter beside it.
    pub block: Block<'a>,
    /// The task's router vector, `[d]`.
    pub router: &'a [f32],
    /// The task's low-rank keys and values.
    pub low_rank: Option<LowRankKeys<'a>>,
    /// How the layer is routed; `None` when every token passes it.
    pub routing: Option<Routing>,
}

/// What encoder and decoder layers have in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct Block<'a> {
    /// Attention.
    pub attention: Attention<'a>,
    /// The feed-forward layer.
    pub feed_forward: FeedForward<'a>,
    /// The task's adapter.
    pub adapter: Option<Adapter<'a>>,
}

/// Attention: its norm, its four linear maps and the scale of its update.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attention<'a> {
    /// Norm before (pre-norm) or after (post-norm) attention.
    pub norm: NormWeights<'a>,
    /// LayerScale of the update, `[d]`; empty for none.
    pub scale: &'a [f32],
    /// Factor on each input of `query`, `key` and `value`, `[d]`; empty for none. It evens out the
    /// columns of a row before the row is quantised; the weights are divided by it.
    pub input_scale: &'a [f32],
    /// Queries, d to attention width.
    pub query: Linear<'a>,
    /// Keys, d to attention width.
    pub key: Linear<'a>,
    /// Values, d to attention width.
    pub value: Linear<'a>,
    /// Output, attention width to d.
    pub output: Linear<'a>,
    /// Relative position bias of this layer, `[heads, 2 D + 1]`; empty for none.
    #[cfg(feature = "more-families")]
    pub(crate) relative_bias: &'a [f32],
    /// Where tokens stand, as far as the layer's attention looks.
    #[cfg(feature = "more-families")]
    pub places: Places<'a>,
}

/// Rotary positions and the reach of one layer's attention.
#[cfg(feature = "more-families")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// Cosines, then sines of the angles of each position, `[positions, columns]`; empty for none.
    pub rotary: &'a [f32],
    /// The largest distance of a key from its query; `None` for any.
    pub distance: Option<usize>,
}

/// The feed-forward layer: its norm, its linear maps and the scale of its update.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeedForward<'a> {
    /// Norm before (pre-norm) or after (post-norm) the feed-forward layer.
    pub norm: NormWeights<'a>,
    /// LayerScale of the update, `[d]`; empty for none.
    pub scale: &'a [f32],
    /// Factor on each input of the expansion and the gate, `[d]`; empty for none.
    pub input_scale: &'a [f32],
    /// d to feed-forward width.
    pub expand: Linear<'a>,
    /// d to feed-forward width, activated and multiplied (gated models).
    pub gate: Option<Linear<'a>>,
    /// Feed-forward width to d.
    pub contract: Linear<'a>,
}

/// The parallel adapter: `up(act(down(u)))`.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    /// d to h.
    pub down: Linear<'a>,
    /// h to d.
    pub up: Linear<'a>,
}

/// Low-rank keys and values of tokens that are not selected (k-to-low-rank).
#[derive(Clone, Copy, Debug)]
pub struct LowRankKeys<'a> {
    /// d to rank.
    pub down: Linear<'a>,
    /// Rank to attention width, keys.
    pub key: Linear<'a>,
    /// Rank to attention width, values.
    pub value: Linear<'a>,
}

/// Attention width from which int8 attention may meet low-rank keys by their rank (`FORMAT.md`);
/// products of smaller models are too short to pay for it.
pub(crate) const LOW_RANK_WIDTH: usize = 128;

impl Block<'_> {
    /// The frozen weights are int8 or int4, which both read int8 rows; a layer has no float ones
    /// beside them.
    #[must_use]
    pub const fn is_int8(&self) -> bool {
        self.attention.query.is_integer()
    }
}

impl<'a> Layer<'a> {
    /// Views layer `index` of `packages`.
    pub(super) fn view(packages: &Packages<'a>, index: usize) -> Result<Self, ModelError> {
        let (at, d) = (index as u16, packages.config.hidden);
        let routing = packages.routing(index);
        let layer = Layer {
            block: Block {
                attention: Attention::view(packages, at)?,
                feed_forward: FeedForward::view(packages, at)?,
                adapter: Adapter::view(packages, at)?,
            },
            router: match routing {
                Some(_) if packages.has_routers() => packages.vector(Role::Router, at, d)?,
                _ => &[],
            },
            low_rank: match routing.map(|routing| routing.attention) {
                Some(AttentionMode::KToLowRank) => Some(LowRankKeys::view(packages, at)?),
                _ => None,
            },
            routing,
        };
        layer.check_one_type(at)?;
        Ok(layer)
    }

    /// A row is quantised once for all maps that read it, so a layer's weights are of one type.
    fn check_one_type(&self, at: u16) -> Result<(), ModelError> {
        let Attention { key, value, output, .. } = self.block.attention;
        let FeedForward { expand, gate, contract, .. } = self.block.feed_forward;
        let maps = [
            (Role::Key, Some(key)),
            (Role::Value, Some(value)),
            (Role::AttentionOutput, Some(output)),
            (Role::FeedForwardIn, Some(expand)),
            (Role::FeedForwardGate, gate),
            (Role::FeedForwardOut, Some(contract)),
        ];
        for (role, linear) in maps {
            if linear.is_some_and(|linear| linear.is_integer() != self.block.is_int8()) {
                return Err(ModelError::Encoding { role, layer: at });
            }
        }
        Ok(())
    }

    /// Some map of the layer or of the task in it reads int8 rows.
    pub(super) fn reads_int8(&self) -> bool {
        let adapter = self.block.adapter;
        let adapter = adapter.is_some_and(|maps| maps.down.is_integer() || maps.up.is_integer());
        let low_rank =
            self.low_rank.is_some_and(|maps| maps.down.is_integer() || maps.key.is_integer());
        self.block.is_int8() || adapter || low_rank
    }
}

impl<'a> Attention<'a> {
    fn view(packages: &Packages<'a>, at: u16) -> Result<Self, ModelError> {
        let (d, width) = (packages.config.hidden, packages.config.attention_width());
        let inner = Shape { rows: width, columns: d };
        let outer = Shape { rows: d, columns: width };
        Ok(Self {
            norm: match cfg!(feature = "more-families")
                && packages.config.bare_first_layer
                && at == 0
            {
                true => NormWeights::default(),
                false => packages.norm(Role::AttentionNormWeight, Role::AttentionNormBias, at)?,
            },
            scale: packages.optional(Role::AttentionScale, at, d)?,
            input_scale: packages.optional(Role::AttentionInputScale, at, d)?,
            query: packages.linear(Role::Query, Role::QueryBias, at, inner)?,
            key: packages.linear(Role::Key, Role::KeyBias, at, inner)?,
            value: packages.linear(Role::Value, Role::ValueBias, at, inner)?,
            output: packages.linear(Role::AttentionOutput, Role::AttentionOutputBias, at, outer)?,
            #[cfg(feature = "more-families")]
            relative_bias: relative_bias(packages, at)?,
            #[cfg(feature = "more-families")]
            places: Places::view(packages, at)?,
        })
    }
}

#[cfg(feature = "decoder")]
impl<'a> Attention<'a> {
    /// Attention of a decoder's layer to the encoder's states, rows of `memory` columns.
    pub(super) fn view_cross(
        packages: &Packages<'a>,
        at: u16,
        memory: usize,
    ) -> Result<Self, ModelError> {
        let (d, width) = (packages.config.hidden, packages.config.attention_width());
        let inner = Shape { rows: width, columns: d };
        let of_memory = Shape { rows: width, columns: memory };
        let outer = Shape { rows: d, columns: width };
        Ok(Self {
            norm: packages.norm(Role::CrossNormWeight, Role::CrossNormBias, at)?,
            query: packages.linear(Role::CrossQuery, Role::CrossQueryBias, at, inner)?,
            key: packages.linear(Role::CrossKey, Role::CrossKeyBias, at, of_memory)?,
            value: packages.linear(Role::CrossValue, Role::CrossValueBias, at, of_memory)?,
            output: packages.linear(Role::CrossOutput, Role::CrossOutputBias, at, outer)?,
            ..Self::default()
        })
    }
}

/// The relative position bias of layer `at`, where each has its own.
#[cfg(feature = "more-families")]
fn relative_bias<'a>(packages: &Packages<'a>, at: u16) -> Result<&'a [f32], ModelError> {
    let config = &packages.config;
    if config.relative_distance == 0 || !config.layer_bias {
        return Ok(&[]);
    }
    let shape = Shape { rows: config.heads, columns: config.bias_entries() };
    view::floats(&packages.required(Role::LayerRelativeBias, at)?, shape)
}

#[cfg(feature = "more-families")]
impl<'a> Places<'a> {
    fn view(packages: &Packages<'a>, at: u16) -> Result<Self, ModelError> {
        let Rotary { columns, positions: rows, own_of_local } = packages.config.rotary;
        let distance = packages.config.local.distance_of(usize::from(at));
        let role = match distance {
            Some(_) if own_of_local => Role::LocalRotary,
            _ => Role::Rotary,
        };
        let rotary = match columns {
            0 => &[],
            _ => view::floats(&packages.required(role, GLOBAL_LAYER)?, Shape { rows, columns })?,
        };
        let places = Self { rotary, distance };
        let mode = packages.routing(usize::from(at)).map(|routing| routing.attention);
        match mode {
            Some(AttentionMode::KToLowRank) if !places.are_everywhere_alike() => {
                Err(ModelError::PlacesOfLowRank { layer: at })
            }
            _ => Ok(places),
        }
    }

    /// Attention does not ask where a token stands.
    const fn are_everywhere_alike(&self) -> bool {
        self.rotary.is_empty() && self.distance.is_none()
    }
}

impl<'a> FeedForward<'a> {
    fn view(packages: &Packages<'a>, at: u16) -> Result<Self, ModelError> {
        let (d, width) = (packages.config.hidden, packages.config.feed_forward);
        let wide = Shape { rows: width, columns: d };
        let narrow = Shape { rows: d, columns: width };
        let map = |weight, bias, shape| packages.linear(weight, bias, at, shape);
        Ok(Self {
            norm: packages.norm(Role::FeedForwardNormWeight, Role::FeedForwardNormBias, at)?,
            scale: packages.optional(Role::FeedForwardScale, at, d)?,
            input_scale: packages.optional(Role::FeedForwardInputScale, at, d)?,
            expand: map(Role::FeedForwardIn, Role::FeedForwardInBias, wide)?,
            gate: match packages.config.gated {
                true => Some(map(Role::FeedForwardGate, Role::FeedForwardGateBias, wide)?),
                false => None,
            },
            contract: map(Role::FeedForwardOut, Role::FeedForwardOutBias, narrow)?,
        })
    }
}

impl<'a> Adapter<'a> {
    fn view(packages: &Packages<'a>, at: u16) -> Result<Option<Self>, ModelError> {
        let Some(down) = packages.tensor(Role::AdapterDown, at) else { return Ok(None) };
        let (d, h) = (packages.config.hidden, down.rows);
        let (down, up) = (Shape { rows: h, columns: d }, Shape { rows: d, columns: h });
        Ok(Some(Self {
            down: packages.linear(Role::AdapterDown, Role::AdapterDownBias, at, down)?,
            up: packages.linear(Role::AdapterUp, Role::AdapterUpBias, at, up)?,
        }))
    }
}

impl<'a> LowRankKeys<'a> {
    fn view(packages: &Packages<'a>, at: u16) -> Result<Self, ModelError> {
        let down = packages.required(Role::LowRankDown, at)?;
        let (d, width) = (packages.config.hidden, packages.config.attention_width());
        let up = Shape { rows: width, columns: down.rows };
        let maps = Self {
            down: view::linear(&down, Shape { rows: down.rows, columns: d }, &[])?,
            key: packages.linear(Role::LowRankKey, Role::LowRankKeyBias, at, up)?,
            value: packages.linear(Role::LowRankValue, Role::LowRankValueBias, at, up)?,
        };
        let wide = width >= LOW_RANK_WIDTH;
        let by_rank = wide && packages.config.int8_attention && maps.key.is_integer();
        if by_rank && !cfg!(feature = "low-rank") {
            return Err(ModelError::LeftOut { feature: "low-rank" });
        }
        // The same rows enter both.
        if maps.key.is_integer() != maps.value.is_integer() {
            return Err(ModelError::Encoding { role: Role::LowRankValue, layer: at });
        }
        Ok(maps)
    }
}
