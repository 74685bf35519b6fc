//! The files of a directory that say how texts are read.

use super::super::error::SourceError;
use super::super::fields;
use super::super::json::{Document, Part};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) use super::super::fields::{
    ADDED, FULL, POST_PROCESSOR, PRE_TOKENIZER, SPECIAL as SPECIAL_MAP, TOKENIZER as CONFIG,
};
pub(super) const LIST: &str = "vocab.txt";

/// Why texts cannot be read.
pub(super) enum Problem {
    /// A file is damaged or contradicts another.
    Damaged(SourceError),
    /// The device has no such tokenizer.
    Unsupported(String),
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        Self::Damaged(error)
    }
}

/// A field of a file that is not supported.
pub(super) fn unsupported<T>(file: &str, field: &str, found: &Value) -> Result<T, Problem> {
    Err(Problem::Unsupported(format!("{file}: {field} = {found} is not supported")))
}

/// What the files hold.
pub(in super::super) struct Files {
    directory: PathBuf,
    pub(super) full: Document,
    pub(super) config: Document,
    pub(super) special_map: Document,
    pub(super) added: Document,
    model: Document,
}

impl Files {
    /// The files of a directory, any of which may be absent.
    ///
    /// # Errors
    /// One is damaged.
    pub(in super::super) fn read(directory: &Path) -> Result<Self, SourceError> {
        let read = |name: &'static str| Document::read(directory.join(name), name);
        Ok(Self {
            directory: directory.to_owned(),
            full: read(FULL)?,
            config: read(CONFIG)?,
            special_map: read(SPECIAL_MAP)?,
            added: read(ADDED)?,
            model: read(fields::CONFIG)?,
        })
    }

    /// The longest text that the tokenizer says: where, and the value.
    pub(in super::super) fn longest(&self) -> Option<(&Document, &'static str, &Value)> {
        let own = self.config.get("model_max_length");
        let truncation = self.full.root().part("truncation", fields::TRUNCATION).get("max_length");
        let places = [
            (&self.config, "model_max_length", own),
            (&self.full, "truncation.max_length", truncation),
        ];
        places.into_iter().find(|(.., value)| !value.is_null())
    }

    /// Fields that are not known, for people. Those of a `tokenizer.json` tell something only where it
    /// is read.
    pub(in super::super) fn notes(&self, full_is_read: bool) -> impl Iterator<Item = String> {
        let full = Some(&self.full).filter(|_| full_is_read);
        full.into_iter().chain([&self.config, &self.special_map]).filter_map(Document::note)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The file that has the vocabulary.
    pub(super) fn vocabulary_name(&self) -> &'static str {
        if self.full.is_absent() { LIST } else { FULL }
    }

    /// Refuses more tokens than the embedding has rows.
    pub(super) fn check_rows(&self, count: usize, rows: usize) -> Result<(), Problem> {
        if count <= rows {
            return Ok(());
        }
        let problem = format!(
            "{count} tokens with the added_tokens, but the embedding has {rows} rows (vocab_size of \
             config.json)"
        );
        self.damaged(self.vocabulary_name(), problem)
    }

    /// A damaged file.
    pub(super) fn damaged<T>(&self, name: &str, problem: impl Into<String>) -> Result<T, Problem> {
        let (path, problem) = (self.path(name), problem.into());
        Err(Problem::Damaged(SourceError::Tokenizer { path, problem }))
    }

    /// A flag of `tokenizer_config.json`; `None` if absent or null.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.config.get(name) {
            Value::Null => Ok(None),
            Value::Bool(on) => Ok(Some(*on)),
            other => self.damaged(CONFIG, format!("{name} = {other} is not true or false")),
        }
    }

    /// The tokenizer's class in `transformers`, without `Fast`: that of `tokenizer_config.json`, of
    /// `config.json`, or of its `model_type`.
    pub(super) fn class(&self) -> &str {
        let named = [&self.config, &self.model].map(|json| json.get("tokenizer_class").as_str());
        let class = named.into_iter().flatten().next();
        let class = class.unwrap_or_else(|| match self.model.get("model_type").as_str() {
            Some("mpnet") => MPNET,
            Some("roberta") => "RobertaTokenizer",
            Some("gpt2") => "GPT2Tokenizer",
            Some("whisper") => "WhisperTokenizer",
            Some("clip" | "clip_text_model") => "CLIPTokenizer",
            Some("t5") => "T5Tokenizer",
            Some("xlm-roberta") => "XLMRobertaTokenizer",
            Some("camembert") => "CamembertTokenizer",
            Some("umt5" | "modernbert") => "TokenizersBackend",
            Some("bert-japanese") => "BertJapaneseTokenizer",
            _ => "BertTokenizer",
        });
        class.strip_suffix("Fast").unwrap_or(class)
    }

    /// Refuses other classes than these, and settings that nothing here has.
    pub(super) fn check_settings(&self, classes: &[&str]) -> Result<(), Problem> {
        let class = self.class();
        if !(classes.contains(&class) || self.as_file()) {
            let problem = format!("{CONFIG}: tokenizer_class = {class:?} is not supported");
            return Err(Problem::Unsupported(problem));
        }
        if let Some(problem) = self.config.refused() {
            return Err(Problem::Unsupported(format!("{CONFIG}: {problem}")));
        }
        if self.flag("split_special_tokens")? == Some(true) {
            return unsupported(CONFIG, "split_special_tokens", &Value::Bool(true));
        }
        let own = &self.config.get("auto_map")["AutoTokenizer"];
        if !own.is_null() {
            return unsupported(CONFIG, "auto_map", own);
        }
        let direction = self.full.root().part("truncation", fields::TRUNCATION).get("direction");
        let json = ("truncation.direction", FULL, direction);
        let config = ("truncation_side", CONFIG, self.config.get("truncation_side"));
        let (field, file, side) = if config.2.is_null() { json } else { config };
        match side.as_str().map(str::to_lowercase).as_deref() {
            None | Some("right") => Ok(()),
            Some(_) => unsupported(file, field, side),
        }
    }

    /// The normaliser of `tokenizer.json`.
    pub(super) fn normalizer(&self) -> Part<'_> {
        self.full.root().part("normalizer", fields::NORMALIZER)
    }

    /// The pre-tokenizer of `tokenizer.json`.
    pub(super) fn pre_tokenizer(&self) -> Part<'_> {
        self.full.root().part("pre_tokenizer", PRE_TOKENIZER)
    }

    /// The model of `tokenizer.json`.
    pub(super) fn word_piece(&self) -> Part<'_> {
        self.full.root().part("model", fields::MODEL)
    }

    /// Whether `transformers` takes `tokenizer.json` as it is.
    pub(super) fn as_file(&self) -> bool {
        let class = self.class();
        !self.full.is_absent() && (self.config.is_absent() || AS_FILE.contains(&class))
    }

    /// Whether `tokenizer_config.json` lists the added tokens, so that older files have no say.
    pub(super) fn has_decoder(&self) -> bool {
        self.config.get("added_tokens_decoder").is_object()
    }

    /// A special token as the files name it, `special_tokens_map.json` before
    /// `tokenizer_config.json`; a text or an object.
    pub(super) fn special(&self, key: &str) -> &Value {
        match self.special_map.get(key) {
            own if !(own.is_null() || self.has_decoder()) => own,
            _ => self.config.get(key),
        }
    }

    /// The text of a special token, the class's own if the files name none.
    pub(super) fn special_name(&self, key: &str) -> &str {
        let own: &[_] = match self.class() {
            MPNET => &MPNET_NAMES,
            "RobertaTokenizer" | "XLMRobertaTokenizer" | "CamembertTokenizer" => &ROBERTA_NAMES,
            "GPT2Tokenizer" | "WhisperTokenizer" => &GPT2_NAMES,
            "CLIPTokenizer" => &CLIP_NAMES,
            "T5Tokenizer" => &T5_NAMES,
            _ => &BERT_NAMES,
        };
        let own = own.iter().find(|(name, _)| *name == key).map_or("", |(_, token)| token);
        content(self.special(key)).unwrap_or(own)
    }
}

/// The text of a token that is given as a text or as an object.
pub(super) fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| Part::new(fields::TOKEN, token).get("content").as_str())
}

const MPNET: &str = "MPNetTokenizer";
/// Classes of `transformers` that are WordPiece as BERT has it.
pub(super) const BERT: [&str; 13] = [
    MPNET,
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DPRReaderTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "RetriBertTokenizer",
    "SqueezeBertTokenizer",
];
const AS_FILE: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];
const ROBERTA_NAMES: [(&str, &str); 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const GPT2_NAMES: [(&str, &str); 3] = [
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
];
const CLIP_NAMES: [(&str, &str); 4] = [
    ("bos_token", "<|startoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
    ("pad_token", "<|endoftext|>"),
];
const T5_NAMES: [(&str, &str); 3] =
    [("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];
const BERT_NAMES: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const MPNET_NAMES: [(&str, &str); 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "[UNK]"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
