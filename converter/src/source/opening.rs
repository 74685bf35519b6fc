//! Which encoder of a directory is read, and how.

use serde_json::{Value, json};

/// Which encoder of a directory is read, and how. The default is what every directory has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Side of the images in pixels, to which the positions of a vision model are resized.
    pub image_size: Option<usize>,
    /// The encoder of a directory of two; that of images if none is named.
    pub tower: Option<Tower>,
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
