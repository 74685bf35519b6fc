//! The head: poolings, dense stages, classifier or embedding.

use super::{Builder, OracleError, Wire};
use crate::source::roles::{FIRST_STAGE, HEAD, POOLED_NORM, PROBE_OUTPUT, SECOND_STAGE};
use coda_runtime::config::{Activation, Head, HeadKind, Pooling, StageActivation};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use tract_core::internal::{AxisOp, OutletId, TDim, tvec};
use tract_core::ops::array::{Slice, TypedConcat};
use tract_core::ops::math::{add, div, max, mul, sqrt, square, tanh};
use tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

impl Builder<'_> {
    pub(super) fn head(&mut self, hidden: OutletId, head: Head) -> Wire {
        if let HeadKind::TokenClassification { labels } = head.kind {
            return self.linear(hidden, HEAD, [labels, self.config.hidden]);
        }
        let pooled: Result<Vec<OutletId>, OracleError> =
            head.pooling.iter().map(|pooling| self.pooled(hidden, pooling)).collect();
        let mut vector = self.wire("pooled", TypedConcat::new(1), &pooled?)?;
        let residual = vector;
        if head.pooling.is_attention() || head.pooling.has_norm() {
            vector = self.norm(vector, POOLED_NORM)?;
        }
        let mut width = self.config.hidden * head.pooling.count();
        for (index, roles) in [FIRST_STAGE, SECOND_STAGE].into_iter().enumerate() {
            let Some(activation) = head.stages.get(index) else { break };
            let weight = self.weights.tensor(roles.weight, GLOBAL_LAYER);
            let rows = weight.and_then(|tensor| tensor.shape.first().copied()).unwrap_or(0);
            vector = self.linear(vector, roles, [rows, width])?;
            vector = self.stage_activation(vector, activation)?;
            width = rows;
        }
        if head.pooling.is_attention() {
            vector = self.wire("probe residual", add(), &[vector, residual])?;
        }
        match head.kind {
            HeadKind::Classification { labels } | HeadKind::TokenClassification { labels } => {
                self.linear(vector, HEAD, [labels, width])
            }
            HeadKind::Embedding { normalize: true } => self.unit_length(vector),
            HeadKind::Embedding { normalize: false } => Ok(vector),
        }
    }

    /// One pooling of all tokens, `[1, d]`.
    fn pooled(&mut self, hidden: OutletId, pooling: Pooling) -> Wire {
        let n = self.tokens;
        match pooling {
            Pooling::ClassToken => self.wire("class", Slice::new(0, 0, 1), &[hidden]),
            Pooling::LastToken => self.wire("last", Slice::new(0, n - 1, n), &[hidden]),
            Pooling::Max => self.reduce(hidden, Reducer::Max),
            Pooling::Mean => self.mean(hidden, 0, n),
            Pooling::MeanRootLength => self.scaled_sum(hidden, 1.0 / (n as f64).sqrt()),
            Pooling::WeightedMean => {
                let positions: Vec<f32> = (1..=n).map(|position| position as f32).collect();
                let positions = self.constant("positions", &[n, 1], &positions)?;
                let weighted = self.wire("weighted rows", mul(), &[hidden, positions])?;
                self.scaled_sum(weighted, 2.0 / (n * (n + 1)) as f64)
            }
            Pooling::Attention => self.probed(hidden),
            Pooling::MeanOfRest => self.mean_from(hidden, 1),
            Pooling::MeanOfPatches => self.mean_from(hidden, self.config.prefix_tokens()),
            Pooling::MeanOfPrefix => {
                let count = self.config.prefix_tokens().clamp(1, n);
                let prefix = self.wire("prefix", Slice::new(0, 0, count), &[hidden])?;
                self.mean(prefix, 0, count)
            }
            Pooling::SecondToken if n == 1 => self.scaled_sum(hidden, 0.0),
            Pooling::SecondToken => self.wire("second", Slice::new(0, 1, 2), &[hidden]),
        }
    }

    /// Attention of a learned query to all tokens, `[1, d]`.
    fn probed(&mut self, hidden: OutletId) -> Wire {
        let (d, heads, head_dim) = (self.config.hidden, self.config.heads, self.config.head_dim);
        let keys = self.tensor(Role::Probe, [heads, d])?;
        let scores = self.einsum("probe scores", "hd,nd->hn", [keys, hidden])?;
        let softmax = Softmax::new(tvec![1], None, SoftmaxKind::Softmax);
        let weights = self.wire("probe softmax", softmax, &[scores])?;
        let mixed = self.einsum("probe mix", "hn,nd->hd", [weights, hidden])?;
        let maps = self.checked(Role::ProbeValue, [heads * head_dim, d])?;
        let maps = self.constant("probe values", &[heads, head_dim, d], maps)?;
        let values = self.einsum("probe context", "hd,hed->he", [mixed, maps])?;
        let dims = |sides: &[usize]| sides.iter().map(|side| TDim::from(*side)).collect();
        let joined = AxisOp::Reshape(0, dims(&[heads, head_dim]), dims(&[1, heads * head_dim]));
        let joined = self.wire("probe context of all heads", joined, &[values])?;
        self.linear(joined, PROBE_OUTPUT, [d, heads * head_dim])
    }

    /// The mean of all tokens from `first` on.
    fn mean_from(&mut self, hidden: OutletId, first: usize) -> Wire {
        let (first, n) = (first.min(self.tokens - 1), self.tokens);
        let rest = self.wire("rest", Slice::new(0, first, n), &[hidden])?;
        self.mean(rest, 0, n - first)
    }

    fn scaled_sum(&mut self, rows: OutletId, factor: f64) -> Wire {
        let sum = self.reduce(rows, Reducer::Sum)?;
        let factor = self.scalar(factor as f32, 2)?;
        self.wire("scaled sum", mul(), &[sum, factor])
    }

    fn reduce(&mut self, rows: OutletId, reducer: Reducer) -> Wire {
        self.wire("of all tokens", Reduce::new(tvec![0], reducer), &[rows])
    }

    fn stage_activation(&mut self, x: OutletId, activation: StageActivation) -> Wire {
        match activation {
            StageActivation::Identity => Ok(x),
            StageActivation::Relu => self.activation(x, Activation::Relu),
            StageActivation::GeluErf => self.activation(x, Activation::GeluErf),
            StageActivation::GeluErfNormed => {
                let x = self.activation(x, Activation::GeluErf)?;
                self.norm(x, POOLED_NORM)
            }
            StageActivation::GeluTanh => self.activation(x, Activation::GeluTanh),
            StageActivation::Tanh => self.wire("stage", tanh(), &[x]),
        }
    }

    /// `x / max(|x|, 1e-12)` of a row.
    fn unit_length(&mut self, x: OutletId) -> Wire {
        let squares = self.wire("squares", square(), &[x])?;
        let sum = self.wire("sum", Reduce::new(tvec![1], Reducer::Sum), &[squares])?;
        let length = self.wire("length", sqrt(), &[sum])?;
        let least = self.scalar(1e-12, 2)?;
        let length = self.wire("divisor", max(), &[length, least])?;
        self.wire("unit length", div(), &[x, length])
    }
}
