//! The state of a training in one file, and back.

use crate::model::{Half, Key};
use crate::optimizer::{Moments, State};
use crate::record::Progress;
use crate::settings::Precision;
use crate::weights::write_tensors;
use anyhow::{Context, Result, ensure};
use candle_core::Var;
use coda_converter::source::{FloatTensor, TensorFile};
use coda_runtime::format::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata key.
const KEY: &str = "checkpoint";
/// What begins the names of a decoder's tensors.
const OF_DECODER: &str = "decoder.";

/// Everything that a training goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Identifies settings, data and base.
    pub run: String,
    /// Steps, curves and the best validation so far.
    pub progress: Progress,
    /// Values of the trained tensors.
    pub values: BTreeMap<Key, Vec<f32>>,
    /// Moments and averages.
    pub state: State,
    /// Values at the best validation.
    pub best: BTreeMap<Key, Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
    progress: Progress,
}

fn name(part: &str, key: Key) -> String {
    let (half, (layer, role)) = key;
    let half = if half == Half::Decoder { OF_DECODER } else { "" };
    format!("{half}{part}.{layer}.{}", role.code())
}

fn key(name: &str) -> Option<(&str, Key)> {
    let (half, name) = match name.strip_prefix(OF_DECODER) {
        Some(rest) => (Half::Decoder, rest),
        None => (Half::Encoder, name),
    };
    let mut parts = name.split('.');
    let (part, layer, role) = (parts.next()?, parts.next()?, parts.next()?);
    Some((part, (half, (layer.parse().ok()?, Role::from_code(role.parse().ok()?)?))))
}

impl Checkpoint {
    /// Writes the file: all of it, or the old one stays.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = BTreeMap::new();
        let mut add = |part, key: &Key, values: &[f32]| {
            let (shape, values) = (vec![values.len()], values.to_vec());
            tensors.insert(name(part, *key), FloatTensor { shape, values });
        };
        self.values.iter().for_each(|(place, values)| add("value", place, values));
        self.best.iter().for_each(|(place, values)| add("best", place, values));
        for (place, moments) in &self.state {
            add("first", place, &moments.first);
            add("second", place, &moments.second);
            add("average", place, &moments.average);
        }
        let header = Header { run: self.run.clone(), progress: self.progress.clone() };
        let header = serde_json::to_string(&header)?;
        write_tensors(path, tensors, &[(KEY, header.as_str())], Precision::F32)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no checkpoint.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let header =
            file.metadata(KEY).with_context(|| format!("{} is no checkpoint", path.display()))?;
        let Header { run, progress } = serde_json::from_str(header)?;
        let mut found: BTreeMap<(String, Key), Vec<f32>> = BTreeMap::new();
        for own in file.names() {
            let (part, place) = key(own).with_context(|| format!("unknown tensor {own}"))?;
            let FloatTensor { values, .. } = file.tensor(own)?;
            found.insert((part.to_owned(), place), values);
        }
        let of = |part: &str| -> BTreeMap<Key, Vec<f32>> {
            let own = found.iter().filter(|((name, _), _)| name == part);
            own.map(|((_, place), values)| (*place, values.clone())).collect()
        };
        let (first, mut second, mut average) = (of("first"), of("second"), of("average"));
        let moments = |(place, first)| {
            let (second, average) = (second.remove(&place), average.remove(&place));
            let second = second.with_context(|| format!("no second moment of {place:?}"))?;
            let average = average.with_context(|| format!("no average of {place:?}"))?;
            Ok((place, Moments { first, second, average }))
        };
        let state = first.into_iter().map(moments).collect::<Result<_>>()?;
        Ok(Self { run, progress, values: of("value"), state, best: of("best") })
    }

    /// Refuses a checkpoint whose tensors are not those of `variables`.
    ///
    /// # Errors
    /// A tensor is missing or of another size.
    pub fn check(&self, variables: &BTreeMap<Key, Var>) -> Result<()> {
        for (place, variable) in variables {
            let found = self.values.get(place).map(Vec::len);
            ensure!(
                found == Some(variable.elem_count()),
                "the checkpoint has {found:?} values of {place:?}, the model {}",
                variable.elem_count()
            );
        }
        Ok(())
    }
}
