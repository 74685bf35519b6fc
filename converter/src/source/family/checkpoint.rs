//! A `config.json`, field by field, and which tensors stand beside it.

use crate::source::error::SourceError;
use crate::source::tensors::TensorFile;
use coda_runtime::config::{Activation, Config, Embedding, Named, Norm, NormPlacement};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fmt::Display;
use std::path::Path;

/// What a family reads.
pub(super) struct Checkpoint<'f> {
    path: &'f Path,
    fields: Value,
    file: Option<&'f TensorFile>,
    image_size: Option<usize>,
    prefix: &'static str,
}

/// Names of the fields that every encoder has.
pub(super) struct SizeFields {
    pub(super) hidden: &'static str,
    pub(super) layers: &'static str,
    pub(super) heads: &'static str,
    pub(super) feed_forward: &'static str,
}

impl<'f> Checkpoint<'f> {
    pub(super) const fn new(
        path: &'f Path,
        fields: Value,
        file: Option<&'f TensorFile>,
        image_size: Option<usize>,
    ) -> Self {
        Self { path, fields, file, image_size, prefix: "" }
    }

    /// Settles what stands before every name.
    pub(super) fn find_prefix(&mut self, prefixes: &[&'static str], probe: &str) {
        let Some(file) = self.file else { return };
        let holds = |prefix: &&&str| file.contains(&format!("{prefix}{probe}"));
        self.prefix = prefixes.iter().find(holds).copied().unwrap_or("");
    }

    pub(super) const fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// The configuration that the field holds in place of the whole, if it is there.
    pub(super) fn within(&self, field: &str) -> Option<Self> {
        let fields = self.fields.get(field)?.clone();
        Some(Self { fields, ..*self })
    }

    /// The same, with these fields where it has none.
    pub(super) fn with_defaults(&self, defaults: &Value) -> Self {
        let none = Map::new();
        let all = [defaults, &self.fields].map(|value| value.as_object().unwrap_or(&none));
        let fields = all.into_iter().flatten().filter(|(_, value)| !value.is_null());
        let fields = Value::Object(fields.map(|(k, v)| (k.clone(), v.clone())).collect());
        Self { fields, ..*self }
    }

    /// There is a tensor of this name; without a file, always.
    pub(super) fn has(&self, name: &str) -> bool {
        self.file.is_none_or(|file| file.contains(&format!("{}{name}", self.prefix)))
    }

    /// The side of the images that was asked for in place of the configuration's.
    pub(super) const fn image_size(&self) -> Option<usize> {
        self.image_size
    }

    /// A field, if it is there.
    pub(super) fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, SourceError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|error| self.json(format!("field \"{field}\": {error}"))),
        }
    }

    /// A field that must be there.
    pub(super) fn need<T: DeserializeOwned>(&self, field: &str) -> Result<T, SourceError> {
        self.get(field)?.ok_or_else(|| self.json(format!("field \"{field}\" is missing")))
    }

    /// The activation of the feed-forward layers; the erf form of GELU if the field is absent.
    pub(super) fn activation(&self, field: &'static str) -> Result<Activation, SourceError> {
        let Some(name) = self.get::<String>(field)? else { return Ok(Activation::GeluErf) };
        Activation::from_name(&name).ok_or_else(|| {
            self.refuse(field, name, "supported are gelu, gelu_new, quick_gelu, silu and relu")
        })
    }

    /// An encoder of these sizes, in all else as the first BERT.
    pub(super) fn encoder(
        &self,
        embedding: Embedding,
        fields: &SizeFields,
    ) -> Result<Config, SourceError> {
        let (hidden, heads): (usize, usize) = (self.need(fields.hidden)?, self.need(fields.heads)?);
        if heads == 0 || !hidden.is_multiple_of(heads) {
            let supported = "it must divide the model dimension";
            return Err(self.refuse(fields.heads, heads, supported));
        }
        Ok(Config {
            embedding,
            hidden,
            layers: self.need(fields.layers)?,
            heads,
            head_dim: hidden / heads,
            feed_forward: self.need(fields.feed_forward)?,
            norm: Norm::LayerNorm,
            norm_eps: 1e-12,
            placement: NormPlacement::Post,
            activation: Activation::GeluErf,
            gated: false,
            attention_scale: (1.0 / ((hidden / heads) as f64).sqrt()) as f32,
            relative_distance: 0,
            final_norm: false,
            int8_attention: false,
            shared_layers: false,
        })
    }

    /// Class names in order.
    pub(super) fn labels(&self) -> Vec<String> {
        let map = self.fields.get("id2label").and_then(Value::as_object).into_iter().flatten();
        let mut labels: Vec<(usize, String)> = map
            .filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_owned())))
            .collect();
        labels.sort_unstable();
        labels.into_iter().map(|(_, name)| name).collect()
    }

    /// The file is not as it should be.
    pub(super) fn json(&self, problem: String) -> SourceError {
        SourceError::Json { path: self.path.to_owned(), problem }
    }

    /// A value of a field is not supported.
    pub(super) fn refuse(
        &self,
        field: &'static str,
        found: impl Display,
        supported: &'static str,
    ) -> SourceError {
        SourceError::Setting {
            path: self.path.to_owned(),
            field,
            found: found.to_string(),
            supported,
        }
    }
}
