//! Writes packages. Constants and fixed sections come from `coda_runtime::format`, so the writer
//! cannot drift from the reader; every package is parsed before it is handed out.

mod decoder;
mod note;
mod self_test;
mod storage;
mod writer;

pub use crate::bytes::PackageBytes;
pub use note::{ids_only, provenance, similarity};
pub use self_test::with_self_test;
pub use storage::WeightType;
pub use writer::{PackError, Packed, TensorReport, content_id, seal};

use crate::source::{Base, FloatTensor, Place, Task};
use coda_runtime::config::Config;
use coda_runtime::format::{
    self, ContentId, GLOBAL_LAYER, Package, PackageKind, Role, SectionKind,
};
use coda_runtime::model::Model;
use std::borrow::Cow;
use std::collections::BTreeMap;
use storage::Tables;
use writer::Writer;

/// Packs a base; one for integer weights should be [smoothed](crate::smooth) before.
///
/// # Errors
/// [`PackError`].
pub fn pack_base(base: &Base, weights: WeightType, provenance: &str) -> Result<Packed, PackError> {
    let mut writer = Writer::new(PackageKind::Base, ContentId::default());
    let float_attention = base.float_attention || base.config.causal;
    let int8_attention = weights.is_integer() && !float_attention;
    let config = Config { int8_attention, ..base.config };
    writer.section(SectionKind::Config, format::encode_config(&config).to_vec());
    writer.head(base.head, &base.labels);
    if let Some(image) = &base.image {
        writer.section(SectionKind::Image, format::encode_image(image).to_vec());
    }
    writer.preparation(&base.preparation);
    if let Some(tokenizer) = &base.tokenizer {
        let bytes = tokenizer.section().map_err(PackError::Vocabulary)?;
        writer.section(SectionKind::Vocabulary, bytes);
    }
    if let Some(pieces) = &base.pieces {
        let bytes = pieces.section().map_err(PackError::Vocabulary)?;
        writer.section(SectionKind::Tokenizer, bytes);
    }
    if let Some(bytes) = base.texts.section() {
        writer.section(SectionKind::Text, bytes);
    }
    writer.provenance(&note::with_notes(provenance, base));
    let decoder = base.decoder.as_ref().map(|own| decoder::pack_base(own, weights)).transpose()?;
    let tables = Tables { output_map: base.decoder.as_ref().is_some_and(decoder::shares_table) };
    let mut tensors = writer.tensors(&stored(base), &base.names, weights, tables)?;
    if let Some(decoder) = decoder {
        writer.section(SectionKind::Decoder, decoder.bytes.to_vec());
        tensors.extend(decoder.tensors);
    }
    let bytes = writer.finish()?;
    Model::dense(&bytes.parse()?)?;
    Ok(Packed { bytes, tensors })
}

/// The tensors of a base that its package holds: of layers that share their weights, the first's.
fn stored(base: &Base) -> Cow<'_, BTreeMap<Place, FloatTensor>> {
    if !base.config.shared_layers {
        return Cow::Borrowed(&base.tensors);
    }
    let mut tensors = base.tensors.clone();
    tensors.retain(|(layer, _), _| matches!(*layer, 0 | GLOBAL_LAYER));
    Cow::Owned(tensors)
}

/// Packs a task for a packed base.
///
/// # Errors
/// [`PackError`].
pub fn pack_task(
    task: &Task,
    base: &Package<'_>,
    weights: WeightType,
    provenance: &str,
) -> Result<Packed, PackError> {
    let mut writer = Writer::new(PackageKind::Task, base.content_id());
    writer.section(SectionKind::Task, format::encode_task(&task.config).to_vec());
    let layers = task.layers.iter().flat_map(format::encode_layer).collect();
    writer.section(SectionKind::Layers, layers);
    if !task.pinned.is_empty() {
        let bytes = task.pinned.iter().flat_map(|position| position.to_le_bytes());
        writer.section(SectionKind::Pinned, bytes.collect());
    }
    writer.head(task.head, &task.labels);
    writer.provenance(provenance);
    let tensors = if weights.is_integer() {
        writer.tensors(&follow_base(task, base), &task.names, weights, Tables::default())?
    } else {
        writer.tensors(&task.tensors, &task.names, weights, Tables::default())?
    };
    let mut tensors = tensors;
    if let (Some(own), Some(base)) = (&task.decoder, base.decoder()) {
        let decoder = decoder::pack_task(own, task, &base, weights)?;
        writer.section(SectionKind::Decoder, decoder.bytes.to_vec());
        tensors.extend(decoder.tensors);
    }
    let bytes = writer.finish()?;
    Model::bind(base, &bytes.parse()?)?;
    Ok(Packed { bytes, tensors })
}

/// The tensors of `task` for int8 weights: adapters and low-rank keys read the rows that query, key
/// and value of `base` read, and their weights are divided by the same input scale.
#[must_use]
pub fn follow_base(task: &Task, base: &Package<'_>) -> BTreeMap<Place, FloatTensor> {
    let mut tensors = task.tensors.clone();
    for ((layer, role), tensor) in &mut tensors {
        let reads_input = matches!(role, Role::AdapterDown | Role::LowRankDown);
        let scale = base.tensor(Role::AttentionInputScale, *layer).filter(|_| reads_input);
        let Some(scale) = scale else { continue };
        let factors = scale.bytes.as_chunks::<4>().0;
        for row in tensor.values.chunks_exact_mut(factors.len().max(1)) {
            let pairs = row.iter_mut().zip(factors);
            pairs.for_each(|(weight, factor)| *weight /= f32::from_le_bytes(*factor));
        }
    }
    tensors
}

/// Joins a base and its task in one file; both stay byte for byte what they are.
///
/// # Errors
/// [`PackError`], also if the task was made for another base.
pub fn bundle(base: &Package<'_>, task: &Package<'_>) -> Result<PackageBytes, PackError> {
    Model::bind(base, task)?;
    let mut writer = Writer::new(PackageKind::Bundle, ContentId::default());
    writer.section(SectionKind::BasePackage, base.bytes().to_vec());
    writer.section(SectionKind::TaskPackage, task.bytes().to_vec());
    writer.finish()
}
