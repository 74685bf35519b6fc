//! How fast a model writes, and what its memory allows.

use crate::answer::{Answer, Writer};
use crate::dataset::SampleInput;
use crate::evaluate::median;
use anyhow::{Context, Result};
use coda_runtime::decoder::Search;
use coda_runtime::format::{Package, Role};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde::Serialize;
use std::time::Instant;

/// Answers before the first that counts.
const WARM_UP: usize = 2;
/// Bytes that are read to find the bandwidth of the memory: more than caches hold.
const STREAM: usize = 512 << 20;
/// Readings of them, of which the fastest counts.
const READINGS: usize = 5;

/// How fast a model writes at one reduction. Medians of all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WritingTiming {
    /// Reduction factor r of the encoder.
    pub reduction: f32,
    /// The encoder, and its states as keys and values, milliseconds.
    pub encoder_ms: f64,
    /// From the call to the first token, milliseconds.
    pub first_token_ms: f64,
    /// A step behind the first one, milliseconds.
    pub step_ms: f64,
    /// Tokens a second behind the first one, of the best hypothesis.
    pub tokens_per_second: f64,
    /// New tokens of an answer.
    pub tokens: usize,
}

/// What a step reads, and how fast this machine reads memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    /// Bytes of weights that a step reads once.
    pub step_bytes: usize,
    /// Bytes a second that one thread reads from memory, measured here.
    pub bytes_per_second: f64,
}

impl Bandwidth {
    /// Measures this machine, for a model that writes.
    ///
    /// # Errors
    /// The model has no decoder.
    pub fn measure(model: &Model<'_>) -> Result<Self> {
        Ok(Self { step_bytes: step_bytes(model)?, bytes_per_second: bytes_per_second() })
    }

    /// The part of that bandwidth which steps of `milliseconds` use: above 1 where caches hold weights, 0 of no
    /// step.
    #[must_use]
    pub fn share(&self, milliseconds: f64) -> f64 {
        match milliseconds > 0.0 {
            true => self.step_bytes as f64 / (milliseconds / 1000.0) / self.bytes_per_second,
            false => 0.0,
        }
    }
}

/// Bytes of weights that every step of a model reads: those of its decoder's layers but for the keys and values
/// of the encoder's states, and the output map, with a shortlist its panels alone.
///
/// # Errors
/// The model has no decoder.
pub fn step_bytes(model: &Model<'_>) -> Result<usize> {
    let base = model.base().decoder().context("the model has no decoder: it does not write")?;
    let of_task = model.task().and_then(Package::decoder);
    let is_read = |role: Role| {
        !matches!(
            role,
            Role::CrossKey
                | Role::CrossKeyBias
                | Role::CrossValue
                | Role::CrossValueBias
                | Role::MemoryWeight
                | Role::MemoryBias
                | Role::TokenEmbedding
                | Role::LogitWeight
                | Role::PositionEmbedding
        )
    };
    let bytes_of = |package: &Package<'_>| -> usize {
        package.tensors().filter(|own| is_read(own.role)).map(|own| own.bytes.len()).sum()
    };
    let has = |package: &Package<'_>, role| package.tensors().any(|own| own.role == role);
    let bytes_with = |package: &Package<'_>, role: Role| -> usize {
        let own = package.tensors().filter(|own| own.role == role);
        own.map(|own| own.bytes.len()).sum()
    };
    let map = match (has(&base, Role::LogitWeight), has(&base, Role::TokenEmbedding)) {
        (true, _) => bytes_with(&base, Role::LogitWeight),
        (false, true) => bytes_with(&base, Role::TokenEmbedding),
        (false, false) => bytes_with(model.base(), Role::TokenEmbedding),
    };
    let decoder = model.decoder().context("the model has no decoder: it does not write")?;
    let (computed, all) = (decoder.channels().computed(), decoder.vocabulary());
    let map = (map as u128 * computed as u128 / all.max(1) as u128) as usize;
    Ok(bytes_of(&base) + of_task.as_ref().map_or(0, bytes_of) + map)
}

/// Bytes a second that one thread reads from memory.
fn bytes_per_second() -> f64 {
    let words = vec![1u64; STREAM / size_of::<u64>()];
    let read = |_| {
        let start = Instant::now();
        let lanes = words.chunks_exact(8).fold([0u64; 8], |mut sums, chunk| {
            sums.iter_mut().zip(chunk).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            sums
        });
        std::hint::black_box(lanes);
        start.elapsed().as_secs_f64()
    };
    let fastest = (0..READINGS).map(read).fold(f64::INFINITY, f64::min);
    STREAM as f64 / fastest
}

/// Times `runs` rounds, in each of them one answer at every reduction. `progress` is called after each round.
///
/// # Errors
/// A reduction does not fit the input; an answer is not finite.
pub fn measure(
    writer: &mut Writer<'_>,
    input: &SampleInput,
    reductions: &[f32],
    search: &Search<'_>,
    runs: usize,
    mut progress: impl FnMut(),
) -> Result<Vec<WritingTiming>> {
    let mut answers = vec![Vec::new(); reductions.len()];
    for round in 0..WARM_UP + runs {
        for (reduction, answers) in reductions.iter().zip(&mut answers) {
            let budget = Budget::Reduction(*reduction);
            let answer = writer.run(input.as_input(), budget, search, &mut (), |_| Ok(()))?;
            if round >= WARM_UP {
                answers.push(answer);
            }
        }
        if round >= WARM_UP {
            progress();
        }
    }
    let lines = reductions.iter().zip(&answers);
    Ok(lines.map(|(reduction, answers)| WritingTiming::of(*reduction, answers)).collect())
}

impl WritingTiming {
    fn of(reduction: f32, answers: &[Answer]) -> Self {
        let of = |time: fn(&Answer) -> f64| median(answers.iter().map(time).collect());
        // An answer of one step has none behind the first.
        let step_ms = of(|own| match own.steps {
            0 | 1 => 0.0,
            steps => 1e3 * own.rest.as_secs_f64() / (steps - 1) as f64,
        });
        Self {
            reduction,
            encoder_ms: of(|own| 1e3 * own.encoding.as_secs_f64()),
            first_token_ms: of(|own| 1e3 * (own.encoding + own.first).as_secs_f64()),
            step_ms,
            tokens_per_second: if step_ms > 0.0 { 1e3 / step_ms } else { 0.0 },
            tokens: answers.first().map_or(0, |own| own.tokens.len()),
        }
    }
}
