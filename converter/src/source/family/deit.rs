//! `DeiT`: a ViT with a distillation token after the class token.

use super::definition::Family;
use super::vit::{self, CLASS_TOKEN, ImageNames};

pub(super) const FAMILY: Family = Family {
    model_types: &["deit"],
    prefixes: &["deit.", ""],
    config: |checkpoint| vit::config(checkpoint, &NAMES),
    tensors: |checkpoint, entries| vit::tensors(checkpoint, entries, &NAMES),
    ..vit::FAMILY
};

pub(super) const NAMES: ImageNames =
    ImageNames { tokens: &[CLASS_TOKEN, DISTILLATION_TOKEN], ..vit::NAMES };

pub(super) const DISTILLATION_TOKEN: &str = "embeddings.distillation_token";
