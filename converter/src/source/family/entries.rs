//! The tensors of an encoder, as a family names and stores them.

use crate::source::error::SourceError;
use crate::source::positions::{self, Grid};
use crate::source::relative;
use crate::source::roles::{
    ATTENTION_NORM, CONTRACT, EXPAND, FEED_FORWARD_NORM, GATE, KEY, OUTPUT, QUERY, Roles, VALUE,
};
use crate::source::tensors::{FloatTensor, Place, TensorFile};
use coda_runtime::config::{Config, Norm};
use coda_runtime::format::{GLOBAL_LAYER, Role};

/// One tensor of an encoder.
pub(in crate::source) struct Entry {
    /// Where it belongs.
    pub(in crate::source) place: Place,
    /// Its name in the file.
    pub(in crate::source) name: String,
    /// Rows and columns, as the encoder reads it.
    pub(in crate::source) shape: [usize; 2],
    /// The file may lack it.
    pub(in crate::source) optional: bool,
    stored: Stored,
}

/// What a file holds in place of what the encoder reads.
pub(super) enum Stored {
    /// The same.
    Same,
    /// So many rows that the encoder never reads, then the same.
    After(usize),
    /// Positions of another grid of patches, after that of the class token if there is one.
    Resized { from: Grid, to: Grid },
    /// A relative bias by bucket, so many.
    Buckets(usize),
}

impl Entry {
    /// Reads the tensor.
    pub(in crate::source) fn read(&self, file: &TensorFile) -> Result<FloatTensor, SourceError> {
        let [rows, columns] = self.shape;
        let values = match self.stored {
            Stored::Same => return file.matrix(&self.name, self.shape),
            Stored::After(skipped) => {
                let table = file.matrix(&self.name, [skipped + rows, columns])?;
                table.values[skipped * columns..].to_vec()
            }
            Stored::Resized { from, to } => {
                let class = rows - to.patches();
                let table = file.matrix(&self.name, [class + from.patches(), columns])?;
                positions::resize(&table.values, from, to, columns)
            }
            Stored::Buckets(buckets) => {
                let table = file.matrix(&self.name, [buckets, rows])?;
                relative::bias_by_distance(&table.values, buckets, rows, columns / 2)
            }
        };
        Ok(FloatTensor { shape: self.shape.to_vec(), values })
    }
}

/// Where the parts of a layer are in a family's names.
pub(super) struct LayerNames {
    pub(super) attention_norm: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) output: &'static str,
    pub(super) attention_scale: Option<&'static str>,
    pub(super) feed_forward_norm: &'static str,
    pub(super) gate: &'static str,
    pub(super) expand: &'static str,
    pub(super) contract: &'static str,
    pub(super) feed_forward_scale: Option<&'static str>,
}

/// Collects the tensors of an encoder.
pub(super) struct Entries<'c> {
    prefix: &'c str,
    config: &'c Config,
    list: Vec<Entry>,
}

impl<'c> Entries<'c> {
    pub(super) const fn new(prefix: &'c str, config: &'c Config) -> Self {
        Self { prefix, config, list: Vec::new() }
    }

    pub(super) const fn config(&self) -> &'c Config {
        self.config
    }

    pub(super) fn finish(self) -> Vec<Entry> {
        self.list
    }

    /// A table of the embedding: rows of the model's dimension.
    pub(super) fn table(&mut self, role: Role, name: &str, rows: usize) {
        self.add((GLOBAL_LAYER, role), name, [rows, self.config.hidden]);
    }

    /// A tensor that is stored in a form of its own.
    pub(super) fn stored(&mut self, role: Role, name: &str, shape: [usize; 2], stored: Stored) {
        self.add((GLOBAL_LAYER, role), name, shape).stored = stored;
    }

    /// A norm outside the layers.
    pub(super) fn global_norm(&mut self, roles: Roles, name: &str) {
        self.norm(GLOBAL_LAYER, roles, name);
    }

    /// A linear map outside the layers.
    pub(super) fn global_linear(&mut self, roles: Roles, name: &str, shape: [usize; 2]) {
        self.linear(GLOBAL_LAYER, roles, name, shape);
    }

    /// A norm: `{name}.weight` and, for LayerNorm, `{name}.bias`.
    fn norm(&mut self, layer: u16, roles: Roles, name: &str) {
        let shape = [1, self.config.hidden];
        self.add((layer, roles.weight), &format!("{name}.weight"), shape);
        if self.config.norm == Norm::LayerNorm {
            self.add((layer, roles.bias), &format!("{name}.bias"), shape);
        }
    }

    /// A linear map: `{name}.weight` and, if the file has it, `{name}.bias`.
    fn linear(&mut self, layer: u16, roles: Roles, name: &str, shape: [usize; 2]) {
        self.add((layer, roles.weight), &format!("{name}.weight"), shape);
        self.add((layer, roles.bias), &format!("{name}.bias"), [1, shape[0]]).optional = true;
    }

    /// Every layer, its names after `{prefix}.{index}.`.
    pub(super) fn layers(&mut self, prefix: &str, names: &LayerNames) {
        for layer in 0..self.config.layers as u16 {
            self.layer(&format!("{prefix}.{layer}."), names, layer);
        }
    }

    fn layer(&mut self, prefix: &str, names: &LayerNames, layer: u16) {
        let config = self.config;
        let (d, width, wide) = (config.hidden, config.attention_width(), config.feed_forward);
        let at = |name: &str| format!("{prefix}{name}");
        self.norm(layer, ATTENTION_NORM, &at(names.attention_norm));
        self.linear(layer, QUERY, &at(names.query), [width, d]);
        self.linear(layer, KEY, &at(names.key), [width, d]);
        self.linear(layer, VALUE, &at(names.value), [width, d]);
        self.linear(layer, OUTPUT, &at(names.output), [d, width]);
        self.norm(layer, FEED_FORWARD_NORM, &at(names.feed_forward_norm));
        self.linear(layer, EXPAND, &at(names.expand), [wide, d]);
        if config.gated {
            self.linear(layer, GATE, &at(names.gate), [wide, d]);
        }
        self.linear(layer, CONTRACT, &at(names.contract), [d, wide]);
        if let Some(name) = names.attention_scale {
            self.add((layer, Role::AttentionScale), &at(name), [1, d]).optional = true;
        }
        if let Some(name) = names.feed_forward_scale {
            self.add((layer, Role::FeedForwardScale), &at(name), [1, d]).optional = true;
        }
    }

    fn add(&mut self, place: Place, name: &str, shape: [usize; 2]) -> &mut Entry {
        let name = format!("{}{name}", self.prefix);
        let stored = Stored::Same;
        self.list.push_mut(Entry { place, name, shape, optional: false, stored })
    }
}
