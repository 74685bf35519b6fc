//! A frozen pretrained encoder as Hugging Face stores it.

use super::config::{Family, ModelConfig};
use super::error::{SourceError, TensorProblem};
use super::tensors::{FloatTensor, TensorFile};
use super::{TokenizerFiles, positions, relative};
use coda_runtime::config::{Config, Embedding, Head, HeadKind, Norm, Pooling};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::image::{InputNormalization, PatchGrid};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A tensor's place in a model: layer ([`GLOBAL_LAYER`] for none), then role.
pub type Place = (u16, Role);

/// A frozen pretrained encoder, every tensor as `[rows, columns]` f32.
#[derive(Clone, Debug)]
pub struct Base {
    /// Where it was read.
    pub path: PathBuf,
    /// The encoder.
    pub config: Config,
    /// Tensors by place; vectors are one row.
    pub tensors: BTreeMap<Place, FloatTensor>,
    /// The head that the directory describes.
    pub head: Option<Head>,
    /// Class names of that head.
    pub labels: Vec<String>,
    /// How pixels are normalised.
    pub image: Option<InputNormalization>,
    /// The WordPiece vocabulary.
    pub tokenizer: Option<TokenizerFiles>,
    /// Tensors of the file that the encoder does not use.
    pub unused: Vec<String>,
    /// The name of every place in the file, also of absent optional ones.
    pub names: BTreeMap<Place, String>,
    /// Keep the products of attention in f32 where integer weights would make them int8.
    pub float_attention: bool,
}

/// One tensor of a family.
struct Entry {
    place: Place,
    name: String,
    shape: (usize, usize),
    optional: bool,
}

impl Base {
    /// Reads a Hugging Face directory: `config.json`, `model.safetensors`, and what there is of
    /// `tokenizer.json` or `vocab.txt`, `preprocessor_config.json`, `1_Pooling/config.json`.
    ///
    /// `image_size` resizes the positions of a vision model.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(directory: &Path, image_size: Option<usize>) -> Result<Self, SourceError> {
        let path = directory.join("config.json");
        if !path.is_file() {
            return Err(SourceError::NoConfig { path: directory.to_owned() });
        }
        let mut json = read_json(&path)?;
        let trained = json.get("image_size").and_then(Value::as_u64).map(|size| size as usize);
        if let Some(size) = image_size {
            json["image_size"] = size.into();
        }
        let model = ModelConfig::new(&path, json)?;
        let file = TensorFile::open(&directory.join("model.safetensors"))?;
        let mut base = Self::read(model, &file, trained)?;
        base.path = directory.to_owned();
        base.image = read_normalization(directory)?;
        base.tokenizer = TokenizerFiles::open(directory)?;
        if base.head.is_none() {
            base.head = read_pooling(directory)?;
        }
        Ok(base)
    }

    /// Reads the tensors of an encoder described by a `config.json` value.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn from_config(json: Value, file: &TensorFile) -> Result<Self, SourceError> {
        Self::read(ModelConfig::new(file.path(), json)?, file, None)
    }

    /// The encoder that a directory describes but has no weights for: every tensor is zero, ready
    /// to be trained from scratch.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn blank(directory: &Path) -> Result<Self, SourceError> {
        let path = directory.join("config.json");
        if !path.is_file() {
            return Err(SourceError::NoConfig { path: directory.to_owned() });
        }
        let model = ModelConfig::new(&path, read_json(&path)?)?;
        let entries = entries(&model, "");
        let zeros = |(rows, columns): (usize, usize)| FloatTensor {
            shape: vec![rows, columns],
            values: vec![0.0; rows * columns],
        };
        let shape = |entry: &Entry| match entry.place.1 {
            Role::RelativeBias => (model.config.heads, 2 * model.config.relative_distance + 1),
            _ => entry.shape,
        };
        let tensors = entries.iter().map(|entry| (entry.place, zeros(shape(entry)))).collect();
        Ok(Self {
            path: directory.to_owned(),
            config: model.config,
            tensors,
            head: None,
            labels: model.labels,
            image: read_normalization(directory)?,
            tokenizer: TokenizerFiles::open(directory)?,
            unused: Vec::new(),
            names: entries.into_iter().map(|entry| (entry.place, entry.name)).collect(),
            float_attention: false,
        })
    }

    fn read(
        model: ModelConfig,
        file: &TensorFile,
        trained_size: Option<usize>,
    ) -> Result<Self, SourceError> {
        let prefix = find_prefix(model.family, file);
        let entries = entries(&model, &prefix);
        let mut tensors = BTreeMap::new();
        for entry in &entries {
            if entry.optional && !file.contains(&entry.name) {
                continue;
            }
            let tensor = match entry.place.1 {
                Role::PositionEmbedding => positions_of(&model, file, entry, trained_size)?,
                Role::RelativeBias => relative_of(&model, file, entry)?,
                _ => matrix(file, &entry.name, entry.shape)?,
            };
            tensors.insert(entry.place, tensor);
        }
        let names: BTreeMap<Place, String> =
            entries.into_iter().map(|entry| (entry.place, entry.name)).collect();
        let unused = file
            .names()
            .iter()
            .filter(|name| !name.starts_with("coda.") && !names.values().any(|used| used == *name));
        let mut base = Self {
            path: file.path().to_owned(),
            config: model.config,
            tensors,
            head: None,
            labels: model.labels,
            image: None,
            tokenizer: None,
            unused: unused.cloned().collect(),
            names,
            float_attention: false,
        };
        base.read_classifier(file)?;
        if model.family == Family::Dinov2 && base.head.is_none() {
            let kind = HeadKind::Embedding { normalize: false };
            base.head = Some(Head { pooling: Pooling::ClassToken, kind });
        }
        Ok(base)
    }

    /// A classifier of the class token stands in the file of an image classifier.
    fn read_classifier(&mut self, file: &TensorFile) -> Result<(), SourceError> {
        let vision = matches!(self.config.embedding, Embedding::Patches { .. });
        if !vision || !file.contains("classifier.weight") {
            self.labels.clear();
            return Ok(());
        }
        let tensor = file.tensor("classifier.weight")?;
        let labels = tensor.shape.first().copied().unwrap_or(0);
        self.insert_classifier(file, labels)?;
        if self.labels.len() != labels {
            self.labels.clear();
        }
        let kind = HeadKind::Classification { labels };
        self.head = Some(Head { pooling: Pooling::ClassToken, kind });
        self.unused.retain(|name| !name.starts_with("classifier."));
        Ok(())
    }

    fn insert_classifier(&mut self, file: &TensorFile, labels: usize) -> Result<(), SourceError> {
        for (role, name, shape) in classifier_entries(labels, self.config.hidden) {
            self.tensors.insert((GLOBAL_LAYER, role), matrix(file, name, shape)?);
            self.names.insert((GLOBAL_LAYER, role), name.to_owned());
        }
        Ok(())
    }

    /// The tensor of a role, if the model has it.
    #[must_use]
    pub fn tensor(&self, role: Role, layer: u16) -> Option<&FloatTensor> {
        self.tensors.get(&(layer, role))
    }
}

/// Names and shapes of a classifier.
pub(super) fn classifier_entries(
    labels: usize,
    hidden: usize,
) -> [(Role, &'static str, (usize, usize)); 2] {
    [
        (Role::HeadWeight, "classifier.weight", (labels, hidden)),
        (Role::HeadBias, "classifier.bias", (1, labels)),
    ]
}

/// A JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, SourceError> {
    let text = std::fs::read(path)
        .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|error| SourceError::Json {
        path: path.to_owned(),
        problem: format!("not valid JSON: {error}"),
    })
}

/// A tensor as a matrix: dimensions behind the first are flattened, a vector is one row.
pub(super) fn matrix(
    file: &TensorFile,
    name: &str,
    (rows, columns): (usize, usize),
) -> Result<FloatTensor, SourceError> {
    let mut tensor = file.tensor(name)?;
    let significant: Vec<usize> = tensor.shape.iter().copied().filter(|side| *side != 1).collect();
    let first = significant.first().copied().unwrap_or(1);
    let fits = tensor.values.len() == rows * columns
        && (rows == 1 && significant.len() <= 1
            || rows == first
            || columns == 1 && rows == tensor.values.len()
            || rows == 1 && first == columns);
    if !fits {
        let (expected, found) = (vec![rows, columns], tensor.shape);
        return Err(file.problem(name, TensorProblem::Shape { expected, found }));
    }
    tensor.shape = vec![rows, columns];
    Ok(tensor)
}

/// Positions, resized if the model was trained with another image size.
fn positions_of(
    model: &ModelConfig,
    file: &TensorFile,
    entry: &Entry,
    trained_size: Option<usize>,
) -> Result<FloatTensor, SourceError> {
    let (Embedding::Patches { patch, height, .. }, Some(trained)) =
        (model.config.embedding, trained_size)
    else {
        return matrix(file, &entry.name, entry.shape);
    };
    let (from, to, d) = (trained / patch, height / patch, model.config.hidden);
    if from == to {
        return matrix(file, &entry.name, entry.shape);
    }
    let table = matrix(file, &entry.name, (1 + from * from, d))?;
    let values = positions::resize(&table.values, from, to, d);
    Ok(FloatTensor { shape: vec![1 + to * to, d], values })
}

/// The relative bias, unrolled from buckets to distances.
fn relative_of(
    model: &ModelConfig,
    file: &TensorFile,
    entry: &Entry,
) -> Result<FloatTensor, SourceError> {
    let (heads, distance) = (model.config.heads, model.config.relative_distance);
    let table = matrix(file, &entry.name, (model.buckets, heads))?;
    let values = relative::bias_by_distance(&table.values, model.buckets, heads, distance);
    Ok(FloatTensor { shape: vec![heads, 2 * distance + 1], values })
}

/// What stands before every name: the head classes of the same family add a prefix.
fn find_prefix(family: Family, file: &TensorFile) -> String {
    let (prefixes, probe): (&[&str], _) = match family {
        Family::Bert => (&["bert.", ""], "embeddings.word_embeddings.weight"),
        Family::Vit => (&["vit.", ""], "embeddings.cls_token"),
        Family::Dinov2 => (&["dinov2.", "backbone.", ""], "embeddings.cls_token"),
        Family::T5 => (&["transformer.", ""], "shared.weight"),
    };
    let found = prefixes.iter().find(|prefix| file.contains(&format!("{prefix}{probe}")));
    (*found.unwrap_or(&"")).to_owned()
}

/// Collects the entries of a family.
struct Entries<'p> {
    prefix: &'p str,
    list: Vec<Entry>,
}

impl Entries<'_> {
    fn add(&mut self, layer: u16, role: Role, name: &str, shape: (usize, usize)) {
        let name = format!("{}{name}", self.prefix);
        self.list.push(Entry { place: (layer, role), name, shape, optional: false });
    }

    fn optional(&mut self, layer: u16, role: Role, name: &str, shape: (usize, usize)) {
        self.add(layer, role, name, shape);
        if let Some(entry) = self.list.last_mut() {
            entry.optional = true;
        }
    }

    /// A norm: `{name}.weight` and, for LayerNorm, `{name}.bias`.
    fn norm(&mut self, layer: u16, roles: (Role, Role), name: &str, config: &Config) {
        self.add(layer, roles.0, &format!("{name}.weight"), (1, config.hidden));
        if config.norm == Norm::LayerNorm {
            self.add(layer, roles.1, &format!("{name}.bias"), (1, config.hidden));
        }
    }

    /// A linear map: `{name}.weight` and, if the file has it, `{name}.bias`.
    fn linear(&mut self, layer: u16, roles: (Role, Role), name: &str, shape: (usize, usize)) {
        self.add(layer, roles.0, &format!("{name}.weight"), shape);
        self.optional(layer, roles.1, &format!("{name}.bias"), (1, shape.0));
    }
}

const EMBEDDING_NORM: (Role, Role) = (Role::EmbeddingNormWeight, Role::EmbeddingNormBias);
const FINAL_NORM: (Role, Role) = (Role::FinalNormWeight, Role::FinalNormBias);
const ATTENTION_NORM: (Role, Role) = (Role::AttentionNormWeight, Role::AttentionNormBias);
const FEED_FORWARD_NORM: (Role, Role) = (Role::FeedForwardNormWeight, Role::FeedForwardNormBias);
const QUERY: (Role, Role) = (Role::Query, Role::QueryBias);
const KEY: (Role, Role) = (Role::Key, Role::KeyBias);
const VALUE: (Role, Role) = (Role::Value, Role::ValueBias);
const OUTPUT: (Role, Role) = (Role::AttentionOutput, Role::AttentionOutputBias);
const EXPAND: (Role, Role) = (Role::FeedForwardIn, Role::FeedForwardInBias);
const GATE: (Role, Role) = (Role::FeedForwardGate, Role::FeedForwardGateBias);
const CONTRACT: (Role, Role) = (Role::FeedForwardOut, Role::FeedForwardOutBias);

/// Where the parts of a layer are in a family's names.
struct LayerNames {
    attention_norm: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    output: &'static str,
    attention_scale: Option<&'static str>,
    feed_forward_norm: &'static str,
    gate: &'static str,
    expand: &'static str,
    contract: &'static str,
    feed_forward_scale: Option<&'static str>,
}

const BERT_LAYER: LayerNames = LayerNames {
    attention_norm: "attention.output.LayerNorm",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_scale: None,
    feed_forward_norm: "output.LayerNorm",
    gate: "",
    expand: "intermediate.dense",
    contract: "output.dense",
    feed_forward_scale: None,
};

const VIT_LAYER: LayerNames = LayerNames {
    attention_norm: "layernorm_before",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
    attention_scale: None,
    feed_forward_norm: "layernorm_after",
    gate: "",
    expand: "intermediate.dense",
    contract: "output.dense",
    feed_forward_scale: None,
};

const DINOV2_LAYER: LayerNames = LayerNames {
    attention_norm: "norm1",
    attention_scale: Some("layer_scale1.lambda1"),
    feed_forward_norm: "norm2",
    expand: "mlp.fc1",
    contract: "mlp.fc2",
    feed_forward_scale: Some("layer_scale2.lambda1"),
    ..VIT_LAYER
};

const T5_LAYER: LayerNames = LayerNames {
    attention_norm: "layer.0.layer_norm",
    query: "layer.0.SelfAttention.q",
    key: "layer.0.SelfAttention.k",
    value: "layer.0.SelfAttention.v",
    output: "layer.0.SelfAttention.o",
    attention_scale: None,
    feed_forward_norm: "layer.1.layer_norm",
    gate: "layer.1.DenseReluDense.wi_0",
    expand: "layer.1.DenseReluDense.wi_1",
    contract: "layer.1.DenseReluDense.wo",
    feed_forward_scale: None,
};

const T5_PLAIN_LAYER: LayerNames = LayerNames { expand: "layer.1.DenseReluDense.wi", ..T5_LAYER };

/// Every tensor that the encoder reads.
fn entries(model: &ModelConfig, prefix: &str) -> Vec<Entry> {
    let config = &model.config;
    let mut entries = Entries { prefix, list: Vec::new() };
    let (names, layer_prefix) = match model.family {
        Family::Bert => {
            bert_embedding(&mut entries, config);
            (&BERT_LAYER, "encoder.layer")
        }
        Family::Vit => {
            vit_embedding(&mut entries, config);
            (&VIT_LAYER, "encoder.layer")
        }
        Family::Dinov2 => {
            vit_embedding(&mut entries, config);
            (&DINOV2_LAYER, "encoder.layer")
        }
        Family::T5 => {
            t5_embedding(&mut entries, model);
            (if config.gated { &T5_LAYER } else { &T5_PLAIN_LAYER }, "encoder.block")
        }
    };
    for index in 0..config.layers {
        layer_entries(&mut entries, config, names, layer_prefix, index);
    }
    entries.list
}

fn layer_entries(
    entries: &mut Entries<'_>,
    config: &Config,
    names: &LayerNames,
    prefix: &str,
    index: usize,
) {
    let layer = index as u16;
    let (d, width, wide) = (config.hidden, config.attention_width(), config.feed_forward);
    let at = |name: &str| format!("{prefix}.{index}.{name}");
    entries.norm(layer, ATTENTION_NORM, &at(names.attention_norm), config);
    entries.linear(layer, QUERY, &at(names.query), (width, d));
    entries.linear(layer, KEY, &at(names.key), (width, d));
    entries.linear(layer, VALUE, &at(names.value), (width, d));
    entries.linear(layer, OUTPUT, &at(names.output), (d, width));
    entries.norm(layer, FEED_FORWARD_NORM, &at(names.feed_forward_norm), config);
    entries.linear(layer, EXPAND, &at(names.expand), (wide, d));
    if config.gated {
        entries.linear(layer, GATE, &at(names.gate), (wide, d));
    }
    entries.linear(layer, CONTRACT, &at(names.contract), (d, wide));
    if let Some(name) = names.attention_scale {
        entries.optional(layer, Role::AttentionScale, &at(name), (1, d));
    }
    if let Some(name) = names.feed_forward_scale {
        entries.optional(layer, Role::FeedForwardScale, &at(name), (1, d));
    }
}

fn bert_embedding(entries: &mut Entries<'_>, config: &Config) {
    let Embedding::Tokens { vocabulary, positions, token_types, .. } = config.embedding else {
        return;
    };
    let d = config.hidden;
    let tables = [
        (Role::TokenEmbedding, "word_embeddings", vocabulary),
        (Role::PositionEmbedding, "position_embeddings", positions),
        (Role::TokenTypeEmbedding, "token_type_embeddings", token_types),
    ];
    for (role, name, rows) in tables {
        entries.add(GLOBAL_LAYER, role, &format!("embeddings.{name}.weight"), (rows, d));
    }
    entries.norm(GLOBAL_LAYER, EMBEDDING_NORM, "embeddings.LayerNorm", config);
}

fn vit_embedding(entries: &mut Entries<'_>, config: &Config) {
    let Some(grid) = PatchGrid::of(&config.embedding) else { return };
    let d = config.hidden;
    let roles = (Role::PatchWeight, Role::PatchBias);
    let positions = (config.max_tokens().unwrap_or(0), d);
    entries.linear(
        GLOBAL_LAYER,
        roles,
        "embeddings.patch_embeddings.projection",
        (d, grid.inputs()),
    );
    entries.add(GLOBAL_LAYER, Role::ClassToken, "embeddings.cls_token", (1, d));
    entries.add(GLOBAL_LAYER, Role::PositionEmbedding, "embeddings.position_embeddings", positions);
    entries.norm(GLOBAL_LAYER, FINAL_NORM, "layernorm", config);
}

fn t5_embedding(entries: &mut Entries<'_>, model: &ModelConfig) {
    let config = &model.config;
    let Embedding::Tokens { vocabulary, .. } = config.embedding else { return };
    entries.add(GLOBAL_LAYER, Role::TokenEmbedding, "shared.weight", (vocabulary, config.hidden));
    let name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    entries.add(GLOBAL_LAYER, Role::RelativeBias, name, (model.buckets, config.heads));
    entries.norm(GLOBAL_LAYER, FINAL_NORM, "encoder.final_layer_norm", config);
}

/// `preprocessor_config.json`.
fn read_normalization(directory: &Path) -> Result<Option<InputNormalization>, SourceError> {
    let path = directory.join("preprocessor_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    let on = |field: &str| json.get(field).and_then(Value::as_bool).unwrap_or(true);
    let list = |field: &str| -> Vec<f32> {
        let values = json.get(field).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(Value::as_f64).map(|value| value as f32).collect()
    };
    let (mean, std) = (list("image_mean"), list("image_std"));
    let channels = mean.len();
    if channels == 0 || channels > 4 || std.len() != channels || std.iter().any(|s| *s <= 0.0) {
        return Err(SourceError::Json {
            path,
            problem: "image_mean and image_std must be 1 to 4 numbers each, std above 0".to_owned(),
        });
    }
    let factor = json.get("rescale_factor").and_then(Value::as_f64).unwrap_or(1.0 / 255.0);
    let rescale = if on("do_rescale") { factor as f32 } else { 1.0 };
    let mut value = InputNormalization { channels, rescale, mean: [0.0; 4], std: [1.0; 4] };
    if on("do_normalize") {
        value.mean[..channels].copy_from_slice(&mean);
        value.std[..channels].copy_from_slice(&std);
    }
    Ok(Some(value))
}

/// The pooling of a sentence-transformers directory.
fn read_pooling(directory: &Path) -> Result<Option<Head>, SourceError> {
    let path = directory.join("1_Pooling").join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    let on = |field: &str| json.get(field).and_then(Value::as_bool).unwrap_or(false);
    let pooling = match (on("pooling_mode_mean_tokens"), on("pooling_mode_cls_token")) {
        (true, _) => Pooling::Mean,
        (false, true) => Pooling::ClassToken,
        (false, false) => {
            let problem = "only mean and class token pooling are supported".to_owned();
            return Err(SourceError::Json { path, problem });
        }
    };
    let modules = directory.join("modules.json");
    let normalize = modules.is_file() && read_json(&modules)?.to_string().contains("Normalize");
    Ok(Some(Head { pooling, kind: HeadKind::Embedding { normalize } }))
}
