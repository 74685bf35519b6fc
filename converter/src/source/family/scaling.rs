//! How a `config.json` says that rotary positions reach further than in training.

use super::checkpoint::Checkpoint;
use crate::source::error::SourceError;
use crate::source::rotary::Scaling;
use serde_json::Value;
use std::f64::consts::TAU;

/// What is supported.
const SUPPORTED: &str = "supported are the types default, linear, llama3 and yarn, of all columns, with their \
                         numbers; angles that depend on the length of the text are not";
/// Most times that a text may be longer.
const LARGEST: f64 = 1e6;

/// The object in a field, or the part of it that is for some layers.
struct Described<'c> {
    checkpoint: &'c Checkpoint<'c>,
    field: &'static str,
    whole: &'c Value,
    own: &'c Value,
    /// How many pairs of columns are turned, and the base of their wave lengths.
    columns: usize,
    theta: f64,
}

/// What `rope_parameters`, or before it `rope_scaling`, says of layers of one kind.
pub(super) fn scaling(
    checkpoint: &Checkpoint<'_>,
    part: Option<&str>,
    columns: usize,
    theta: f64,
) -> Result<Scaling, SourceError> {
    let mut found = Scaling::None;
    for field in ["rope_scaling", "rope_parameters"] {
        let whole = checkpoint.get::<Value>(field)?.unwrap_or_default();
        let of_part = part.and_then(|part| whole.get(part));
        let own = of_part.unwrap_or(&whole);
        let described = Described { checkpoint, field, whole: &whole, own, columns, theta };
        let one = described.scaling()?;
        if one != Scaling::None {
            // Of layers of two kinds both must be described.
            let whose = part.is_none() || of_part.is_some();
            found = if whose { one } else { return Err(described.refuse()) };
        }
    }
    Ok(found)
}

impl Described<'_> {
    fn refuse(&self) -> SourceError {
        self.checkpoint.refuse(self.field, self.own, SUPPORTED)
    }

    /// A number, if there is one, within a range.
    fn number(&self, name: &str, range: [f64; 2]) -> Result<Option<f64>, SourceError> {
        let [least, most] = range;
        match self.own.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_f64().filter(|x| (least..=most).contains(x));
                number.map(Some).ok_or_else(|| self.refuse())
            }
        }
    }

    fn need(&self, name: &str, range: [f64; 2]) -> Result<f64, SourceError> {
        self.number(name, range)?.ok_or_else(|| self.refuse())
    }

    fn scaling(&self) -> Result<Scaling, SourceError> {
        let of = |name| self.own.get(name).filter(|value| !value.is_null());
        let share = self.number("partial_rotary_factor", [0.0, 1.0])?.unwrap_or(1.0);
        if share != 1.0 || !(self.own.is_object() || self.own.is_null()) {
            return Err(self.refuse());
        }
        let kinds = ["rope_type", "type"].into_iter().filter_map(of);
        let mut kinds = kinds.filter(|kind| *kind != "default");
        let Some(kind) = kinds.next() else { return Ok(Scaling::None) };
        match kind.as_str() {
            Some("linear") => Ok(Scaling::Linear { factor: self.factor()? }),
            Some("llama3") => self.llama3(),
            Some("yarn") => self.yarn(),
            _ => Err(self.refuse()),
        }
    }

    fn factor(&self) -> Result<f64, SourceError> {
        self.need("factor", [1.0, LARGEST])
    }

    /// Positions of the training.
    fn original(&self) -> Result<f64, SourceError> {
        self.need("original_max_position_embeddings", [1.0, 1e9])
    }

    fn llama3(&self) -> Result<Scaling, SourceError> {
        let range = [1e-6, LARGEST];
        let low = self.need("low_freq_factor", range)?;
        let high = self.need("high_freq_factor", range)?;
        if high <= low {
            return Err(self.refuse());
        }
        Ok(Scaling::Llama3 { factor: self.factor()?, low, high, original: self.original()? })
    }

    /// The pairs between which it goes over from the angles of the training to slower ones.
    fn yarn(&self) -> Result<Scaling, SourceError> {
        let (factor, original) = (self.factor()?, self.original()?);
        let beta = |name, usual: f64| {
            let found = self.number(name, [0.0, LARGEST])?;
            Ok(found.filter(|beta| *beta > 0.0).unwrap_or(usual))
        };
        let turns = [beta("beta_fast", 32.0)?, beta("beta_slow", 1.0)?];
        let pair = |turns: f64| {
            let columns = self.columns as f64;
            columns * (original / (turns * TAU)).ln() / (2.0 * self.theta.ln())
        };
        let [mut first, mut last] = turns.map(pair);
        if self.whole.get("truncate") != Some(&Value::Bool(false)) {
            (first, last) = (first.floor(), last.ceil());
        }
        let (first, last) = (first.max(0.0), last.min(self.columns as f64 - 1.0));
        if !first.is_finite() || !last.is_finite() {
            return Err(self.refuse());
        }
        Ok(Scaling::Yarn { factor, first, last, length: self.length(factor)? })
    }

    /// What the cosines and sines of yarn are multiplied by.
    fn length(&self, factor: f64) -> Result<f64, SourceError> {
        let range = [0.0, LARGEST];
        if let Some(found) = self.number("attention_factor", range)? {
            return Ok(found);
        }
        let of = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let some = |name| Ok(self.number(name, range)?.filter(|scale| *scale > 0.0));
        match (some("mscale")?, some("mscale_all_dim")?) {
            (Some(own), Some(all)) => Ok(of(own) / of(all)),
            _ => Ok(of(1.0)),
        }
    }
}
