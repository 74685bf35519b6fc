//! The labels of a text's tokens.

use super::head::label_name;
use coda_converter::dataset::SampleInput;
use coda_converter::say;
use coda_runtime::config::HeadKind;
use coda_runtime::executor::largest;
use coda_runtime::model::Model;
use serde::Serialize;

/// One token with its label.
#[derive(Debug, Serialize)]
pub(super) struct TokenLabel {
    /// Its place in the input, the special tokens counted.
    position: usize,
    /// Its piece of the text; its id where the package has no vocabulary.
    token: String,
    label: String,
    probability: f32,
}

/// Each token's label, if the head labels tokens: those of the text, not the special ones around it.
pub(super) fn token_labels(
    model: &Model<'_>,
    input: &SampleInput,
    values: &[f32],
) -> Option<Vec<TokenLabel>> {
    let Some(HeadKind::TokenClassification { labels }) = model.head().map(|head| head.kind) else {
        return None;
    };
    let ids = match input {
        SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. } => ids.as_slice(),
        SampleInput::Pixels(_)
        | SampleInput::Patches(_)
        | SampleInput::Features(_)
        | SampleInput::Grid(_) => &[],
    };
    let tokenizer = model.tokenizer();
    let is_special = |id: u32| tokenizer.as_ref().is_some_and(|own| own.surrounds(id));
    let rows = ids.iter().zip(values.chunks(labels.max(1))).enumerate();
    let of_text = rows.filter(|(_, (id, _))| !is_special(**id));
    let read = |(position, (id, logits)): (usize, (&u32, &[f32]))| {
        let best = largest(logits).unwrap_or(0);
        TokenLabel {
            position,
            token: piece(model, *id),
            label: label_name(model, best),
            probability: softmax_of(logits, best),
        }
    };
    Some(of_text.map(read).collect())
}

/// Tokens and labels on one line.
pub(super) fn token_labels_in_line(found: &[TokenLabel]) -> String {
    let words = found.iter().map(|own| format!("{}/{}", own.token, own.label));
    words.collect::<Vec<_>>().join(" ")
}

/// The text of a token, or its id.
fn piece(model: &Model<'_>, id: u32) -> String {
    let words = model.tokenizer();
    let word = words.as_ref().and_then(|words| words.token(id));
    word.map_or_else(|| id.to_string(), |word| String::from_utf8_lossy(word).into_owned())
}

/// The softmax of the largest of some logits.
fn softmax_of(logits: &[f32], largest: usize) -> f32 {
    let top = logits.get(largest).copied().unwrap_or(0.0);
    1.0 / logits.iter().map(|logit| (logit - top).exp()).sum::<f32>()
}

pub(super) fn print_token_labels(found: &[TokenLabel]) {
    let width = found.iter().map(|token| token.label.chars().count()).max().unwrap_or(0);
    for TokenLabel { token, label, probability, .. } in found {
        say!("{:5.1} %  {label:width$}  {token}", 100.0 * probability);
    }
}
