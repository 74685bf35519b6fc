//! A frozen pretrained encoder as Hugging Face stores it.

use super::answer_fields::JsonFile;
use super::container::{open_weights, refuse_other_forms};
use super::decoder::Decoder;
use super::error::{SourceError, TensorProblem};
use super::family::{Encoder, Entry, FoundDecoder, blank, read_decoder};
use super::fields;
use super::head::{FoundHead, Source, headless};
use super::json::{note, read_optional_json};
use super::names::spellings;
use super::opening::{Opening, Speech, Tower};
use super::preprocessor::{most_patches, read_preprocessor};
use super::sentence::Modules;
use super::tensors::{FloatTensor, Place, TensorFile};
use super::texts::TextSettings;
use super::tokenizer::Files;
use super::{PieceFiles, Texts, TokenizerFiles};
use crate::preparation::Preparation;
use coda_runtime::config::{Config, Embedding, Head, HeadKind};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::image::InputNormalization;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The decoder, of a model that writes.
    pub decoder: Option<Decoder>,
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
    /// The pieces of byte pairs or Unigram, instead of that.
    pub pieces: Option<PieceFiles>,
    /// How texts are cut, and what is put before them.
    pub texts: TextSettings,
    /// Why texts cannot be read, if the directory has a tokenizer that the device has not.
    pub ids_only: Option<String>,
    /// Tensors of the file that the encoder does not use.
    pub unused: Vec<String>,
    /// The name of every place in the file, also of absent optional ones.
    pub names: BTreeMap<Place, String>,
    /// How a file holds each tensor of the encoder.
    pub entries: Vec<Entry>,
    /// What was found and is not read, for people.
    pub notes: Vec<String>,
    /// Keep the products of attention in f32 where integer weights would make them int8.
    pub float_attention: bool,
}

impl Base {
    /// Reads a Hugging Face directory: `config.json`, `model.safetensors` or the shards of
    /// `model.safetensors.index.json`, and what there is of tokenizer files ([`TokenizerFiles`]),
    /// `preprocessor_config.json`, and of the modules, longest text and prompts of
    /// sentence-transformers.
    ///
    /// `image_size` resizes the positions of a vision model.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(directory: &Path, image_size: Option<usize>) -> Result<Self, SourceError> {
        Self::open_as(directory, Opening { image_size, ..Opening::default() })
    }

    /// The same, of a directory of two encoders the one that is asked for.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open_as(directory: &Path, opening: Opening) -> Result<Self, SourceError> {
        let mut notes = Vec::new();
        let modules = Modules::open(directory, &mut notes)?;
        let place = modules.encoder();
        let (path, json) = read_config(place)?;
        let file = open_weights(place)?;
        let encoder = Encoder::new(&path, json.clone(), Some(&file), opening)?;
        let (plain, spectrogram) = (encoder.classifier, encoder.spectrogram);
        let mut base = Self::read(encoder, &file)?;
        base.path = directory.to_owned();
        if opening.tower != Some(Tower::Encoder) {
            let config = JsonFile { path: &path, value: &json };
            base.set_decoder(decoder_of(place, config, Some(&file), opening.speech)?);
        }
        if !spectrogram {
            base.read_preprocessor(place)?;
        }
        let files = Files::read(place)?;
        base.read_tokenizer(&files)?;
        // Of another input the longest text says nothing.
        if matches!(base.config.embedding, Embedding::Tokens { .. }) {
            base.texts = modules.texts(&files)?;
        }
        if let (Some(tokenizer), true) = (&mut base.tokenizer, modules.lower_case()?) {
            tokenizer.options.normalization.lowercase = true;
        }
        if base.pieces.is_some() && modules.lower_case()? {
            base.pieces = None;
            let why = "do_lower_case of the modules is not supported with this tokenizer";
            base.ids_only = Some(why.to_owned());
        }
        base.notes.extend(files.notes(base.tokenizer.is_some() || base.pieces.is_some()));
        let found = match modules.head(base.config.hidden, &mut notes)? {
            None => base.own_head(&file, &json, plain)?,
            found => found,
        };
        base.notes.append(&mut notes);
        base.set_head(found);
        Ok(base)
    }

    /// Reads the tensors of an encoder described by a `config.json` value.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn from_config(json: &Value, file: &TensorFile) -> Result<Self, SourceError> {
        let encoder = Encoder::new(file.path(), json.clone(), Some(file), Opening::default())?;
        let plain = encoder.classifier;
        let mut base = Self::read(encoder, file)?;
        let files = [&Value::Null, json].map(|value| JsonFile { path: file.path(), value });
        base.set_decoder(read_decoder(files, Some(file), Opening::default().speech)?);
        if plain {
            base.set_head(base.own_head(file, json, plain)?);
        } else {
            base.labels.clear();
        }
        Ok(base)
    }

    /// The model that a directory describes but has no weights for: every tensor is zero, ready
    /// to be trained from scratch. It writes if its fields say so (`is_encoder_decoder`), unless its encoder
    /// is asked for.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn blank(directory: &Path, tower: Option<Tower>) -> Result<Self, SourceError> {
        let (path, json) = read_config(directory)?;
        let opening = Opening { tower, ..Opening::default() };
        let encoder = Encoder::new(&path, json.clone(), None, opening)?;
        let tensors = blank(&path, &encoder.config, &encoder.entries)?;
        let spectrogram = encoder.spectrogram;
        let mut base = Self::of(encoder, tensors, directory);
        let writes = json.get("is_encoder_decoder") == Some(&Value::Bool(true));
        if writes && tower != Some(Tower::Encoder) {
            let config = JsonFile { path: &path, value: &json };
            base.set_decoder(decoder_of(directory, config, None, opening.speech)?);
        }
        if !spectrogram {
            base.read_preprocessor(directory)?;
        }
        base.read_tokenizer(&Files::read(directory)?)?;
        Ok(base)
    }

    /// How pictures become pixels, and pixels numbers.
    fn read_preprocessor(&mut self, directory: &Path) -> Result<(), SourceError> {
        let most = most_patches(directory, &self.config.embedding)?;
        if let (Some(most), Embedding::Grid { patches, .. }) = (most, &mut self.config.embedding) {
            *patches = most;
        }
        if let Some(found) = read_preprocessor(directory, &self.config.embedding)? {
            (self.image, self.preparation) = (Some(found.normalization), found.preparation);
        }
        Ok(())
    }

    fn read_tokenizer(&mut self, files: &Files) -> Result<(), SourceError> {
        // A reader of images has one for what it writes.
        let config = self.decoder.as_ref().map_or(self.config, |decoder| decoder.config);
        let Embedding::Tokens { vocabulary: rows, .. } = config.embedding else {
            return Ok(());
        };
        match TokenizerFiles::of_files(files, rows)? {
            Texts::None => {}
            Texts::WordPiece(own) => self.tokenizer = Some(*own),
            Texts::Pieces(own) => self.pieces = Some(*own),
            Texts::IdsOnly(problem) => self.ids_only = Some(problem),
        }
        Ok(())
    }

    /// An encoder with its tensors, and nothing that stands beside them.
    fn of(encoder: Encoder, tensors: BTreeMap<Place, FloatTensor>, path: &Path) -> Self {
        let name = |entry: &Entry| (entry.place, entry.name.clone());
        Self {
            path: path.to_owned(),
            config: encoder.config,
            tensors,
            decoder: None,
            head: None,
            labels: encoder.labels,
            image: None,
            preparation: Preparation::default(),
            tokenizer: None,
            pieces: None,
            texts: TextSettings::default(),
            ids_only: None,
            unused: Vec::new(),
            names: encoder.entries.iter().map(name).collect(),
            entries: encoder.entries,
            notes: note(fields::CONFIG, &encoder.unknown).into_iter().collect(),
            float_attention: false,
        }
    }

    fn read(encoder: Encoder, file: &TensorFile) -> Result<Self, SourceError> {
        let mut tensors = BTreeMap::new();
        let used: BTreeSet<String> = encoder
            .entries
            .iter()
            .flat_map(Entry::sources)
            .flat_map(|name| spellings(&name))
            .collect();
        for entry in &encoder.entries {
            if !entry.optional || file.contains(&entry.name) {
                let below = |error| missing_below(error, &encoder.prefix);
                tensors.insert(entry.place, entry.read(file).map_err(below)?);
            }
        }
        let head = encoder.head;
        let mut base = Self::of(encoder, tensors, file.path());
        let is_unused = |name: &&String| !name.starts_with("coda.") && !used.contains(*name);
        let unused = file.names().iter().filter(is_unused);
        base.unused = unused.cloned().collect();
        base.head = head;
        Ok(base)
    }

    /// The head in the file of the encoder.
    fn own_head(
        &self,
        file: &TensorFile,
        json: &Value,
        plain: bool,
    ) -> Result<Option<FoundHead>, SourceError> {
        let normed = self.tensors.contains_key(&(GLOBAL_LAYER, Role::PooledNormWeight));
        Source { file, unused: &self.unused, json, config: &self.config, plain, normed }.head()
    }

    /// Takes a decoder over.
    fn set_decoder(&mut self, found: Option<FoundDecoder>) {
        let Some(FoundDecoder { decoder, used, note }) = found else { return };
        self.notes.extend(note);
        let used: BTreeSet<String> = used.iter().flat_map(|name| spellings(name)).collect();
        self.unused.retain(|name| !used.contains(name));
        self.decoder = Some(decoder);
    }

    /// Takes a head over; without one that of the family stays, or that of every encoder of images.
    fn set_head(&mut self, found: Option<FoundHead>) {
        match found {
            None => self.head = self.head.or(headless(&self.config)),
            Some(FoundHead { head, tensors, labels, parts }) => {
                self.unused.retain(|unused| !parts.contains(unused));
                self.head = Some(head);
                if !labels.is_empty() {
                    self.labels = labels;
                }
                for (role, name, tensor) in tensors {
                    self.unused.retain(|unused| *unused != name);
                    self.names.insert((GLOBAL_LAYER, role), name);
                    self.tensors.insert((GLOBAL_LAYER, role), tensor);
                }
            }
        }
        let kind = HeadKind::Classification { labels: self.labels.len() };
        let of_tokens = self.head == Some(Head::of_each_token(self.labels.len()));
        if self.head.map(|head| head.kind) != Some(kind) && !of_tokens {
            self.labels.clear();
        }
    }

    /// The tensor of a role, if the model has it.
    #[must_use]
    pub fn tensor(&self, role: Role, layer: u16) -> Option<&FloatTensor> {
        self.tensors.get(&(layer, role))
    }
}

/// The decoder of a directory, whose rules may stand in a file of their own.
fn decoder_of(
    directory: &Path,
    config: JsonFile<'_>,
    file: Option<&TensorFile>,
    speech: Speech,
) -> Result<Option<FoundDecoder>, SourceError> {
    let path = directory.join("generation_config.json");
    let rules = read_optional_json(&path)?.unwrap_or_default();
    read_decoder([JsonFile { path: &path, value: &rules }, config], file, speech)
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
