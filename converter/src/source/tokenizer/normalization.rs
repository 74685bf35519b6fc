//! How a directory says that texts are normalised.

use super::super::json::Part;
use super::files::{CONFIG, FULL, Files, Problem, unsupported};
use coda_runtime::text::normalize::Normalization;
use serde_json::Value;

const NONE: Normalization = Normalization {
    clean_text: false,
    handle_chinese_chars: false,
    strip_accents: false,
    lowercase: false,
};

/// The steps, as `transformers` decides: `tokenizer_config.json` before `tokenizer.json`, but where
/// the class takes the latter as it is.
pub(super) fn normalization(files: &Files) -> Result<Normalization, Problem> {
    let all = files.normalizer();
    let normalizer = all.only("normalizers");
    if files.as_file() {
        return match normalizer.get("type").as_str() {
            None if normalizer.is_absent() => Ok(NONE),
            Some("BertNormalizer") => from_fields(files, normalizer),
            Some("Lowercase") => Ok(Normalization { lowercase: true, ..NONE }),
            _ => unsupported(FULL, "normalizer", all.get("type")),
        };
    }
    let configured = from_config(files)?;
    if files.full.is_absent() {
        return Ok(configured);
    }
    if normalizer.get("type") != "BertNormalizer" {
        return unsupported(FULL, "normalizer", all.get("type"));
    }
    let own = from_fields(files, normalizer)?;
    for (name, json_name, step) in FLAGS {
        let (configured, own) = (step(&configured), step(&own));
        let absent = files.config.get(name).is_null();
        if configured != own && absent && normalizer.get(json_name).is_boolean() {
            return Err(Problem::Unsupported(format!(
                "{FULL} has {json_name} = {own}, {CONFIG} lacks {name}, which means {configured}: \
                 write {name} there"
            )));
        }
    }
    Ok(Normalization { clean_text: own.clean_text, ..configured })
}

/// A step, and its names in `tokenizer_config.json` and `tokenizer.json`.
type Flag = (&'static str, &'static str, fn(&Normalization) -> bool);

const FLAGS: [Flag; 3] = [
    ("do_lower_case", "lowercase", |steps| steps.lowercase),
    ("strip_accents", "strip_accents", |steps| steps.strip_accents),
    ("tokenize_chinese_chars", "handle_chinese_chars", |steps| steps.handle_chinese_chars),
];

/// What is absent is as in BERT uncased; accents follow the case.
fn from_config(files: &Files) -> Result<Normalization, Problem> {
    let lowercase = files.flag("do_lower_case")?.unwrap_or(true);
    Ok(Normalization {
        clean_text: true,
        handle_chinese_chars: files.flag("tokenize_chinese_chars")?.unwrap_or(true),
        strip_accents: files.flag("strip_accents")?.unwrap_or(lowercase),
        lowercase,
    })
}

fn from_fields(files: &Files, json: Part<'_>) -> Result<Normalization, Problem> {
    let flag = |name: &str| match json.get(name) {
        Value::Null => Ok(None),
        Value::Bool(on) => Ok(Some(*on)),
        other => files.damaged(FULL, format!("normalizer.{name} = {other} is not true or false")),
    };
    let lowercase = flag("lowercase")?.unwrap_or(true);
    Ok(Normalization {
        clean_text: flag("clean_text")?.unwrap_or(true),
        handle_chinese_chars: flag("handle_chinese_chars")?.unwrap_or(true),
        strip_accents: flag("strip_accents")?.unwrap_or(lowercase),
        lowercase,
    })
}
