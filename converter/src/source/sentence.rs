//! What a sentence-transformers directory says beside its encoder: modules, longest text, prompts.

use super::error::SourceError;
use super::fields;
use super::head::FoundHead;
use super::json::{Document, Part, read_optional_json};
use super::tensors::TensorFile;
use super::texts::TextSettings;
use super::tokenizer::Files;
use crate::similarity::Similarity;
use coda_runtime::config::{
    Head, HeadKind, Named, Pooling, Poolings, Reading, StageActivation, Stages,
};
use coda_runtime::format::Role;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// The modules of a directory, of which the encoder is the first.
#[derive(Debug, Default)]
struct List {
    encoder: PathBuf,
    pooling: Option<PathBuf>,
    /// The dense modules, as the directory names them.
    dense: Vec<String>,
    normalize: bool,
}

/// What a directory says beside its encoder.
#[derive(Debug)]
pub(super) struct Modules {
    root: PathBuf,
    list: List,
    /// Settings beside the encoder.
    settings: Document,
    /// `config_sentence_transformers.json`.
    prompts: Document,
}

impl List {
    /// One module behind those before it.
    fn add(&mut self, root: &Path, index: usize, part: Part<'_>) -> Result<(), String> {
        let text = |field: &str| {
            let value = part.get(field).as_str();
            value.ok_or_else(|| format!("module {index} has no \"{field}\""))
        };
        let (kind, path) = (text("type")?, text("path")?);
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(format!("the path {path:?} of module {index} leaves the directory"));
        }
        let place = root.join(path);
        let own =
            kind.strip_prefix("sentence_transformers.").and_then(|kind| kind.rsplit('.').next());
        match own.unwrap_or_default() {
            "Transformer" if index == 0 => self.encoder = place,
            "Pooling" if index > 0 && self.pooling.is_none() => self.pooling = Some(place),
            "Dense" if self.pooling.is_some() && !self.normalize => {
                self.dense.push(path.to_owned());
            }
            "Normalize" if self.pooling.is_some() => self.normalize = true,
            "Dropout" => {}
            "Asym" | "Router" => {
                return Err(format!(
                    "module {index} is of type {kind}, which answers queries and documents by other \
                     maps: give a directory of one side"
                ));
            }
            _ => {
                return Err(format!(
                    "type = {kind} of module {index} is not supported here; supported are \
                     Transformer, Pooling, Dense and Normalize of sentence_transformers, in this order"
                ));
            }
        }
        Ok(())
    }
}

impl Modules {
    /// Reads `modules.json`; without it a directory is an encoder, with the pooling of
    /// `1_Pooling/config.json` if that is there. Fields that are not known are added to `notes`.
    pub(super) fn open(directory: &Path, notes: &mut Vec<String>) -> Result<Self, SourceError> {
        let list = directory.join(fields::MODULES);
        let json = read_optional_json(&list)?;
        let problem = |problem| SourceError::Json { path: list.clone(), problem };
        let mut found = List { encoder: directory.to_owned(), ..List::default() };
        match &json {
            None => {
                let pooling = directory.join("1_Pooling");
                let is_there = pooling.join("config.json").symlink_metadata().is_ok();
                found.pooling = is_there.then_some(pooling);
            }
            Some(Value::Array(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    let part = Part::new(fields::MODULES, entry);
                    notes.extend(part.note());
                    found.add(directory, index, part).map_err(problem)?;
                }
                if found.pooling.is_none() {
                    let missing = "no module is a Pooling, which makes one vector of a text";
                    return Err(problem(missing.to_owned()));
                }
            }
            Some(_) => return Err(problem("it is not a list".to_owned())),
        }
        let settings = encoder_settings(&found.encoder);
        let prompts = directory.join(fields::SENTENCE_TRANSFORMERS);
        Ok(Self {
            settings: Document::open(settings, fields::SENTENCES, notes)?,
            prompts: Document::open(prompts, fields::SENTENCE_TRANSFORMERS, notes)?,
            root: directory.to_owned(),
            list: found,
        })
    }

    /// Where the encoder is: its configuration, weights and tokenizer.
    pub(super) fn encoder(&self) -> &Path {
        &self.list.encoder
    }

    /// The embedding that the modules make of hidden states of width `hidden`; `None` for an encoder
    /// alone.
    pub(super) fn head(
        &self,
        hidden: usize,
        notes: &mut Vec<String>,
    ) -> Result<Option<FoundHead>, SourceError> {
        let Some(directory) = &self.list.pooling else { return Ok(None) };
        let file = Document::need(directory.join("config.json"), fields::POOLING, notes)?;
        let pooling = read_pooling(file.root(), hidden).map_err(|problem| file.fault(problem))?;
        if *file.get("include_prompt") == Value::Bool(false) && self.has_prompts() {
            let problem = "include_prompt = false is not supported where there are prompts: their \
                           tokens would be left out of the pooling";
            return Err(file.fault(problem.to_owned()));
        }
        let kind = HeadKind::Embedding { normalize: self.list.normalize };
        let head = Head { pooling, stages: Stages::NONE, kind, reading: Reading::Largest };
        let mut found = FoundHead::new(head);
        let mut width = hidden * pooling.count();
        for module in &self.list.dense {
            let path = self.root.join(module).join("config.json");
            let file = Document::need(path, fields::DENSE, notes)?;
            let dense = Dense::read(file.root(), width).and_then(|dense| {
                let stages = found.head.stages.then(dense.activation);
                found.head.stages =
                    stages.ok_or("it is one Dense module more than a package holds: two")?;
                Ok(dense)
            });
            let dense = dense.map_err(|problem| file.fault(problem))?;
            width = self.add_dense(&mut found, module, &dense)?;
        }
        Ok(Some(found))
    }

    fn has_prompts(&self) -> bool {
        let prompts = self.prompts.get("prompts").as_object();
        prompts.into_iter().flat_map(|own| own.values()).any(|text| text.as_str() != Some(""))
    }

    /// The weights of one dense module; returns its outputs.
    fn add_dense(
        &self,
        found: &mut FoundHead,
        module: &str,
        dense: &Dense,
    ) -> Result<usize, SourceError> {
        let directory = self.root.join(module);
        let weights = directory.join("model.safetensors");
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        if !is_there(&weights) && is_there(&directory.join("pytorch_model.bin")) {
            let problem = "pytorch_model.bin is not read: save the model as safetensors".to_owned();
            return Err(SourceError::Json { path: directory, problem });
        }
        let file = TensorFile::open(&weights)?;
        let roles = match found.tensors.is_empty() {
            true => (Role::FirstStage, Role::FirstStageBias),
            false => (Role::SecondStage, Role::SecondStageBias),
        };
        let mut add = |role, name: &str, shape| {
            let tensor = file.matrix(name, shape)?;
            found.tensors.push((role, format!("{module}/{name}"), tensor));
            Ok(())
        };
        add(roles.0, "linear.weight", [dense.outputs, dense.inputs])?;
        if dense.bias {
            add(roles.1, "linear.bias", [1, dense.outputs])?;
        }
        Ok(dense.outputs)
    }

    /// The longest text, and the prompts. Of `tokenizer` files the limit counts only where the
    /// settings beside the encoder have none, as in the library.
    pub(super) fn texts(&self, tokenizer: &Files) -> Result<TextSettings, SourceError> {
        let longest = self.longest(tokenizer)?.unwrap_or(0);
        let prompts = read_prompts(self.prompts.root());
        Ok(TextSettings { longest, ..prompts.map_err(|problem| self.prompts.fault(problem))? })
    }

    fn longest(&self, tokenizer: &Files) -> Result<Option<usize>, SourceError> {
        let own = (&self.settings, "max_seq_length", self.settings.get("max_seq_length"));
        let own = Some(own).filter(|(.., value)| !value.is_null());
        let Some((file, field, value)) = own.or_else(|| tokenizer.longest()) else {
            return Ok(None);
        };
        // Tokenizers without a limit have one of 10^30.
        match value.as_f64().filter(|tokens| *tokens >= 3.0) {
            Some(tokens) => Ok((tokens < LONGEST).then_some(tokens as usize)),
            None => Err(file.fault(format!("{field} = {value}: it must be a number, 3 or more"))),
        }
    }

    /// Texts are made lower case before they become tokens.
    pub(super) fn lower_case(&self) -> Result<bool, SourceError> {
        match self.settings.get("do_lower_case") {
            Value::Null => Ok(false),
            Value::Bool(on) => Ok(*on),
            other => {
                let problem = format!("do_lower_case = {other}: it must be true or false");
                Err(self.settings.fault(problem))
            }
        }
    }
}

/// The file of settings beside the encoder, which has had many names.
fn encoder_settings(encoder: &Path) -> PathBuf {
    let names = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"];
    let files = names.map(|name| encoder.join(format!("sentence_{name}_config.json")));
    let is_there = |path: &&PathBuf| path.symlink_metadata().is_ok();
    files.iter().find(is_there).unwrap_or(&files[0]).clone()
}

/// A limit from here on is none.
const LONGEST: f64 = 65_536.0;

fn read_prompts(json: Part<'_>) -> Result<TextSettings, String> {
    let text = |field: &str| match json.get(field) {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(format!("{field} = {other}: it must be a text")),
    };
    let kind = text("model_type")?.filter(|kind| kind != "SentenceTransformer");
    if let Some(kind) = kind {
        return Err(format!(
            "model_type = {kind} is not supported; supported is SentenceTransformer"
        ));
    }
    let mut prompts = Vec::new();
    for (name, value) in json.get("prompts").as_object().into_iter().flatten() {
        let value = value.as_str().ok_or_else(|| format!("prompts.{name} is not a text"))?;
        prompts.push((name.clone(), value.to_owned()));
    }
    let default = text("default_prompt_name")?;
    let default_prompt =
        match &default {
            None => None,
            Some(name) => {
                let place = prompts.iter().position(|(own, _)| own == name);
                Some(place.ok_or_else(|| {
                    format!("default_prompt_name = {name} is none of the prompts")
                })?)
            }
        };
    let similarity = match text("similarity_fn_name")? {
        None => Similarity::default(),
        Some(name) => Similarity::from_name(&name).ok_or_else(|| {
            let names = Similarity::ALL.map(Similarity::name).join(", ");
            format!("similarity_fn_name = {name} is not supported; supported are {names}")
        })?,
    };
    if prompts.iter().all(|(_, text)| text.is_empty()) {
        return Ok(TextSettings { similarity, ..TextSettings::default() });
    }
    Ok(TextSettings { longest: 0, prompts, default_prompt, similarity })
}

/// The flags of older files with their poolings, and the names of newer ones.
const POOLINGS: [(&str, &str, Pooling); 6] = [
    ("pooling_mode_cls_token", "cls", Pooling::ClassToken),
    ("pooling_mode_max_tokens", "max", Pooling::Max),
    ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanRootLength),
    ("pooling_mode_weightedmean_tokens", "weightedmean", Pooling::WeightedMean),
    ("pooling_mode_lasttoken", "lasttoken", Pooling::LastToken),
];

/// The poolings of either generation of files; a name or list of names counts before the flags.
fn read_pooling(json: Part<'_>, hidden: usize) -> Result<Poolings, String> {
    for field in ["word_embedding_dimension", "embedding_dimension"] {
        let found = json.get(field);
        if !found.is_null() && found.as_u64() != Some(hidden as u64) {
            return Err(format!("{field} = {found}, but the encoder has {hidden}"));
        }
    }
    let chosen = match json.get("pooling_mode") {
        Value::Null => flagged(json)?,
        Value::String(name) => vec![named(name)?],
        Value::Array(names) => {
            let names = names.iter().map(|name| named(name.as_str().unwrap_or_default()));
            names.collect::<Result<_, _>>()?
        }
        other => return Err(format!("pooling_mode = {other} is not supported")),
    };
    let (first, rest) = chosen.split_first().ok_or("no pooling_mode is on")?;
    let poolings = rest.iter().fold(first.alone(), |all, pooling| all.with(*pooling));
    if !poolings.iter().eq(chosen.iter().copied()) {
        let order = POOLINGS.map(|(_, name, _)| name).join(", ");
        return Err(format!("pooling_mode must name each pooling once, in the order {order}"));
    }
    Ok(poolings)
}

fn named(name: &str) -> Result<Pooling, String> {
    let found =
        POOLINGS.iter().find(|(_, own, _)| *own == name || *own == format!("{name}_tokens"));
    found.map(|(.., pooling)| *pooling).ok_or_else(|| {
        let names = POOLINGS.map(|(_, name, _)| name).join(", ");
        format!("pooling_mode = {name:?} is not supported; supported are {names}")
    })
}

/// As in the library, the mean is on where its flag is absent.
fn flagged(json: Part<'_>) -> Result<Vec<Pooling>, String> {
    let mut chosen = Vec::new();
    for (flag, _, pooling) in POOLINGS {
        match json.get(flag) {
            Value::Null if pooling == Pooling::Mean => chosen.push(pooling),
            Value::Bool(true) => chosen.push(pooling),
            Value::Null | Value::Bool(false) => {}
            other => return Err(format!("{flag} = {other}: it must be true or false")),
        }
    }
    match json.unknown().iter().find(|field| field.starts_with("pooling_mode_")) {
        Some(field) => Err(format!("{field} is not supported")),
        None => Ok(chosen),
    }
}

/// What the file of a dense module says.
struct Dense {
    inputs: usize,
    outputs: usize,
    bias: bool,
    activation: StageActivation,
}

impl Dense {
    fn read(json: Part<'_>, inputs: usize) -> Result<Self, String> {
        let size = |field: &str| {
            let value = json.get(field).as_u64().filter(|size| *size > 0);
            let value = value.and_then(|value| usize::try_from(value).ok());
            value.ok_or_else(|| format!("{field} must be a number of values"))
        };
        let found = size("in_features")?;
        if found != inputs {
            return Err(format!(
                "in_features = {found}, but the modules before give {inputs} values"
            ));
        }
        for field in ["module_input_name", "module_output_name"] {
            let value = json.get(field);
            if !value.is_null() && value != "sentence_embedding" {
                return Err(format!(
                    "{field} = {value} is not supported; supported is sentence_embedding"
                ));
            }
        }
        let usual = Value::from("torch.nn.modules.activation.Tanh");
        let name = Some(json.get("activation_function")).filter(|name| !name.is_null());
        let name = name.unwrap_or(&usual);
        let activation = name
            .as_str()
            .and_then(|name| name.strip_prefix("torch.nn.modules.")?.rsplit('.').next());
        let activation = StageActivation::from_name(&activation.unwrap_or("").to_lowercase());
        Ok(Self {
            inputs,
            outputs: size("out_features")?,
            bias: match json.get("bias") {
                Value::Null => true,
                Value::Bool(on) => *on,
                other => return Err(format!("bias = {other}: it must be true or false")),
            },
            activation: activation.ok_or_else(|| {
                let names = "Identity, Tanh, ReLU and GELU of torch.nn";
                format!("activation_function = {name} is not supported; supported are {names}")
            })?,
        })
    }
}
