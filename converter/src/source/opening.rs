//! Which encoder of a directory is read, and how.

use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// Which encoder of a directory is read, and how. The default is what every directory has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Side of the images in pixels, to which the positions of a vision model are resized.
    pub image_size: Option<usize>,
    /// The encoder of a directory of two; that of images if none is named.
    pub tower: Option<Tower>,
    /// What a model of speech writes.
    pub speech: Speech,
}

/// What a model of speech writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speech {
    /// The language that is spoken; what the directory says, or English, if none is named.
    pub language: Option<Language>,
    /// It writes English, whatever is spoken.
    pub translate: bool,
}

/// The code of a language: `en`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language([u8; 3]);

impl Language {
    /// English.
    pub const ENGLISH: Self = Self(*b"en ");
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut code = *b"   ";
        let is_code = text.bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_code || !(2..=3).contains(&text.len()) {
            return Err(format!(
                "{text:?} is no code of a language, such as en, of 2 or 3 letters"
            ));
        }
        code[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(code))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.0.iter().filter(|byte| **byte != b' ');
        letters.map(|byte| char::from(*byte)).try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// One of the encoders that were trained together (CLIP, `SigLIP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tower {
    /// The encoder of images
    Vision,
    /// The encoder of texts
    Text,
    /// The encoder of a model that writes, without its decoder
    Encoder,
}

impl Opening {
    /// The model that `config.json` describes: of one with two towers, that of the asked one.
    pub(super) fn model_type(self, json: &Value) -> Result<Value, String> {
        let own = json.get("model_type").cloned().unwrap_or(Value::Null);
        let two = json.get("text_config").is_some() && json.get("vision_config").is_some();
        match (self.tower, own.as_str()) {
            (None | Some(Tower::Encoder), _) => Ok(own),
            (Some(Tower::Vision), Some("clip" | "siglip")) if two => Ok(own),
            (Some(Tower::Text), Some(name @ ("clip" | "siglip"))) if two => {
                Ok(json!(format!("{name}_text_model")))
            }
            _ => Err(format!("model_type = {own} has no two towers: leave --tower out")),
        }
    }
}
