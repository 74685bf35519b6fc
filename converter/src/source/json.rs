//! JSON files of a model directory. All but `config.json` and the index of shards are read field by
//! field through [`Document`], which has no field that the table of fields does not have.

use super::error::SourceError;
use super::{fields, file};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, SourceError> {
    parse(path, &file::read_text(path)?)
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

/// A JSON file whose fields are those of one file of the table; null if it is not there.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    /// The file in the table.
    name: &'static str,
    json: Value,
}

/// An object in a file, with the name that its fields have in the table; null if it is not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'v> {
    name: &'static str,
    json: &'v Value,
}

impl Document {
    /// Reads a file that may be absent.
    ///
    /// # Errors
    /// It is damaged or holds no object.
    pub(super) fn read(path: PathBuf, name: &'static str) -> Result<Self, SourceError> {
        let json = match read_optional_json(&path)? {
            None => Value::Null,
            Some(json @ Value::Object(_)) => json,
            Some(_) => {
                let problem = "it must be a JSON object".to_owned();
                return Err(SourceError::Json { path, problem });
            }
        };
        Ok(Self { path, name, json })
    }

    /// The same; fields that are not known are added to `notes`.
    ///
    /// # Errors
    /// As [`Document::read`], and a field that is refused.
    pub(super) fn open(
        path: PathBuf,
        name: &'static str,
        notes: &mut Vec<String>,
    ) -> Result<Self, SourceError> {
        let document = Self::read(path, name)?;
        notes.extend(document.note());
        match document.refused() {
            Some(problem) => Err(document.fault(problem)),
            None => Ok(document),
        }
    }

    /// A file that must be there.
    ///
    /// # Errors
    /// As [`Document::open`], and it is not there.
    pub(super) fn need(
        path: PathBuf,
        name: &'static str,
        notes: &mut Vec<String>,
    ) -> Result<Self, SourceError> {
        file::read_text(&path)?;
        Self::open(path, name, notes)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.json.is_null()
    }

    /// All of it.
    pub(super) fn root(&self) -> Part<'_> {
        Part { name: self.name, json: &self.json }
    }

    /// A field, null if it is absent.
    pub(super) fn get(&self, field: &str) -> &Value {
        self.root().get(field)
    }

    /// Every field, of a file whose names are the directory's own.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        debug_assert!(fields::is_read(self.name, "*"), "{} has fields of its own", self.name);
        self.json.as_object().into_iter().flatten()
    }

    pub(super) fn fault(&self, problem: String) -> SourceError {
        SourceError::Json { path: self.path.clone(), problem }
    }

    /// The fields that are not known, for people.
    pub(super) fn note(&self) -> Option<String> {
        self.root().note()
    }

    /// The first field that is refused: its value, and what is supported.
    pub(super) fn refused(&self) -> Option<String> {
        let fields = self.json.as_object()?;
        let (field, because) = fields::refused_field(self.name, fields, &BTreeSet::new())?;
        Some(format!("{field} = {} is not supported: {because}", self.json[field]))
    }
}

impl<'v> Part<'v> {
    /// An object that stands in a list, or under a key of the directory's own.
    pub(super) const fn new(name: &'static str, json: &'v Value) -> Self {
        Self { name, json }
    }

    /// A field, null if it is absent. A field that the table does not have is a mistake in the program.
    pub(super) fn get(self, field: &str) -> &'v Value {
        debug_assert!(fields::is_read(self.name, field), "{}: {field} is in no table", self.name);
        self.json.get(field).unwrap_or(&Value::Null)
    }

    /// The object in a field; `name` has its fields in the table.
    pub(super) fn part(self, field: &str, name: &'static str) -> Self {
        Self { name, json: self.get(field) }
    }

    pub(super) fn is_absent(self) -> bool {
        self.json.is_null()
    }

    /// The object itself, whose steps have fields of their own.
    pub(super) const fn value(self) -> &'v Value {
        self.json
    }

    /// The fields that are not known.
    pub(super) fn unknown(self) -> Vec<String> {
        self.json.as_object().map_or_else(Vec::new, |own| fields::unknown(self.name, own))
    }

    /// The fields that are not known, for people.
    pub(super) fn note(self) -> Option<String> {
        note(self.name, &self.unknown())
    }

    /// The part of a `Sequence` of one, which the field `parts` has.
    pub(super) fn only(self, parts: &str) -> Self {
        match self.get(parts).as_array().map(Vec::as_slice) {
            Some([part]) if self.get("type") == "Sequence" => Self { json: part, ..self },
            _ => self,
        }
    }
}

/// A note about fields of a file that the table does not have.
pub(super) fn note(file: &str, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{file}: fields not known, ignored: {}", names.join(", ")))
}
