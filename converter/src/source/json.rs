//! JSON files.

use super::error::SourceError;
use serde_json::Value;
use std::path::Path;

/// A JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, SourceError> {
    let text = std::fs::read(path)
        .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|error| SourceError::Json {
        path: path.to_owned(),
        problem: format!("not valid JSON: {error}"),
    })
}
