//! Weights in several files, as `model.safetensors.index.json` says.

use super::error::SourceError;
use super::json::read_json;
use super::tensors::TensorFile;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Opens the files that `index` names, and checks that they hold what it says and nothing else.
pub(super) fn open_shards(index: &Path) -> Result<TensorFile, SourceError> {
    let places = places(index)?;
    let paths: BTreeSet<&PathBuf> = places.values().collect();
    let file = TensorFile::open_parts(index, &Vec::from_iter(paths))?;
    let problem = |problem| Err(SourceError::Json { path: index.to_owned(), problem });
    if let Some((name, path)) = places.iter().find(|(name, path)| file.part_of(name) != Some(path))
    {
        return problem(format!("weight_map: \"{name}\" is not in {}", path.display()));
    }
    match file.names().iter().find(|name| !places.contains_key(*name)) {
        Some(name) => problem(format!("weight_map lacks \"{name}\", which a shard holds")),
        None => Ok(file),
    }
}

/// In which file each tensor is, as `index` says.
pub(super) fn places(index: &Path) -> Result<BTreeMap<String, PathBuf>, SourceError> {
    let json = read_json(index)?;
    let problem = |problem| SourceError::Json { path: index.to_owned(), problem };
    let map = json.get("weight_map").and_then(Value::as_object);
    let map =
        map.ok_or_else(|| problem("the field \"weight_map\" must be an object".to_owned()))?;
    let directory = index.parent().unwrap_or(Path::new(""));
    let place = |(name, shard): (&String, &Value)| {
        let inside = shard.as_str().filter(|shard| stays_inside(Path::new(shard)));
        let shard = inside.ok_or_else(|| {
            problem(format!("weight_map: \"{name}\" is in {shard}, which is no file beside it"))
        })?;
        Ok((name.clone(), directory.join(shard)))
    };
    map.iter().map(place).collect()
}

/// The path names a file in the directory or below it.
fn stays_inside(path: &Path) -> bool {
    path.file_name().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}
