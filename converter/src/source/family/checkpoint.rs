//! A `config.json`, field by field, and which tensors stand beside it.

use crate::source::error::{SourceError, TensorProblem};
use crate::source::labels::class_names;
use crate::source::tensors::TensorFile;
use crate::source::{fields, names};
use coda_runtime::config::{
    Activation, Config, Embedding, LocalAttention, Named, Norm, NormPlacement, Rotary,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::rc::Rc;

/// Where the fields are.
const FILE: &str = "config.json";
/// Fields that hold the configuration of one encoder of several.
const TOWERS: [&str; 4] = ["vision_config", "text_config", "encoder", "decoder"];

/// What a family reads.
#[derive(Clone)]
pub(super) struct Checkpoint<'f> {
    path: &'f Path,
    fields: Value,
    file: Option<&'f TensorFile>,
    image_size: Option<usize>,
    prefix: String,
    /// Names of the fields that were asked for.
    read: Rc<RefCell<BTreeSet<String>>>,
}

/// Names of the fields that every encoder has.
pub(super) struct SizeFields {
    pub(super) hidden: &'static str,
    pub(super) layers: &'static str,
    pub(super) heads: &'static str,
    pub(super) feed_forward: &'static str,
}

impl<'f> Checkpoint<'f> {
    pub(super) fn new(
        path: &'f Path,
        fields: Value,
        file: Option<&'f TensorFile>,
        image_size: Option<usize>,
    ) -> Self {
        let read = Rc::default();
        Self { path, fields, file, image_size, prefix: String::new(), read }
    }

    /// Settles what stands before every name: whatever stands before `probe`; of several, that one
    /// of `known`.
    ///
    /// # Errors
    /// The file has no such tensor, or several.
    pub(super) fn find_prefix(
        &mut self,
        known: &[&'static str],
        probe: &str,
    ) -> Result<(), SourceError> {
        let Some(file) = self.file else { return Ok(()) };
        let mut found = names::prefixes(file.names(), probe);
        if found.len() > 1 && found.iter().any(|prefix| known.contains(prefix)) {
            found.retain(|prefix| known.contains(prefix));
        }
        self.prefix = match Vec::from_iter(found)[..] {
            [prefix] => prefix.to_owned(),
            [] => {
                let found = file.names().iter().take(3).map(|name| format!("\"{name}\""));
                let found = found.collect::<Vec<_>>().join(", ");
                return Err(file.problem(probe, TensorProblem::NoPrefix { found }));
            }
            ref several => {
                let several = several.iter().map(|prefix| format!("{prefix}{probe}"));
                let several = several.collect::<Vec<_>>().join(" and ");
                return Err(file.problem(probe, TensorProblem::Several(several)));
            }
        };
        Ok(())
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The configuration that the field holds in place of the whole, if it is there.
    pub(super) fn within(&self, field: &str) -> Option<Self> {
        self.read.borrow_mut().insert(field.to_owned());
        let fields = self.fields.get(field)?.clone();
        Some(Self { fields, ..self.clone() })
    }

    /// The same, with these fields where it has none.
    pub(super) fn with_defaults(&self, defaults: &Value) -> Self {
        let none = Map::new();
        let all = [defaults, &self.fields].map(|value| value.as_object().unwrap_or(&none));
        let fields = all.into_iter().flatten().filter(|(_, value)| !value.is_null());
        let fields = Value::Object(fields.map(|(k, v)| (k.clone(), v.clone())).collect());
        Self { fields, ..self.clone() }
    }

    /// There is a tensor of this name; without a file, always.
    pub(super) fn has(&self, name: &str) -> bool {
        self.file.is_none_or(|file| file.contains(&format!("{}{name}", self.prefix)))
    }

    /// The side of the images that was asked for in place of the configuration's.
    pub(super) const fn image_size(&self) -> Option<usize> {
        self.image_size
    }

    /// A field, if it is there. A whole number may be written as a float.
    pub(super) fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, SourceError> {
        debug_assert!(fields::is_read(FILE, field), "{field} is not in the table of fields");
        self.read.borrow_mut().insert(field.to_owned());
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .or_else(|_| serde_json::from_value(without_fractions(value)))
                .map(Some)
                .map_err(|error| self.json(format!("field \"{field}\" = {value}: {error}"))),
        }
    }

    /// Refuses fields that change the answer and were not asked for.
    ///
    /// # Returns
    /// The names of fields that are not known.
    pub(super) fn check_fields(&self) -> Result<Vec<String>, SourceError> {
        let read = self.read.borrow();
        let within = TOWERS.iter().filter(|field| read.contains(**field));
        let within = within.filter_map(|field| self.fields.get(field));
        let mut unknown = Vec::new();
        for fields in std::iter::once(&self.fields).chain(within).filter_map(Value::as_object) {
            if let Some((field, supported)) = fields::refused_field(FILE, fields, &read) {
                return Err(self.refuse(field, &fields[field], supported));
            }
            unknown.extend(fields::unknown(FILE, fields));
        }
        Ok(unknown)
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

    /// Code that the directory asks for is that of the family, by what stands before the end of its
    /// classes' names.
    pub(super) fn check_code(&self, own: &str, supported: &'static str) -> Result<(), SourceError> {
        let map = self.get::<Map<String, Value>>("auto_map")?.unwrap_or_default();
        let is_own = |class: &Value| class.as_str().is_some_and(|class| class.contains(own));
        match map.values().find(|class| !is_own(class)) {
            Some(class) => Err(self.refuse("auto_map", class, supported)),
            None => Ok(()),
        }
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
            layer_bias: false,
            grid_bias: false,
            causal: false,
            final_norm: false,
            int8_attention: false,
            shared_layers: false,
            rotary: Rotary::default(),
            local: LocalAttention::default(),
            bare_first_layer: false,
        })
    }

    /// Class names by index, of a classifier if the file has one.
    pub(super) fn labels(&self) -> Result<Vec<String>, SourceError> {
        let shape = self.file.and_then(|file| file.shape("classifier.weight"));
        let count = shape.and_then(|shape| shape.first()).copied();
        class_names(&self.fields, count).map_err(|problem| self.json(problem))
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

/// A value in which whole numbers are written as such.
fn without_fractions(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && (0.0..9e15).contains(&float) => {
                Value::from(float as u64)
            }
            _ => value.clone(),
        },
        Value::Array(list) => list.iter().map(without_fractions).collect(),
        _ => value.clone(),
    }
}
