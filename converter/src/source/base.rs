//! A frozen pretrained encoder as Hugging Face stores it.

use super::TokenizerFiles;
use super::error::SourceError;
use super::family::{Encoder, Entry};
use super::json::read_json;
use super::preprocessor::read_preprocessor;
use super::tensors::{FloatTensor, Place, TensorFile};
use crate::preparation::Preparation;
use coda_runtime::config::{Config, Head, HeadKind, Pooling};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::image::InputNormalization;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// How pictures are resized.
    pub preparation: Preparation,
    /// The WordPiece vocabulary.
    pub tokenizer: Option<TokenizerFiles>,
    /// Tensors of the file that the encoder does not use.
    pub unused: Vec<String>,
    /// The name of every place in the file, also of absent optional ones.
    pub names: BTreeMap<Place, String>,
    /// Keep the products of attention in f32 where integer weights would make them int8.
    pub float_attention: bool,
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
        let path = config_path(directory)?;
        let json = read_json(&path)?;
        let file = TensorFile::open(&directory.join("model.safetensors"))?;
        let mut base = Self::read(Encoder::new(&path, json, Some(&file), image_size)?, &file)?;
        base.path = directory.to_owned();
        base.read_preprocessor(directory)?;
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
        Self::read(Encoder::new(file.path(), json, Some(file), None)?, file)
    }

    /// The encoder that a directory describes but has no weights for: every tensor is zero, ready
    /// to be trained from scratch.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn blank(directory: &Path) -> Result<Self, SourceError> {
        let path = config_path(directory)?;
        let encoder = Encoder::new(&path, read_json(&path)?, None, None)?;
        let zeros = |entry: &Entry| FloatTensor {
            shape: entry.shape.to_vec(),
            values: vec![0.0; entry.shape.iter().product()],
        };
        let tensors = encoder.entries.iter().map(|entry| (entry.place, zeros(entry))).collect();
        let mut base = Self::of(encoder, tensors, directory);
        base.read_preprocessor(directory)?;
        base.tokenizer = TokenizerFiles::open(directory)?;
        Ok(base)
    }

    /// How pictures become pixels, and pixels numbers.
    fn read_preprocessor(&mut self, directory: &Path) -> Result<(), SourceError> {
        if let Some(found) = read_preprocessor(directory, &self.config.embedding)? {
            (self.image, self.preparation) = (Some(found.normalization), found.preparation);
        }
        Ok(())
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
            preparation: Preparation::default(),
            tokenizer: None,
            unused: Vec::new(),
            names: encoder.entries.into_iter().map(|entry| (entry.place, entry.name)).collect(),
            float_attention: false,
        }
    }

    fn read(encoder: Encoder, file: &TensorFile) -> Result<Self, SourceError> {
        let mut tensors = BTreeMap::new();
        for entry in &encoder.entries {
            if !entry.optional || file.contains(&entry.name) {
                tensors.insert(entry.place, entry.read(file)?);
            }
        }
        let (classifier, head) = (encoder.classifier, encoder.head);
        let mut base = Self::of(encoder, tensors, file.path());
        let is_used = |name: &String| base.names.values().any(|used| used == name);
        let unused =
            file.names().iter().filter(|name| !name.starts_with("coda.") && !is_used(name));
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

fn config_path(directory: &Path) -> Result<PathBuf, SourceError> {
    let path = directory.join("config.json");
    if path.is_file() {
        Ok(path)
    } else {
        Err(SourceError::NoConfig { path: directory.to_owned() })
    }
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
