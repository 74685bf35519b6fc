//! What teachers said of the texts of a set, in one file for many trainings.

use crate::train::Answers;
use anyhow::{Context, Result, ensure};
use coda_converter::output::write_whole;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use std::collections::HashMap;
use std::path::Path;

/// Name of the hash in the metadata.
const IDENTITY: &str = "identity";

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Reads answers; `identity` says of which teachers to which texts.
///
/// # Errors
/// The file is damaged, or holds other answers.
pub fn read(path: &Path, identity: &str) -> Result<Answers> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let found = header.metadata().as_ref().and_then(|own| own.get(IDENTITY));
    ensure!(
        found.is_some_and(|own| own == identity),
        "these are answers of other teachers, or to other texts: remove the file"
    );
    let file = SafeTensors::deserialize(&bytes)?;
    let rows = |name: &str| -> Result<(Vec<f32>, usize)> {
        let tensor = file.tensor(name)?;
        ensure!(tensor.dtype() == Dtype::F32, "\"{name}\" is not f32");
        let columns = tensor.shape().get(1).copied().unwrap_or(1).max(1);
        Ok((floats(tensor.data()), columns))
    };
    let (samples, (logits, labels), (pooled, width)) =
        (rows("samples")?, rows("logits")?, rows("pooled")?);
    let pairs = logits.chunks_exact(labels).zip(pooled.chunks_exact(width));
    let samples = samples.0.into_iter().map(|index| index as usize);
    Ok(samples.zip(pairs.map(|(logits, pooled)| (logits.to_vec(), pooled.to_vec()))).collect())
}

/// Writes answers.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, identity: &str, answers: &Answers) -> Result<()> {
    let Some((logits, pooled)) = answers.values().next() else { return Ok(()) };
    let sizes = [1, logits.len(), pooled.len()];
    let mut parts: [Vec<u8>; 3] = Default::default();
    for (index, (logits, pooled)) in answers {
        // Exact for the 16 million samples that fit in memory.
        parts[0].extend((*index as f32).to_le_bytes());
        parts[1].extend(logits.iter().flat_map(|value| value.to_le_bytes()));
        parts[2].extend(pooled.iter().flat_map(|value| value.to_le_bytes()));
    }
    let named = ["samples", "logits", "pooled"].iter().zip(&parts).zip(sizes);
    let views = named
        .map(|((name, bytes), columns)| {
            Ok((*name, TensorView::new(Dtype::F32, vec![answers.len(), columns], bytes)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = HashMap::from([(IDENTITY.to_owned(), identity.to_owned())]);
    write_whole(path, &serialize(views, Some(metadata))?)
        .with_context(|| format!("cannot write {}", path.display()))
}
