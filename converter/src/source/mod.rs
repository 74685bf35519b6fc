//! Reads what other tools write: Hugging Face directories and CoDA task files.

mod base;
mod container;
mod error;
mod family;
mod fields;
mod file;
mod head;
mod json;
mod labels;
mod metadata;
mod names;
mod opening;
mod positions;
mod preprocessor;
mod probe;
mod relative;
pub(crate) mod roles;
mod rotary;
mod sentence;
mod shards;
mod task;
mod tensors;
mod texts;
mod tokenizer;

pub use base::Base;
pub use container::weight_files;
pub use error::{SourceError, TensorProblem};
pub use fields::{FIELDS, Fate, Fields};
pub use metadata::{LayerMetadata, OrDense, TaskMetadata};
pub use opening::{Opening, Tower};
pub use relative::bias_by_distance;
pub use task::Task;
pub use tensors::{FloatTensor, Place, TensorFile};
pub use texts::TextSettings;
pub use tokenizer::{Added, PieceFiles, Texts, TokenizerFiles};
