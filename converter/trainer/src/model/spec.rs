//! What is trained, and the shape of a task.

use crate::ops::SoftTopK;
use coda_converter::source::{Place, Task};
use coda_runtime::config::{
    Activation, AttentionMode, Config, Gate, HeadKind, Pooling, RouterInput,
};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::collections::BTreeSet;

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Adapters, routers, norms and the head, with routed layers.
    Coda,
    /// Adapters, norms and the head, every layer dense.
    ParallelAdapter,
    /// The head alone.
    LinearProbe,
    /// Every tensor of the base, and the head.
    Full,
}

impl Method {
    /// Its name in files and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coda => "coda",
            Self::ParallelAdapter => "parallel-adapter",
            Self::LinearProbe => "linear-probe",
            Self::Full => "full",
        }
    }

    /// The tensor at `place` is trained. LayerScale always stays frozen.
    #[must_use]
    pub const fn trains(self, place: Place) -> bool {
        let role = place.1;
        match self {
            Self::Coda | Self::ParallelAdapter => role.belongs_to_task(),
            Self::LinearProbe => matches!(role, Role::HeadWeight | Role::HeadBias),
            Self::Full => !matches!(role, Role::AttentionScale | Role::FeedForwardScale),
        }
    }
}

/// Who selects the tokens of a routed layer. Only `learned` is a model; the others are what it is
/// compared with (`docs/method.md`, "What the paper reports").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    /// The router
    #[default]
    Learned,
    /// Chance
    Random,
    /// Truncation: the first k tokens
    First,
    /// Every r-th token
    Every,
}

/// The shape of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// Hidden units of the adapters; 0 for none.
    pub adapter_hidden: usize,
    /// Activation inside the adapters.
    pub adapter_activation: Activation,
    /// What the routers read.
    pub router_input: RouterInput,
    /// How scores become gates.
    pub gate: SoftTopK,
    /// Who selects tokens.
    pub selection: Selector,
    /// Whose keys and values selected tokens attend to; `None` if every layer is dense.
    pub attention: Option<AttentionMode>,
    /// Rank of low-rank keys and values (k-to-low-rank).
    pub low_rank: usize,
    /// Layers that stay dense.
    pub dense_layers: BTreeSet<usize>,
    /// A reduction for each layer that the task names as its default; empty for one of all.
    pub reductions: Vec<f32>,
    /// Positions always selected, ascending.
    pub pinned: Vec<u32>,
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// Number of labels; 0 for a model without head.
    pub labels: usize,
}

impl TaskSpec {
    /// A dense encoder with a head and nothing else.
    #[must_use]
    pub const fn dense(pooling: Pooling, labels: usize) -> Self {
        Self {
            adapter_hidden: 0,
            adapter_activation: Activation::Relu,
            router_input: RouterInput::Rms,
            gate: SoftTopK { gate: Gate::Ones, eps: 1.0 },
            selection: Selector::Learned,
            attention: None,
            low_rank: 0,
            dense_layers: BTreeSet::new(),
            reductions: Vec::new(),
            pinned: Vec::new(),
            pooling,
            labels,
        }
    }

    /// The shape of a task that was read from a file.
    #[must_use]
    pub fn of_task(task: &Task, config: &Config) -> Self {
        let attention = |layer: usize| {
            task.layers.get(layer).and_then(|plan| plan.routing).map(|routing| routing.attention)
        };
        let layers = 0..config.layers;
        let columns = |role: Role| {
            let found = layers.clone().find_map(|layer| task.tensors.get(&(layer as u16, role)));
            found.map_or(0, |tensor| tensor.values.len() / config.hidden.max(1))
        };
        Self {
            adapter_hidden: columns(Role::AdapterDown),
            adapter_activation: task.config.adapter_activation,
            router_input: task.config.router_input,
            gate: SoftTopK { gate: task.config.gate, eps: 1.0 },
            selection: Selector::Learned,
            attention: layers.clone().find_map(attention),
            low_rank: columns(Role::LowRankDown),
            dense_layers: layers.filter(|layer| attention(*layer).is_none()).collect(),
            reductions: Vec::new(),
            pinned: task.pinned.clone(),
            pooling: task.head.and_then(|head| head.pooling.single()).unwrap_or(Pooling::Mean),
            labels: match task.head.map(|head| head.kind) {
                Some(HeadKind::Classification { labels }) => labels,
                _ => 0,
            },
        }
    }

    /// The attention mode of a layer; `None` if it is dense.
    #[must_use]
    pub fn routing(&self, layer: usize) -> Option<AttentionMode> {
        self.attention.filter(|_| !self.dense_layers.contains(&layer))
    }

    /// Places and shapes of the adapters of every layer.
    #[must_use]
    pub fn adapter_places(&self, config: &Config) -> Vec<(Place, [usize; 2])> {
        let (d, h) = (config.hidden, self.adapter_hidden);
        let of_layer = |layer| {
            [
                ((layer, Role::AdapterDown), [h, d]),
                ((layer, Role::AdapterDownBias), [1, h]),
                ((layer, Role::AdapterUp), [d, h]),
                ((layer, Role::AdapterUpBias), [1, d]),
            ]
        };
        (0..config.layers as u16).filter(|_| h > 0).flat_map(of_layer).collect()
    }

    /// Places and shapes of the tensors that the task adds to an encoder, norms apart.
    #[must_use]
    pub fn places(&self, config: &Config) -> Vec<(Place, [usize; 2])> {
        let (d, width) = (config.hidden, config.attention_width());
        let rank = self.low_rank;
        let mut places = self.adapter_places(config);
        for index in 0..config.layers {
            let mut add = |role, shape| places.push(((index as u16, role), shape));
            let Some(mode) = self.routing(index) else { continue };
            if self.selection == Selector::Learned {
                add(Role::Router, [1, d]);
            }
            if mode == AttentionMode::KToLowRank {
                add(Role::LowRankDown, [rank, d]);
                add(Role::LowRankKey, [width, rank]);
                add(Role::LowRankKeyBias, [1, width]);
                add(Role::LowRankValue, [width, rank]);
                add(Role::LowRankValueBias, [1, width]);
            }
        }
        if self.labels > 0 {
            places.push(((GLOBAL_LAYER, Role::HeadWeight), [self.labels, d]));
            places.push(((GLOBAL_LAYER, Role::HeadBias), [1, self.labels]));
        }
        places
    }
}
