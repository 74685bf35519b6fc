//! What a sentence-transformers directory says beside its encoder: modules, longest text, prompts.

use super::error::SourceError;
use super::head::FoundHead;
use super::json::read_json;
use super::tensors::TensorFile;
use super::texts::TextSettings;
use coda_runtime::config::{
    Head, HeadKind, Named, Pooling, Poolings, Reading, StageActivation, Stages,
};
use coda_runtime::format::Role;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// The modules of a directory, of which the encoder is the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Modules {
    /// Where the encoder is: its configuration, weights and tokenizer.
    pub(super) encoder: PathBuf,
    root: PathBuf,
    pooling: Option<PathBuf>,
    /// The dense modules, as the directory names them.
    dense: Vec<String>,
    normalize: bool,
}

impl Modules {
    /// Reads `modules.json`; without it a directory is an encoder, with the pooling of
    /// `1_Pooling/config.json` if that is there.
    pub(super) fn open(directory: &Path) -> Result<Self, SourceError> {
        let mut modules =
            Self { encoder: directory.to_owned(), root: directory.to_owned(), ..Self::default() };
        let list = directory.join("modules.json");
        if !list.is_file() {
            let pooling = directory.join("1_Pooling");
            modules.pooling = pooling.join("config.json").is_file().then_some(pooling);
            return Ok(modules);
        }
        let json = read_json(&list)?;
        let problem = |problem| SourceError::Json { path: list.clone(), problem };
        let entries = json.as_array().ok_or_else(|| problem("it is not a list".to_owned()))?;
        for (index, entry) in entries.iter().enumerate() {
            modules.add(index, entry).map_err(problem)?;
        }
        match modules.pooling {
            Some(_) => Ok(modules),
            None => {
                Err(problem("no module is a Pooling, which makes one vector of a text".to_owned()))
            }
        }
    }

    /// One module behind those before it.
    fn add(&mut self, index: usize, entry: &Value) -> Result<(), String> {
        let text = |field: &str| {
            let value = entry.get(field).and_then(Value::as_str);
            value.ok_or_else(|| format!("module {index} has no \"{field}\""))
        };
        let (kind, path) = (text("type")?, text("path")?);
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(format!("the path {path:?} of module {index} leaves the directory"));
        }
        let place = self.root.join(path);
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

    /// The embedding that the modules make of hidden states of width `hidden`; `None` for an encoder
    /// alone.
    pub(super) fn head(&self, hidden: usize) -> Result<Option<FoundHead>, SourceError> {
        let Some(directory) = &self.pooling else { return Ok(None) };
        let path = directory.join("config.json");
        let json = read_json(&path)?;
        let pooling = read_pooling(&json, hidden)
            .map_err(|problem| SourceError::Json { path: path.clone(), problem })?;
        if json.get("include_prompt") == Some(&Value::Bool(false)) && self.has_prompts()? {
            let problem = "include_prompt = false is not supported where there are prompts: their \
                           tokens would be left out of the pooling";
            return Err(SourceError::Json { path, problem: problem.to_owned() });
        }
        let kind = HeadKind::Embedding { normalize: self.normalize };
        let head = Head { pooling, stages: Stages::NONE, kind, reading: Reading::Largest };
        let mut found = FoundHead::new(head);
        let mut width = hidden * pooling.count();
        for module in &self.dense {
            width = self.add_dense(&mut found, module, width)?;
        }
        Ok(Some(found))
    }

    fn has_prompts(&self) -> Result<bool, SourceError> {
        Ok(self.prompts()?.prompts.iter().any(|(_, text)| !text.is_empty()))
    }

    /// One dense module of so many inputs; returns its outputs.
    fn add_dense(
        &self,
        found: &mut FoundHead,
        module: &str,
        inputs: usize,
    ) -> Result<usize, SourceError> {
        let directory = self.root.join(module);
        let path = directory.join("config.json");
        let json = read_json(&path)?;
        let dense = Dense::read(&json, inputs).and_then(|dense| {
            let stages = found.head.stages.then(dense.activation);
            Ok((dense, stages.ok_or("it is one Dense module more than a package holds: two")?))
        });
        let (dense, stages) =
            dense.map_err(|problem| SourceError::Json { path: path.clone(), problem })?;
        found.head.stages = stages;
        let weights = directory.join("model.safetensors");
        if !weights.is_file() && directory.join("pytorch_model.bin").is_file() {
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
        add(roles.0, "linear.weight", [dense.outputs, inputs])?;
        if dense.bias {
            add(roles.1, "linear.bias", [1, dense.outputs])?;
        }
        Ok(dense.outputs)
    }

    /// The longest text, and the prompts. Of `tokenizer` files the limit counts only where no
    /// `sentence_bert_config.json` has one, as in the library.
    pub(super) fn texts(&self) -> Result<TextSettings, SourceError> {
        let longest = self.longest()?.unwrap_or(0);
        Ok(TextSettings { longest, ..self.prompts()? })
    }

    fn longest(&self) -> Result<Option<usize>, SourceError> {
        let own = self.encoder_settings()?;
        let places = [
            (own, &["max_seq_length"][..]),
            (Some(self.encoder.join("tokenizer_config.json")), &["model_max_length"]),
            (Some(self.encoder.join("tokenizer.json")), &["truncation", "max_length"]),
        ];
        for (path, fields) in places {
            let Some(path) = path.filter(|path| path.is_file()) else { continue };
            let json = read_json(&path)?;
            let value = fields.iter().try_fold(&json, |json, field| json.get(field));
            let Some(value) = value.filter(|value| !value.is_null()) else { continue };
            // Tokenizers without a limit have one of 10^30.
            let tokens = value.as_f64().filter(|tokens| *tokens >= 3.0);
            let tokens = tokens.ok_or_else(|| SourceError::Json {
                path,
                problem: format!("{} = {value}: it must be a number, 3 or more", fields.join(".")),
            })?;
            return Ok((tokens < LONGEST).then_some(tokens as usize));
        }
        Ok(None)
    }

    /// The file of settings beside the encoder, which has had many names.
    fn encoder_settings(&self) -> Result<Option<PathBuf>, SourceError> {
        let files =
            ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]
                .map(|name| self.encoder.join(format!("sentence_{name}_config.json")));
        Ok(files.into_iter().find(|path| path.is_file()))
    }

    /// Texts are made lower case before they become tokens.
    pub(super) fn lower_case(&self) -> Result<bool, SourceError> {
        let Some(path) = self.encoder_settings()? else { return Ok(false) };
        match read_json(&path)?.get("do_lower_case") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => {
                let problem = format!("do_lower_case = {other}: it must be true or false");
                Err(SourceError::Json { path, problem })
            }
        }
    }

    fn prompts(&self) -> Result<TextSettings, SourceError> {
        let path = self.root.join("config_sentence_transformers.json");
        if !path.is_file() {
            return Ok(TextSettings::default());
        }
        let json = read_json(&path)?;
        read_prompts(&json).map_err(|problem| SourceError::Json { path, problem })
    }
}

/// A limit from here on is none.
const LONGEST: f64 = 65_536.0;

fn read_prompts(json: &Value) -> Result<TextSettings, String> {
    let text = |field: &str| match json.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("{field} = {other}: it must be a text")),
    };
    let kind = text("model_type")?.filter(|kind| kind != "SentenceTransformer");
    if let Some(kind) = kind {
        return Err(format!(
            "model_type = {kind} is not supported; supported is SentenceTransformer"
        ));
    }
    let mut prompts = Vec::new();
    for (name, value) in json.get("prompts").and_then(Value::as_object).into_iter().flatten() {
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
    if prompts.iter().all(|(_, text)| text.is_empty()) {
        return Ok(TextSettings {
            similarity: text("similarity_fn_name")?,
            ..TextSettings::default()
        });
    }
    Ok(TextSettings {
        longest: 0,
        prompts,
        default_prompt,
        similarity: text("similarity_fn_name")?,
    })
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
fn read_pooling(json: &Value, hidden: usize) -> Result<Poolings, String> {
    for field in ["word_embedding_dimension", "embedding_dimension"] {
        if let Some(found) = json.get(field).filter(|value| value.as_u64() != Some(hidden as u64)) {
            return Err(format!("{field} = {found}, but the encoder has {hidden}"));
        }
    }
    let chosen = match json.get("pooling_mode") {
        None | Some(Value::Null) => flagged(json)?,
        Some(Value::String(name)) => vec![named(name)?],
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| named(name.as_str().unwrap_or_default()));
            names.collect::<Result<_, _>>()?
        }
        Some(other) => return Err(format!("pooling_mode = {other} is not supported")),
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
fn flagged(json: &Value) -> Result<Vec<Pooling>, String> {
    let mut chosen = Vec::new();
    for (flag, _, pooling) in POOLINGS {
        match json.get(flag) {
            None if pooling == Pooling::Mean => chosen.push(pooling),
            Some(Value::Bool(true)) => chosen.push(pooling),
            None | Some(Value::Bool(false)) => {}
            Some(other) => return Err(format!("{flag} = {other}: it must be true or false")),
        }
    }
    let known = |field: &str| POOLINGS.iter().any(|(flag, ..)| *flag == field);
    let fields = json.as_object().into_iter().flatten();
    let on = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let unknown = fields
        .filter(|(field, value)| field.starts_with("pooling_mode_") && on(value))
        .find(|(field, _)| !known(field));
    match unknown {
        Some((field, value)) => Err(format!("{field} = {value} is not supported")),
        None => Ok(chosen),
    }
}

/// What the file of a dense module says.
struct Dense {
    outputs: usize,
    bias: bool,
    activation: StageActivation,
}

impl Dense {
    fn read(json: &Value, inputs: usize) -> Result<Self, String> {
        let size = |field: &str| {
            let value = json.get(field).and_then(Value::as_u64).filter(|size| *size > 0);
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
            let value = json.get(field).and_then(Value::as_str).unwrap_or("sentence_embedding");
            if value != "sentence_embedding" {
                return Err(format!(
                    "{field} = {value} is not supported; supported is sentence_embedding"
                ));
            }
        }
        let name = json.get("activation_function").and_then(Value::as_str);
        let name = name.unwrap_or("torch.nn.modules.activation.Tanh");
        let activation =
            name.strip_prefix("torch.nn.modules.").and_then(|name| name.rsplit('.').next());
        let activation = StageActivation::from_name(&activation.unwrap_or("").to_lowercase());
        Ok(Self {
            outputs: size("out_features")?,
            bias: json.get("bias").and_then(Value::as_bool).unwrap_or(true),
            activation: activation.ok_or_else(|| {
                let names = "Identity, Tanh, ReLU and GELU of torch.nn";
                format!("activation_function = {name} is not supported; supported are {names}")
            })?,
        })
    }
}
