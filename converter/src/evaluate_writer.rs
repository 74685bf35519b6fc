//! How well a model writes: exact answers, character and word errors, over a file of answers and inputs.

use crate::answer::{Answer, Writer, text_of};
use crate::dataset::{Encoder, SampleInput, read_file, reads_images};
use crate::evaluate::median;
use crate::preparation::Preparation;
use crate::rows::{self, Header};
use crate::sound;
use crate::speech::Hearing;
use anyhow::{Context, Result, ensure};
use coda_runtime::audio::Context::Padded;
use coda_runtime::audio::{POSITION, SAMPLE_RATE};
use coda_runtime::config::Embedding;
use coda_runtime::decoder::Search;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde::Serialize;
use std::path::Path;
use strsim::{generic_levenshtein, levenshtein};

/// An input and the answer that is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What the model reads.
    pub input: SampleInput,
    /// What it should write: a text, or the ids with spaces between where the model has no tokenizer.
    pub answer: String,
}

/// Questions of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Questions {
    /// In the order of the file.
    pub all: Vec<Question>,
    /// How many texts or sounds are longer than the model reads, and were cut.
    pub cut: usize,
    /// What may be a mistake, a sentence each.
    pub notes: Vec<String>,
}

/// What came of all questions at one reduction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WritingResult {
    /// Reduction factor r of the encoder; `None` for what the task says.
    pub reduction: Option<f32>,
    /// Answers that are right to the character, per cent.
    pub exact: f64,
    /// Characters to insert, delete or replace, of those of all right answers, per cent.
    pub character_error: f64,
    /// The same of words.
    pub word_error: f64,
    /// Median time of the encoder, milliseconds.
    pub encoder_ms: f64,
    /// Median time of an answer, milliseconds.
    pub answer_ms: f64,
}

/// Reads a TSV or CSV file of the right answer and the input: a text, or for a reader of images or
/// sound a file of it, named from where the file is. Sound is padded to the model's window.
///
/// # Errors
/// The file cannot be read or is damaged, or has no row; a picture or a sound cannot be read.
pub fn read(
    path: &Path,
    header: Header,
    limit: Option<usize>,
    model: &Model<'_>,
    how: Option<&Preparation>,
) -> Result<Questions> {
    let rows = rows::read(path, &read_file(path)?, header);
    let rows = rows.with_context(|| path.display().to_string())?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let hears = matches!(model.config().embedding, Embedding::Frames { .. });
    let reads = !reads_images(model) && !hears;
    let encoder = reads.then(|| Encoder::of(model)).transpose()?;
    let (mut all, mut cut) = (Vec::new(), 0);
    for row in rows.rows.iter().take(limit.unwrap_or(usize::MAX)) {
        let at = || format!("{}: line {}", path.display(), row.line);
        let input = if let Some(encoder) = &encoder {
            let (input, encoding) = encoder.encode(&row.text, None).with_context(at)?;
            cut += usize::from(encoding.truncated);
            input
        } else if hears {
            let heard = sound::read_for(&directory.join(&row.text), model, Padded);
            let heard = heard.with_context(at)?;
            cut += usize::from(heard.note.is_some());
            heard.input
        } else {
            let picture = SampleInput::of_picture(&directory.join(&row.text), model, how);
            picture.with_context(at)?
        };
        all.push(Question { input, answer: row.label.clone() });
    }
    ensure!(!all.is_empty(), "{} has no row of an answer and an input", path.display());
    Ok(Questions { all, cut, notes: rows.notes() })
}

/// Edits and length of what is right, of characters and of words.
#[derive(Clone, Copy, Default)]
struct Errors {
    edits: usize,
    length: usize,
}

impl Errors {
    const fn add(&mut self, edits: usize, length: usize) {
        self.edits += edits;
        self.length += length;
    }

    fn per_cent(self) -> f64 {
        100.0 * self.edits as f64 / self.length.max(1) as f64
    }
}

/// Answers every question at every reduction, those of one question one after the other. `progress` is called
/// after each question.
///
/// # Errors
/// A reduction does not fit an input; an answer is not finite.
pub fn evaluate(
    writer: &mut Writer<'_>,
    model: &Model<'_>,
    questions: &[Question],
    reductions: &[Option<f32>],
    search: &Search<'_>,
    mut progress: impl FnMut(),
) -> Result<Vec<WritingResult>> {
    let speech = model.decoder().is_some_and(|decoder| decoder.speech().is_some());
    let hearing = (speech && writer.plan().answer().beams == 1)
        .then(|| Hearing { longest: search.longest, ..Hearing::default() });
    let mut tallies = vec![Tally::default(); reductions.len()];
    for question in questions {
        for (reduction, tally) in reductions.iter().zip(&mut tallies) {
            let budget = reduction.map_or(Budget::Task, Budget::Reduction);
            let input = question.input.as_input();
            let answer = match (&hearing, model.config().embedding) {
                (Some(how), Embedding::Frames { positions, .. }) => {
                    let seconds = positions as f64 * POSITION as f64 / SAMPLE_RATE as f64;
                    writer.hear(input, seconds, how, budget, &mut (), |_| Ok(()))?.answer
                }
                _ => writer.run(input, budget, search, &mut (), |_| Ok(()))?,
            };
            let text = text_of(model, &answer.tokens)?;
            tally.add(text.trim(), &question.answer, &answer);
        }
        progress();
    }
    let lines = reductions.iter().zip(tallies);
    Ok(lines.map(|(reduction, tally)| tally.result(*reduction, questions.len())).collect())
}

/// What is counted at one reduction.
#[derive(Clone, Default)]
struct Tally {
    exact: usize,
    characters: Errors,
    words: Errors,
    encoder_ms: Vec<f64>,
    answer_ms: Vec<f64>,
}

impl Tally {
    fn add(&mut self, found: &str, right: &str, answer: &Answer) {
        self.exact += usize::from(found == right);
        self.characters.add(levenshtein(found, right), right.chars().count());
        let [found, right] = [found, right].map(|text| text.split_whitespace().collect::<Vec<_>>());
        self.words.add(generic_levenshtein(&found, &right), right.len());
        let all = answer.encoding + answer.first + answer.rest;
        self.encoder_ms.push(1e3 * answer.encoding.as_secs_f64());
        self.answer_ms.push(1e3 * all.as_secs_f64());
    }

    fn result(self, reduction: Option<f32>, questions: usize) -> WritingResult {
        WritingResult {
            reduction,
            exact: 100.0 * self.exact as f64 / questions.max(1) as f64,
            character_error: self.characters.per_cent(),
            word_error: self.words.per_cent(),
            encoder_ms: median(self.encoder_ms),
            answer_ms: median(self.answer_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_edits_over_the_length_of_what_is_right() {
        let answer = Answer {
            tokens: Vec::new(),
            ended: true,
            score: None,
            choice: None,
            reserved: None,
            encoding: std::time::Duration::ZERO,
            first: std::time::Duration::ZERO,
            rest: std::time::Duration::ZERO,
            steps: 1,
        };
        let mut tally = Tally::default();
        tally.add("the cat sat", "the cat sat", &answer);
        tally.add("a cut", "a cat sat", &answer);
        let result = tally.result(Some(2.0), 2);
        // One character of another kind and four that are missing, of 11 + 9; two words of 3 + 3.
        assert_eq!((result.exact, result.character_error), (50.0, 25.0));
        assert!((result.word_error - 100.0 * 2.0 / 6.0).abs() < 1e-12);
    }
}
