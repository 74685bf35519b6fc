//! The reference vectors: directories written by an independent float64 implementation.
//!
//! A directory holds `config.json`, `model.safetensors`, `inputs.safetensors` and a file for each
//! case; `tests/vectors/README.md` states the conventions.

use crate::tolerance::VECTORS;
use anyhow::{Context, Result, bail, ensure};
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::session::Session;
use coda_converter::source::{Base, Task, TaskMetadata, TensorFile};
use coda_runtime::executor::{Input, Observer};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, Selection};
use coda_runtime::tensor::Matrix;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `config.json` of a vector directory.
#[derive(Debug, Deserialize)]
struct VectorConfig {
    arch: String,
    cases: Vec<CaseConfig>,
    router_input: String,
    adapter_activation: String,
    eps: f32,
    #[serde(rename = "iter_T")]
    sweeps: u32,
    #[serde(rename = "iter_eps0")]
    eps_start: f32,
    #[serde(rename = "iter_decay")]
    decay: f32,
}

/// One case of a vector directory.
#[derive(Debug, Deserialize)]
pub struct CaseConfig {
    file: String,
    /// Attention mode.
    pub mode: String,
    /// Kind of gate.
    pub gate: String,
    /// Reduction factor.
    #[serde(rename = "r")]
    pub reduction: f32,
    k: Vec<usize>,
}

/// Scores of the f64 reference closer than this are equal but for its rounding.
const REFERENCE_ROUNDING: f64 = 1e-12;

/// What one run showed. In the layers of `order` tied tokens are ranked as the reference ranks them.
#[derive(Default)]
struct Recorder {
    layers: Vec<Routed>,
    order: BTreeMap<usize, Vec<i64>>,
}

/// What one routed layer did with one sequence.
pub struct Routed {
    /// Selected tokens, ascending.
    pub selected: Vec<i64>,
    /// Scores of all tokens.
    pub scores: Vec<f64>,
    /// lambda of all tokens.
    pub gates: Vec<f64>,
}

/// How another implementation's run of a case compares with the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Everything agrees.
    Equal,
    /// Another choice among tokens whose scores differ by the rounding of f64 alone; what follows it
    /// cannot be compared.
    TieBrokenByRounding,
}

impl Observer for Recorder {
    fn scored(&mut self, layer: usize, scores: &mut [f32]) {
        for token in self.order.get(&layer).into_iter().flatten() {
            scores.get_mut(*token as usize).into_iter().for_each(|score| *score = score.next_up());
        }
    }

    fn selected(&mut self, _: usize, selection: &Selection<'_>) {
        let floats = |values: &[f32]| values.iter().copied().map(f64::from).collect();
        self.layers.push(Routed {
            selected: selection.selected.iter().copied().map(i64::from).collect(),
            scores: floats(selection.scores),
            gates: floats(selection.gates),
        });
    }
}

/// Every vector directory below `root`, sorted.
///
/// # Errors
/// A directory cannot be read.
pub fn directories(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if root.join("config.json").is_file() && root.join("inputs.safetensors").is_file() {
        found.push(root.to_owned());
    }
    let entries =
        std::fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(directories(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

/// One vector directory with its packed base.
pub struct Vectors {
    config: VectorConfig,
    directory: PathBuf,
    file: TensorFile,
    base: Base,
    packed: PackageBytes,
    ids: Vec<Vec<u32>>,
}

impl Vectors {
    /// Opens a directory and packs its base with f32 weights.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(directory: &Path) -> Result<Self> {
        let text = std::fs::read(directory.join("config.json"))?;
        let json: Value = serde_json::from_slice(&text)?;
        let config: VectorConfig = serde_json::from_value(json.clone())?;
        let file = TensorFile::open(&directory.join("model.safetensors"))?;
        let base = Base::from_config(&hugging_face_config(&config.arch, &json)?, &file)?;
        let packed = pack_base(&base, WeightType::F32, "")?.bytes;
        let inputs = std::fs::read(directory.join("inputs.safetensors"))?;
        let inputs = SafeTensors::deserialize(&inputs)?;
        let (ids, lengths) = (integers(&inputs, "input_ids")?, integers(&inputs, "lengths")?);
        let width = ids.len() / lengths.len().max(1);
        let sequences = ids.chunks(width).zip(&lengths);
        let sequences = sequences
            .map(|(row, length)| row.iter().take(*length as usize).map(|id| *id as u32).collect());
        let ids = sequences.collect();
        Ok(Self { config, directory: directory.to_owned(), file, base, packed, ids })
    }

    /// Names of the cases.
    #[must_use]
    pub fn cases(&self) -> Vec<&str> {
        self.config.cases.iter().map(|case| case.file.as_str()).collect()
    }

    /// The base as it was read.
    #[must_use]
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// Token ids of each sequence, without padding.
    #[must_use]
    pub fn sequences(&self) -> &[Vec<u32>] {
        &self.ids
    }

    /// The task with other settings than a case's.
    ///
    /// # Errors
    /// There is no such mode or gate.
    pub fn task(&self, mode: &str, gate: &str) -> Result<Task> {
        let metadata: TaskMetadata = serde_json::from_value(json!({
            "adapter_activation": self.config.adapter_activation,
            "router_input": self.config.router_input,
            "gate": gate,
            "eps": self.config.eps,
            "iter_T": self.config.sweeps,
            "iter_eps0": self.config.eps_start,
            "iter_decay": self.config.decay,
            "attention": mode,
        }))?;
        Ok(Task::from_file(&self.file, &self.base, &metadata)?)
    }

    /// The settings of a case.
    ///
    /// # Errors
    /// There is no such case.
    pub fn settings(&self, case: &str) -> Result<&CaseConfig> {
        self.config.cases.iter().find(|own| own.file == case).context("no such case")
    }

    /// Compares another implementation's hidden states and layers of one sequence of a case.
    ///
    /// # Errors
    /// There is no such case, or what is compared has another shape.
    pub fn compare(
        &self,
        case: &str,
        sequence: usize,
        hidden: &[f64],
        layers: &[Routed],
    ) -> Result<Comparison> {
        let selected = *self.settings(case)?.k.get(sequence).context("no k")?;
        let expected = self.expected(case)?;
        if expected.tie_broken_by_rounding(sequence, layers, selected).is_some() {
            return Ok(Comparison::TieBrokenByRounding);
        }
        expected.compare(sequence, hidden, layers, selected)?;
        Ok(Comparison::Equal)
    }

    /// Checks the dense encoder and every case with `kernels`; one result a check.
    #[must_use]
    pub fn check(&self, kernels: &'static Kernels) -> Vec<(String, Result<()>)> {
        let name = |case: &str| format!("{}/{case} [{}]", self.directory.display(), kernels.name);
        let dense = (name("dense"), self.check_dense(kernels));
        let cases = self.config.cases.iter();
        let cases = cases.map(|case| (name(&case.file), self.check_case(case, kernels)));
        std::iter::once(dense).chain(cases).collect()
    }

    fn expected(&self, case: &str) -> Result<Expected> {
        let bytes = std::fs::read(self.directory.join(case))?;
        let (file, config) = (SafeTensors::deserialize(&bytes)?, &self.base.config);
        Expected::read(&file, config.layers, config.hidden, &self.ids)
    }

    fn check_dense(&self, kernels: &'static Kernels) -> Result<()> {
        let package = self.packed.parse()?;
        let model = Model::dense(&package)?;
        let ids = self.ids.first().context("no sequence")?;
        let inputs = std::fs::read(self.directory.join("inputs.safetensors"))?;
        let expected = floats(&SafeTensors::deserialize(&inputs)?, "dense_hidden")?;
        let mut session = Session::new(&model, Capacity::any_budget(ids.len()))?;
        session = session.with_kernels(kernels);
        let found =
            session.run(Input::tokens(ids), Budget::Task, &mut (), |out| values(out.hidden))?;
        ensure!(found.len() == expected.len(), "{} values, not {}", found.len(), expected.len());
        compare("dense hidden states", &found, &expected)
    }

    fn check_case(&self, case: &CaseConfig, kernels: &'static Kernels) -> Result<()> {
        let task = self.task(&case.mode, &case.gate)?;
        let base = self.packed.parse()?;
        let packed = pack_task(&task, &base, WeightType::F32, "")?.bytes;
        let task = packed.parse()?;
        let model = Model::bind(&base, &task)?;
        let expected = self.expected(&case.file)?;
        for (sequence, ids) in self.ids.iter().enumerate() {
            let selected = *case.k.get(sequence).context("no k")?;
            let capacity = Capacity { tokens: ids.len(), selected };
            let mut session = Session::new(&model, capacity)?.with_kernels(kernels);
            let mut order = BTreeMap::new();
            loop {
                let mut recorder = Recorder { order: order.clone(), ..Recorder::default() };
                let budget = Budget::Reduction(case.reduction);
                let found = session
                    .run(Input::tokens(ids), budget, &mut recorder, |out| values(out.hidden))?;
                match expected.tie_broken_by_rounding(sequence, &recorder.layers, selected) {
                    Some((layer, tokens)) if !order.contains_key(&layer) => {
                        order.insert(layer, tokens);
                    }
                    _ => {
                        expected.compare(sequence, &found, &recorder.layers, selected)?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The tensors of a case.
struct Expected {
    hidden: Vec<f64>,
    selected: Vec<i64>,
    scores: Vec<f64>,
    lambda: Vec<f64>,
    width: usize,
    hidden_size: usize,
    most_selected: usize,
}

impl Expected {
    fn read(
        file: &SafeTensors<'_>,
        layers: usize,
        hidden_size: usize,
        ids: &[Vec<u32>],
    ) -> Result<Self> {
        let selected = integers(file, "selected")?;
        let width = ids.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Self {
            hidden: floats(file, "hidden")?,
            scores: floats(file, "scores")?,
            lambda: floats(file, "lam")?,
            width,
            hidden_size,
            most_selected: selected.len() / (layers * ids.len()).max(1),
            selected,
        })
    }

    /// The first layer that selects other tokens than the reference where all of these have one
    /// score but for the rounding of f64, and what the reference selects there.
    ///
    /// Equal tokens have equal scores, and the lower index must win. The reference computes the
    /// rows of one matrix in blocks, so its last rows may differ in the last bit; its choice is then
    /// taken, so that the rest of the case can be compared.
    fn tie_broken_by_rounding(
        &self,
        sequence: usize,
        layers: &[Routed],
        k: usize,
    ) -> Option<(usize, Vec<i64>)> {
        let (index, layer, expected) = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| (index, layer, self.selected(index, sequence, k)))
            .find(|(_, layer, expected)| layer.selected != *expected)?;
        let scores = self.scores.get((index * 2 + sequence) * self.width..)?;
        let score = |token: &i64| scores.get(*token as usize).copied().unwrap_or(f64::NAN);
        let ours = layer.selected.iter().filter(|token| !expected.contains(token));
        let theirs = expected.iter().filter(|token| !layer.selected.contains(token));
        let differing: Vec<f64> = ours.chain(theirs).map(score).collect();
        let lowest = differing.iter().copied().fold(f64::INFINITY, f64::min);
        let tied = differing.iter().all(|score| score - lowest <= REFERENCE_ROUNDING);
        tied.then_some((index, expected))
    }

    /// What the reference selects.
    fn selected(&self, layer: usize, sequence: usize, k: usize) -> Vec<i64> {
        let start = (layer * 2 + sequence) * self.most_selected;
        self.selected.iter().skip(start).take(k).copied().collect()
    }

    fn compare(&self, sequence: usize, hidden: &[f64], layers: &[Routed], k: usize) -> Result<()> {
        let row = |values: &[f64], layer: usize, length: usize| -> Vec<f64> {
            let start = (layer * 2 + sequence) * self.width;
            values.iter().skip(start).take(length).copied().collect()
        };
        for (index, layer) in layers.iter().enumerate() {
            let expected = self.selected(index, sequence, k);
            ensure!(layer.selected == expected, "layer {index} selects {:?}", layer.selected);
            let length = layer.scores.len();
            compare("scores", &layer.scores, &row(&self.scores, index, length))?;
            compare("lambda", &layer.gates, &row(&self.lambda, index, length))?;
        }
        let start = sequence * self.width * self.hidden_size;
        let expected: Vec<f64> =
            self.hidden.iter().skip(start).take(hidden.len()).copied().collect();
        compare("hidden states", hidden, &expected)
    }
}

fn compare(what: &str, found: &[f64], expected: &[f64]) -> Result<()> {
    ensure!(found.len() == expected.len(), "{what}: {} values of {}", found.len(), expected.len());
    match VECTORS.first_miss(found.iter().copied(), expected.iter().copied()) {
        None => Ok(()),
        Some((index, found, expected)) => {
            bail!("{what}: value {index} is {found} instead of {expected}")
        }
    }
}

fn values(matrix: Matrix<'_>) -> Vec<f64> {
    matrix.iter().flatten().copied().map(f64::from).collect()
}

/// A float64 tensor.
fn floats(file: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>> {
    let (values, _) = file.tensor(name)?.data().as_chunks();
    Ok(values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

/// An int64 tensor.
fn integers(file: &SafeTensors<'_>, name: &str) -> Result<Vec<i64>> {
    let (values, _) = file.tensor(name)?.data().as_chunks();
    Ok(values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

/// The vectors' configuration in Hugging Face's words.
fn hugging_face_config(arch: &str, config: &Value) -> Result<Value> {
    Ok(match arch {
        "bert" => json!({
            "model_type": "bert",
            "hidden_size": config["hidden_size"],
            "num_hidden_layers": config["num_layers"],
            "num_attention_heads": config["num_heads"],
            "intermediate_size": config["intermediate_size"],
            "layer_norm_eps": config["layer_norm_eps"],
            "vocab_size": config["vocab_size"],
            "max_position_embeddings": config["max_position_embeddings"],
            "type_vocab_size": config["type_vocab_size"],
            "hidden_act": "gelu",
        }),
        "t5" => json!({
            "model_type": "t5",
            "d_model": config["hidden_size"],
            "num_layers": config["num_layers"],
            "num_heads": config["num_heads"],
            "d_kv": config["d_kv"],
            "d_ff": config["intermediate_size"],
            "feed_forward_proj": config["feed_forward_proj"],
            "layer_norm_epsilon": config["layer_norm_eps"],
            "vocab_size": config["vocab_size"],
            "relative_attention_num_buckets": config["relative_attention_num_buckets"],
            "relative_attention_max_distance": config["relative_attention_max_distance"],
        }),
        other => bail!("architecture {other} is unknown"),
    })
}
