//! What the answers of a model of speech begin with: its language, what it does, and no times.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::source::{Base, Language, Opening, SourceError, Speech};
use serde_json::{Value, json};

/// The bundled Whisper, with fields of `generation_config.json`.
fn opened(fields: Value, speech: Speech) -> Result<Base, SourceError> {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    let directory = tempfile::tempdir().unwrap();
    coda_tests::speech::write_directory(directory.path(), fields).unwrap();
    Base::open_as(directory.path(), Opening { speech, ..Opening::default() })
}

/// What its answers begin with, and the ids that never follow behind them.
fn start(fields: Value, speech: Speech) -> (Vec<u32>, Vec<u32>) {
    let generation = opened(fields, speech).unwrap().decoder.unwrap().generation;
    let last = *generation.start.last().unwrap();
    let behind = generation.suppressed.into_iter().filter(|id| *id > last);
    (generation.start, behind.collect())
}

#[test]
fn an_answer_begins_with_language_and_task_and_without_times() {
    let none = json!([]);
    let several = json!({
        "decoder_start_token_id": 51,
        "suppress_tokens": none,
        "is_multilingual": true,
        "lang_to_id": { "<|en|>": 52, "<|fr|>": 53, "<|yue|>": 54 },
        "task_to_id": { "transcribe": 55, "translate": 56 },
        "no_timestamps_token_id": 57,
    });
    let with = |field: &str, value: Value| {
        let mut fields = several.clone();
        fields[field] = value;
        fields
    };
    let times = vec![58, 59, 60];
    let usual = Speech::default();
    let language = |code: &str| Speech { language: Some(code.parse().unwrap()), translate: false };
    let translated = Speech { translate: true, ..language("fr") };
    for (fields, speech, expected) in [
        (several.clone(), usual, [51, 52, 55, 57]),
        (several.clone(), language("fr"), [51, 53, 55, 57]),
        (several.clone(), language("yue"), [51, 54, 55, 57]),
        (several.clone(), translated, [51, 53, 56, 57]),
        (with("language", json!("<|fr|>")), usual, [51, 53, 55, 57]),
        (with("language", json!("fr")), language("en"), [51, 52, 55, 57]),
        (with("task", json!("translate")), usual, [51, 52, 56, 57]),
        (with("forced_decoder_ids", json!([[1, null], [2, 56]])), usual, [51, 52, 56, 57]),
        (with("forced_decoder_ids", json!([[1, 54], [2, 55]])), usual, [51, 54, 55, 57]),
    ] {
        assert_eq!(start(fields, speech), (expected.to_vec(), times.clone()));
    }
    let one = json!({
        "decoder_start_token_id": 51,
        "suppress_tokens": none,
        "is_multilingual": false,
        "forced_decoder_ids": [[1, 57]],
        "no_timestamps_token_id": 57,
    });
    assert_eq!(start(one.clone(), usual), (vec![51, 57], times));
    // Without the field nothing says which ids are times.
    let old = json!({ "decoder_start_token_id": 51, "suppress_tokens": none, "forced_decoder_ids": [[1, 53], [2, 55]] });
    assert_eq!(start(old.clone(), usual), (vec![51, 53, 55], vec![]));
    for (fields, speech, words) in [
        (several.clone(), language("de"), "no language \"de\""),
        (with("task", json!("summarise")), usual, "no task \"summarise\""),
        (one, language("en"), "leave --language and --translate out"),
        (old, translated, "leave --language and --translate out"),
        (with("forced_decoder_ids", json!([[2, 55]])), usual, "forced_decoder_ids"),
        (with("return_timestamps", json!(true)), usual, "return_timestamps"),
    ] {
        let error = opened(fields, speech).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for code in ["", "e", "EN", "engl", "é"] {
        assert!(code.parse::<Language>().is_err(), "{code}");
    }
}
