//! A frozen pretrained encoder as Hugging Face stores it.

use super::TokenizerFiles;
use super::container::{open_weights, refuse_other_forms};
use super::error::{SourceError, TensorProblem};
use super::family::{Encoder, Entry};
use super::fields;
use super::json::{read_json, read_optional_json};
use super::names::spellings;
use super::tensors::{FloatTensor, Place, TensorFile};
use coda_runtime::config::{Config, Head, HeadKind, Pooling};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::image::InputNormalization;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More weights than these fit no package, which ends at 4 GiB.
const MOST_WEIGHTS: usize = 1 << 33;

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
    /// What was found and is not read, for people.
    pub notes: Vec<String>,
    /// Keep the products of attention in f32 where integer weights would make them int8.
    pub float_attention: bool,
}

impl Base {
    /// Reads a Hugging Face directory: `config.json`, `model.safetensors` or the shards of
    /// `model.safetensors.index.json`, and what there is of
    /// `tokenizer.json` or `vocab.txt`, `preprocessor_config.json`, `1_Pooling/config.json`.
    ///
    /// `image_size` resizes the positions of a vision model.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(directory: &Path, image_size: Option<usize>) -> Result<Self, SourceError> {
        let (path, json) = read_config(directory)?;
        let file = open_weights(directory)?;
        let mut base = Self::read(Encoder::new(&path, json, Some(&file), image_size)?, &file)?;
        base.path = directory.to_owned();
        base.image = read_normalization(directory)?;
        base.tokenizer = TokenizerFiles::open(directory)?;
        if base.head.is_none() {
            base.head = read_pooling(directory)?;
        }
        for name in fields::OBJECTS {
            if let Some(Value::Object(object)) = read_optional_json(&directory.join(name))? {
                base.notes.extend(unknown_fields(name, &fields::unknown(name, &object)));
            }
        }
        Ok(base)
    }

    /// Reads the tensors of an encoder described by a `config.json` value.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn from_config(json: Value, file: &TensorFile) -> Result<Self, SourceError> {
        Self::read(Encoder::new(file.path(), json, Some(file), None)?, file)
    }

    /// The encoder that a directory describes but has no weights for: every tensor is zero, ready
    /// to be trained from scratch.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn blank(directory: &Path) -> Result<Self, SourceError> {
        let (path, json) = read_config(directory)?;
        let encoder = Encoder::new(&path, json, None, None)?;
        let weights: usize =
            encoder.entries.iter().map(|entry| entry.shape[0] * entry.shape[1]).sum();
        if weights > MOST_WEIGHTS {
            let problem = format!("{weights} weights are more than a package holds");
            return Err(SourceError::Json { path, problem });
        }
        let zeros = |entry: &Entry| FloatTensor {
            shape: entry.shape.to_vec(),
            values: vec![0.0; entry.shape.iter().product()],
        };
        let tensors = encoder.entries.iter().map(|entry| (entry.place, zeros(entry))).collect();
        Ok(Self {
            image: read_normalization(directory)?,
            tokenizer: TokenizerFiles::open(directory)?,
            ..Self::of(encoder, tensors, directory)
        })
    }

    /// An encoder with its tensors, and nothing that stands beside them.
    fn of(encoder: Encoder, tensors: BTreeMap<Place, FloatTensor>, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            config: encoder.config,
            tensors,
            head: None,
            labels: encoder.labels,
            image: None,
            tokenizer: None,
            unused: Vec::new(),
            names: encoder.entries.into_iter().map(|entry| (entry.place, entry.name)).collect(),
            notes: unknown_fields("config.json", &encoder.unknown),
            float_attention: false,
        }
    }

    fn read(encoder: Encoder, file: &TensorFile) -> Result<Self, SourceError> {
        let mut tensors = BTreeMap::new();
        let used: BTreeSet<String> =
            encoder.entries.iter().flat_map(Entry::sources).flat_map(spellings).collect();
        for entry in &encoder.entries {
            if !entry.optional || file.contains(&entry.name) {
                let below = |error| missing_below(error, &encoder.prefix);
                tensors.insert(entry.place, entry.read(file).map_err(below)?);
            }
        }
        let (classifier, head) = (encoder.classifier, encoder.head);
        let mut base = Self::of(encoder, tensors, file.path());
        let is_unused = |name: &&String| !name.starts_with("coda.") && !used.contains(*name);
        let unused = file.names().iter().filter(is_unused);
        base.unused = unused.cloned().collect();
        if classifier && file.contains("classifier.weight") {
            base.read_classifier(file)?;
        } else {
            base.labels.clear();
        }
        base.head = base.head.or(head);
        Ok(base)
    }

    /// The classifier in the file of an image model, of the class token if there is one.
    fn read_classifier(&mut self, file: &TensorFile) -> Result<(), SourceError> {
        let tensor = file.tensor("classifier.weight")?;
        let labels = tensor.shape.first().copied().unwrap_or(0);
        self.insert_classifier(file, labels)?;
        if self.labels.len() != labels {
            self.labels.clear();
        }
        let pooling = match self.tensor(Role::ClassToken, GLOBAL_LAYER) {
            Some(_) => Pooling::ClassToken,
            None => Pooling::Mean,
        };
        self.head = Some(Head { pooling, kind: HeadKind::Classification { labels } });
        self.unused.retain(|name| !name.starts_with("classifier."));
        Ok(())
    }

    fn insert_classifier(&mut self, file: &TensorFile, labels: usize) -> Result<(), SourceError> {
        for (role, name, shape) in classifier_entries(labels, self.config.hidden) {
            self.tensors.insert((GLOBAL_LAYER, role), file.matrix(name, shape)?);
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

/// `config.json`, which every directory has, and where it is.
fn read_config(directory: &Path) -> Result<(PathBuf, Value), SourceError> {
    let other = |problem: &str| {
        Err(SourceError::Container { path: directory.to_owned(), problem: problem.to_owned() })
    };
    if directory.is_file() {
        return other("this is a file: give the model directory that it lies in");
    }
    let path = directory.join("config.json");
    match read_optional_json(&path)? {
        Some(json @ Value::Object(_)) => Ok((path, json)),
        Some(_) => Err(SourceError::Json { path, problem: "it must be a JSON object".to_owned() }),
        None => {
            refuse_other_forms(directory)?;
            Err(SourceError::NoConfig { path: directory.to_owned() })
        }
    }
}

/// Says where a missing tensor was looked for.
fn missing_below(error: SourceError, prefix: &str) -> SourceError {
    match error {
        SourceError::Tensor { path, name, problem: TensorProblem::Missing }
            if !prefix.is_empty() =>
        {
            let problem = TensorProblem::MissingBelow { prefix: prefix.to_owned() };
            SourceError::Tensor { path, name, problem }
        }
        error => error,
    }
}

/// A note about fields of a file that the table does not have.
fn unknown_fields(file: &str, names: &[String]) -> Vec<String> {
    let note = format!("{file}: fields not known, ignored: {}", names.join(", "));
    if names.is_empty() { Vec::new() } else { vec![note] }
}

/// Names and shapes of a classifier.
pub(super) fn classifier_entries(
    labels: usize,
    hidden: usize,
) -> [(Role, &'static str, [usize; 2]); 2] {
    [
        (Role::HeadWeight, "classifier.weight", [labels, hidden]),
        (Role::HeadBias, "classifier.bias", [1, labels]),
    ]
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
