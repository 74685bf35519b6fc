//! The model that the converter brings: a small ViT for Fashion-MNIST, its task, an image of each class.

use crate::tiny::Packages;
use anyhow::{Context, Result};
use coda_converter::pack::WeightType;
use coda_converter::source::{Base, Task};
use std::path::{Path, PathBuf};

/// Says in every package where its weights come from.
const PROVENANCE: &str = include_str!("../../converter/default/PROVENANCE.md");

/// Its folder in Hugging Face's form, `coda.safetensors` beside.
#[must_use]
pub fn model_directory() -> PathBuf {
    directory().join("fashion-vit")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../converter/default")
}

/// Its weights.
///
/// # Errors
/// A file is missing or damaged.
pub fn open() -> Result<(Base, Task)> {
    let base = Base::open(&model_directory(), None)?;
    let task = Task::open(&model_directory().join("coda.safetensors"), &base)?;
    Ok((base, task))
}

/// Packs it.
///
/// # Errors
/// It cannot be packed.
pub fn pack(weights: WeightType) -> Result<Packages> {
    let (base, task) = open()?;
    Packages::of(&base, &task, weights, PROVENANCE)
}

/// An image of each class, in order: pixels row by row.
///
/// # Errors
/// A picture is missing or damaged.
pub fn images() -> Result<Vec<Vec<u8>>> {
    let read = |label| {
        let path = directory().join(format!("images/{label}.png"));
        let picture = image::open(&path).with_context(|| path.display().to_string())?;
        Ok(picture.into_luma8().into_raw())
    };
    (0..10).map(read).collect()
}
