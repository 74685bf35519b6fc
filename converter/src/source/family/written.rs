//! The way back: the tensors of a file from what was read of it.

use super::entry::{Entry, Stored};
use crate::source::tensors::{FloatTensor, Place};
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::Role;
use std::collections::BTreeMap;
use thiserror::Error;

/// How the names of roles end that are vectors.
const VECTORS: [&str; 3] = ["bias", "norm weight", "scale"];

/// A tensor that cannot be written as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{name}\" cannot be written: {why}")]
pub struct Unwritten {
    /// Its name in a file.
    pub name: String,
    /// What stands against it.
    pub why: &'static str,
}

/// The tensors of a file, by name, from which `entries` read `tensors` again: parts are joined, what was joined
/// is split, rows that nothing reads are zero, a bias by distance goes back to its buckets.
///
/// # Errors
/// A tensor of which the file holds more than was read (positions of other images, a pooling by attention), or
/// nothing; a bias that differs within a bucket.
pub fn file_tensors(
    config: &Config,
    entries: &[Entry],
    tensors: &BTreeMap<Place, FloatTensor>,
) -> Result<BTreeMap<String, FloatTensor>, Unwritten> {
    let mut file = BTreeMap::new();
    for entry in entries {
        if let Some(tensor) = tensors.get(&entry.place) {
            entry.write(config, tensor, &mut file)?;
        }
    }
    Ok(file)
}

impl Entry {
    fn write(
        &self,
        config: &Config,
        tensor: &FloatTensor,
        file: &mut BTreeMap<String, FloatTensor>,
    ) -> Result<(), Unwritten> {
        let [rows, columns] = self.shape;
        let shape = |rows| self.file_shape(config, rows);
        let mut put = |name: &String, shape, values: Vec<f32>| {
            file.insert(name.clone(), FloatTensor { shape, values });
        };
        match &self.stored {
            _ if self.is_same() => put(&self.name, shape(rows), tensor.values.clone()),
            // The value projection of a pooling by attention has others before it, which are not read.
            Stored::After(_) if self.place.1 == Role::ProbeValue => return Err(self.lost()),
            Stored::After(skipped) => {
                let mut values = vec![0.0; skipped * columns];
                values.extend_from_slice(&tensor.values);
                put(&self.name, shape(skipped + rows), values);
            }
            Stored::Joined(parts) => {
                let mut rest = &tensor.values[..];
                for (name, rows) in parts {
                    let (own, behind) = rest.split_at(rows * columns);
                    put(name, shape(*rows), own.to_vec());
                    rest = behind;
                }
            }
            &Stored::Part { index, of } => self.write_part(tensor, index, of, file),
            Stored::Buckets(_) | Stored::CausalBuckets(_) => {
                let values = self.by_bucket(tensor)?;
                put(&self.name, vec![values.len() / rows, rows], values);
            }
            Stored::Angles(_) => {}
            _ => return Err(self.lost()),
        }
        Ok(())
    }

    fn by_bucket(&self, tensor: &FloatTensor) -> Result<Vec<f32>, Unwritten> {
        let back = self.buckets().and_then(|own| own.by_bucket(&tensor.values, self.shape[0]));
        let why = "its distances differ within a bucket";
        back.ok_or_else(|| Unwritten { name: self.name.clone(), why })
    }

    fn write_part(
        &self,
        tensor: &FloatTensor,
        index: usize,
        of: usize,
        file: &mut BTreeMap<String, FloatTensor>,
    ) {
        let size = tensor.values.len();
        let [rows, columns] = self.shape;
        let shape = if rows == 1 { vec![of * columns] } else { vec![of * rows, columns] };
        let blank = || FloatTensor { shape, values: vec![0.0; of * size] };
        let whole = file.entry(self.name.clone()).or_insert_with(blank);
        whole.values[index * size..(index + 1) * size].copy_from_slice(&tensor.values);
    }

    fn lost(&self) -> Unwritten {
        let why = "it is read otherwise than a file holds it";
        Unwritten { name: self.name.clone(), why }
    }

    /// The shape that Hugging Face gives so many rows of the tensor.
    fn file_shape(&self, config: &Config, rows: usize) -> Vec<usize> {
        let (role, columns) = (self.place.1, self.shape[1]);
        match (role, config.embedding) {
            (Role::PatchWeight, Embedding::Patches { channels, patch, .. }) => {
                vec![rows, channels, patch, patch]
            }
            (Role::ClassToken | Role::PositionEmbedding, Embedding::Patches { .. }) => {
                vec![1, rows, columns]
            }
            _ if VECTORS.iter().any(|end| role.name().ends_with(end)) => vec![columns],
            _ => vec![rows, columns],
        }
    }
}
