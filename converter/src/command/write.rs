//! The answer of a model that writes.

use anyhow::{Result, ensure};
use coda_converter::answer::Answer;
use coda_converter::say;
use coda_runtime::decoder::Search;
use coda_runtime::memory::AnswerCapacity;
use coda_runtime::model::{Decoder, Model};
use coda_runtime::text::Detokenizer;
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
    /// They say nothing of a model without a decoder.
    pub(super) fn refuse_without_decoder(&self) -> Result<()> {
        ensure!(
            self.longest.is_none() && self.beams.is_none(),
            "the model has no decoder: --longest and --beams are for those"
        );
        Ok(())
    }

    /// The largest answer of a model.
    pub(super) fn capacity(&self, decoder: &Decoder<'_>) -> Result<AnswerCapacity> {
        let rules = decoder.rules();
        for (option, value) in [("--longest", self.longest), ("--beams", self.beams)] {
            ensure!(value != Some(0), "{option} must be at least 1");
        }
        let positions = rules.start.len().saturating_add(self.longest.unwrap_or(rules.longest));
        Ok(AnswerCapacity { positions, beams: self.beams.unwrap_or(rules.beams) })
    }

    /// The search that they ask for.
    pub(super) fn search(&self) -> Search<'static> {
        let (longest, beams) = (self.longest.unwrap_or(0), self.beams.unwrap_or(0));
        Search { longest, beams, ..Search::OF_PACKAGE }
    }
}

/// The text of an answer as it grows; its ids where the model has no tokenizer.
pub(super) struct Shown<'m> {
    detokenizer: Option<Detokenizer<'m>>,
    /// New tokens that were read.
    tokens: usize,
    /// All of the text so far.
    text: String,
    /// Shown as it comes.
    live: bool,
}

impl<'m> Shown<'m> {
    /// Nothing yet. `live` shows the text as it comes: of a search with one hypothesis, which only grows.
    pub(super) fn new(model: &Model<'m>, live: bool) -> Self {
        let detokenizer = model.tokenizer().map(Detokenizer::new);
        Self { detokenizer, tokens: 0, text: String::new(), live }
    }

    /// The tokens so far.
    pub(super) fn grow(&mut self, tokens: &[u32]) -> Result<()> {
        if self.live {
            self.take(tokens)?;
        }
        Ok(())
    }

    /// The whole answer; the text, if there is one.
    pub(super) fn finish(mut self, tokens: &[u32]) -> Result<Option<String>> {
        self.take(tokens)?;
        let Self { detokenizer, mut text, live, .. } = self;
        let Some(mut detokenizer) = detokenizer else {
            if live {
                say!("");
            }
            return Ok(None);
        };
        let shown = text.len();
        detokenizer.finish(&mut text)?;
        if live {
            say!("{}", &text[shown..]);
        }
        Ok(Some(text))
    }

    /// Reads tokens that are new.
    fn take(&mut self, tokens: &[u32]) -> Result<()> {
        let shown = self.text.len();
        for id in &tokens[self.tokens.min(tokens.len())..] {
            match &mut self.detokenizer {
                Some(detokenizer) => detokenizer.write(*id, &mut self.text)?,
                None if self.text.is_empty() => self.text.push_str(&id.to_string()),
                None => self.text.push_str(&format!(" {id}")),
            }
        }
        self.tokens = tokens.len();
        if self.live {
            say::part(&self.text[shown..]);
        }
        Ok(())
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

/// What a deadline set aside for the tokens.
pub(super) fn print_reserved(answer: &Answer) {
    let Some(reserved) = answer.reserved else { return };
    let taken = milliseconds(answer.first + answer.rest);
    say!(
        "{:.2} ms set aside for memory and tokens, which took {taken:.2} ms",
        milliseconds(reserved)
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
pub(super) fn to_json(answer: &Answer, text: Option<&str>) -> Value {
    json!({
        "text": text,
        "ids": answer.tokens,
        "ended": answer.ended,
        "score": answer.score,
        "encoder_ms": milliseconds(answer.encoding),
        "first_token_ms": milliseconds(answer.encoding + answer.first),
        "tokens_per_second": rate(answer),
        "reserved_ms": answer.reserved.map(milliseconds),
    })
}
