//! The decoder of a base, and what a task adds to it.

use super::error::SourceError;
use super::family::Entry;
use super::generation::Generation;
use super::tensors::{FloatTensor, Place, TensorFile};
use coda_runtime::config::Config;
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::collections::BTreeMap;

/// A decoder, every tensor as `[rows, columns]` f32.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Its layers.
    pub config: Config,
    /// Tensors by place; vectors are one row.
    pub tensors: BTreeMap<Place, FloatTensor>,
    /// The name of every place in the file.
    pub names: BTreeMap<Place, String>,
    /// How a file holds each tensor.
    pub entries: Vec<Entry>,
    /// How an answer is generated.
    pub generation: Generation,
    /// The token table, its own or the encoder's, is the output map as well.
    pub tied: bool,
}

/// What a task adds to a decoder: adapters, changed norms, what follows the encoder's states, and which ids an
/// answer may hold.
#[derive(Clone, Debug, Default)]
pub struct TaskDecoder {
    /// Tensors by place.
    pub tensors: BTreeMap<Place, FloatTensor>,
    /// The name of each tensor in the file.
    pub names: BTreeMap<Place, String>,
    /// Ids that an answer may hold, ascending; empty for all.
    pub shortlist: Vec<u32>,
}

impl TaskDecoder {
    /// Reads the tensors of a task for `decoder`; `None` if the file has none.
    ///
    /// # Errors
    /// A tensor of another shape, or damaged.
    pub(super) fn read(
        file: &TensorFile,
        decoder: &Decoder,
        encoder_hidden: usize,
        is_base: bool,
    ) -> Result<Option<Self>, SourceError> {
        let (mut task, d) = (Self::default(), decoder.config.hidden);
        for index in 0..decoder.config.layers {
            let name = |part: &str| format!("coda.decoder.layer.{index}.adapter.{part}");
            if !file.contains(&name("down.weight")) {
                continue;
            }
            let h = file.tensor(&name("down.weight"))?.shape.first().copied().unwrap_or(0);
            let parts = [
                (Role::AdapterDown, "down.weight", [h, d]),
                (Role::AdapterDownBias, "down.bias", [1, h]),
                (Role::AdapterUp, "up.weight", [d, h]),
                (Role::AdapterUpBias, "up.bias", [1, d]),
            ];
            for (role, part, shape) in parts {
                task.insert(file, (index as u16, role), name(part), shape)?;
            }
        }
        let appended = "coda.decoder.appended_states";
        if file.contains(appended) {
            let rows = file.tensor(appended)?.shape.first().copied().unwrap_or(0);
            let place = (GLOBAL_LAYER, Role::AppendedStates);
            task.insert(file, place, appended.to_owned(), [rows, encoder_hidden])?;
        }
        for (place, name) in decoder.names.iter().filter(|_| !is_base) {
            if place.1.belongs_to_task() && file.contains(name) {
                task.insert(file, *place, name.clone(), [1, d])?;
            }
        }
        Ok(Some(task).filter(|task| !task.tensors.is_empty()))
    }

    fn insert(
        &mut self,
        file: &TensorFile,
        place: Place,
        name: String,
        shape: [usize; 2],
    ) -> Result<(), SourceError> {
        self.tensors.insert(place, file.matrix(&name, shape)?);
        self.names.insert(place, name);
        Ok(())
    }
}
