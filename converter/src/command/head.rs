//! Heads in words: what a package says of its answer, prompts, and logits that are no choice of one.

use anyhow::{Context, Result};
use coda_converter::say;
use coda_converter::say::escaped;
use coda_runtime::config::{Head, HeadKind, Named, Reading};
use coda_runtime::format::TextRules;
use coda_runtime::model::Model;
use serde::Serialize;
use std::fmt;

/// A head in words.
pub(super) fn describe(head: &Head) -> String {
    let poolings: Vec<&str> = head.pooling.iter().map(Named::name).collect();
    let stages = (0..).map_while(|index| head.stages.get(index));
    let stages: String = stages.map(|stage| format!(", dense and {}", stage.name())).collect();
    let kind = match (head.kind, head.reading) {
        (HeadKind::Embedding { normalize: true }, _) => "embedding of length 1".to_owned(),
        (HeadKind::Embedding { normalize: false }, _) => "embedding".to_owned(),
        (HeadKind::TokenClassification { labels }, _) => {
            return format!("one of {labels} labels for each token");
        }
        (HeadKind::Classification { labels }, Reading::Largest) => {
            format!("one of {labels} labels")
        }
        (HeadKind::Classification { labels }, Reading::Each) => {
            format!("each of {labels} labels or not")
        }
        (HeadKind::Classification { labels }, Reading::Value) => format!("{labels} values"),
    };
    let norm = if head.pooling.has_norm() { ", its norm" } else { "" };
    format!("{kind}; {}{norm}{stages}", poolings.join(" and "))
}

/// What a base says of texts: names and values of facts.
pub(super) fn describe_texts(rules: &TextRules<'_>) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if rules.longest > 0 {
        facts.push(("texts", format!("at most {} tokens", rules.longest)));
    }
    let prompts = rules.prompts().map(|(name, text)| format!("{name}: {text:?}"));
    let prompts: Vec<String> = prompts.collect();
    if !prompts.is_empty() {
        facts.push(("prompts", prompts.join(", ")));
    }
    if let Some((name, _)) = rules.default_prompt() {
        facts.push(("prompt", format!("{name}, unless another is asked for")));
    }
    facts
}

/// The text with the prompt that was asked for, or the default one of the base's own embedding.
pub(super) fn prompted(model: &Model<'_>, text: &str, asked: Option<&str>) -> Result<String> {
    let rules = model.base().text();
    let prompt = match asked {
        Some("") => "",
        Some(name) => named_prompt(&rules, name)?,
        None => rules.default_prompt().filter(|_| embeds(model)).map_or("", |(_, text)| text),
    };
    Ok(format!("{prompt}{text}"))
}

/// Whether the answer of a model is an embedding.
pub(super) fn embeds(model: &Model<'_>) -> bool {
    matches!(model.head().map(|head| head.kind), Some(HeadKind::Embedding { .. }))
}

fn named_prompt<'a>(rules: &TextRules<'a>, name: &str) -> Result<&'a str> {
    let found = rules.prompts().find(|(own, _)| *own == name).map(|(_, text)| text);
    found.with_context(|| {
        let names: Vec<&str> = rules.prompts().map(|(name, _)| name).collect();
        let there = match names.len() {
            0 => "none".to_owned(),
            _ => names.join(", "),
        };
        format!("the package has no prompt \"{name}\" ({there}): any other is put before --text as it is")
    })
}

/// The name of a label, or its number.
pub(super) fn label_name(model: &Model<'_>, index: usize) -> String {
    let name = model.labels().and_then(|labels| labels.get(index));
    name.map_or_else(|| index.to_string(), str::to_owned)
}

/// A label that holds or not, or a value.
#[derive(Debug, Serialize)]
pub(super) struct LabelReading {
    label: String,
    value: f32,
    /// The sigmoid of the value, of a label that holds or not.
    probability: Option<f32>,
}

/// Each logit by itself, where no label is chosen among them.
pub(super) fn readings(model: &Model<'_>, values: &[f32]) -> Option<Vec<LabelReading>> {
    let head = model.head().filter(|head| head.reading != Reading::Largest)?;
    let each = head.reading == Reading::Each;
    let read = |(index, value): (usize, &f32)| LabelReading {
        label: label_name(model, index),
        value: *value,
        probability: each.then(|| 1.0 / (1.0 + (-value).exp())),
    };
    Some(values.iter().enumerate().map(read).collect())
}

impl fmt::Display for LabelReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, value, probability } = self;
        match probability {
            Some(probability) => write!(f, "{:5.1} %  {}", 100.0 * probability, escaped(label)),
            None => write!(f, "{value:.4}  {}", escaped(label)),
        }
    }
}

pub(super) fn print_readings(readings: &[LabelReading]) {
    readings.iter().for_each(|reading| say!("{reading}"));
}
