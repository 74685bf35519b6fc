//! A CoDA task file: adapters, routers, low-rank keys, changed norms, head.

use super::base::{Base, classifier_entries};
use super::decoder::TaskDecoder;
use super::error::{SourceError, TensorProblem};
use super::metadata::{TaskMetadata, missing};
use super::tensors::{FloatTensor, Place, TensorFile};
use coda_runtime::config::{
    AttentionMode, Head, HeadKind, LayerPlan, Pooling, RouterInput, TaskConfig,
};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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
    /// What it adds to the decoder of a base that writes.
    pub decoder: Option<TaskDecoder>,
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
        let of_decoder = task.decoder.iter().flat_map(|decoder| decoder.names.values());
        let used: BTreeSet<&String> = task.names.values().chain(of_decoder).collect();
        match file.names().iter().find(|name| !used.contains(name)) {
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
        let layers = metadata.plans(base.config.layers).map_err(json)?;
        let routed = layers.iter().any(|plan| plan.routing.is_some());
        let config = metadata.config(routed).map_err(json)?;
        let mut task = Self {
            config,
            pinned: metadata.pinned.clone(),
            head: None,
            labels: metadata.labels.clone(),
            tensors: BTreeMap::new(),
            names: BTreeMap::new(),
            layers,
            decoder: None,
        };
        task.pinned.sort_unstable();
        task.pinned.dedup();
        task.read_norms(file, base)?;
        for index in 0..base.config.layers {
            task.read_layer(file, base, index)?;
        }
        if let Some(decoder) = &base.decoder {
            let is_base = file.path() == base.path;
            task.decoder = TaskDecoder::read(file, decoder, base.config.hidden, is_base)?;
        }
        task.read_head(file, base, metadata)?;
        Ok(task)
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

    /// Norms of the base that the task has changed.
    fn read_norms(&mut self, file: &TensorFile, base: &Base) -> Result<(), SourceError> {
        let of_head = [
            Role::HeadWeight,
            Role::HeadBias,
            Role::FirstStage,
            Role::FirstStageBias,
            Role::SecondStage,
            Role::SecondStageBias,
        ];
        for (place, name) in &base.names {
            let changeable = place.1.belongs_to_task() && !of_head.contains(&place.1);
            if changeable && file.contains(name) && file.path() != base.path {
                self.insert(file, *place, name.clone(), [1, base.config.hidden])?;
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
                (Role::AdapterDown, "adapter.down.weight", [h, d]),
                (Role::AdapterDownBias, "adapter.down.bias", [1, h]),
                (Role::AdapterUp, "adapter.up.weight", [d, h]),
                (Role::AdapterUpBias, "adapter.up.bias", [1, d]),
            ];
            for (role, part, shape) in parts {
                self.insert(file, (layer, role), name(part), shape)?;
            }
        }
        let Some(routing) = self.layers.get(index).and_then(|plan| plan.routing) else {
            return Ok(());
        };
        if self.config.router_input != RouterInput::Grid {
            self.insert(file, (layer, Role::Router), name("router.weight"), [1, d])?;
        }
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
        self.insert(file, (layer, Role::LowRankDown), name("down.weight"), [rank, d])?;
        let up = file.matrix(&name("up.weight"), [2 * width, rank])?;
        let bias = file.matrix(&name("up.bias"), [1, 2 * width])?;
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
        let pooling = metadata.pooling.ok_or_else(|| json(missing::<Pooling>()))?;
        self.head = Some(Head::new(pooling, HeadKind::Classification { labels }));
        Ok(())
    }
}

fn rows_of(file: &TensorFile, name: &str) -> Result<usize, SourceError> {
    Ok(file.tensor(name)?.shape.first().copied().unwrap_or(0))
}
