//! A safetensors file, its tensors as f32.

use super::error::{SourceError, TensorProblem};
use coda_runtime::format::Role;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A tensor's place in a model: layer ([`GLOBAL_LAYER`](coda_runtime::format::GLOBAL_LAYER) for none), then role.
pub type Place = (u16, Role);

/// A tensor as f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatTensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// An open safetensors file. Values are read and checked when a tensor is asked for.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: BTreeMap<String, String>,
    names: Vec<String>,
}

impl TensorFile {
    /// Opens and checks the header of `path`.
    ///
    /// # Errors
    /// [`SourceError::Read`] and [`SourceError::Safetensors`].
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let read = |source| SourceError::Read { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        let problem = |error: safetensors::SafeTensorError| SourceError::Safetensors {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(problem)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = SafeTensors::deserialize(&bytes).map_err(problem)?;
        let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        Ok(Self { path: path.to_owned(), metadata, names, bytes })
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
        self.names.binary_search_by(|own| own.as_str().cmp(name)).is_ok()
    }

    /// An error about one tensor.
    #[must_use]
    pub fn problem(&self, name: &str, problem: TensorProblem) -> SourceError {
        SourceError::Tensor { path: self.path.clone(), name: name.to_owned(), problem }
    }

    /// Tensor `name` as finite f32 values.
    ///
    /// # Errors
    /// [`SourceError::Tensor`] if it is missing, not of a float type or not finite.
    pub fn tensor(&self, name: &str) -> Result<FloatTensor, SourceError> {
        let tensors = SafeTensors::deserialize(&self.bytes).map_err(|error| {
            SourceError::Safetensors { path: self.path.clone(), problem: error.to_string() }
        })?;
        let view = tensors.tensor(name).map_err(|_| self.problem(name, TensorProblem::Missing))?;
        let values = to_f32(view.dtype(), view.data()).ok_or_else(|| {
            self.problem(name, TensorProblem::Type(format!("{:?}", view.dtype())))
        })?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let value = values[index];
            return Err(self.problem(name, TensorProblem::NotFinite { value, index }));
        }
        Ok(FloatTensor { shape: view.shape().to_vec(), values })
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
        let fits = tensor.values.len() == rows * columns
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
