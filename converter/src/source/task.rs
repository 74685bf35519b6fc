//! A CoDA task file: adapters, routers, low-rank keys, changed norms, head.

use super::base::{Base, Place, classifier_entries, matrix};
use super::config::activation;
use super::error::{SourceError, TensorProblem};
use super::tensors::{FloatTensor, TensorFile};
use coda_runtime::config::{
    AttentionMode, Gate, Head, HeadKind, LayerPlan, Pooling, RouterInput, Routing, TaskConfig,
};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Reduction of a task that names none.
const DEFAULT_REDUCTION: f32 = 4.0;

/// A CoDA task for one base.
#[derive(Clone, Debug)]
pub struct Task {
    /// Settings.
    pub config: TaskConfig,
    /// How each layer is executed.
    pub layers: Vec<LayerPlan>,
    /// Positions always selected.
    pub pinned: Vec<u32>,
    /// Head, if the task has one.
    pub head: Option<Head>,
    /// Class names, if the task has them.
    pub labels: Vec<String>,
    /// Tensors by place.
    pub tensors: BTreeMap<Place, FloatTensor>,
    /// The name of each tensor in the file.
    pub names: BTreeMap<Place, String>,
}

/// The `coda` metadata of a task file: a JSON string in the safetensors header.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TaskMetadata {
    /// Class names.
    pub labels: Vec<String>,
    /// `relu` or `gelu`.
    pub adapter_activation: Option<String>,
    /// `norm`, `raw` or `rms`.
    pub router_input: Option<String>,
    /// `exact`, `iterated` (`iter20`), `sigmoid`, `ones`, or `dense` for a parallel adapter.
    pub gate: Option<String>,
    /// Entropy weight of the soft top-k.
    pub eps: Option<f32>,
    /// Sweeps of the iterated solver.
    #[serde(rename = "iter_T")]
    pub sweeps: Option<u32>,
    /// Entropy weight of the first sweep.
    #[serde(rename = "iter_eps0")]
    pub eps_start: Option<f32>,
    /// Factor on the entropy weight after each sweep.
    #[serde(rename = "iter_decay")]
    pub decay: Option<f32>,
    /// `k-to-k`, `k-to-all`, `k-to-low-rank` or `dense`.
    pub attention: Option<String>,
    /// Positions always selected.
    pub pinned: Vec<u32>,
    /// Begins with `class token` or `mean`.
    pub pooling: Option<String>,
    /// Reduction when a call names none.
    pub reduction: Option<f32>,
    /// Longest input.
    pub max_tokens: Option<usize>,
    /// A setting for each layer where they differ.
    pub layers: Vec<LayerMetadata>,
}

/// One layer of [`TaskMetadata::layers`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LayerMetadata {
    /// As [`TaskMetadata::attention`]; absent: the task's.
    pub attention: Option<String>,
    /// The layer's own reduction.
    pub reduction: Option<f32>,
}

impl Task {
    /// Reads a task file written for `base`.
    ///
    /// # Errors
    /// [`SourceError`]: besides damage, a tensor that is neither a CoDA tensor nor a norm nor the
    /// head, because a task never changes frozen weights.
    pub fn open(path: &Path, base: &Base) -> Result<Self, SourceError> {
        let file = TensorFile::open(path)?;
        let json = |problem| SourceError::Json { path: path.to_owned(), problem };
        let text = file.metadata("coda").ok_or_else(|| {
            json("the safetensors header has no \"coda\" metadata: not a CoDA task".to_owned())
        })?;
        let metadata: TaskMetadata = serde_json::from_str(text)
            .map_err(|error| json(format!("the \"coda\" metadata: {error}")))?;
        let task = Self::from_file(&file, base, &metadata)?;
        match file.names().iter().find(|name| !task.names.values().any(|used| used == *name)) {
            None => Ok(task),
            Some(name) => {
                let reason = "a task holds CoDA tensors, norms and the head";
                Err(file.problem(name, TensorProblem::Unknown(reason)))
            }
        }
    }

    /// Reads the task's tensors from a file that may hold others too.
    ///
    /// # Errors
    /// As [`Task::open`].
    pub fn from_file(
        file: &TensorFile,
        base: &Base,
        metadata: &TaskMetadata,
    ) -> Result<Self, SourceError> {
        let json = |problem| SourceError::Json { path: file.path().to_owned(), problem };
        let layers = layer_plans(metadata, base.config.layers).map_err(json)?;
        let config = task_config(metadata, &layers).map_err(json)?;
        let mut task = Self {
            config,
            pinned: metadata.pinned.clone(),
            head: None,
            labels: metadata.labels.clone(),
            tensors: BTreeMap::new(),
            names: BTreeMap::new(),
            layers,
        };
        task.pinned.sort_unstable();
        task.pinned.dedup();
        task.read_norms(file, base)?;
        for index in 0..base.config.layers {
            task.read_layer(file, base, index)?;
        }
        task.read_head(file, base, metadata)?;
        Ok(task)
    }

    fn insert(
        &mut self,
        file: &TensorFile,
        place: Place,
        name: String,
        shape: (usize, usize),
    ) -> Result<(), SourceError> {
        self.tensors.insert(place, matrix(file, &name, shape)?);
        self.names.insert(place, name);
        Ok(())
    }

    /// Norms of the base that the task has changed.
    fn read_norms(&mut self, file: &TensorFile, base: &Base) -> Result<(), SourceError> {
        for (place, name) in &base.names {
            let changeable =
                place.1.belongs_to_task() && !matches!(place.1, Role::HeadWeight | Role::HeadBias);
            if changeable && file.contains(name) && file.path() != base.path {
                self.insert(file, *place, name.clone(), (1, base.config.hidden))?;
            }
        }
        Ok(())
    }

    fn read_layer(
        &mut self,
        file: &TensorFile,
        base: &Base,
        index: usize,
    ) -> Result<(), SourceError> {
        let (layer, d) = (index as u16, base.config.hidden);
        let name = |part: &str| format!("coda.layer.{index}.{part}");
        if file.contains(&name("adapter.down.weight")) {
            let h = rows_of(file, &name("adapter.down.weight"))?;
            let parts = [
                (Role::AdapterDown, "adapter.down.weight", (h, d)),
                (Role::AdapterDownBias, "adapter.down.bias", (1, h)),
                (Role::AdapterUp, "adapter.up.weight", (d, h)),
                (Role::AdapterUpBias, "adapter.up.bias", (1, d)),
            ];
            for (role, part, shape) in parts {
                self.insert(file, (layer, role), name(part), shape)?;
            }
        }
        let Some(routing) = self.layers.get(index).and_then(|plan| plan.routing) else {
            return Ok(());
        };
        self.insert(file, (layer, Role::Router), name("router.weight"), (1, d))?;
        if routing.attention == AttentionMode::KToLowRank {
            self.read_low_rank_keys(file, base, index)?;
        }
        Ok(())
    }

    /// Low-rank keys and values: the up projection is split, keys first.
    fn read_low_rank_keys(
        &mut self,
        file: &TensorFile,
        base: &Base,
        index: usize,
    ) -> Result<(), SourceError> {
        let (layer, d) = (index as u16, base.config.hidden);
        let width = base.config.attention_width();
        let name = |part: &str| format!("coda.layer.{index}.light_kv.{part}");
        let rank = rows_of(file, &name("down.weight"))?;
        self.insert(file, (layer, Role::LowRankDown), name("down.weight"), (rank, d))?;
        let up = matrix(file, &name("up.weight"), (2 * width, rank))?;
        let bias = matrix(file, &name("up.bias"), (1, 2 * width))?;
        let halves = [
            (Role::LowRankKey, Role::LowRankKeyBias),
            (Role::LowRankValue, Role::LowRankValueBias),
        ];
        for (half, roles) in halves.into_iter().enumerate() {
            let weights = up.values.chunks(width * rank).nth(half).unwrap_or_default().to_vec();
            let biases = bias.values.chunks(width).nth(half).unwrap_or_default().to_vec();
            let weights = FloatTensor { shape: vec![width, rank], values: weights };
            let biases = FloatTensor { shape: vec![1, width], values: biases };
            self.tensors.insert((layer, roles.0), weights);
            self.tensors.insert((layer, roles.1), biases);
            self.names.insert((layer, roles.0), name("up.weight"));
            self.names.insert((layer, roles.1), name("up.bias"));
        }
        Ok(())
    }

    fn read_head(
        &mut self,
        file: &TensorFile,
        base: &Base,
        metadata: &TaskMetadata,
    ) -> Result<(), SourceError> {
        if !file.contains("classifier.weight") {
            return Ok(());
        }
        let json = |problem| SourceError::Json { path: file.path().to_owned(), problem };
        let labels = rows_of(file, "classifier.weight")?;
        if !self.labels.is_empty() && self.labels.len() != labels {
            let names = self.labels.len();
            return Err(json(format!("{names} label names for a classifier of {labels} labels")));
        }
        for (role, name, shape) in classifier_entries(labels, base.config.hidden) {
            self.insert(file, (GLOBAL_LAYER, role), name.to_owned(), shape)?;
        }
        let pooling = match metadata.pooling.as_deref() {
            Some(text) if text.starts_with("class") => Pooling::ClassToken,
            Some(text) if text.starts_with("mean") => Pooling::Mean,
            other => {
                return Err(json(format!(
                    "pooling {other:?} is not supported; supported are \"class token\" and \"mean\""
                )));
            }
        };
        self.head = Some(Head { pooling, kind: HeadKind::Classification { labels } });
        Ok(())
    }
}

fn rows_of(file: &TensorFile, name: &str) -> Result<usize, SourceError> {
    Ok(file.tensor(name)?.shape.first().copied().unwrap_or(0))
}

fn layer_plans(metadata: &TaskMetadata, layers: usize) -> Result<Vec<LayerPlan>, String> {
    if !metadata.layers.is_empty() && metadata.layers.len() != layers {
        let found = metadata.layers.len();
        return Err(format!("settings for {found} layers, the base has {layers}"));
    }
    let own = |index: usize| metadata.layers.get(index).cloned().unwrap_or_default();
    let plan = |index| {
        let LayerMetadata { attention, reduction } = own(index);
        let name = attention.as_ref().or(metadata.attention.as_ref());
        let attention = match name.map(String::as_str) {
            Some("k-to-k" | "k2k") => AttentionMode::KToK,
            Some("k-to-all" | "k2all") => AttentionMode::KToAll,
            Some("k-to-low-rank" | "k-to-light") => AttentionMode::KToLowRank,
            Some("dense") => return Ok(LayerPlan { routing: None }),
            other => {
                return Err(format!(
                    "attention {other:?} is not supported; supported are \"k-to-k\", \"k-to-all\", \
                     \"k-to-low-rank\" and \"dense\""
                ));
            }
        };
        if let Some(r) = reduction.filter(|r| !r.is_finite() || *r < 1.0) {
            return Err(format!("layer {index} has reduction {r}; it must be at least 1"));
        }
        Ok(LayerPlan { routing: Some(Routing { attention, reduction }) })
    };
    (0..layers).map(plan).collect()
}

fn task_config(metadata: &TaskMetadata, layers: &[LayerPlan]) -> Result<TaskConfig, String> {
    let routed = layers.iter().any(|plan| plan.routing.is_some());
    let adapter = metadata.adapter_activation.as_deref().unwrap_or("relu");
    let reduction = metadata.reduction.unwrap_or(DEFAULT_REDUCTION);
    if !reduction.is_finite() || reduction < 1.0 {
        return Err(format!("reduction {reduction} must be at least 1"));
    }
    Ok(TaskConfig {
        adapter_activation: activation(adapter)
            .ok_or_else(|| format!("adapter_activation \"{adapter}\" is not supported"))?,
        router_input: match metadata.router_input.as_deref() {
            Some("norm") => RouterInput::Norm,
            Some("raw") => RouterInput::Raw,
            Some("rms") => RouterInput::Rms,
            None if !routed => RouterInput::Norm,
            other => {
                return Err(format!(
                    "router_input {other:?} is not supported; supported are \"norm\", \"raw\", \"rms\""
                ));
            }
        },
        gate: gate(metadata, routed)?,
        reduction,
        max_tokens: metadata.max_tokens.unwrap_or(0),
    })
}

fn gate(metadata: &TaskMetadata, routed: bool) -> Result<Gate, String> {
    let eps = || {
        let eps = metadata.eps.filter(|eps| eps.is_finite() && *eps > 0.0);
        eps.ok_or("this gate needs an \"eps\" above 0".to_owned())
    };
    match metadata.gate.as_deref() {
        Some("ones") => Ok(Gate::Ones),
        Some("dense") | None if !routed => Ok(Gate::Ones),
        Some("sigmoid") => Ok(Gate::Sigmoid),
        Some("exact") => Ok(Gate::Exact { eps: eps()? }),
        Some("iterated" | "iter20") => {
            let eps = eps()?;
            Ok(Gate::Iterated {
                sweeps: metadata.sweeps.unwrap_or(20),
                eps,
                eps_start: metadata.eps_start.unwrap_or(4.0).max(eps),
                decay: metadata.decay.unwrap_or(0.7),
            })
        }
        other => Err(format!(
            "gate {other:?} is not supported; supported are \"exact\", \"iterated\", \"sigmoid\" \
             and \"ones\""
        )),
    }
}
