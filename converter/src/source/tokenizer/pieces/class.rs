//! What the classes of `transformers` build, where they do not take `tokenizer.json` as it is.

use super::super::added::List;
use super::super::files::{CONFIG, Files, Problem};
use super::rules::Rules;
use super::template::Template;
use coda_runtime::text::pieces::layout;

/// A class that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Roberta,
    Gpt2,
    Whisper,
    Clip,
    T5,
    XlmRoberta,
    Camembert,
}

const ALL: [(&str, Class); 7] = [
    ("RobertaTokenizer", Class::Roberta),
    ("GPT2Tokenizer", Class::Gpt2),
    ("WhisperTokenizer", Class::Whisper),
    ("CLIPTokenizer", Class::Clip),
    ("T5Tokenizer", Class::T5),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
    ("CamembertTokenizer", Class::Camembert),
];

/// Their names.
pub(super) const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ALL[at].0;
        at += 1;
    }
    names
};

impl Class {
    /// The class of a directory.
    pub(super) fn of(files: &Files) -> Result<Self, Problem> {
        let name = files.class();
        let own = ALL.into_iter().find(|(own, _)| *own == name).map(|(_, class)| class);
        own.ok_or_else(|| {
            let problem = format!("{CONFIG}: tokenizer_class = {name:?} is not supported");
            Problem::Unsupported(problem)
        })
    }

    pub(super) const fn is_unigram(self) -> bool {
        matches!(self, Self::T5 | Self::XlmRoberta | Self::Camembert)
    }

    /// The token of what has no piece.
    pub(super) const fn unknown(self) -> &'static str {
        match self {
            Self::Clip => "<|endoftext|>",
            // These have none: every byte is a piece.
            Self::Roberta | Self::Gpt2 | Self::Whisper => "",
            Self::T5 | Self::XlmRoberta | Self::Camembert => "<unk>",
        }
    }

    /// Its id in a Unigram model.
    pub(super) fn unknown_id(self, files: &Files) -> Result<u32, Problem> {
        match self {
            Self::T5 => Ok(2),
            Self::XlmRoberta => Ok(3),
            _ => {
                let name = files.special_name("unk_token");
                let model = files.word_piece();
                let list = model.get("vocab").as_array().map(Vec::as_slice).unwrap_or_default();
                let found = list.iter().position(|piece| piece[0] == name).unwrap_or(0);
                Ok(found as u32)
            }
        }
    }

    /// How texts become words; `map` is SentencePiece's map of characters.
    pub(super) fn rules(self, files: &Files, map: Option<&[u8]>) -> Result<Rules, Problem> {
        let prefix = files.flag("add_prefix_space")?;
        match self {
            Self::Clip => Ok(Rules { flags: layout::CLIP | layout::COMPOSE, ..Rules::default() }),
            Self::Roberta | Self::Gpt2 | Self::Whisper => {
                let prefix = prefix.unwrap_or(false);
                let flags = if prefix { layout::PREFIX_SPACE } else { 0 };
                Ok(Rules { flags, ..Rules::default() })
            }
            Self::T5 => Rules::marked(files, map, true),
            Self::XlmRoberta | Self::Camembert => Rules::marked(files, map, prefix.unwrap_or(true)),
        }
    }

    /// What stands around texts.
    pub(super) fn template(self, files: &Files, list: &List<'_>) -> Result<Template, Problem> {
        let id = |key: &str| token_id(files, list, files.special_name(key));
        match self {
            Self::Gpt2 => Ok(Template::bare()),
            Self::T5 => {
                let end = id("eos_token")?;
                Ok(Template::around(&[], &[end], &[end]))
            }
            Self::Roberta => {
                let (start, end) = (id("cls_token")?, id("sep_token")?);
                Ok(Template::around(&[start], &[end, end], &[end]))
            }
            Self::Clip | Self::XlmRoberta | Self::Camembert => {
                let (start, end) = (id("bos_token")?, id("eos_token")?);
                Ok(Template::around(&[start], &[end, end], &[end]))
            }
            Self::Whisper => {
                let name = |name: &str| token_id(files, list, name);
                let before = [name("<|startoftranscript|>")?, name("<|notimestamps|>")?];
                let mut template = Template::around(&before, &[], &[id("eos_token")?]);
                let typed = template.pair.iter_mut();
                typed
                    .skip_while(|part| part[0] != layout::SECOND_TEXT)
                    .for_each(|part| part[1] = 1);
                Ok(template)
            }
        }
    }
}

fn token_id(files: &Files, list: &List<'_>, name: &str) -> Result<u32, Problem> {
    match list.id(name) {
        Some(id) => Ok(id),
        None => files.damaged(files.vocabulary_name(), format!("there is no token {name:?}")),
    }
}
