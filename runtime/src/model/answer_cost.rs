//! Multiply-accumulates of an answer behind the encoder's inference, counted on paper (`docs/method.md`, "Text out").

use super::{Decoder, DecoderLayer, Linear};

/// What the work of an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerSize {
    /// States of the encoder.
    pub tokens: usize,
    /// Start ids.
    pub start: usize,
    /// New tokens.
    pub longest: usize,
    /// Hypotheses.
    pub beams: usize,
}

/// Multiply-accumulates of an answer, by what they run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerMacs {
    /// Keys and values of the encoder's states, of every layer.
    pub memory: u64,
    /// Weights of all steps, each read once a step whatever the number of hypotheses.
    pub weights: u64,
    /// The same weights with the rows of further hypotheses.
    pub rows: u64,
    /// Kept keys and values, of every hypothesis.
    pub keys: u64,
}

const fn macs(map: &Linear<'_>) -> u64 {
    map.inputs as u64 * map.outputs as u64
}

/// Weights that a row passes in a layer.
fn of_layer(layer: &DecoderLayer<'_>) -> u64 {
    let (own, wide) = (&layer.block.attention, &layer.block.feed_forward);
    let maps = [&own.query, &own.key, &own.value, &own.output, &layer.cross.query];
    let maps = maps.into_iter().chain([&layer.cross.output, &wide.expand, &wide.contract]);
    let adapter = layer.block.adapter.map_or(0, |own| macs(&own.down) + macs(&own.up));
    maps.map(macs).sum::<u64>() + wide.gate.map_or(0, |gate| macs(&gate)) + adapter
}

impl Decoder<'_> {
    /// Multiply-accumulates of an answer of so many tokens.
    #[must_use]
    pub fn answer_macs(&self, size: AnswerSize) -> AnswerMacs {
        let AnswerSize { tokens, start, longest, beams } = size;
        let [n, start, longest, beams] = [tokens, start, longest, beams].map(|count| count as u64);
        let (mut memory, mut weights) = (0, 0);
        for layer in (0..self.config().layers).map(|index| self.layer(index)) {
            memory += macs(&layer.cross.key) + macs(&layer.cross.value);
            weights += of_layer(&layer);
        }
        let globals = self.globals();
        let n = n + globals.appended.rows as u64;
        memory += globals.memory.map_or(0, |map| macs(&map));
        let logits = globals.logits.inputs as u64 * self.channels().computed() as u64;
        // The last new token does not enter, and the first one is of one hypothesis.
        let later = longest.saturating_sub(1);
        // Keys that the queries of positions `from..to` meet.
        let met = |from: u64, to: u64| (to - from) * n + (from + 1 + to) * (to - from) / 2;
        let keys = met(0, start) + beams * met(start, start + later);
        let each = 2 * (self.config().attention_width() * self.config().layers) as u64;
        AnswerMacs {
            memory: n * memory,
            weights: weights * (start + later) + logits * longest,
            rows: beams.saturating_sub(1) * later * (weights + logits),
            keys: keys * each,
        }
    }
}
