//! Answers that a model learns to write.

use crate::model::DecoderInputs;
use anyhow::{Context, Result, ensure};
use coda_converter::dataset::{Encoder, SampleInput};
use coda_converter::source::Base;

/// How a base begins and ends an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    start: Vec<u32>,
    end: u32,
    longest: usize,
    vocabulary: usize,
}

impl Writing {
    /// That of `base`, if it writes.
    #[must_use]
    pub fn of(base: &Base) -> Option<Self> {
        let decoder = base.decoder.as_ref()?;
        let rules = &decoder.generation;
        let coda_runtime::config::Embedding::Tokens { vocabulary, .. } = decoder.config.embedding
        else {
            return None;
        };
        let (start, end, longest) = (rules.start.clone(), rules.end, rules.longest);
        Some(Self { start, end, longest, vocabulary })
    }

    /// Most tokens of an answer, the end included.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// The tokens of an answer with its end. One that is too long loses its end: it teaches what it has.
    ///
    /// # Errors
    /// The answer has no token, or one that the decoder does not know.
    pub fn tokens(&self, encoder: &Encoder<'_>, answer: &str) -> Result<Vec<u32>> {
        let (input, _) = encoder.encode(answer, None).context("the answer")?;
        let (SampleInput::Tokens(mut ids) | SampleInput::Typed { mut ids, .. }) = input else {
            return Ok(Vec::new());
        };
        // What a tokenizer puts before a text may be what an answer begins with.
        if ids.len() > 1 && ids.first() == self.start.last() {
            ids.remove(0);
        }
        if ids.last() != Some(&self.end) {
            ids.push(self.end);
        }
        ids.truncate(self.longest);
        let unknown = ids.iter().find(|id| **id as usize >= self.vocabulary);
        ensure!(
            unknown.is_none(),
            "the answer has id {unknown:?}, the decoder {}",
            self.vocabulary
        );
        Ok(ids)
    }

    /// An answer that was cut: it is never right, for its end is not in it.
    #[must_use]
    pub fn is_cut(&self, answer: &[u32]) -> bool {
        answer.last() != Some(&self.end)
    }

    /// What the decoder is taught with.
    #[must_use]
    pub fn inputs(&self, answers: &[&[u32]]) -> DecoderInputs {
        DecoderInputs::new(&self.start, answers)
    }
}
