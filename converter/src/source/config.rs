//! `config.json` of Hugging Face models: the fields that decide what is computed.

use super::error::SourceError;
use coda_runtime::config::{Activation, Config, Embedding, Named, Norm, NormPlacement};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An encoder family: how its tensors are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Bert,
    Vit,
    Dinov2,
    T5,
}

/// A parsed `config.json`.
#[derive(Clone, Debug)]
pub(super) struct ModelConfig {
    pub(super) family: Family,
    pub(super) config: Config,
    /// T5's number of relative position buckets.
    pub(super) buckets: usize,
    /// Class names in order; empty if the configuration has none.
    pub(super) labels: Vec<String>,
}

/// The fields of all families; each family reads its own.
#[derive(Debug, Deserialize)]
struct Fields {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    position_embedding_type: Option<String>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    num_channels: Option<usize>,
    mlp_ratio: Option<f64>,
    use_swiglu_ffn: Option<bool>,
    d_model: Option<usize>,
    d_ff: Option<usize>,
    d_kv: Option<usize>,
    num_layers: Option<usize>,
    num_heads: Option<usize>,
    feed_forward_proj: Option<String>,
    layer_norm_epsilon: Option<f64>,
    relative_attention_num_buckets: Option<usize>,
    relative_attention_max_distance: Option<usize>,
    id2label: Option<BTreeMap<String, Value>>,
}

/// Knows the file for its errors.
struct Reader<'p> {
    path: &'p Path,
    fields: Fields,
}

impl ModelConfig {
    /// Reads a parsed JSON value; `path` is named in errors.
    pub(super) fn new(path: &Path, json: Value) -> Result<Self, SourceError> {
        let fields: Fields = serde_json::from_value(json).map_err(|error| SourceError::Json {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let reader = Reader { path, fields };
        let kind = reader.need("model_type", reader.fields.model_type.clone())?;
        let (family, config) = match kind.as_str() {
            "bert" => (Family::Bert, reader.bert()?),
            "vit" => (Family::Vit, reader.vit(1e-12)?),
            "dinov2" => (Family::Dinov2, reader.vit(1e-6)?),
            "t5" | "mt5" => (Family::T5, reader.t5()?),
            _ => {
                let path = path.to_owned();
                return Err(SourceError::Architecture { path, found: kind });
            }
        };
        reader.check_heads(&config)?;
        Ok(Self {
            family,
            config,
            buckets: reader.fields.relative_attention_num_buckets.unwrap_or(32),
            labels: reader.labels(),
        })
    }
}

impl Reader<'_> {
    fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn need<T>(&self, field: &'static str, value: Option<T>) -> Result<T, SourceError> {
        value.ok_or_else(|| SourceError::Json {
            path: self.path(),
            problem: format!("field \"{field}\" is missing"),
        })
    }

    fn setting(
        &self,
        field: &'static str,
        found: impl std::fmt::Display + Copy,
        supported: &'static str,
    ) -> SourceError {
        SourceError::Setting { path: self.path(), field, found: found.to_string(), supported }
    }

    fn activation(&self, default: &str) -> Result<Activation, SourceError> {
        let name = self.fields.hidden_act.as_deref().unwrap_or(default);
        Activation::from_name(name).ok_or_else(|| {
            self.setting("hidden_act", name, "supported are gelu, gelu_new and relu")
        })
    }

    fn bert(&self) -> Result<Config, SourceError> {
        let fields = &self.fields;
        match fields.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(found) => {
                return Err(self.setting(
                    "position_embedding_type",
                    found,
                    "supported is absolute",
                ));
            }
        }
        let (hidden, heads) = self.widths()?;
        Ok(Config {
            embedding: Embedding::Tokens {
                vocabulary: self.need("vocab_size", fields.vocab_size)?,
                positions: self.need("max_position_embeddings", fields.max_position_embeddings)?,
                token_types: fields.type_vocab_size.unwrap_or(2),
                norm: true,
            },
            hidden,
            layers: self.need("num_hidden_layers", fields.num_hidden_layers)?,
            heads,
            head_dim: hidden.checked_div(heads).unwrap_or(0),
            feed_forward: self.need("intermediate_size", fields.intermediate_size)?,
            norm: Norm::LayerNorm,
            norm_eps: fields.layer_norm_eps.unwrap_or(1e-12) as f32,
            placement: NormPlacement::Post,
            activation: self.activation("gelu")?,
            gated: false,
            attention_scale: scale(hidden, heads),
            relative_distance: 0,
            final_norm: false,
            int8_attention: false,
        })
    }

    fn vit(&self, default_eps: f64) -> Result<Config, SourceError> {
        let fields = &self.fields;
        if fields.use_swiglu_ffn == Some(true) {
            return Err(self.setting("use_swiglu_ffn", true, "supported is false"));
        }
        let (hidden, heads) = self.widths()?;
        let side = self.need("image_size", fields.image_size)?;
        let patch = self.need("patch_size", fields.patch_size)?;
        if patch == 0 || !side.is_multiple_of(patch) {
            return Err(self.setting("image_size", side, "it must be a multiple of patch_size"));
        }
        let by_ratio = fields.mlp_ratio.map(|ratio| (hidden as f64 * ratio) as usize);
        Ok(Config {
            embedding: Embedding::Patches {
                height: side,
                width: side,
                channels: fields.num_channels.unwrap_or(3),
                patch,
                class_token: true,
            },
            hidden,
            layers: self.need("num_hidden_layers", fields.num_hidden_layers)?,
            heads,
            head_dim: hidden.checked_div(heads).unwrap_or(0),
            feed_forward: self.need("intermediate_size", fields.intermediate_size.or(by_ratio))?,
            norm: Norm::LayerNorm,
            norm_eps: fields.layer_norm_eps.unwrap_or(default_eps) as f32,
            placement: NormPlacement::Pre,
            activation: self.activation("gelu")?,
            gated: false,
            attention_scale: scale(hidden, heads),
            relative_distance: 0,
            final_norm: true,
            int8_attention: false,
        })
    }

    fn t5(&self) -> Result<Config, SourceError> {
        let fields = &self.fields;
        let (gated, activation) = match fields.feed_forward_proj.as_deref().unwrap_or("relu") {
            "relu" => (false, Activation::Relu),
            "gated-gelu" => (true, Activation::GeluTanh),
            found => {
                let supported = "supported are relu and gated-gelu";
                return Err(self.setting("feed_forward_proj", found, supported));
            }
        };
        Ok(Config {
            embedding: Embedding::Tokens {
                vocabulary: self.need("vocab_size", fields.vocab_size)?,
                positions: 0,
                token_types: 0,
                norm: false,
            },
            hidden: self.need("d_model", fields.d_model)?,
            layers: self.need("num_layers", fields.num_layers)?,
            heads: self.need("num_heads", fields.num_heads)?,
            head_dim: self.need("d_kv", fields.d_kv)?,
            feed_forward: self.need("d_ff", fields.d_ff)?,
            norm: Norm::RmsNorm,
            norm_eps: fields.layer_norm_epsilon.unwrap_or(1e-6) as f32,
            placement: NormPlacement::Pre,
            activation,
            gated,
            attention_scale: 1.0,
            relative_distance: fields.relative_attention_max_distance.unwrap_or(128),
            final_norm: true,
            int8_attention: false,
        })
    }

    fn widths(&self) -> Result<(usize, usize), SourceError> {
        let hidden = self.need("hidden_size", self.fields.hidden_size)?;
        let heads = self.need("num_attention_heads", self.fields.num_attention_heads)?;
        if heads == 0 || !hidden.is_multiple_of(heads) {
            let supported = "it must divide hidden_size";
            return Err(self.setting("num_attention_heads", heads, supported));
        }
        Ok((hidden, heads))
    }

    /// The package format's limits, said in the configuration's words.
    fn check_heads(&self, config: &Config) -> Result<(), SourceError> {
        coda_runtime::format::decode_config(&coda_runtime::format::encode_config(config))
            .map(drop)
            .map_err(|error| SourceError::Json {
                path: self.path(),
                problem: format!("the sizes cannot be packed: {error}"),
            })
    }

    fn labels(&self) -> Vec<String> {
        let map = self.fields.id2label.iter().flatten();
        let mut labels: Vec<(usize, String)> = map
            .filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_owned())))
            .collect();
        labels.sort_unstable();
        labels.into_iter().map(|(_, name)| name).collect()
    }
}

fn scale(hidden: usize, heads: usize) -> f32 {
    (1.0 / ((hidden / heads) as f64).sqrt()) as f32
}
