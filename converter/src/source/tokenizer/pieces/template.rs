//! What stands around one text, and around two.

use super::super::super::json::Part;
use super::super::files::{FULL, Problem, unsupported};
use coda_runtime::text::pieces::layout;
use serde_json::Value;

/// Parts, each an id or a text, and its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) single: Vec<[u32; 2]>,
    pub(super) pair: Vec<[u32; 2]>,
}

const FIRST: u32 = layout::FIRST_TEXT;
const SECOND: u32 = layout::SECOND_TEXT;

impl Template {
    /// Nothing around the texts.
    pub(super) fn bare() -> Self {
        Self { single: vec![[FIRST, 0]], pair: vec![[FIRST, 0], [SECOND, 0]] }
    }

    /// The ids before and behind a text, and between two: all of type 0.
    pub(super) fn around(before: &[u32], between: &[u32], behind: &[u32]) -> Self {
        let all = |parts: &[&[u32]]| parts.concat().into_iter().map(|id| [id, 0]).collect();
        Self {
            single: all(&[before, &[FIRST], behind]),
            pair: all(&[before, &[FIRST], between, &[SECOND], behind]),
        }
    }

    /// The post-processor of `tokenizer.json`.
    pub(super) fn of_json(json: Part<'_>) -> Result<Self, Problem> {
        let parts = steps(json);
        let (mut found, mut typed) = (None, false);
        for part in parts {
            let own = match part["type"].as_str() {
                Some("ByteLevel") => {
                    typed = true;
                    continue;
                }
                Some("TemplateProcessing") => template(part),
                Some("RobertaProcessing") => {
                    ends(part).map(|[cls, sep]| Self::around(&[cls], &[sep, sep], &[sep]))
                }
                Some("BertProcessing") => ends(part).map(|[cls, sep]| Self::typed(cls, sep)),
                _ => None,
            };
            match own {
                Some(own) if found.is_none() => found = Some(own),
                _ => return unsupported(FULL, "post_processor", &part["type"]),
            }
        }
        let mut bare = Self::bare();
        bare.pair[1][1] = u32::from(typed);
        Ok(found.unwrap_or(bare))
    }

    fn typed(cls: u32, sep: u32) -> Self {
        let single = vec![[cls, 0], [FIRST, 0], [sep, 0]];
        let pair = [single.as_slice(), &[[SECOND, 1], [sep, 1]]].concat();
        Self { single, pair }
    }
}

/// The steps of a `Sequence`, or the one that there is.
fn steps(json: Part<'_>) -> Vec<&Value> {
    match (json.is_absent(), json.get("processors").as_array()) {
        (true, _) => Vec::new(),
        (false, Some(all)) if json.get("type") == "Sequence" => all.iter().collect(),
        (false, _) => vec![json.value()],
    }
}

fn ends(json: &Value) -> Option<[u32; 2]> {
    let id = |name: &str| u32::try_from(json[name][1].as_u64()?).ok();
    Some([id("cls")?, id("sep")?])
}

fn template(json: &Value) -> Option<Template> {
    let single = parts(json, "single")?;
    let pair = parts(json, "pair").unwrap_or_default();
    let texts = |parts: &[[u32; 2]]| -> Vec<u32> {
        parts.iter().map(|[id, _]| *id).filter(|id| *id >= SECOND).collect()
    };
    let pair = if texts(&pair) == [FIRST, SECOND] { pair } else { Vec::new() };
    (texts(&single) == [FIRST]).then_some(Template { single, pair })
}

fn parts(json: &Value, name: &str) -> Option<Vec<[u32; 2]>> {
    let mut all = Vec::new();
    for part in json[name].as_array()? {
        let (token, text) = (&part["SpecialToken"], &part["Sequence"]);
        let own = if token.is_null() { text } else { token };
        let kind = u32::try_from(own["type_id"].as_u64()?).ok().filter(|kind| *kind < 256)?;
        if token.is_null() {
            all.push([if text["id"] == "A" { FIRST } else { SECOND }, kind]);
            continue;
        }
        for id in json["special_tokens"][token["id"].as_str()?]["ids"].as_array()? {
            all.push([u32::try_from(id.as_u64()?).ok().filter(|id| *id < SECOND)?, kind]);
        }
    }
    (all.len() <= layout::MOST_PARTS).then_some(all)
}
