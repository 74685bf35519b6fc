//! Class names: the label of an index is the name that `id2label` gives to that index.

use serde_json::Value;
use std::collections::BTreeMap;

/// The names of `count` classes, of as many as there are names if it is not known; an index without
/// a name is shown as its number. No names at all: empty.
///
/// # Errors
/// What is wrong with the field `id2label`.
pub(super) fn class_names(config: &Value, count: Option<usize>) -> Result<Vec<String>, String> {
    let names = named(config.get("id2label").unwrap_or(&Value::Null))?;
    let total = config.get("num_labels").and_then(Value::as_f64).map(|total| total as usize);
    check_counts(&names, total, count)?;
    let count = count.unwrap_or(names.len());
    if names.range(..count).next().is_none() {
        return Ok(Vec::new());
    }
    let name = |index| names.get(&index).cloned().unwrap_or_else(|| index.to_string());
    Ok((0..count).map(name).collect())
}

fn check_counts(
    names: &BTreeMap<usize, String>,
    total: Option<usize>,
    count: Option<usize>,
) -> Result<(), String> {
    let past = |total: &usize| names.len() != *total && names.range(*total..).next().is_some();
    if let Some(total) = total.filter(past) {
        return Err(format!("num_labels = {total}, but id2label names {} classes", names.len()));
    }
    let Some(count) = count else { return Ok(()) };
    match total.filter(|total| *total != count) {
        Some(total) => Err(format!("num_labels = {total}, but the classifier has {count} classes")),
        None if names.len() > count => {
            let names = names.len();
            Err(format!("id2label names {names} classes, but the classifier has {count}"))
        }
        None => Ok(()),
    }
}

/// Names by index, of an object whose keys are numbers or of a list.
fn named(field: &Value) -> Result<BTreeMap<usize, String>, String> {
    let mut names = BTreeMap::new();
    let entries: Vec<(String, &Value)> = match field {
        Value::Null => Vec::new(),
        Value::Object(map) => map.iter().map(|(key, name)| (key.clone(), name)).collect(),
        Value::Array(list) => (0..).map(|index: usize| index.to_string()).zip(list).collect(),
        other => return Err(format!("id2label = {other}: it must be an object of names by index")),
    };
    for (key, name) in entries {
        let name = match name {
            Value::Null => continue,
            Value::String(name) => name.clone(),
            Value::Number(_) | Value::Bool(_) => name.to_string(),
            other => return Err(format!("id2label: {key} is named {other}, which is no name")),
        };
        if name.contains(char::is_control) {
            return Err(format!("id2label: {key} is named {name:?}, with a control character"));
        }
        let index = key.parse().map_err(|_| format!("id2label: {key:?} is no index of a class"))?;
        if names.insert(index, name).is_some() {
            return Err(format!("id2label: index {index} has two names"));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_that_moves_the_cursor_is_refused() {
        for name in ["\u{1b}[2J", "yes\n", "\u{7}", "\u{9b}31m"] {
            let error = class_names(&json!({ "id2label": { "0": "no", "1": name } }), None);
            assert!(error.unwrap_err().starts_with("id2label: 1 is named "), "{name:?}");
        }
        let names = class_names(&json!({ "id2label": { "0": "ja, caf\u{e9}" } }), None).unwrap();
        assert_eq!(names, ["ja, caf\u{e9}"]);
    }
}
