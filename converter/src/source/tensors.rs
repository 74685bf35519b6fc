//! Safetensors files, their tensors as f32.

use super::error::{SourceError, TensorProblem};
use super::file;
use super::names::{is_tied, spellings};
use coda_runtime::format::Role;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A tensor's place in a model: layer ([`GLOBAL_LAYER`](coda_runtime::format::GLOBAL_LAYER) for none), then role.
pub type Place = (u16, Role);

/// Bytes of the number that says how long the header of a safetensors file is.
const HEADER_LENGTH_BYTES: usize = 8;

/// A tensor as f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatTensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// Weights in one safetensors file, or in several. Values are read and checked when a tensor is
/// asked for, by today's name: the file may have it under that of another generation.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    parts: Vec<(PathBuf, Vec<u8>)>,
    metadata: BTreeMap<String, String>,
    names: Vec<String>,
    /// In order of the names.
    stored: Vec<Stored>,
}

/// Where a tensor is.
#[derive(Debug)]
struct Stored {
    part: usize,
    bytes: Range<usize>,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl TensorFile {
    /// Opens and checks the header of `path`.
    ///
    /// # Errors
    /// [`SourceError::Read`], [`SourceError::Container`] and [`SourceError::Safetensors`].
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_parts(path, &[&path.to_owned()])
    }

    /// Opens the files that hold one model; `path` names all of them.
    pub(super) fn open_parts(path: &Path, parts: &[&PathBuf]) -> Result<Self, SourceError> {
        let mut file = Self {
            path: path.to_owned(),
            parts: Vec::new(),
            metadata: BTreeMap::new(),
            names: Vec::new(),
            stored: Vec::new(),
        };
        let mut tensors = Vec::new();
        for path in parts {
            file.add_part(path, &mut tensors)?;
        }
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        (file.names, file.stored) = tensors.into_iter().unzip();
        match file.names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let places = "a tensor of two files".to_owned();
                Err(file.problem(&pair[0], TensorProblem::Several(places)))
            }
            None => Ok(file),
        }
    }

    /// Reads one file; its tensors are not yet in order.
    fn add_part(
        &mut self,
        path: &Path,
        tensors: &mut Vec<(String, Stored)>,
    ) -> Result<(), SourceError> {
        let bytes = file::read(path)?;
        let (length, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| safetensors_error(path, &error))?;
        let (part, start) = (self.parts.len(), HEADER_LENGTH_BYTES + length);
        for (name, info) in header.tensors() {
            let (dtype, shape) = (info.dtype, info.shape.clone());
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            tensors.push((name, Stored { part, bytes, dtype, shape }));
        }
        self.metadata.extend(header.metadata().clone().unwrap_or_default());
        self.parts.push((path.to_owned(), bytes));
        Ok(())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A metadata string.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// There is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        spellings(name).iter().any(|name| self.stored(name).is_some())
    }

    /// The file that holds the tensor of exactly this name.
    pub(super) fn part_of(&self, name: &str) -> Option<&PathBuf> {
        Some(&self.parts[self.stored(name)?.part].0)
    }

    /// The dimensions of a tensor, if it is there.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.stored(name)?.shape)
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        let found = self.names.binary_search_by(|own| own.as_str().cmp(name));
        self.stored.get(found.ok()?)
    }

    fn bytes(&self, stored: &Stored) -> &[u8] {
        &self.parts[stored.part].1[stored.bytes.clone()]
    }

    /// Where a tensor is, under whichever of its names.
    fn find(&self, name: &str) -> Result<&Stored, SourceError> {
        let mut names = spellings(name);
        names.retain(|name| self.stored(name).is_some());
        let found: Vec<&Stored> = names.iter().filter_map(|name| self.stored(name)).collect();
        match found[..] {
            [] => Err(self.problem(name, TensorProblem::Missing)),
            [first] => Ok(first),
            [first, second, ..] if is_tied(name) && self.bytes(first) == self.bytes(second) => {
                Ok(first)
            }
            _ => Err(self.problem(name, TensorProblem::Several(names.join(" and ")))),
        }
    }

    /// An error about one tensor.
    #[must_use]
    pub fn problem(&self, name: &str, problem: TensorProblem) -> SourceError {
        let path = self.part_of(name).unwrap_or(&self.path).clone();
        SourceError::Tensor { path, name: name.to_owned(), problem }
    }

    /// Tensor `name` as finite f32 values.
    ///
    /// # Errors
    /// [`SourceError::Tensor`] if it is missing, not of a float type or not finite.
    pub fn tensor(&self, name: &str) -> Result<FloatTensor, SourceError> {
        let stored = self.find(name)?;
        let values = to_f32(stored.dtype, self.bytes(stored)).ok_or_else(|| {
            self.problem(name, TensorProblem::Type(format!("{:?}", stored.dtype)))
        })?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let value = values[index];
            return Err(self.problem(name, TensorProblem::NotFinite { value, index }));
        }
        Ok(FloatTensor { shape: stored.shape.clone(), values })
    }

    /// Tensor `name` of a given shape. Dimensions of 1 do not count: `[1, 1, 96]` is `[96]`.
    ///
    /// # Errors
    /// As [`TensorFile::tensor`], and a wrong shape.
    pub fn shaped(&self, name: &str, expected: &[usize]) -> Result<FloatTensor, SourceError> {
        let mut tensor = self.tensor(name)?;
        let significant = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|side| *side != 1).collect()
        };
        if significant(&tensor.shape) != significant(expected) {
            let (expected, found) = (expected.to_vec(), tensor.shape);
            return Err(self.problem(name, TensorProblem::Shape { expected, found }));
        }
        tensor.shape = expected.to_vec();
        Ok(tensor)
    }

    /// A tensor as a matrix: dimensions after the first are flattened, a vector is one row.
    pub(super) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<FloatTensor, SourceError> {
        let [rows, columns] = shape;
        let mut tensor = self.tensor(name)?;
        let significant: Vec<usize> =
            tensor.shape.iter().copied().filter(|side| *side != 1).collect();
        let first = significant.first().copied().unwrap_or(1);
        let fits = rows.checked_mul(columns) == Some(tensor.values.len())
            && (rows == 1 && significant.len() <= 1
                || rows == first
                || columns == 1 && rows == tensor.values.len()
                || rows == 1 && first == columns);
        if !fits {
            let (expected, found) = (shape.to_vec(), tensor.shape);
            return Err(self.problem(name, TensorProblem::Shape { expected, found }));
        }
        tensor.shape = shape.to_vec();
        Ok(tensor)
    }
}

fn safetensors_error(path: &Path, error: &SafeTensorError) -> SourceError {
    let length = matches!(
        error,
        SafeTensorError::HeaderTooSmall
            | SafeTensorError::InvalidHeaderLength
            | SafeTensorError::MetadataIncompleteBuffer
    );
    let advice = if length { ": it ends too early or too late, download it again" } else { "" };
    let problem = format!("{error}{advice}");
    SourceError::Safetensors { path: path.to_owned(), problem }
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
        }
        _ => return None,
    })
}
