//! The decoder of a base and what a task adds to it: packages inside packages.

use super::storage::{Tables, WeightType};
use super::writer::{PackError, Packed, Writer};
use crate::source::{Decoder, Task, TaskDecoder};
use coda_runtime::config::{Config, LayerPlan};
use coda_runtime::format::{self, ContentId, Package, PackageKind, Role, SectionKind};

/// The encoder's token table is the decoder's output map.
pub(super) fn shares_table(decoder: &Decoder) -> bool {
    decoder.tied && !decoder.tensors.keys().any(|(_, role)| *role == Role::TokenEmbedding)
}

/// Packs the decoder of a base. Integer weights keep its keys as f16.
pub(super) fn pack_base(decoder: &Decoder, weights: WeightType) -> Result<Packed, PackError> {
    let mut writer = Writer::new(PackageKind::Base, ContentId::default());
    let config = Config { int8_attention: weights.is_integer(), ..decoder.config };
    writer.section(SectionKind::Config, format::encode_config(&config).to_vec());
    writer.section(SectionKind::Generation, decoder.generation.section());
    if let Some(speech) = &decoder.generation.speech {
        writer.section(SectionKind::Speech, speech.section());
    }
    let tables = Tables { output_map: decoder.tied };
    let tensors = writer.tensors(&decoder.tensors, &decoder.names, weights, tables)?;
    Ok(Packed { bytes: writer.finish()?, tensors })
}

/// Packs what `task` adds to a packed decoder: every layer is dense.
pub(super) fn pack_task(
    own: &TaskDecoder,
    task: &Task,
    base: &Package<'_>,
    weights: WeightType,
) -> Result<Packed, PackError> {
    let mut writer = Writer::new(PackageKind::Task, base.content_id());
    writer.section(SectionKind::Task, format::encode_task(&task.config).to_vec());
    let layers = base.config().map_or(0, |config| config.layers);
    let dense = format::encode_layer(&LayerPlan { routing: None });
    writer.section(SectionKind::Layers, dense.repeat(layers));
    if !own.shortlist.is_empty() {
        let ids = own.shortlist.iter().flat_map(|id| id.to_le_bytes());
        writer.section(SectionKind::Shortlist, ids.collect());
    }
    let tensors = writer.tensors(&own.tensors, &own.names, weights, Tables::default())?;
    Ok(Packed { bytes: writer.finish()?, tensors })
}
