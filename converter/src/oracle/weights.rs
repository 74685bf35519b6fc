//! Whose tensors a graph is made of.

use crate::source::{Base, Decoder, FloatTensor, Place, TaskDecoder};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::collections::BTreeMap;

/// Tensors by place.
#[derive(Clone, Copy)]
pub(super) struct Weights<'b> {
    own: &'b BTreeMap<Place, FloatTensor>,
    /// What a task adds, or has in place of one of `own`.
    task: Option<&'b BTreeMap<Place, FloatTensor>>,
    /// The token table, where it is not of `own`.
    table: Option<&'b FloatTensor>,
}

impl<'b> Weights<'b> {
    /// Those of an encoder.
    pub(super) const fn of_base(base: &'b Base) -> Self {
        Self { own: &base.tensors, task: None, table: None }
    }

    /// Those of a decoder, which may share the token table of its encoder.
    pub(super) fn of_decoder(
        base: &'b Base,
        decoder: &'b Decoder,
        task: Option<&'b TaskDecoder>,
    ) -> Self {
        let table = base.tensor(Role::TokenEmbedding, GLOBAL_LAYER);
        Self { own: &decoder.tensors, task: task.map(|task| &task.tensors), table }
    }

    /// The tensor of a role, if there is one.
    pub(super) fn tensor(&self, role: Role, layer: u16) -> Option<&'b FloatTensor> {
        let place = (layer, role);
        let found = self.task.and_then(|task| task.get(&place)).or_else(|| self.own.get(&place));
        found.or(self.table.filter(|_| place == (GLOBAL_LAYER, Role::TokenEmbedding)))
    }
}
