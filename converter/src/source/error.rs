//! Why a source cannot be read; always names the file.

use std::path::PathBuf;
use thiserror::Error;

/// Why a source cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The directory has no configuration.
    #[error(
        "{} has no config.json: give a Hugging Face model directory (config.json and model.safetensors)",
        path.display()
    )]
    NoConfig {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory does not hold what it should, and what to do.
    #[error("{}: {problem}", path.display())]
    Container {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A JSON file is not JSON, or lacks a field.
    #[error("{}: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An encoder family that is not supported.
    #[error(
        "{}: model_type \"{found}\" is not supported; supported are {supported}",
        path.display()
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// The `model_type`.
        found: String,
        /// What would be.
        supported: String,
    },
    /// A setting of a supported family that is not supported.
    #[error("{}: {field} = {found} is not supported; {supported}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be.
        supported: &'static str,
    },
    /// The file is not a safetensors file.
    #[error("{} is not a valid safetensors file: {problem}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor that cannot be used.
    #[error("{}: tensor \"{name}\" {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// The tokenizer is of a kind that the runtime does not have.
    #[error("{}: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What is wrong with a tensor.
#[derive(Debug, Error)]
pub enum TensorProblem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is not there, where all names of the model begin alike.
    #[error("is missing; the model's names begin with \"{prefix}\" in this file")]
    MissingBelow {
        /// How they begin.
        prefix: String,
    },
    /// Nothing tells where the model is.
    #[error(
        "is missing, with any prefix; the file's names are like {found}: is config.json of another model?"
    )]
    NoPrefix {
        /// Some names of the file.
        found: String,
    },
    /// It is there more than once: two models, or two generations of one.
    #[error("is there more than once, as {0}: keep one model in the file")]
    Several(String),
    /// Its shape is another.
    #[error("has shape {found:?} instead of {expected:?}")]
    Shape {
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// Its type is not a float type.
    #[error(
        "has type {0}; supported are F64, F32, F16 and BF16: give the weights from before they were \
         quantised"
    )]
    Type(String),
    /// It holds a value that is not a number, or infinite.
    #[error("holds {value} at index {index}: the weights are damaged or the training diverged")]
    NotFinite {
        /// The value.
        value: f32,
        /// Its index.
        index: usize,
    },
    /// It is not a tensor of this model.
    #[error("is not part of this model: {0}")]
    Unknown(&'static str),
}
