//! The head of a checkpoint: which tensors there are, and what `config.json` says of them.

use super::error::SourceError;
use super::metadata::TaskMetadata;
use super::roles::{FIRST_STAGE, HEAD, POOLED_NORM, Roles};
use super::tensors::{FloatTensor, TensorFile};
use coda_runtime::config::{
    Config, Embedding, Head, HeadKind, Named, Pooling, Poolings, Reading, StageActivation, Stages,
};
use coda_runtime::format::Role;
use serde_json::Value;
use std::collections::BTreeSet;

/// A head and its tensors, with their names.
#[derive(Clone, Debug)]
pub(super) struct FoundHead {
    pub(super) head: Head,
    pub(super) tensors: Vec<(Role, String, FloatTensor)>,
    /// Names of its classes, where they are not those of `config.json`.
    pub(super) labels: Vec<String>,
    /// Names of tensors that are a part of one of `tensors`.
    pub(super) parts: Vec<String>,
}

impl FoundHead {
    pub(super) const fn new(head: Head) -> Self {
        Self { head, tensors: Vec::new(), labels: Vec::new(), parts: Vec::new() }
    }
}

/// The classifiers of the class token and of the distillation token (`DeiT`).
const TWO: [&str; 2] = ["cls_classifier", "distillation_classifier"];

/// Parts of a name by which the tensors of a head that gives an answer are known. Heads of
/// pretraining are not among them.
const HEAD_NAMES: [&str; 8] = [
    "classifier",
    "pre_classifier",
    "classification_head",
    "cls_classifier",
    "distillation_classifier",
    "score",
    "qa_outputs",
    "logits_proj",
];

/// The end of the names of classes that label each token.
const OF_TOKENS: &str = "ForTokenClassification";

/// The head of ALBERT's pretraining on the order of sentences.
const ORDER: &str = "sop_classifier";

/// The metadata in which the trainer says which vector its classifier reads.
const TRAINED: &str = "coda";

/// The norm in `ModernBERT`'s head.
const NORM: &str = "head.norm.weight";
/// The norm before the classifier of a spectrogram.
const SOUND_NORM: &str = "classifier.layernorm.weight";

/// What can be done about a head that cannot be computed.
const ALONE: &str = "without these tensors the encoder packs alone";

/// What a head is read from.
pub(super) struct Source<'s> {
    /// The tensors.
    pub(super) file: &'s TensorFile,
    /// Those of them that the encoder does not use.
    pub(super) unused: &'s [String],
    /// `config.json`.
    pub(super) json: &'s Value,
    /// The encoder.
    pub(super) config: &'s Config,
    /// A classifier of this family reads the vector of the encoder itself.
    pub(super) plain: bool,
    /// The encoder has a norm of its pooled vector (`BEiT`).
    pub(super) normed: bool,
}

/// A dense stage by the name of its tensors.
struct Stage {
    name: String,
    activation: StageActivation,
}

impl Source<'_> {
    /// The head, if the file has one.
    ///
    /// # Errors
    /// The tensors of a head are there that cannot be computed.
    pub(super) fn head(&self) -> Result<Option<FoundHead>, SourceError> {
        let of_head = |name: &&String| {
            let mut parts = name.split('.');
            parts.clone().any(|part| HEAD_NAMES.contains(&part)) && parts.all(|part| part != ORDER)
        };
        let found: Vec<&str> = self.unused.iter().filter(of_head).map(String::as_str).collect();
        if found.is_empty() {
            return Ok(None);
        }
        let refuse = |reason: String| {
            let names = found.join(", ");
            let problem = format!("the head {names} cannot be computed: {reason}");
            SourceError::Json { path: self.file.path().to_owned(), problem }
        };
        let trained = self.trained()?;
        if trained.is_none() {
            self.check_architecture().map_err(refuse)?;
        }
        if trained.is_none() && self.labels_tokens() {
            let alone = found.iter().all(|name| name.starts_with("classifier."));
            return match alone && !self.has(NORM) {
                true => self.read_token_head().map(Some),
                false => Err(refuse(format!("a head of tokens is a classifier alone; {ALONE}"))),
            };
        }
        if found.iter().all(|name| TWO.contains(&stem_of(name))) {
            return self.read_two().map(Some);
        }
        let (stage, classifier) = self.parts(&found, trained.is_some()).map_err(refuse)?;
        self.read(stage, classifier, trained.unwrap_or_default()).map(Some)
    }

    /// What the trainer says of the classifier that it has trained with the encoder.
    fn trained(&self) -> Result<Option<TaskMetadata>, SourceError> {
        let metadata = self.file.metadata(TRAINED).map(serde_json::from_str).transpose();
        metadata.map_err(|error| SourceError::Json {
            path: self.file.path().to_owned(),
            problem: format!("the \"{TRAINED}\" metadata: {error}"),
        })
    }

    /// Names of the classes that the checkpoint was made for.
    fn architectures(&self) -> impl Iterator<Item = &str> {
        let names = self.json.get("architectures").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The checkpoint was made for a class that labels each token.
    fn labels_tokens(&self) -> bool {
        self.architectures().any(|name| name.ends_with(OF_TOKENS))
    }

    /// The class that the checkpoint was made for gives one answer of one vector, or of each token's.
    fn check_architecture(&self) -> Result<(), String> {
        let known = [
            "ForSequenceClassification",
            "ForImageClassification",
            "ForImageClassificationWithTeacher",
            "ForAudioClassification",
            OF_TOKENS,
        ];
        let other =
            |name: &&str| name.contains("For") && !known.iter().any(|end| name.ends_with(end));
        if let Some(name) = self.architectures().find(other) {
            return Err(format!("architectures = {name}, supported are {}", known.join(", ")));
        }
        Ok(())
    }

    /// The stage before the classifier, if there is one, and the classifier.
    fn parts(
        &self,
        found: &[&str],
        trained: bool,
    ) -> Result<(Option<Stage>, &'static str), String> {
        let stems: BTreeSet<&str> = found.iter().map(|name| stem_of(name)).collect();
        let stems: Vec<&str> = stems.into_iter().collect();
        let stage = |name: &str, activation| Some(Stage { name: name.to_owned(), activation });
        match stems[..] {
            ["classifier"] if self.has(NORM) => {
                self.check_modern()?;
                Ok((stage("head.dense", StageActivation::GeluErfNormed), "classifier"))
            }
            ["classifier"] if trained || self.plain => Ok((None, "classifier")),
            ["classifier"] if !self.plain => match self.pooler() {
                Some(pooler) => Ok((Some(pooler), "classifier")),
                None => Err(format!("there is no pooler.dense.weight before it; {ALONE}")),
            },
            ["classifier", "pre_classifier"] => {
                Ok((stage("pre_classifier", StageActivation::Relu), "classifier"))
            }
            ["classifier.dense", "classifier.layernorm"] => Ok((None, "classifier.dense")),
            ["classifier.dense", "classifier.out_proj"] => {
                let kind = self.json.get("model_type").and_then(Value::as_str);
                let gelu = kind == Some("electra");
                let activation =
                    if gelu { StageActivation::GeluErf } else { StageActivation::Tanh };
                Ok((stage("classifier.dense", activation), "classifier.out_proj"))
            }
            _ => Err(format!("no family here has a head of these tensors; {ALONE}")),
        }
    }

    /// A tensor that the encoder does not use is there.
    fn has(&self, name: &str) -> bool {
        self.unused.iter().any(|unused| unused == name)
    }

    /// What the fields say of `ModernBERT`'s head is what is computed.
    fn check_modern(&self) -> Result<(), String> {
        let field = |name| self.json.get(name).filter(|value| !value.is_null());
        let other = |name, known: &[&str]| {
            let value = field(name)?;
            let is_known = value.as_str().is_some_and(|value| known.contains(&value));
            (!is_known).then(|| format!("{name} = {value}, supported are {}", known.join(", ")))
        };
        let bias = self.has("head.dense.bias");
        if field("classifier_bias").is_some_and(|value| value.as_bool() != Some(bias)) {
            let is = if bias { "there" } else { "not there" };
            return Err(format!("classifier_bias says otherwise: head.dense.bias is {is}"));
        }
        let gelu = ["gelu", "gelu_erf", "gelu_python"];
        let problem = other("classifier_activation", &gelu);
        problem.or_else(|| other("classifier_pooling", &["cls", "mean"])).map_or(Ok(()), Err)
    }

    /// The pooler of BERT, or of ALBERT: with tanh, whatever the fields say.
    fn pooler(&self) -> Option<Stage> {
        let weight = ["pooler.dense.weight", "pooler.weight"];
        let is_pooler = |name: &&String| {
            weight.iter().any(|end| *name == end || name.ends_with(&format!(".{end}")))
        };
        let name = self.unused.iter().find(is_pooler)?;
        let name = name.trim_end_matches(".weight").to_owned();
        Some(Stage { name, activation: StageActivation::Tanh })
    }

    /// A classifier of each token's vector.
    fn read_token_head(&self) -> Result<FoundHead, SourceError> {
        let weight = self.file.tensor("classifier.weight")?;
        let labels = weight.shape.first().copied().unwrap_or(0);
        let head = Head::of_each_token(labels);
        let mut found = FoundHead::new(head);
        self.add(&mut found, HEAD, "classifier", [labels, self.config.hidden])?;
        Ok(found)
    }

    /// The mean of two classifiers, of the class token and of the token behind it, is one of both
    /// vectors with half the weights.
    fn read_two(&self) -> Result<FoundHead, SourceError> {
        let labels = self.file.tensor("cls_classifier.weight")?;
        let (labels, d) = (labels.shape.first().copied().unwrap_or(0), self.config.hidden);
        let pooling = Pooling::ClassToken.alone().with(Pooling::SecondToken);
        let mut found = FoundHead::new(self.classification(pooling, labels)?);
        let [weight, other] =
            TWO.map(|name| self.file.matrix(&format!("{name}.weight"), [labels, d]));
        let (weight, other) = (weight?, other?);
        let rows = weight.values.chunks(d.max(1)).zip(other.values.chunks(d.max(1)));
        let values = rows.flat_map(|(own, other)| own.iter().chain(other)).map(|x| x / 2.0);
        let joined = FloatTensor { shape: vec![labels, 2 * d], values: values.collect() };
        found.tensors.push((HEAD.weight, "cls_classifier.weight".to_owned(), joined));
        let [bias, other] = TWO.map(|name| self.file.matrix(&format!("{name}.bias"), [1, labels]));
        let (mut bias, other) = (bias?, other?);
        bias.values.iter_mut().zip(&other.values).for_each(|(x, other)| *x = (*x + other) / 2.0);
        found.tensors.push((HEAD.bias, "cls_classifier.bias".to_owned(), bias));
        found.parts = ["weight", "bias"].map(|part| format!("{}.{part}", TWO[1])).to_vec();
        Ok(found)
    }

    /// A classification, and what its logits say.
    fn classification(&self, pooling: Poolings, labels: usize) -> Result<Head, SourceError> {
        let kind = HeadKind::Classification { labels };
        Ok(Head { pooling, stages: Stages::NONE, kind, reading: self.reading(labels)? })
    }

    fn read(
        &self,
        stage: Option<Stage>,
        classifier: &str,
        trained: TaskMetadata,
    ) -> Result<FoundHead, SourceError> {
        let weight = self.file.tensor(&format!("{classifier}.weight"))?;
        let labels = weight.shape.first().copied().unwrap_or(0);
        let reads = weight.values.len() / labels.max(1);
        let trained_with = trained.pooling.filter(|_| stage.is_none()).map(Pooling::alone);
        let pooling = trained_with.unwrap_or_else(|| self.pooling(reads, stage.is_some()));
        let head = self.classification(pooling, labels)?;
        let mut found = FoundHead { labels: trained.labels, ..FoundHead::new(head) };
        let mut width = self.config.hidden * pooling.count();
        if let Some(Stage { name, activation }) = stage {
            found.head.stages = found.head.stages.then(activation).unwrap_or_default();
            let rows = self.file.tensor(&format!("{name}.weight"))?.shape;
            let rows = rows.first().copied().unwrap_or(0);
            self.add(&mut found, FIRST_STAGE, &name, [rows, width])?;
            width = rows;
            if activation.has_norm() {
                self.add_norm(&mut found, NORM)?;
            }
        }
        if self.has(SOUND_NORM) {
            self.add_norm(&mut found, SOUND_NORM)?;
        }
        self.add(&mut found, HEAD, classifier, [labels, width])?;
        Ok(found)
    }

    /// The norm of a stage or of the pooled vector, whose bias may be absent.
    fn add_norm(&self, found: &mut FoundHead, norm: &str) -> Result<(), SourceError> {
        let shape = [1, self.config.hidden];
        let weight = self.file.matrix(norm, shape)?;
        let name = norm.replace("weight", "bias");
        let bias = match self.file.contains(&name) {
            true => self.file.matrix(&name, shape)?,
            false => FloatTensor { shape: shape.to_vec(), values: vec![0.0; shape[1]] },
        };
        found.tensors.push((POOLED_NORM.weight, norm.to_owned(), weight));
        found.tensors.push((POOLED_NORM.bias, name, bias));
        Ok(())
    }

    /// A linear map whose bias may be absent.
    fn add(
        &self,
        found: &mut FoundHead,
        roles: Roles,
        name: &str,
        shape: [usize; 2],
    ) -> Result<(), SourceError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        found.tensors.push((roles.weight, weight.clone(), self.file.matrix(&weight, shape)?));
        if self.file.contains(&bias) {
            found.tensors.push((roles.bias, bias.clone(), self.file.matrix(&bias, [1, shape[0]])?));
        }
        Ok(())
    }

    /// The vector that the first map reads. A classifier of images that reads two (`DINOv2`) reads the
    /// class token beside the mean of the patches, registers left out.
    fn pooling(&self, reads: usize, staged: bool) -> Poolings {
        if self.normed {
            return Pooling::MeanOfRest.alone().with_norm();
        }
        if self.has(SOUND_NORM) {
            return Pooling::MeanOfPrefix.alone().with_norm();
        }
        if self.has(NORM) && self.json.get("classifier_pooling").is_some_and(|own| own == "mean") {
            return Pooling::Mean.alone();
        }
        let first = first_token(self.config).alone();
        let both =
            first == Pooling::ClassToken.alone() && !staged && reads == 2 * self.config.hidden;
        let patches = if self.config.prefix_tokens() > 1 {
            Pooling::MeanOfPatches
        } else {
            Pooling::MeanOfRest
        };
        if both { first.with(patches) } else { first }
    }

    /// One label alone is a value.
    fn reading(&self, labels: usize) -> Result<Reading, SourceError> {
        match self.json.get("problem_type") {
            None | Some(Value::Null) if labels == 1 => Ok(Reading::Value),
            None | Some(Value::Null) => Ok(Reading::Largest),
            Some(value) => value.as_str().and_then(Reading::from_name).ok_or_else(|| {
                let names = Reading::ALL.iter().map(|reading| reading.name()).collect::<Vec<_>>();
                SourceError::Json {
                    path: self.file.path().with_file_name("config.json"),
                    problem: format!(
                        "problem_type = {value} is not supported; supported are {}",
                        names.join(", ")
                    ),
                }
            }),
        }
    }
}

/// The name of a linear map, without that of its weight or bias.
fn stem_of(name: &str) -> &str {
    name.trim_end_matches(".weight").trim_end_matches(".bias")
}

/// The token that stands for the whole input; the mean of all where there is none.
const fn first_token(config: &Config) -> Pooling {
    match config.embedding {
        Embedding::Patches { prefix_tokens: 0, .. } | Embedding::Grid { .. } => Pooling::Mean,
        _ => Pooling::ClassToken,
    }
}

/// The answer of an encoder of images without a head: its class token, or the mean of its patches.
pub(super) fn headless(config: &Config) -> Option<Head> {
    let images = matches!(config.embedding, Embedding::Patches { .. } | Embedding::Grid { .. });
    let kind = HeadKind::Embedding { normalize: false };
    images.then(|| Head::new(first_token(config), kind))
}
