//! The audio spectrogram transformer: a ViT of patches of a spectrogram, which may overlap. The package knows
//! their number; whoever makes a spectrogram cuts it.

use super::checkpoint::Checkpoint;
use super::definition::{Family, embedding};
use super::{deit, vit};
use crate::source::error::SourceError;
use coda_runtime::config::{Config, Embedding, NormPlacement, Pooling};

pub(super) const FAMILY: Family = Family {
    model_types: &[MODEL_TYPE],
    prefixes: &["audio_spectrogram_transformer.", ""],
    config,
    tensors: |checkpoint, entries| vit::tensors(checkpoint, entries, &deit::NAMES),
    classifier: false,
    head: Some(embedding(Pooling::MeanOfPrefix)),
    ..vit::FAMILY
};

pub(super) const MODEL_TYPE: &str = "audio-spectrogram-transformer";

fn config(checkpoint: &Checkpoint<'_>) -> Result<Config, SourceError> {
    let patch: usize = checkpoint.need("patch_size")?;
    let axis = |length: &'static str, stride: &'static str| -> Result<usize, SourceError> {
        let (length, stride): (usize, usize) = (checkpoint.need(length)?, checkpoint.need(stride)?);
        let places = length.checked_sub(patch).and_then(|rest| rest.checked_div(stride));
        let fault =
            || checkpoint.json(format!("{length} does not hold patches of {patch} every {stride}"));
        places.map(|places| places + 1).ok_or_else(fault)
    };
    let rows = axis("num_mel_bins", "frequency_stride")?;
    let columns = axis("max_length", "time_stride")?;
    if checkpoint.image_size().is_some() {
        return Err(checkpoint.json("a spectrogram is no image: leave --image-size out".to_owned()));
    }
    // As if they stood side by side: overlapping ones are cut where the spectrogram is made.
    let embedding = Embedding::Patches {
        height: rows.saturating_mul(patch),
        width: columns.saturating_mul(patch),
        channels: 1,
        patch,
        prefix_tokens: 2,
        norm: false,
    };
    Ok(Config {
        norm_eps: checkpoint.get("layer_norm_eps")?.unwrap_or(1e-12) as f32,
        activation: checkpoint.activation("hidden_act")?,
        placement: NormPlacement::Pre,
        final_norm: true,
        ..checkpoint.encoder(embedding, &super::bert::SIZES)?
    })
}
