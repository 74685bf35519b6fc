//! The answer of a model that writes.

use anyhow::{Result, ensure};
use coda_converter::answer::Answer;
use coda_converter::say;
use coda_runtime::decoder::Search;
use coda_runtime::memory::AnswerCapacity;
use coda_runtime::model::Decoder;
use serde_json::{Value, json};

/// How a model that writes answers.
#[derive(Debug, clap::Args)]
pub(super) struct WriteArguments {
    /// Most new tokens of an answer, of a model that writes; the package's number if not given
    #[arg(long, value_name = "N")]
    pub(super) longest: Option<usize>,
    /// Hypotheses of the search, of a model that writes: 1 is greedy; the package's number if not given
    #[arg(long, value_name = "B")]
    pub(super) beams: Option<usize>,
}

impl WriteArguments {
    /// One of them was given.
    pub(super) const fn are_given(&self) -> bool {
        self.longest.is_some() || self.beams.is_some()
    }

    /// The largest answer of a model.
    pub(super) fn capacity(&self, decoder: &Decoder<'_>) -> Result<AnswerCapacity> {
        let rules = decoder.rules();
        for (option, value) in [("--longest", self.longest), ("--beams", self.beams)] {
            ensure!(value != Some(0), "{option} must be at least 1");
        }
        let positions = rules.start.len() + self.longest.unwrap_or(rules.longest);
        Ok(AnswerCapacity { positions, beams: self.beams.unwrap_or(rules.beams) })
    }

    /// The search that they ask for.
    pub(super) fn search(&self) -> Search<'static> {
        let (longest, beams) = (self.longest.unwrap_or(0), self.beams.unwrap_or(0));
        Search { longest, beams, ..Search::OF_PACKAGE }
    }
}

/// Ids of an answer.
pub(super) fn ids(tokens: &[u32]) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// How an answer was made.
pub(super) fn print_times(tokens: usize, kernels: &str, answer: &Answer) {
    let end = if answer.ended { "ended" } else { "cut at its longest" };
    say!("{tokens} tokens, {kernels} kernels; {} new tokens, {end} (one run)", answer.tokens.len());
    say!(
        "encoder {:.2} ms, first token after {:.2} ms, then {:.1} tokens a second",
        milliseconds(answer.encoding),
        milliseconds(answer.encoding + answer.first),
        rate(answer)
    );
}

/// Tokens a second behind the first one; 0 where there was no other.
fn rate(answer: &Answer) -> f64 {
    let seconds = answer.rest.as_secs_f64();
    if answer.steps > 1 { (answer.steps - 1) as f64 / seconds.max(1e-9) } else { 0.0 }
}

fn milliseconds(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The fields of an answer.
pub(super) fn to_json(answer: &Answer) -> Value {
    json!({
        "ids": answer.tokens,
        "ended": answer.ended,
        "score": answer.score,
        "encoder_ms": milliseconds(answer.encoding),
        "first_token_ms": milliseconds(answer.encoding + answer.first),
        "tokens_per_second": rate(answer),
    })
}
