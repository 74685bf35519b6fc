//! The ids that an answer may hold, as people list them: ids, or texts whose tokens they are.

use crate::dataset::read_file;
use crate::rows::lines;
use anyhow::{Context, Result, ensure};
use coda_runtime::format::limits;
use coda_runtime::model::Model;
use coda_runtime::text::Tokenizer;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads a shortlist for a model that writes: a line each an id, or a text. Where every line is a number they are
/// ids, and the id that ends an answer must be one of them; else each is a text, in quotes or not, all of whose
/// tokens are listed, and the end with them. Ascending.
///
/// # Errors
/// The file cannot be read, has no line or one twice, an id outside the table or not the end; a text for a model
/// without a tokenizer, or one of which nothing is left; more ids than a package holds.
pub fn read(path: &Path, model: &Model<'_>) -> Result<Vec<u32>> {
    let named = || path.display().to_string();
    let lines = lines(&read_file(path)?).with_context(named)?;
    let lines = numbered(&lines).with_context(named)?;
    let ids = ids(&lines, model).with_context(named)?;
    let (found, most) = (ids.len(), limits::SHORTLIST);
    ensure!(found <= most, "{}: {found} ids, a shortlist holds at most {most}", path.display());
    Ok(ids.into_iter().collect())
}

/// A line that is not empty.
struct Line<'l> {
    number: usize,
    text: &'l str,
}

/// Every line that is not empty, each once.
fn numbered(lines: &[String]) -> Result<Vec<Line<'_>>> {
    let trimmed = (1..).zip(lines).map(|(number, text)| Line { number, text: text.trim() });
    let lines: Vec<Line<'_>> = trimmed.filter(|line| !line.text.is_empty()).collect();
    ensure!(!lines.is_empty(), "there is no id and no text: an answer could hold nothing");
    let mut seen = BTreeMap::new();
    for Line { number, text } in &lines {
        let before = seen.insert(text, *number);
        ensure!(before.is_none(), "line {number} is line {} again", before.unwrap_or(0));
    }
    Ok(lines)
}

fn ids(lines: &[Line<'_>], model: &Model<'_>) -> Result<BTreeSet<u32>> {
    let decoder = model.decoder().context("the model has no decoder: it does not write")?;
    let (vocabulary, end) = (decoder.vocabulary(), decoder.rules().end);
    let is_number = |line: &Line<'_>| line.text.bytes().all(|byte| byte.is_ascii_digit());
    if !lines.iter().all(is_number) {
        let mut ids = of_texts(lines, model)?;
        ids.insert(end);
        return Ok(ids);
    }
    let mut ids = BTreeSet::new();
    for Line { number, text } in lines {
        let id = text.parse().ok().filter(|id| (*id as usize) < vocabulary);
        let id: u32 = id.with_context(|| {
            format!("line {number}: {text} is no id, the decoder has {vocabulary} tokens")
        })?;
        ensure!(ids.insert(id), "line {number}: the id {id} is listed twice");
    }
    ensure!(ids.contains(&end), "the id {end} is missing: without it an answer never ends");
    Ok(ids)
}

/// The tokens of texts, without those that only stand around texts.
fn of_texts(lines: &[Line<'_>], model: &Model<'_>) -> Result<BTreeSet<u32>> {
    let tokenizer = model.tokenizer();
    let tokenizer = tokenizer.as_ref().context("the model has no tokenizer: list ids")?;
    let mut all = BTreeSet::new();
    for Line { number, text } in lines {
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let (ids, unknown) = tokens(tokenizer, quoted.unwrap_or(text));
        ensure!(unknown == 0, "line {number}: the tokenizer does not know all of the text");
        let mut own = ids.into_iter().filter(|id| !tokenizer.surrounds(*id)).peekable();
        ensure!(own.peek().is_some(), "line {number}: nothing is left of the text");
        all.extend(own);
    }
    Ok(all)
}

/// All tokens of a text, and how many of its words are unknown.
fn tokens(tokenizer: &Tokenizer<'_>, text: &str) -> (Vec<u32>, usize) {
    let total = tokenizer.encode(text, &mut []).total;
    let mut ids = vec![0; total];
    let found = tokenizer.encode(text, &mut ids);
    ids.truncate(found.len);
    (ids, found.unknown)
}
