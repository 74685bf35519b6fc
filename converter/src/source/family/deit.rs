//! `DeiT`: a ViT with a distillation token after the class token.

use super::definition::Family;
use super::vit::{self, CLASS_TOKEN, ImageNames};

/// The classifier of two tokens, `DeiTForImageClassificationWithTeacher`, is the mean of two maps, which no
/// package can say: the encoder is packed alone, and `coda pack` lists the rest as not used.
pub(super) const FAMILY: Family = Family {
    model_types: &["deit"],
    prefixes: &["deit.", ""],
    config: |checkpoint| vit::config(checkpoint, &NAMES),
    tensors: |checkpoint, entries| vit::tensors(checkpoint, entries, &NAMES),
    ..vit::FAMILY
};

const NAMES: ImageNames =
    ImageNames { tokens: &[CLASS_TOKEN, "embeddings.distillation_token"], ..vit::NAMES };
