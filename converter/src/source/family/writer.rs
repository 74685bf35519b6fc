//! The encoder of images of a model that writes (`vision-encoder-decoder`).

use super::checkpoint::Checkpoint;
use super::definition::Family;
use super::deit::{self, DISTILLATION_TOKEN};
use super::vit::{self, ImageNames};
use crate::source::error::SourceError;

/// The encoder of images of a model that writes.
pub(super) const FAMILY: Family = Family {
    model_types: &["vision-encoder-decoder"],
    prefixes: &["encoder."],
    config: |checkpoint| vit::config(&of_writer(checkpoint)?, names_of_writer(checkpoint)),
    tensors: |checkpoint, entries| {
        vit::tensors(&of_writer(checkpoint)?, entries, names_of_writer(checkpoint))
    },
    classifier: false,
    ..vit::FAMILY
};

/// What a file of two halves says of the encoder, which must be one that is known.
fn of_writer<'f>(checkpoint: &Checkpoint<'f>) -> Result<Checkpoint<'f>, SourceError> {
    let own = checkpoint.within("encoder");
    let own = own.ok_or_else(|| checkpoint.json("field \"encoder\" is missing".to_owned()))?;
    let model_type: String = own.need("model_type")?;
    match model_type.as_str() {
        "vit" | "deit" => Ok(own),
        _ => Err(checkpoint.refuse("encoder", model_type, "supported encoders are vit and deit")),
    }
}

/// A second learned token is a distillation token.
fn names_of_writer(checkpoint: &Checkpoint<'_>) -> &'static ImageNames {
    if checkpoint.has(DISTILLATION_TOKEN) { &deit::NAMES } else { &vit::NAMES }
}
