//! The tensors of an encoder, as a family names and stores them.

use super::entry::{Entry, Stored};
use crate::source::roles::{
    ATTENTION_NORM, CONTRACT, EMBEDDING_NORM, EXPAND, FEED_FORWARD_NORM, FIRST_STAGE, GATE, KEY,
    OUTPUT, POOLED_NORM, PROJECTION, QUERY, Roles, SECOND_STAGE, VALUE,
};
use crate::source::tensors::Place;
use coda_runtime::config::{Config, Embedding, Norm};
use coda_runtime::format::{GLOBAL_LAYER, Role};

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
    /// Gate and expansion are the two halves of one tensor, which `expand` names.
    pub(super) fused: bool,
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

    /// Columns of the tables of the embedding.
    const fn table_width(&self) -> usize {
        match self.config.embedding {
            Embedding::Tokens { projected, .. } if projected > 0 => projected,
            _ => self.config.hidden,
        }
    }

    /// A table of the embedding.
    pub(super) fn table(&mut self, role: Role, name: &str, rows: usize) {
        self.rows(role, name, rows, Stored::Same);
    }

    /// A table of the embedding that is stored in a form of its own.
    pub(super) fn rows(&mut self, role: Role, name: &str, rows: usize, stored: Stored) {
        self.stored(role, name, [rows, self.table_width()], stored);
    }

    /// Learned tokens before the patches, each tensor with its rows.
    pub(super) fn prefix_tokens(&mut self, tokens: &[(&str, usize)]) {
        let Some((first, _)) = tokens.first() else { return };
        let rows = tokens.iter().map(|(_, rows)| rows).sum();
        let stored = match tokens.len() {
            1 => Stored::Same,
            _ => Stored::Joined(tokens.iter().map(|(name, n)| (self.full(name), *n)).collect()),
        };
        self.rows(Role::ClassToken, first, rows, stored);
    }

    /// The map from the tables of the embedding to the model's dimension, if the encoder has one.
    pub(super) fn projection(&mut self, name: &str) {
        let shape = [self.config.hidden, self.table_width()];
        if matches!(self.config.embedding, Embedding::Tokens { projected, .. } if projected > 0) {
            self.global_linear(PROJECTION, name, shape);
        }
    }

    /// A tensor that is stored in a form of its own.
    pub(super) fn stored(&mut self, role: Role, name: &str, shape: [usize; 2], stored: Stored) {
        self.stored_at((GLOBAL_LAYER, role), name, shape, stored);
    }

    /// The same, of a layer.
    pub(super) fn stored_at(
        &mut self,
        place: Place,
        name: &str,
        shape: [usize; 2],
        stored: Stored,
    ) {
        self.add(place, name, shape).stored = stored;
    }

    /// The pooling by attention of a learned query, and the two maps behind it; names after `prefix`.
    pub(super) fn probe(&mut self, prefix: &str) {
        let config = self.config;
        let (d, wide) = (config.hidden, config.feed_forward);
        let at = |name: &str| format!("{prefix}{name}");
        let whole = self.full(prefix);
        let keys = Stored::ProbeKeys(whole.clone());
        self.stored(Role::Probe, &at("probe"), [config.heads, d], keys);
        let after_keys = Stored::After(2 * d);
        self.stored(Role::ProbeValue, &at("attention.in_proj_weight"), [d, d], after_keys);
        self.add((GLOBAL_LAYER, Role::ProbeOutput), &at("attention.out_proj.weight"), [d, d]);
        let bias = Stored::ProbeBias(whole);
        self.stored(Role::ProbeOutputBias, &at("attention.out_proj.bias"), [1, d], bias);
        self.global_norm(POOLED_NORM, &at("layernorm"));
        self.global_linear(FIRST_STAGE, &at("mlp.fc1"), [wide, d]);
        self.global_linear(SECOND_STAGE, &at("mlp.fc2"), [d, wide]);
    }

    /// A norm outside the layers.
    pub(super) fn global_norm(&mut self, roles: Roles, name: &str) {
        let columns = if roles == EMBEDDING_NORM { self.table_width() } else { self.config.hidden };
        self.norm_of(GLOBAL_LAYER, roles, name, columns);
    }

    /// A linear map outside the layers.
    pub(super) fn global_linear(&mut self, roles: Roles, name: &str, shape: [usize; 2]) {
        self.linear(GLOBAL_LAYER, roles, name, shape);
    }

    /// A norm: `{name}.weight` and, for LayerNorm, `{name}.bias`.
    fn norm_of(&mut self, layer: u16, roles: Roles, name: &str, columns: usize) {
        let shape = [1, columns];
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

    /// Every layer under the same names, which `prefix` begins.
    pub(super) fn shared_layers(&mut self, prefix: &str, names: &LayerNames) {
        for layer in 0..self.config.layers as u16 {
            self.layer(prefix, names, layer);
        }
    }

    fn layer(&mut self, prefix: &str, names: &LayerNames, layer: u16) {
        let config = self.config;
        let (d, width, wide) = (config.hidden, config.attention_width(), config.feed_forward);
        let at = |name: &str| format!("{prefix}{name}");
        self.norm_of(layer, ATTENTION_NORM, &at(names.attention_norm), d);
        self.linear(layer, QUERY, &at(names.query), [width, d]);
        self.linear(layer, KEY, &at(names.key), [width, d]);
        self.linear(layer, VALUE, &at(names.value), [width, d]);
        self.linear(layer, OUTPUT, &at(names.output), [d, width]);
        self.norm_of(layer, FEED_FORWARD_NORM, &at(names.feed_forward_norm), d);
        if names.fused {
            self.halves(layer, [GATE, EXPAND], &at(names.expand), [wide, d]);
        } else {
            self.linear(layer, EXPAND, &at(names.expand), [wide, d]);
        }
        if config.gated && !names.fused {
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

    /// Two linear maps in one tensor, one after the other.
    fn halves(&mut self, layer: u16, maps: [Roles; 2], name: &str, shape: [usize; 2]) {
        for (half, roles) in maps.into_iter().enumerate() {
            self.linear(layer, roles, name, shape);
            let places = [(layer, roles.weight), (layer, roles.bias)];
            let own = self.list.iter_mut().filter(|entry| places.contains(&entry.place));
            own.for_each(|entry| entry.stored = Stored::Half(half));
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn add(&mut self, place: Place, name: &str, shape: [usize; 2]) -> &mut Entry {
        let name = self.full(name);
        let stored = Stored::Same;
        self.list.push_mut(Entry { place, name, shape, optional: false, stored })
    }
}
