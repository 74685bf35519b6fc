//! The reference vectors of models that write: encoders as of [`crate::vectors`], then logits, greedy answers
//! and beam searches.

use crate::tolerance::{LOGITS, Tolerance, VECTORS as HIDDEN};
use anyhow::{Context, Result, bail, ensure};
use coda_converter::grid::Patches;
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::source::{Base, Task, TaskMetadata, TensorFile};
use coda_runtime::decoder::{Search, StepObserver};
use coda_runtime::executor::Input;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::{Executor, Generation, Generator};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// `config.json` of a directory.
#[derive(Debug, Deserialize)]
struct Config {
    arch: String,
    kind: Option<String>,
    positions: Vec<usize>,
    cases: Vec<Case>,
    decode_cases: Vec<Case>,
    generation: Rules,
    pinned: Option<Vec<u32>>,
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

#[derive(Clone, Debug, Deserialize)]
struct Case {
    file: String,
    mode: Option<String>,
    gate: Option<String>,
    r: Option<f32>,
}

#[derive(Debug, Deserialize)]
struct Rules {
    eos_id: u32,
    max_new_tokens: usize,
    beam_width: usize,
}

/// One directory with its packed base.
pub struct Vectors {
    config: Config,
    directory: PathBuf,
    file: TensorFile,
    base: Base,
    packed: PackageBytes,
    inputs: Vec<Given>,
    prefix: Vec<u32>,
}

/// One input.
pub enum Given {
    /// Token ids.
    Ids(Vec<u32>),
    /// Values of patches.
    Patches(Vec<f32>),
    /// Log-mel features.
    Features(Vec<f32>),
    /// The same of an image of any size.
    Grid(Patches),
}

impl Given {
    /// The input as the executor takes it.
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        match self {
            Self::Ids(ids) => Input::tokens(ids),
            Self::Patches(values) => Input::Patches(values),
            Self::Features(values) => Input::Features(values),
            Self::Grid(patches) => patches.as_input(),
        }
    }
}

/// Logits of the first hypothesis of a step.
#[derive(Default)]
struct Logits(Vec<f64>);

impl StepObserver for Logits {
    fn logits(&mut self, row: usize, _: usize, values: &[f32]) {
        if row == 0 {
            self.0.extend(values.iter().copied().map(f64::from));
        }
    }
}

/// A case to decode.
pub struct Decoded {
    /// Name of its file.
    pub name: String,
    /// The task, unless the dense base is asked alone.
    pub task: Option<Task>,
    /// Reduction of the encoder.
    pub reduction: f32,
    /// Logits behind each id of the prefix, `[inputs, prefix, vocabulary]`.
    pub logits: Vec<f64>,
}

/// A generation directory: it has cases to decode.
#[must_use]
pub fn is_one(directory: &Path) -> bool {
    let text = std::fs::read_to_string(directory.join("config.json"));
    text.is_ok_and(|text| text.contains("\"decode_cases\""))
}

impl Vectors {
    /// Opens a directory and packs its base with f32 weights. `None` for a kind that the runtime has not.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(directory: &Path) -> Result<Option<Self>> {
        let text = std::fs::read(directory.join("config.json"))?;
        let json: Value = serde_json::from_slice(&text)?;
        let config: Config = serde_json::from_value(json.clone())?;
        let Some(own) = hugging_face_config(&config, &json) else { return Ok(None) };
        let file = TensorFile::open(&directory.join("model.safetensors"))?;
        let base = Base::from_config(&own, &file)?;
        ensure!(base.decoder.is_some(), "no decoder was read");
        ensure!(base.unused.is_empty(), "tensors are not read: {:?}", base.unused);
        let packed = pack_base(&base, WeightType::F32, "")?.bytes;
        let inputs = std::fs::read(directory.join("inputs.safetensors"))?;
        let tensors = SafeTensors::deserialize(&inputs)?;
        let prefix = integers(&tensors, "decoder_prefix")?.iter().map(|id| *id as u32).collect();
        let inputs = match config.arch.as_str() {
            "t5" => read_ids(&tensors, &config.positions)?,
            "whisper" => read_features(&tensors, &config.positions)?,
            _ if config.kind.as_deref() == Some("pix2struct") => {
                read_grids(&tensors, config.positions.len())?
            }
            _ => read_images(&tensors, &json)?,
        };
        let directory = directory.to_owned();
        Ok(Some(Self { config, directory, file, base, packed, inputs, prefix }))
    }

    /// The base as it was read.
    #[must_use]
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// The ids whose logits every case has.
    #[must_use]
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Every case to decode.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn decoded(&self) -> Result<Vec<Decoded>> {
        let decoded = |case: &Case| {
            let bytes = std::fs::read(self.directory.join(&case.file))?;
            let logits = floats(&SafeTensors::deserialize(&bytes)?, "logits")?;
            let (task, reduction) = (self.task(case)?, case.r.unwrap_or(1.0));
            Ok(Decoded { name: case.file.clone(), task, reduction, logits })
        };
        self.config.decode_cases.iter().map(decoded).collect()
    }

    /// Every input.
    #[must_use]
    pub fn inputs(&self) -> &[Given] {
        &self.inputs
    }

    /// Writes the base as people have it: a directory with `config.json`, `generation_config.json` and weights.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn write_directory(&self, to: &Path) -> Result<()> {
        let text = std::fs::read(self.directory.join("config.json"))?;
        let json: Value = serde_json::from_slice(&text)?;
        let mut own =
            hugging_face_config(&self.config, &json).context("a kind that is not read")?;
        let mut rules = json!({});
        for field in GENERATION {
            rules[field] = own.as_object_mut().and_then(|own| own.remove(field)).into();
        }
        std::fs::write(to.join("config.json"), own.to_string())?;
        std::fs::write(to.join("generation_config.json"), rules.to_string())?;
        std::fs::copy(self.directory.join("model.safetensors"), to.join("model.safetensors"))?;
        Ok(())
    }

    /// Writes the task of the last case as people have it: its tensors, and what it is in their metadata.
    ///
    /// # Errors
    /// A tensor is missing, or the file cannot be written.
    pub fn write_task(&self, to: &Path) -> Result<()> {
        let case = self.config.decode_cases.last().context("no case")?;
        let metadata = self.metadata(case).context("the last case is dense")?.to_string();
        let task = self.any_task()?;
        let decoder = task.decoder.context("no adapters of the decoder were read")?;
        let halves = [(&task.names, &task.tensors), (&decoder.names, &decoder.tensors)];
        let places = halves
            .into_iter()
            .flat_map(|(names, tensors)| tensors.iter().map(|(place, own)| (&names[place], own)));
        let mut tensors = BTreeMap::<&String, (Vec<usize>, Vec<u8>)>::new();
        for (name, own) in places {
            // A vector is one row; low-rank keys and values are one tensor.
            let first = usize::from(own.shape.first() == Some(&1));
            let columns = own.shape[first + 1..].to_vec();
            let (shape, bytes) = tensors
                .entry(name)
                .or_insert_with(|| (std::iter::once(0).chain(columns).collect(), Vec::new()));
            shape[0] += own.shape[first];
            bytes.extend(own.values.iter().flat_map(|value| value.to_le_bytes()));
        }
        let views = tensors.iter().map(|(name, (shape, bytes))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([("coda".to_owned(), metadata)]);
        Ok(std::fs::write(to, safetensors::serialize(views, Some(metadata))?)?)
    }

    /// New ids of the dense base's greedy answer to the first input, the end included.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn dense_answer(&self) -> Result<Vec<u32>> {
        let bytes = std::fs::read(self.directory.join("decode_dense.safetensors"))?;
        let all = integers(&SafeTensors::deserialize(&bytes)?, "greedy")?;
        let own = all.iter().take(all.len() / self.inputs.len().max(1));
        Ok(own.take_while(|id| **id >= 0).map(|id| *id as u32).collect())
    }

    /// The task of the last case.
    ///
    /// # Errors
    /// A tensor is missing.
    pub fn any_task(&self) -> Result<Task> {
        let case = self.config.decode_cases.last().context("no case")?;
        self.task(case)?.context("the last case is dense")
    }

    /// Checks every case with `kernels`; one result a check.
    #[must_use]
    pub fn check(&self, kernels: &'static Kernels) -> Vec<(String, Result<()>)> {
        let name = |case: &str| format!("{}/{case} [{}]", self.directory.display(), kernels.name);
        let encoder = self
            .config
            .cases
            .iter()
            .map(|case| (name(&case.file), self.check_encoder(case, kernels)));
        let decoder = self
            .config
            .decode_cases
            .iter()
            .map(|case| (name(&case.file), self.check_decoder(case, kernels)));
        encoder.chain(decoder).collect()
    }

    /// The task of a case; `None` for the dense base alone.
    fn task(&self, case: &Case) -> Result<Option<Task>> {
        let Some(metadata) = self.metadata(case) else { return Ok(None) };
        let metadata: TaskMetadata = serde_json::from_value(metadata)?;
        Ok(Some(Task::from_file(&self.file, &self.base, &metadata)?))
    }

    /// What the task of a case is, in the words of a task file.
    fn metadata(&self, case: &Case) -> Option<Value> {
        let (mode, gate) = (case.mode.as_ref()?, case.gate.as_ref()?);
        Some(json!({
            "adapter_activation": self.config.adapter_activation,
            "router_input": self.config.router_input,
            "gate": gate,
            "eps": self.config.eps,
            "iter_T": self.config.sweeps,
            "iter_eps0": self.config.eps_start,
            "iter_decay": self.config.decay,
            "attention": mode,
            "pinned": self.config.pinned.clone().unwrap_or_default(),
        }))
    }

    fn with_model<T>(&self, case: &Case, work: impl Fn(&Model<'_>) -> Result<T>) -> Result<T> {
        let base = self.packed.parse()?;
        match self.task(case)? {
            None => work(&Model::dense(&base)?),
            Some(task) => {
                ensure!(task.decoder.is_some(), "no adapters of the decoder were read");
                let packed = pack_task(&task, &base, WeightType::F32, "")?.bytes;
                work(&Model::bind(&base, &packed.parse()?)?)
            }
        }
    }

    fn check_encoder(&self, case: &Case, kernels: &'static Kernels) -> Result<()> {
        let bytes = std::fs::read(self.directory.join(&case.file))?;
        let expected = floats(&SafeTensors::deserialize(&bytes)?, "hidden")?;
        let each = expected.len() / self.inputs.len().max(1);
        self.with_model(case, |model| {
            for (given, expected) in self.inputs.iter().zip(expected.chunks(each)) {
                let plan = Plan::new(&model.dimensions(), self.capacity())?;
                let mut arena = Arena::new(plan.arena_bytes());
                let mut executor = Executor::new(model, kernels, plan, arena.bytes())?;
                let output = executor.run(given.input(), budget(case))?;
                let found: Vec<f64> =
                    output.hidden.iter().flatten().copied().map(f64::from).collect();
                compare("hidden states", HIDDEN, &found, &expected[..found.len()])?;
            }
            Ok(())
        })
    }

    fn capacity(&self) -> Capacity {
        Capacity::any_budget(self.config.positions.iter().copied().max().unwrap_or(1))
    }

    fn check_decoder(&self, case: &Case, kernels: &'static Kernels) -> Result<()> {
        let bytes = std::fs::read(self.directory.join(&case.file))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let expected = Expected {
            logits: floats(&file, "logits")?,
            greedy: integers(&file, "greedy")?,
            beam: integers(&file, "beam")?,
            scores: floats(&file, "beam_score")?,
        };
        self.with_model(case, |model| {
            let beams = self.config.generation.beam_width;
            let positions = self.prefix.len() + self.config.generation.max_new_tokens;
            let encoder = Plan::new(&model.dimensions(), self.capacity())?;
            let decoder = model.decoder().context("no decoder")?;
            let answer = AnswerCapacity { positions, beams };
            let plan = GenerationPlan::new(encoder, &decoder.dimensions(), answer)?;
            let mut arena = Arena::new(plan.arena_bytes());
            let mut generator = Generator::new(model, kernels, plan, arena.bytes())?;
            for (index, given) in self.inputs.iter().enumerate() {
                self.check_answer(&mut generator, given, budget(case), &expected.of(index, self))
                    .with_context(|| format!("input {index}"))?;
            }
            Ok(())
        })
    }

    fn check_answer(
        &self,
        generator: &mut Generator<'_, '_>,
        given: &Given,
        budget: Budget<'_>,
        expected: &Answer<'_>,
    ) -> Result<()> {
        let rules = &self.config.generation;
        let each = expected.logits.len() / self.prefix.len().max(1);
        for (length, expected) in (1..=self.prefix.len()).zip(expected.logits.chunks(each)) {
            let start = &self.prefix[..length];
            let search = Search { start, longest: 1, ..Search::GREEDY };
            let mut logits = Logits::default();
            generator.generate(given.input(), budget, &search)?.step_observed(&mut logits)?;
            compare(&format!("logits {length}"), LOGITS, &logits.0, expected)?;
        }
        let longest = rules.max_new_tokens;
        let greedy = Search { longest, ..Search::GREEDY };
        let mut answer = generator.generate(given.input(), budget, &greedy)?;
        while answer.step()? {}
        check_ids("greedy", &answer, rules.eos_id, expected.greedy)?;
        let beam = Search { longest, beams: rules.beam_width, ..Search::OF_PACKAGE };
        let mut answer = generator.generate(given.input(), budget, &beam)?;
        while answer.step()? {}
        check_ids("beam", &answer, rules.eos_id, expected.beam)?;
        let score = answer.score().context("a search with beams has a score")?;
        compare("score", HIDDEN, &[f64::from(score)], &[expected.score])
    }
}

/// The tensors of a case, of all inputs.
struct Expected {
    logits: Vec<f64>,
    greedy: Vec<i64>,
    beam: Vec<i64>,
    scores: Vec<f64>,
}

/// Those of one input.
struct Answer<'e> {
    logits: &'e [f64],
    greedy: &'e [i64],
    beam: &'e [i64],
    score: f64,
}

impl Expected {
    fn of(&self, index: usize, vectors: &Vectors) -> Answer<'_> {
        fn part<T>(values: &[T], index: usize, of: usize) -> &[T] {
            let each = values.len() / of.max(1);
            &values[index * each..(index + 1) * each]
        }
        let of = vectors.inputs.len();
        Answer {
            logits: part(&self.logits, index, of),
            greedy: part(&self.greedy, index, of),
            beam: part(&self.beam, index, of),
            score: self.scores[index],
        }
    }
}

/// New ids, with the end id last where the answer ended by it.
fn check_ids(what: &str, answer: &Generation<'_>, end: u32, expected: &[i64]) -> Result<()> {
    let ended = answer.has_ended().then_some(end);
    let found = answer.tokens().iter().copied().chain(ended).map(i64::from).collect::<Vec<_>>();
    let expected: Vec<i64> = expected.iter().copied().take_while(|id| *id >= 0).collect();
    ensure!(found == expected, "{what}: {found:?} instead of {expected:?}");
    Ok(())
}

fn budget(case: &Case) -> Budget<'static> {
    case.r.map_or(Budget::Task, Budget::Reduction)
}

/// An aligned arena on the heap, of exactly so many bytes.
struct Arena {
    blocks: Vec<u128>,
    bytes: usize,
}

impl Arena {
    fn new(bytes: usize) -> Self {
        Self { blocks: vec![0; bytes.div_ceil(16)], bytes }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.bytes]
    }
}

fn read_ids(tensors: &SafeTensors<'_>, lengths: &[usize]) -> Result<Vec<Given>> {
    let ids = integers(tensors, "input_ids")?;
    let width = ids.len() / lengths.len().max(1);
    let rows = ids.chunks(width).zip(lengths);
    let given = rows.map(|(row, length)| row.iter().take(*length).map(|id| *id as u32).collect());
    Ok(given.map(Given::Ids).collect())
}

/// Patches with their row and column.
fn read_grids(tensors: &SafeTensors<'_>, inputs: usize) -> Result<Vec<Given>> {
    let grid = |index: usize| {
        let tensor = tensors.tensor(&format!("flattened_patches_{index}"))?;
        let (values, _) = tensor.data().as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let each = tensor.shape().last().context("a tensor without columns")?;
        Patches::of_flattened(&values, each.saturating_sub(2)).map(Given::Grid)
    };
    (0..inputs).map(grid).collect()
}

/// `[B, 3, H, W]` as patches, row by row, each channel by channel.
fn read_images(tensors: &SafeTensors<'_>, config: &Value) -> Result<Vec<Given>> {
    let (values, _) = tensors.tensor("pixel_values")?.data().as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let size = |field: &str| config[field].as_u64().map(|size| size as usize);
    let sizes = (size("image_size"), size("patch_size"), size("num_channels"));
    let (Some(side), Some(patch), Some(channels)) = sizes else { bail!("sizes are missing") };
    let images = values.chunks(channels * side * side);
    let patches = |image: &[f32]| {
        let mut all = Vec::new();
        for (top, left) in (0..side * side / patch / patch)
            .map(|index| (index / (side / patch) * patch, index % (side / patch) * patch))
        {
            for channel in 0..channels {
                for row in top..top + patch {
                    let first = (channel * side + row) * side + left;
                    all.extend_from_slice(&image[first..first + patch]);
                }
            }
        }
        all
    };
    Ok(images.map(|image| Given::Patches(patches(image))).collect())
}

/// `[bins, frames]` of each input as frames.
fn read_features(tensors: &SafeTensors<'_>, positions: &[usize]) -> Result<Vec<Given>> {
    let read = |(index, positions): (usize, &usize)| {
        let (values, _) = tensors.tensor(&format!("log_mel_{index}"))?.data().as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let frames = 2 * positions;
        let frame = |frame| values.iter().skip(frame).step_by(frames).copied();
        Ok(Given::Features((0..frames).flat_map(frame).collect()))
    };
    positions.iter().enumerate().map(read).collect()
}

fn compare(what: &str, tolerance: Tolerance, found: &[f64], expected: &[f64]) -> Result<()> {
    ensure!(found.len() == expected.len(), "{what}: {} values of {}", found.len(), expected.len());
    match tolerance.first_miss(found.iter().copied(), expected.iter().copied()) {
        None => Ok(()),
        Some((index, found, expected)) => {
            bail!("{what}: value {index} is {found} instead of {expected}")
        }
    }
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

/// Fields of `generation_config.json`.
const GENERATION: [&str; 7] = [
    "decoder_start_token_id",
    "eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "max_new_tokens",
    "length_penalty",
    "num_beams",
];

/// The vectors' configuration in Hugging Face's words.
fn hugging_face_config(config: &Config, json: &Value) -> Option<Value> {
    let mut own = match (config.arch.as_str(), config.kind.as_deref()) {
        ("t5", _) => json!({
            "model_type": "t5",
            "d_model": json["hidden_size"],
            "num_layers": json["encoder_layers"],
            "num_decoder_layers": json["decoder_layers"],
            "num_heads": json["encoder_heads"],
            "d_kv": json["d_kv"],
            "d_ff": json["intermediate_size"],
            "feed_forward_proj": json["feed_forward_proj"],
            "layer_norm_epsilon": json["layer_norm_eps"],
            "vocab_size": json["vocab_size"],
            "tie_word_embeddings": json["tie_word_embeddings"],
            "relative_attention_num_buckets": json["relative_attention_num_buckets"],
            "relative_attention_max_distance": json["relative_attention_max_distance"],
        }),
        ("whisper", _) => json!({
            "model_type": "whisper",
            "d_model": json["hidden_size"],
            "encoder_layers": json["encoder_layers"],
            "decoder_layers": json["decoder_layers"],
            "encoder_attention_heads": json["encoder_heads"],
            "decoder_attention_heads": json["decoder_heads"],
            "encoder_ffn_dim": json["intermediate_size"],
            "decoder_ffn_dim": json["intermediate_size"],
            "activation_function": json["decoder_activation"],
            "num_mel_bins": json["num_mel_bins"],
            "max_source_positions": json["max_source_positions"],
            "max_target_positions": json["max_target_positions"],
            "vocab_size": json["vocab_size"],
        }),
        ("image", Some("pix2struct")) => pix2struct_config(json),
        ("image", Some(kind @ ("trocr" | "mbart"))) => json!({
            "model_type": "vision-encoder-decoder",
            "encoder": {
                "model_type": "vit",
                "hidden_size": json["hidden_size"],
                "num_hidden_layers": json["encoder_layers"],
                "num_attention_heads": json["encoder_heads"],
                "intermediate_size": json["intermediate_size"],
                "layer_norm_eps": json["layer_norm_eps"],
                "image_size": json["image_size"],
                "patch_size": json["patch_size"],
                "num_channels": json["num_channels"],
                "hidden_act": "gelu",
            },
            "decoder": {
                "model_type": kind,
                "d_model": json["decoder_hidden_size"],
                "decoder_layers": json["decoder_layers"],
                "decoder_attention_heads": json["decoder_heads"],
                "decoder_ffn_dim": json["intermediate_size"],
                "vocab_size": json["vocab_size"],
                "max_position_embeddings": json["max_target_positions"],
                "activation_function": json["decoder_activation"],
                "scale_embedding": json["scale_embedding"],
            },
        }),
        _ => return None,
    };
    let rules = &json["generation"];
    own["decoder_start_token_id"] = rules["start_ids"].clone();
    own["eos_token_id"] = rules["eos_id"].clone();
    for field in ["suppress_tokens", "begin_suppress_tokens", "max_new_tokens", "length_penalty"] {
        own[field] = rules[field].clone();
    }
    own["num_beams"] = rules["beam_width"].clone();
    Some(own)
}

fn pix2struct_config(json: &Value) -> Value {
    json!({
        "model_type": "pix2struct",
        "vision_config": {
            "model_type": "pix2struct_vision_model",
            "hidden_size": json["hidden_size"],
            "num_hidden_layers": json["encoder_layers"],
            "num_attention_heads": json["encoder_heads"],
            "d_kv": json["d_kv"],
            "d_ff": json["intermediate_size"],
            "dense_act_fn": "gelu_new",
            "layer_norm_eps": json["layer_norm_eps"],
            "patch_embed_hidden_size": json["patch_values"],
            "seq_len": PLACES,
        },
        "text_config": {
            "model_type": "pix2struct_text_model",
            "hidden_size": json["decoder_hidden_size"],
            "num_layers": json["decoder_layers"],
            "num_heads": json["decoder_heads"],
            "d_kv": json["d_kv"],
            "d_ff": json["intermediate_size"],
            "dense_act_fn": "gelu_new",
            "layer_norm_epsilon": json["layer_norm_eps"],
            "relative_attention_num_buckets": json["relative_attention_num_buckets"],
            "relative_attention_max_distance": json["relative_attention_max_distance"],
            "vocab_size": json["vocab_size"],
            "is_decoder": true,
        },
    })
}

/// Rows of each table of places, that of padding among them.
const PLACES: usize = 8;
