//! JSON files.

use super::error::SourceError;
use super::file;
use serde_json::Value;
use std::path::Path;

/// A JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, SourceError> {
    parse(path, &file::read(path)?)
}

/// A JSON file; `None` if there is none.
pub(super) fn read_optional_json(path: &Path) -> Result<Option<Value>, SourceError> {
    file::read_optional(path)?.map(|bytes| parse(path, &bytes)).transpose()
}

/// A byte order mark before the text does not count.
fn parse(path: &Path, bytes: &[u8]) -> Result<Value, SourceError> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice(text).map_err(|error| SourceError::Json {
        path: path.to_owned(),
        problem: format!("not valid JSON: {error}"),
    })
}
