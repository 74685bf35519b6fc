//! The forward pass (`docs/method.md`, "One layer"), differentiable in whatever is trained.

use super::affine::{
    ATTENTION_NORM, EMBEDDING_NORM, FEED_FORWARD_NORM, FINAL_NORM, HEAD, KEY, LOW_RANK_KEY,
    LOW_RANK_VALUE, OUTPUT, PATCH, PROJECTION, QUERY, VALUE,
};
use super::batch::{Batch, Inputs};
use super::stack::{Keys, Sequence, add_optional};
use super::{Model, Selector};
use crate::ops::{
    Segment, Selected, add_gated, gates, gather, linear_without_bias, mean_rows, merge_rows,
    rms_norm,
};
use crate::random::{Draws, Purpose};
use candle_core::{DType, Device, Result, Tensor};
use coda_runtime::config::{
    AttentionMode, Embedding, Gate, Named, NormPlacement, Pooling, RouterInput,
};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::routing::{RouteScratch, route, tokens_for_reduction};
use std::ops::Range;
use std::sync::Arc;

/// Added to the mean square of the router's rms input, as in the runtime.
const ROUTER_RMS_EPS: f64 = 1e-6;

/// What a routed layer did.
#[derive(Clone, Debug)]
pub struct LayerTrace {
    /// Router scores of all rows.
    pub scores: Tensor,
    /// What each sequence selected.
    pub choices: Arc<[Selected]>,
}

/// The result of a forward pass.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Hidden states after the final norm, `[rows, d]`.
    pub hidden: Tensor,
    /// One vector a sequence.
    pub pooled: Tensor,
    /// Logits of each sequence, if the model has a head, or behind each scored row of the answers.
    pub logits: Option<Tensor>,
    /// Routed layers; a layer that ran dense has `None`.
    pub layers: Vec<Option<LayerTrace>>,
}

/// Where the rows of a routed layer go.
struct Routed {
    choices: Arc<[Selected]>,
    /// Selected rows of all sequences.
    selected: Arc<[u32]>,
    /// The other rows.
    rest: Arc<[u32]>,
}

impl Model {
    /// Runs a batch; `reductions` has one factor for each layer, 1 for dense.
    ///
    /// # Errors
    /// The batch does not fit the model.
    pub fn forward(&self, batch: &Batch, reductions: &[f32]) -> Result<Encoded> {
        let mut x = self.embed(batch)?;
        let mut layers = Vec::with_capacity(self.encoder.config.layers);
        for index in 0..self.encoder.config.layers {
            let reduction = reductions.get(index).copied().unwrap_or(1.0);
            let (y, trace) = self.layer(index, &x, batch, reduction)?;
            layers.push(trace);
            x = y;
        }
        self.finish(batch, x, layers)
    }

    /// Runs a batch dense, with every token's update of every layer times its mark (`[rows, 1]` for each
    /// layer): the gradient of a mark says what it would change if the token skipped the layer. Returns
    /// what the routers read too.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_marked(
        &self,
        batch: &Batch,
        marks: &[Tensor],
    ) -> Result<(Encoded, Vec<Tensor>)> {
        let mut x = self.embed(batch)?;
        let (mut inputs, rows) = (Vec::new(), x.dim(0)? as u32);
        for (layer, mark) in (0..).zip(marks) {
            let u = self.encoder.layer_input(layer, &x)?;
            inputs.push(self.router_input(&x, &u)?);
            let update = (self.dense(layer, &x, &u, &batch.ranges)? - &x)?;
            let base = add_optional(x, self.encoder.adapter(layer, &u)?)?;
            x = add_gated(&base, &update, mark, (0..rows).collect())?;
        }
        Ok((self.finish(batch, x, Vec::new())?, inputs))
    }

    fn finish(&self, batch: &Batch, x: Tensor, layers: Vec<Option<LayerTrace>>) -> Result<Encoded> {
        let hidden = if self.encoder.config.final_norm {
            self.encoder.norm(GLOBAL_LAYER, FINAL_NORM, &x)?
        } else {
            x
        };
        let pooled = match self.spec.pooling {
            Pooling::ClassToken => {
                gather(&hidden, batch.ranges.iter().map(|range| range.start as u32).collect())?
            }
            Pooling::Mean => mean_rows(&hidden, batch.ranges.clone())?,
            other => candle_core::bail!("a pooling by {} is not trained", other.name()),
        };
        let logits = match self.spec.labels {
            0 => self.written(&hidden, batch)?,
            _ => Some(self.encoder.map(GLOBAL_LAYER, HEAD, &pooled)?),
        };
        Ok(Encoded { hidden, pooled, logits, layers })
    }

    /// Logits behind the rows that have a target, `[targets, vocabulary]`, if the batch has answers.
    fn written(&self, hidden: &Tensor, batch: &Batch) -> Result<Option<Tensor>> {
        let Some(inputs) = &batch.answers else { return Ok(None) };
        let Some(decoder) = &self.decoder else {
            candle_core::bail!("the model has no decoder: it does not write")
        };
        let table = self.encoder.find(GLOBAL_LAYER, Role::TokenEmbedding);
        decoder.written(table, hidden, inputs, &batch.ranges).map(Some)
    }

    fn embed(&self, batch: &Batch) -> Result<Tensor> {
        match (&batch.inputs, self.encoder.config.embedding) {
            (Inputs::Tokens { ids, types }, Embedding::Tokens { projected, norm, .. }) => {
                let mut x = gather(
                    self.encoder.need(GLOBAL_LAYER, Role::TokenEmbedding)?,
                    (&**ids).into(),
                )?;
                if let Some(table) = self.encoder.find(GLOBAL_LAYER, Role::TokenTypeEmbedding) {
                    x = (x + gather(table, (&**types).into())?)?;
                }
                if self.encoder.find(GLOBAL_LAYER, Role::PositionEmbedding).is_some() {
                    x = (x + self.positions(batch)?)?;
                }
                if norm {
                    x = self.encoder.norm(GLOBAL_LAYER, EMBEDDING_NORM, &x)?;
                }
                if projected > 0 { self.encoder.map(GLOBAL_LAYER, PROJECTION, &x) } else { Ok(x) }
            }
            (Inputs::Patches(patches), Embedding::Patches { prefix_tokens, norm, .. }) => {
                let mut x = self.encoder.map(GLOBAL_LAYER, PATCH, patches)?;
                if prefix_tokens > 0 {
                    let prefix = self.encoder.need(GLOBAL_LAYER, Role::ClassToken)?;
                    x = merge_rows(prefix, &x, after_prefix(&batch.ranges, prefix_tokens as u32))?;
                }
                let x = (x + self.positions(batch)?)?;
                if norm { self.encoder.norm(GLOBAL_LAYER, EMBEDDING_NORM, &x) } else { Ok(x) }
            }
            (Inputs::Tokens { .. }, _) => candle_core::bail!("the model reads images, not tokens"),
            (Inputs::Patches(_), _) => candle_core::bail!("the model reads tokens, not images"),
        }
    }

    /// The position rows of every sequence.
    fn positions(&self, batch: &Batch) -> Result<Tensor> {
        let table = self.encoder.need(GLOBAL_LAYER, Role::PositionEmbedding)?;
        if !batch.positions.is_empty() {
            return gather(table, batch.positions.as_slice().into());
        }
        let rows = batch.ranges.iter().flat_map(|range| 0..range.len() as u32);
        gather(table, rows.collect())
    }

    fn layer(
        &self,
        index: usize,
        x: &Tensor,
        batch: &Batch,
        reduction: f32,
    ) -> Result<(Tensor, Option<LayerTrace>)> {
        let (layer, ranges) = (index as u16, batch.ranges.as_slice());
        let u = self.encoder.layer_input(layer, x)?;
        let adapter = self.encoder.adapter(layer, &u)?;
        let mode = self.spec.routing(index).filter(|_| reduction > 1.0);
        let Some(mode) = mode else {
            let y = self.dense(layer, x, &u, ranges)?;
            return Ok((add_optional(y, adapter)?, None));
        };
        let scores = self.scores(layer, x, &u, batch, reduction)?;
        let routed = self.select(&scores, ranges, reduction)?;
        let gates = gates(&scores, routed.choices.clone(), self.spec.gate)?;
        let x_selected = gather(x, routed.selected.clone())?;
        let u_selected = match self.encoder.config.placement {
            NormPlacement::Pre => gather(&u, routed.selected.clone())?,
            NormPlacement::Post => x_selected.clone(),
        };
        let keys = self.keys(layer, mode, &routed, &u, &u_selected)?;
        let queries = self.encoder.map(layer, QUERY, &u_selected)?;
        let output = self.after_projections(layer, &x_selected, &queries, keys)?;
        let update = (output - x_selected)?;
        let base = add_optional(x.clone(), adapter)?;
        let y = add_gated(&base, &update, &gates, routed.selected)?;
        Ok((y, Some(LayerTrace { scores, choices: routed.choices })))
    }

    /// The frozen layer for every token.
    fn dense(&self, layer: u16, x: &Tensor, u: &Tensor, ranges: &[Range<usize>]) -> Result<Tensor> {
        let positions = |range: &Range<usize>| (0..range.len() as u32).collect::<Vec<_>>();
        let segments = ranges.iter().map(|range| {
            let positions = positions(range);
            let own = Sequence { start: range.start, positions: &positions };
            self.encoder.segment(own, own)
        });
        let keys = Keys {
            keys: self.encoder.map(layer, KEY, u)?,
            values: self.encoder.map(layer, VALUE, u)?,
            segments: segments.collect(),
        };
        self.after_projections(layer, x, &self.encoder.map(layer, QUERY, u)?, keys)
    }

    /// The scores of a layer's rows: the router's, or those of a way to select without one.
    fn scores(
        &self,
        layer: u16,
        x: &Tensor,
        u: &Tensor,
        batch: &Batch,
        reduction: f32,
    ) -> Result<Tensor> {
        match self.spec.selection {
            Selector::Learned => linear_without_bias(
                &self.router_input(x, u)?,
                self.encoder.need(layer, Role::Router)?,
            ),
            other => fixed_scores(other, batch.draw, layer, &batch.ranges, reduction)?
                .to_dtype(x.dtype()),
        }
    }

    /// What a router reads of a layer's input `x`, before its norm, and `u`, after it.
    fn router_input(&self, x: &Tensor, u: &Tensor) -> Result<Tensor> {
        Ok(match self.spec.router_input {
            RouterInput::Norm => u.clone(),
            RouterInput::Raw => x.clone(),
            RouterInput::Rms => {
                let ones = Tensor::ones((1, self.encoder.config.hidden), x.dtype(), x.device())?;
                rms_norm(x, &ones, ROUTER_RMS_EPS)?
            }
            RouterInput::Grid => candle_core::bail!("a grid has no router that could be trained"),
        })
    }

    /// Selects as the runtime does, with its own routine.
    fn select(&self, scores: &Tensor, ranges: &[Range<usize>], reduction: f32) -> Result<Routed> {
        let values: Vec<f32> = scores.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (mut choices, mut selected, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for range in ranges {
            let (order, k) = order(&values[range.clone()], reduction, &self.spec.pinned);
            let (own, other) = order.split_at(k);
            let row = |token: &u32| range.start as u32 + token;
            selected.extend(own.iter().map(row));
            rest.extend(other.iter().map(row));
            let pinned = self.spec.pinned.iter().copied();
            choices.push(Selected {
                rows: range.clone(),
                selected: own.to_vec(),
                pinned: pinned.filter(|token| (*token as usize) < range.len()).collect(),
            });
        }
        Ok(Routed { choices: choices.into(), selected: selected.into(), rest: rest.into() })
    }

    fn keys(
        &self,
        layer: u16,
        mode: AttentionMode,
        routed: &Routed,
        u: &Tensor,
        u_selected: &Tensor,
    ) -> Result<Keys> {
        let source = if mode == AttentionMode::KToAll { u } else { u_selected };
        let (mut keys, mut values) =
            (self.encoder.map(layer, KEY, source)?, self.encoder.map(layer, VALUE, source)?);
        if mode == AttentionMode::KToLowRank {
            let down = self.encoder.need(layer, Role::LowRankDown)?;
            let low = linear_without_bias(&gather(u, routed.rest.clone())?, down)?;
            let order = exact_before_low_rank(&routed.choices);
            let low_rank = self.encoder.map(layer, LOW_RANK_KEY, &low)?;
            keys = merge_rows(&keys, &low_rank, order.clone())?;
            let low_rank = self.encoder.map(layer, LOW_RANK_VALUE, &low)?;
            values = merge_rows(&values, &low_rank, order)?;
        }
        Ok(Keys { keys, values, segments: self.segments(mode, &routed.choices)? })
    }

    /// Which keys the queries of each sequence attend to.
    fn segments(&self, mode: AttentionMode, choices: &[Selected]) -> Result<Vec<Segment>> {
        let mut query_start = 0;
        let segment = |choice: &Selected| {
            let start = query_start;
            query_start += choice.selected.len();
            let (key_start, positions) = match mode {
                AttentionMode::KToK => (start, choice.selected.clone()),
                AttentionMode::Prune => {
                    candle_core::bail!("layers that prune cannot be trained here: train k-to-k")
                }
                AttentionMode::KToAll => {
                    (choice.rows.start, (0..choice.rows.len() as u32).collect())
                }
                AttentionMode::KToLowRank => (choice.rows.start, selected_first(choice)),
            };
            let queries = Sequence { start, positions: &choice.selected };
            let keys = Sequence { start: key_start, positions: &positions };
            Ok(self.encoder.segment(queries, keys))
        };
        choices.iter().map(segment).collect()
    }

    /// Attention and what follows it in a layer, for rows `x`.
    fn after_projections(
        &self,
        layer: u16,
        x: &Tensor,
        queries: &Tensor,
        keys: Keys,
    ) -> Result<Tensor> {
        let attended = self.encoder.attend(queries, keys)?;
        let attended = self.encoder.map(layer, OUTPUT, &attended)?;
        let h = (x + self.encoder.scaled(layer, Role::AttentionScale, attended)?)?;
        match self.encoder.config.placement {
            NormPlacement::Pre => {
                let wide = self
                    .encoder
                    .feed_forward(layer, &self.encoder.norm(layer, FEED_FORWARD_NORM, &h)?)?;
                h + wide
            }
            NormPlacement::Post => {
                let h = self.encoder.norm(layer, ATTENTION_NORM, &h)?;
                let sum = (&h + self.encoder.feed_forward(layer, &h)?)?;
                self.encoder.norm(layer, FEED_FORWARD_NORM, &sum)
            }
        }
    }
}

/// Selected tokens ascending, then the rest, and the number of selected ones.
fn order(scores: &[f32], reduction: f32, pinned: &[u32]) -> (Vec<u32>, usize) {
    let n = scores.len();
    let k = tokens_for_reduction(n, reduction);
    let (mut order, mut gates) = (vec![0; n], vec![0.0; n]);
    let (mut keys, mut tails) = (vec![0; n], vec![0.0; n]);
    let mut scratch = RouteScratch { keys: &mut keys, tails: &mut tails };
    let pinned = pinned.iter().map(|token| *token as usize);
    let k = route(scores, k, pinned, Gate::Ones, &mut order, &mut gates, &mut scratch);
    (order, k)
}

/// Scores that select without a router.
fn fixed_scores(
    selection: Selector,
    draw: u64,
    layer: u16,
    ranges: &[Range<usize>],
    reduction: f32,
) -> Result<Tensor> {
    let mut scores = Vec::new();
    for range in ranges {
        let (n, k) = (range.len(), tokens_for_reduction(range.len(), reduction));
        // The place in the batch stands for the sample.
        let index = (range.start as u64) << 16 | u64::from(layer);
        let mut draws = Draws::new(draw, Purpose::Selection, index);
        scores.extend((0..n).map(|token| match selection {
            Selector::Random | Selector::Learned => draws.unit() as f32,
            Selector::First => -(token as f32),
            Selector::Every => -((token * k % n) as f32),
        }));
    }
    let rows = scores.len();
    Tensor::from_vec(scores, (rows, 1), &Device::Cpu)
}

/// The prefix rows before the patches of each image, which follow them in the merged rows.
fn after_prefix(ranges: &[Range<usize>], prefix: u32) -> Arc<[u32]> {
    let mut next = prefix;
    let rows = ranges.iter().flat_map(|range| {
        let first = next;
        next += range.len() as u32 - prefix;
        (0..prefix).chain(first..next)
    });
    rows.collect()
}

/// The tokens of a sequence, selected ones first.
fn selected_first(choice: &Selected) -> Vec<u32> {
    let is_rest = |token: &u32| choice.selected.binary_search(token).is_err();
    let rest = (0..choice.rows.len() as u32).filter(is_rest);
    choice.selected.iter().copied().chain(rest).collect()
}

/// For each sequence its exact rows, then its low-rank rows; low-rank rows come after all exact ones.
fn exact_before_low_rank(choices: &[Selected]) -> Arc<[u32]> {
    let exact: usize = choices.iter().map(|choice| choice.selected.len()).sum();
    let (mut own, mut low_rank) = (0, exact as u32);
    let rows = choices.iter().flat_map(|choice| {
        let k = choice.selected.len() as u32;
        let (first, behind) = (own, low_rank);
        own += k;
        low_rank += choice.rows.len() as u32 - k;
        (first..own).chain(behind..low_rank)
    });
    rows.collect()
}
