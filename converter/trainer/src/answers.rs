//! What teachers said of the texts of a set, in one file for many trainings.

use crate::settings::Precision;
use crate::train::Answers;
use crate::weights::write_tensors;
use anyhow::{Result, ensure};
use coda_converter::source::{FloatTensor, TensorFile};
use std::path::Path;

/// Name of the hash in the metadata.
const IDENTITY: &str = "identity";

/// Reads answers; `identity` says of which teachers to which texts.
///
/// # Errors
/// The file is damaged, or holds other answers.
pub fn read(path: &Path, identity: &str) -> Result<Answers> {
    let file = TensorFile::open(path)?;
    ensure!(
        file.metadata(IDENTITY) == Some(identity),
        "these are answers of other teachers, or to other texts: remove the file"
    );
    let rows = |name| -> Result<Vec<Vec<f32>>> {
        let FloatTensor { shape, values } = file.tensor(name)?;
        let columns = shape.get(1).copied().unwrap_or(1).max(1);
        Ok(values.chunks_exact(columns).map(<[f32]>::to_vec).collect())
    };
    let samples = file.tensor("samples")?.values.into_iter().map(|index| index as usize);
    Ok(samples.zip(rows("logits")?.into_iter().zip(rows("pooled")?)).collect())
}

/// Writes answers.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, identity: &str, answers: &Answers) -> Result<()> {
    let matrix = |rows: Vec<Vec<f32>>| {
        let shape = vec![rows.len(), rows.first().map_or(0, Vec::len)];
        FloatTensor { shape, values: rows.concat() }
    };
    if answers.is_empty() {
        return Ok(());
    }
    let (logits, pooled) = answers.values().cloned().unzip();
    // Exact for the 16 million samples that fit in memory.
    let samples = answers.keys().map(|index| vec![*index as f32]).collect();
    let tensors = [("samples", samples), ("logits", logits), ("pooled", pooled)];
    let tensors = tensors.map(|(name, rows)| (name.to_owned(), matrix(rows)));
    write_tensors(path, tensors.into(), &[(IDENTITY, identity)], Precision::F32)
}
