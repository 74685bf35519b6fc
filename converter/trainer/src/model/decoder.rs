//! The decoder (`docs/method.md`, "Text out"): all tokens of an answer at once, each of which sees those
//! before it.

use super::affine::{
    ATTENTION_NORM, Affine, CROSS_KEY, CROSS_NORM, CROSS_OUTPUT, CROSS_QUERY, CROSS_VALUE,
    EMBEDDING_NORM, FEED_FORWARD_NORM, FINAL_NORM, KEY, LOGIT, MEMORY, OUTPUT, QUERY, VALUE,
};
use super::batch::DecoderInputs;
use super::stack::{Keys, Sequence, Stack, add_optional};
use crate::ops::{Segment, gather, linear_without_bias};
use candle_core::{Result, Tensor};
use coda_runtime::config::{Embedding, NormPlacement};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::ops::Range;

/// A decoder.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) stack: Stack,
    /// Factor on a row of the token table.
    pub(super) embedding_scale: f64,
    /// Factor on the logits.
    pub(super) logit_scale: f64,
}

/// The maps of an attention.
struct Attention {
    norm: Affine,
    query: Affine,
    key: Affine,
    value: Affine,
    output: Affine,
}

const SELF: Attention =
    Attention { norm: ATTENTION_NORM, query: QUERY, key: KEY, value: VALUE, output: OUTPUT };
const CROSS: Attention = Attention {
    norm: CROSS_NORM,
    query: CROSS_QUERY,
    key: CROSS_KEY,
    value: CROSS_VALUE,
    output: CROSS_OUTPUT,
};

/// What every layer of a pass reads.
struct Pass<'p> {
    /// The encoder's states.
    memory: &'p Tensor,
    /// Each answer and itself.
    own: Vec<Segment>,
    /// Each answer and its input.
    across: Vec<Segment>,
}

impl Decoder {
    /// Logits behind the rows that have a target, `[targets, vocabulary]`. `table` is the encoder's, for a decoder
    /// that has none.
    pub(super) fn written(
        &self,
        table: Option<&Tensor>,
        hidden: &Tensor,
        inputs: &DecoderInputs,
        encoded: &[Range<usize>],
    ) -> Result<Tensor> {
        let tokens = match (self.stack.find(GLOBAL_LAYER, Role::TokenEmbedding), table) {
            (Some(own), _) => own,
            (None, Some(other)) => other,
            (None, None) => candle_core::bail!("the model has no token table"),
        };
        let x = self.forward(tokens, hidden, inputs, encoded)?;
        self.logits(&gather(&x, inputs.scored.as_slice().into())?, tokens)
    }

    /// X behind the last layer.
    fn forward(
        &self,
        tokens: &Tensor,
        hidden: &Tensor,
        inputs: &DecoderInputs,
        encoded: &[Range<usize>],
    ) -> Result<Tensor> {
        let stack = &self.stack;
        let memory = match stack.find(GLOBAL_LAYER, Role::MemoryWeight) {
            None => hidden.clone(),
            Some(_) => stack.map(GLOBAL_LAYER, MEMORY, hidden)?,
        };
        let own = inputs.ranges.iter().map(|range| self.before(range)).collect();
        let across = inputs.ranges.iter().zip(encoded).map(|(own, other)| across(own, other));
        let pass = Pass { memory: &memory, own, across: across.collect() };
        let mut x = self.embed(tokens, inputs)?;
        for layer in 0..stack.config.layers as u16 {
            x = self.layer(layer, &x, &pass)?;
        }
        Ok(x)
    }

    /// `norm(scale * word + position)`.
    fn embed(&self, tokens: &Tensor, inputs: &DecoderInputs) -> Result<Tensor> {
        let stack = &self.stack;
        let mut x = (gather(tokens, inputs.ids.as_slice().into())? * self.embedding_scale)?;
        if let Some(table) = stack.find(GLOBAL_LAYER, Role::PositionEmbedding) {
            let rows = inputs.ranges.iter().flat_map(|range| 0..range.len() as u32);
            x = (x + gather(table, rows.collect())?)?;
        }
        match stack.config.embedding {
            Embedding::Tokens { norm: true, .. } => stack.norm(GLOBAL_LAYER, EMBEDDING_NORM, &x),
            _ => Ok(x),
        }
    }

    /// ```text
    /// h = X + self_attention(u)              u = norm(X), X itself in a post-norm layer
    /// c = h + cross_attention(norm(h), H)
    /// Y = c + FFN(norm(c)) + adapter(u)
    /// ```
    fn layer(&self, layer: u16, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let (stack, mut adapter) = (&self.stack, None);
        let h = self.residual(layer, SELF.norm, x, |u| {
            adapter = stack.adapter(layer, u)?;
            self.attend(layer, &SELF, [u, u], &pass.own)
        })?;
        let c = self.residual(layer, CROSS.norm, &h, |u| {
            self.attend(layer, &CROSS, [u, pass.memory], &pass.across)
        })?;
        let y = self.residual(layer, FEED_FORWARD_NORM, &c, |u| stack.feed_forward(layer, u))?;
        add_optional(y, adapter)
    }

    /// `x + part(norm(x))`; in a post-norm layer `norm(x + part(x))`.
    fn residual(
        &self,
        layer: u16,
        norm: Affine,
        x: &Tensor,
        part: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self.stack.config.placement {
            NormPlacement::Pre => x + part(&self.stack.norm(layer, norm, x)?)?,
            NormPlacement::Post => self.stack.norm(layer, norm, &(x + part(x)?)?),
        }
    }

    /// Rows of the first attend to rows of the second.
    fn attend(
        &self,
        layer: u16,
        maps: &Attention,
        [asking, asked]: [&Tensor; 2],
        segments: &[Segment],
    ) -> Result<Tensor> {
        let keys = Keys {
            keys: self.stack.map(layer, maps.key, asked)?,
            values: self.stack.map(layer, maps.value, asked)?,
            segments: segments.to_vec(),
        };
        let queries = self.stack.map(layer, maps.query, asking)?;
        self.stack.map(layer, maps.output, &self.stack.attend(&queries, keys)?)
    }

    /// A token of an answer and those before it.
    fn before(&self, range: &Range<usize>) -> Segment {
        let positions: Vec<u32> = (0..range.len() as u32).collect();
        let own = Sequence { start: range.start, positions: &positions };
        Segment { causal: true, ..self.stack.segment(own, own) }
    }

    /// `scale * norm(x) W^T`, where W may be the token table.
    fn logits(&self, x: &Tensor, tokens: &Tensor) -> Result<Tensor> {
        let stack = &self.stack;
        let normed = match stack.config.final_norm {
            true => stack.norm(GLOBAL_LAYER, FINAL_NORM, x)?,
            false => x.clone(),
        };
        let logits = match stack.find(GLOBAL_LAYER, Role::LogitWeight) {
            Some(_) => stack.map(GLOBAL_LAYER, LOGIT, &normed)?,
            None => linear_without_bias(&normed, tokens)?,
        };
        logits * self.logit_scale
    }
}

/// An answer and the rows of its input: cross attention has no bias.
fn across(own: &Range<usize>, other: &Range<usize>) -> Segment {
    Segment {
        query_start: own.start,
        queries: own.len(),
        key_start: other.start,
        keys: other.len(),
        causal: false,
        entries: Vec::new(),
    }
}
