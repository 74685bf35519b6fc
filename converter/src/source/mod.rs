//! Reads what other tools write: Hugging Face directories and CoDA task files.

mod base;
mod error;
mod family;
mod json;
mod metadata;
mod positions;
mod preprocessor;
mod relative;
pub(crate) mod roles;
mod task;
mod tensors;
mod tokenizer;

pub use base::Base;
pub use error::{SourceError, TensorProblem};
pub use metadata::{LayerMetadata, OrDense, TaskMetadata};
pub use relative::bias_by_distance;
pub use task::Task;
pub use tensors::{FloatTensor, Place, TensorFile};
pub use tokenizer::TokenizerFiles;
