//! The tensors of an encoder, as a family names and stores them.

use super::entry::{Entry, Stored};
use crate::source::roles::{
    ATTENTION_NORM, CONTRACT, CROSS_KEY, CROSS_NORM, CROSS_OUTPUT, CROSS_QUERY, CROSS_VALUE,
    EMBEDDING_NORM, EXPAND, FEED_FORWARD_NORM, FIRST_STAGE, GATE, KEY, OUTPUT, POOLED_NORM,
    PROJECTION, QUERY, Roles, SECOND_STAGE, VALUE,
};
use crate::source::rotary::{Angles, Places, Rates};
use crate::source::tensors::Place;
use coda_runtime::config::{Config, Embedding, Norm, Rotary};
use coda_runtime::format::{GLOBAL_LAYER, Role};

/// Where the parts of a layer are in a family's names.
pub(super) struct LayerNames {
    pub(super) attention_norm: &'static str,
    /// Queries, keys and values under one name are parts of one tensor, in this order.
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) output: &'static str,
    pub(super) attention_scale: Option<&'static str>,
    pub(super) feed_forward_norm: &'static str,
    pub(super) gate: &'static str,
    pub(super) expand: &'static str,
    /// Gate and expansion in the order in which they are the halves of one tensor, which `expand` names;
    /// empty where each has its own.
    pub(super) fused: &'static [Roles],
    pub(super) contract: &'static str,
    pub(super) feed_forward_scale: Option<&'static str>,
}

/// Where the parts of a layer's attention to an encoder's states are in a family's names.
pub(super) struct CrossNames {
    pub(super) norm: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) output: &'static str,
}

/// Collects the tensors of an encoder.
pub(super) struct Entries<'c> {
    prefix: &'c str,
    config: &'c Config,
    /// Norms have biases.
    norm_biases: bool,
    list: Vec<Entry>,
}

impl<'c> Entries<'c> {
    pub(super) const fn new(prefix: &'c str, config: &'c Config) -> Self {
        Self { prefix, config, norm_biases: true, list: Vec::new() }
    }

    pub(super) const fn config(&self) -> &'c Config {
        self.config
    }

    /// The norms that follow have no biases in the file: they are zero.
    pub(super) const fn without_norm_biases(&mut self) {
        self.norm_biases = false;
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

    /// Rows of places along two axes, each tensor with its rows behind one of padding.
    pub(super) fn places(&mut self, axes: [(&str, usize); 2]) {
        let rows = axes.iter().map(|(_, rows)| rows).sum();
        let parts = axes.map(|(name, rows)| (self.full(name), rows)).to_vec();
        self.rows(Role::PositionEmbedding, axes[0].0, rows, Stored::JoinedAfter(1, parts));
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

    /// A table of angles, which no file has.
    pub(super) fn rotary(&mut self, role: Role, rates: Rates, places: Places) {
        let Rotary { columns, positions, .. } = self.config.rotary;
        let angles = Angles { columns, rates, places };
        self.stored(role, role.name(), [positions, columns], Stored::Angles(angles));
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

    /// A convolution over three rows, of so many output and input channels.
    pub(super) fn convolution(&mut self, roles: Roles, name: &str, channels: [usize; 2]) {
        let [outputs, inputs] = channels;
        self.linear(GLOBAL_LAYER, roles, name, [outputs, 3 * inputs]);
        let weight = (GLOBAL_LAYER, roles.weight);
        let own = self.list.iter_mut().filter(|entry| entry.place == weight);
        own.for_each(|entry| entry.stored = Stored::Convolution);
    }

    /// A norm: `{name}.weight` and, for LayerNorm, `{name}.bias`.
    fn norm_of(&mut self, layer: u16, roles: Roles, name: &str, columns: usize) {
        let shape = [1, columns];
        self.add((layer, roles.weight), &format!("{name}.weight"), shape);
        if self.config.norm == Norm::LayerNorm {
            let norm_biases = self.norm_biases;
            let entry = self.add((layer, roles.bias), &format!("{name}.bias"), shape);
            if !norm_biases {
                entry.stored = Stored::Zeros;
            }
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
        if layer > 0 || !config.bare_first_layer {
            self.norm_of(layer, ATTENTION_NORM, &at(names.attention_norm), d);
        }
        let projections = [(QUERY, names.query), (KEY, names.key), (VALUE, names.value)];
        if names.query == names.key {
            let roles = projections.map(|(roles, _)| roles);
            self.parts(layer, &roles, &at(names.query), [width, d]);
        } else {
            for (roles, name) in projections {
                self.linear(layer, roles, &at(name), [width, d]);
            }
        }
        self.linear(layer, OUTPUT, &at(names.output), [d, width]);
        self.norm_of(layer, FEED_FORWARD_NORM, &at(names.feed_forward_norm), d);
        if names.fused.is_empty() {
            self.linear(layer, EXPAND, &at(names.expand), [wide, d]);
        } else {
            self.parts(layer, names.fused, &at(names.expand), [wide, d]);
        }
        if config.gated && names.fused.is_empty() {
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

    /// Attention of every layer to an encoder's states, rows of `memory` columns.
    pub(super) fn cross_layers(&mut self, prefix: &str, names: &CrossNames, memory: usize) {
        let (d, width) = (self.config.hidden, self.config.attention_width());
        for layer in 0..self.config.layers as u16 {
            let at = |name: &str| format!("{prefix}.{layer}.{name}");
            self.norm_of(layer, CROSS_NORM, &at(names.norm), d);
            self.linear(layer, CROSS_QUERY, &at(names.query), [width, d]);
            self.linear(layer, CROSS_KEY, &at(names.key), [width, memory]);
            self.linear(layer, CROSS_VALUE, &at(names.value), [width, memory]);
            self.linear(layer, CROSS_OUTPUT, &at(names.output), [d, width]);
        }
    }

    /// A tensor outside the layers, as the file has it.
    pub(super) fn own(&mut self, role: Role, name: &str, shape: [usize; 2]) {
        self.add((GLOBAL_LAYER, role), name, shape);
    }

    /// Linear maps in one tensor, one after the other.
    fn parts(&mut self, layer: u16, maps: &[Roles], name: &str, shape: [usize; 2]) {
        for (index, roles) in maps.iter().enumerate() {
            self.linear(layer, *roles, name, shape);
            let places = [(layer, roles.weight), (layer, roles.bias)];
            let own = self.list.iter_mut().filter(|entry| places.contains(&entry.place));
            own.for_each(|entry| entry.stored = Stored::Part { index, of: maps.len() });
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
