//! Reads what other tools write: Hugging Face directories and CoDA task files.

mod base;
mod config;
mod error;
mod positions;
mod relative;
mod task;
mod tensors;
mod tokenizer;

pub use base::{Base, Place};
pub use error::{SourceError, TensorProblem};
pub use relative::bias_by_distance;
pub use task::{LayerMetadata, Task, TaskMetadata};
pub use tensors::{FloatTensor, TensorFile};
pub use tokenizer::TokenizerFiles;
