//! The tokens around a text and between two.

use super::super::json::Part;
use super::files::{CONFIG, FULL, Files, POST_PROCESSOR, Problem, unsupported};
use coda_runtime::text::Pairs;
use serde_json::Value;

/// What stands around texts.
pub(super) struct Template {
    /// Before a text.
    pub(super) first: String,
    /// After it.
    pub(super) separator: String,
    /// For a word without pieces.
    pub(super) unknown: String,
    pub(super) pairs: Pairs,
}

/// The post-processor of `tokenizer.json`, or else what the class has.
pub(super) fn template(files: &Files) -> Result<Template, Problem> {
    if files.full.is_absent() {
        let name = |key| files.special_name(key).to_owned();
        let pairs = if files.class() == "MPNetTokenizer" { Pairs::Doubled } else { Pairs::Typed };
        let [first, separator, unknown] = ["cls_token", "sep_token", "unk_token"].map(name);
        return Ok(Template { first, separator, unknown, pairs });
    }
    let unknown = files.word_piece().get("unk_token").as_str().unwrap_or("[UNK]");
    let json = files.full.root().part("post_processor", POST_PROCESSOR).only("processors");
    let of_pair = |pairs| {
        let name = |key: &str| json.get(key)[0].as_str().map(str::to_owned);
        let (first, separator) = (name("cls")?, name("sep")?);
        Some(Template { first, separator, unknown: unknown.to_owned(), pairs })
    };
    let template = match json.get("type").as_str() {
        Some("TemplateProcessing") => from_parts(json, unknown),
        Some("BertProcessing") => of_pair(Pairs::Typed),
        Some("RobertaProcessing") => of_pair(Pairs::Doubled),
        _ => None,
    };
    let Some(template) = template else {
        return unsupported(FULL, "post_processor", json.get("type"));
    };
    check_names(files, &template)?;
    Ok(template)
}

/// A name in `tokenizer_config.json` that the template does not have.
fn check_names(files: &Files, template: &Template) -> Result<(), Problem> {
    let Template { first, separator, unknown, .. } = template;
    for (key, own) in [("cls_token", first), ("sep_token", separator), ("unk_token", unknown)] {
        let named = files.special_name(key);
        if !files.as_file() && named != own {
            return Err(Problem::Unsupported(format!(
                "{CONFIG}: {key} is {named:?}, but {FULL} has {own:?} in its place"
            )));
        }
    }
    Ok(())
}

/// `None` for anything but a token, the text and a token, of type 0.
fn from_parts(json: Part<'_>, unknown: &str) -> Option<Template> {
    let single = parts(json, "single")?;
    let [(first, 0), ("", 0), (separator, 0)] = single[..] else { return None };
    let (cls, sep) = ((first, 0), (separator, 0));
    let typed = [cls, ("", 0), sep, ("", 1), (separator, 1)];
    let doubled = [cls, ("", 0), sep, sep, ("", 0), sep];
    let pairs = match parts(json, "pair") {
        Some(pair) if pair == typed => Pairs::Typed,
        Some(pair) if pair == doubled => Pairs::Doubled,
        _ => Pairs::Unknown,
    };
    let [first, separator, unknown] = [first, separator, unknown].map(str::to_owned);
    Some(Template { first, separator, unknown, pairs })
}

/// The parts of a template: a token of one id, or an empty text for what is put there, and its type.
fn parts<'v>(json: Part<'v>, name: &str) -> Option<Vec<(&'v str, u64)>> {
    let part = |(place, part): (usize, &'v Value)| {
        let (token, text) = (&part["SpecialToken"], &part["Sequence"]);
        if let Some(name) = token["id"].as_str() {
            let special = &json.get("special_tokens")[name];
            let one = special["ids"].as_array().is_some_and(|ids| ids.len() == 1);
            let token = special["tokens"][0].as_str().filter(|token| one && !token.is_empty());
            return Some((token?, part["SpecialToken"]["type_id"].as_u64()?));
        }
        let expected = if place < 2 { "A" } else { "B" };
        (text["id"] == expected).then_some(("", text["type_id"].as_u64()?))
    };
    json.get(name).as_array()?.iter().enumerate().map(part).collect()
}
