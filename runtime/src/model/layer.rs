//! One encoder layer, frozen parts and task parts.

use super::{Linear, Model, ModelError, view};
use crate::config::{AttentionMode, Routing};
use crate::format::Role;
use crate::kernels::NormWeights;

/// One encoder layer as the executor reads it. Empty slices are absent parts.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Attention.
    pub attention: Projections<'a>,
    /// Norm before (pre-norm) or after (post-norm) attention.
    pub attention_norm: NormWeights<'a>,
    /// LayerScale of the attention update, `[d]`; empty for none.
    pub attention_scale: &'a [f32],
    /// Feed-forward.
    pub feed_forward: FeedForward<'a>,
    /// Norm before (pre-norm) or after (post-norm) the feed-forward layer.
    pub feed_forward_norm: NormWeights<'a>,
    /// LayerScale of the feed-forward update, `[d]`; empty for none.
    pub feed_forward_scale: &'a [f32],
    /// The task's adapter.
    pub adapter: Option<Adapter<'a>>,
    /// The task's router vector, `[d]`.
    pub router: &'a [f32],
    /// The task's low-rank keys and values.
    pub low_rank: Option<LowRankKeys<'a>>,
    /// How the layer is routed; `None` when every token passes it.
    pub routing: Option<Routing>,
}

/// The four linear maps of attention.
#[derive(Clone, Copy, Debug)]
pub struct Projections<'a> {
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
}

/// The linear maps of the feed-forward layer.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a> {
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

impl Layer<'_> {
    /// The frozen weights are int8 or int4, which both read int8 rows; a layer has no float ones
    /// beside them.
    #[must_use]
    pub const fn is_int8(&self) -> bool {
        self.attention.query.is_integer()
    }
}

impl Layer<'_> {
    /// Some map of the layer or of the task in it reads int8 rows.
    pub(super) fn reads_int8(&self) -> bool {
        let adapter = self
            .adapter
            .is_some_and(|adapter| adapter.down.is_integer() || adapter.up.is_integer());
        let low_rank = self
            .low_rank
            .is_some_and(|low_rank| low_rank.down.is_integer() || low_rank.key.is_integer());
        self.is_int8() || adapter || low_rank
    }
}

/// Attention width from which int8 attention may meet low-rank keys by their rank (`FORMAT.md`); products of
/// smaller models are too short to pay for it.
pub(crate) const LOW_RANK_WIDTH: usize = 128;

impl<'a> Model<'a> {
    /// Layer `index`.
    ///
    /// # Errors
    /// None for an index below the layer count: [`Model::bind`] has viewed every layer.
    pub fn layer(&self, index: usize) -> Result<Layer<'a>, ModelError> {
        let at = index as u16;
        let routing = self.routing(index);
        let d = self.config.hidden;
        let layer = Layer {
            attention: self.projections(at)?,
            attention_norm: self.norm((Role::AttentionNormWeight, Role::AttentionNormBias), at)?,
            attention_scale: self.optional(Role::AttentionScale, at, d)?,
            feed_forward: self.feed_forward(at)?,
            feed_forward_norm: self
                .norm((Role::FeedForwardNormWeight, Role::FeedForwardNormBias), at)?,
            feed_forward_scale: self.optional(Role::FeedForwardScale, at, d)?,
            adapter: self.adapter(at)?,
            router: match routing {
                Some(_) => self.vector(Role::Router, at, d)?,
                None => &[],
            },
            low_rank: match routing.map(|routing| routing.attention) {
                Some(AttentionMode::KToLowRank) => Some(self.low_rank_keys(at)?),
                _ => None,
            },
            routing,
        };
        Self::check_one_type(&layer, at)?;
        Ok(layer)
    }

    /// A row is quantised once for all maps that read it, so a layer's weights are of one type.
    fn check_one_type(layer: &Layer<'a>, at: u16) -> Result<(), ModelError> {
        let Projections { key, value, output, .. } = layer.attention;
        let FeedForward { expand, gate, contract, .. } = layer.feed_forward;
        let maps = [
            (Role::Key, Some(key)),
            (Role::Value, Some(value)),
            (Role::AttentionOutput, Some(output)),
            (Role::FeedForwardIn, Some(expand)),
            (Role::FeedForwardGate, gate),
            (Role::FeedForwardOut, Some(contract)),
        ];
        for (role, linear) in maps {
            if linear.is_some_and(|linear| linear.is_integer() != layer.is_int8()) {
                return Err(ModelError::Encoding { role, layer: at });
            }
        }
        Ok(())
    }

    fn projections(&self, at: u16) -> Result<Projections<'a>, ModelError> {
        let (d, width) = (self.config.hidden, self.config.attention_width());
        Ok(Projections {
            input_scale: self.optional(Role::AttentionInputScale, at, d)?,
            query: self.linear((Role::Query, Role::QueryBias), at, (width, d))?,
            key: self.linear((Role::Key, Role::KeyBias), at, (width, d))?,
            value: self.linear((Role::Value, Role::ValueBias), at, (width, d))?,
            output: self.linear(
                (Role::AttentionOutput, Role::AttentionOutputBias),
                at,
                (d, width),
            )?,
        })
    }

    fn feed_forward(&self, at: u16) -> Result<FeedForward<'a>, ModelError> {
        let (d, width) = (self.config.hidden, self.config.feed_forward);
        let gate = (Role::FeedForwardGate, Role::FeedForwardGateBias);
        Ok(FeedForward {
            input_scale: self.optional(Role::FeedForwardInputScale, at, d)?,
            expand: self.linear((Role::FeedForwardIn, Role::FeedForwardInBias), at, (width, d))?,
            gate: match self.config.gated {
                true => Some(self.linear(gate, at, (width, d))?),
                false => None,
            },
            contract: self.linear(
                (Role::FeedForwardOut, Role::FeedForwardOutBias),
                at,
                (d, width),
            )?,
        })
    }

    fn adapter(&self, at: u16) -> Result<Option<Adapter<'a>>, ModelError> {
        let Some(down) = self.tensor(Role::AdapterDown, at) else { return Ok(None) };
        let (d, h) = (self.config.hidden, down.rows);
        Ok(Some(Adapter {
            down: self.linear((Role::AdapterDown, Role::AdapterDownBias), at, (h, d))?,
            up: self.linear((Role::AdapterUp, Role::AdapterUpBias), at, (d, h))?,
        }))
    }

    fn low_rank_keys(&self, at: u16) -> Result<LowRankKeys<'a>, ModelError> {
        let rank = self.required(Role::LowRankDown, at)?.rows;
        let (d, width) = (self.config.hidden, self.config.attention_width());
        let low_rank = LowRankKeys {
            down: view::linear(&self.required(Role::LowRankDown, at)?, (rank, d), &[])?,
            key: self.linear((Role::LowRankKey, Role::LowRankKeyBias), at, (width, rank))?,
            value: self.linear((Role::LowRankValue, Role::LowRankValueBias), at, (width, rank))?,
        };
        let wide = width >= LOW_RANK_WIDTH;
        let by_rank = wide && self.config.int8_attention && low_rank.key.is_integer();
        if by_rank && !cfg!(feature = "low-rank") {
            return Err(ModelError::LeftOut { feature: "low-rank" });
        }
        // The same rows enter both.
        if low_rank.key.is_integer() != low_rank.value.is_integer() {
            return Err(ModelError::Encoding { role: Role::LowRankValue, layer: at });
        }
        Ok(low_rank)
    }

    /// A linear map that reads float rows: patches, the head.
    pub(super) fn float_linear(
        &self,
        weight: Role,
        bias: Option<Role>,
        at: u16,
        shape: (usize, usize),
    ) -> Result<Linear<'a>, ModelError> {
        let bias = bias.map_or(Ok(&[][..]), |role| self.optional(role, at, shape.0))?;
        let linear = view::linear(&self.required(weight, at)?, shape, bias)?;
        if linear.is_integer() {
            return Err(ModelError::Encoding { role: weight, layer: at });
        }
        Ok(linear)
    }
}
