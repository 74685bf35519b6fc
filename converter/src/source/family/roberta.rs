//! `RoBERTa`: a BERT whose positions begin after that of the padding token.

use super::bert;
use super::checkpoint::Checkpoint;
use super::definition::Family;
use crate::source::error::SourceError;

pub(super) const FAMILY: Family = Family {
    model_types: &["roberta", "xlm-roberta", "camembert", "data2vec-text"],
    prefixes: &["roberta.", "data2vec_text.", ""],
    config: |checkpoint| bert::config(checkpoint, first_position(checkpoint)?),
    tensors: |checkpoint, entries| {
        bert::tensors(entries, first_position(checkpoint)?);
        Ok(())
    },
    ..bert::FAMILY
};

pub(super) fn first_position(checkpoint: &Checkpoint<'_>) -> Result<usize, SourceError> {
    Ok(checkpoint.get::<usize>("pad_token_id")?.unwrap_or(1).saturating_add(1))
}
