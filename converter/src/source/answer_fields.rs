//! The fields of how an answer is generated: of `generation_config.json` and `config.json`, the first that has one.

use super::error::SourceError;
use super::fields;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// One id, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    List(Vec<u32>),
}

impl Ids {
    fn list(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::List(ids) => ids,
        }
    }
}

/// A file of settings.
#[derive(Clone, Copy)]
pub(super) struct JsonFile<'f> {
    pub(super) path: &'f Path,
    /// Null where there is none.
    pub(super) value: &'f Value,
}

impl<'f> JsonFile<'f> {
    pub(super) fn get(self, field: &str) -> Option<&'f Value> {
        self.value.get(field)
    }
}

/// What both files say: the first that has a field.
pub(super) struct Fields<'f> {
    pub(super) files: [JsonFile<'f>; 2],
}

impl Fields<'_> {
    pub(super) fn problem(&self, index: usize, problem: String) -> SourceError {
        SourceError::Json { path: self.files[index].path.to_owned(), problem }
    }

    /// Where a field is, and its value.
    pub(super) fn find(&self, field: &str) -> Option<(usize, &Value)> {
        debug_assert!(fields::is_read(fields::GENERATION, field), "{field} is in no table");
        let mut files = self.files.iter().enumerate();
        files.find_map(|(index, file)| {
            file.get(field).filter(|value| !value.is_null()).map(|value| (index, value))
        })
    }

    pub(super) fn get<T: for<'de> Deserialize<'de>>(
        &self,
        field: &str,
    ) -> Result<Option<T>, SourceError> {
        let Some((index, value)) = self.find(field) else { return Ok(None) };
        let problem = |error| format!("field \"{field}\" = {value}: {error}");
        let found = T::deserialize(value).map(Some);
        found.map_err(|error| self.problem(index, problem(error)))
    }

    pub(super) fn ids(&self, field: &str) -> Result<Vec<u32>, SourceError> {
        Ok(self.get::<Ids>(field)?.map_or_else(Vec::new, Ids::list))
    }

    /// Refuses what changes the answer and is not done.
    pub(super) fn check(&self) -> Result<(), SourceError> {
        for JsonFile { path, value } in self.files {
            let Some(fields) = value.as_object() else { continue };
            let refused = fields::refused_field(fields::GENERATION, fields, &BTreeSet::new());
            if let Some((field, supported)) = refused {
                let found = fields[field].to_string();
                let path = path.to_owned();
                return Err(SourceError::Setting { path, field, found, supported });
            }
        }
        Ok(())
    }
}
