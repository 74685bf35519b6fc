//! The settings of a CoDA task as they stand in its file: read by the converter, written by the
//! trainer.

use coda_runtime::config::{
    Activation, AttentionMode, Gate, GateKind, LayerPlan, Named, Pooling, RouterInput, Routing,
    TaskConfig,
};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;

/// Reduction of a task that names none.
const DEFAULT_REDUCTION: f32 = 4.0;
/// The name of a layer, or a gate, without routing.
const DENSE: &str = "dense";

/// The `coda` metadata of a task file: a JSON string in the safetensors header.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct TaskMetadata {
    /// Class names.
    pub labels: Vec<String>,
    /// Activation between the two linear maps of the adapters; absent: `relu`.
    #[serde(with = "named", skip_serializing_if = "Option::is_none")]
    pub adapter_activation: Option<Activation>,
    /// What the routers read.
    #[serde(with = "named", skip_serializing_if = "Option::is_none")]
    pub router_input: Option<RouterInput>,
    /// How scores become gates; `dense` for a parallel adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<OrDense<GateKind>>,
    /// Entropy weight of the soft top-k.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f32>,
    /// Sweeps of the iterated solver.
    #[serde(rename = "iter_T", skip_serializing_if = "Option::is_none")]
    pub sweeps: Option<u32>,
    /// Entropy weight of the first sweep.
    #[serde(rename = "iter_eps0", skip_serializing_if = "Option::is_none")]
    pub eps_start: Option<f32>,
    /// Factor on the entropy weight after each sweep.
    #[serde(rename = "iter_decay", skip_serializing_if = "Option::is_none")]
    pub decay: Option<f32>,
    /// Whose keys and values the selected tokens attend to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<OrDense<AttentionMode>>,
    /// Positions always selected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<u32>,
    /// How token vectors become the one that the head reads.
    #[serde(with = "named", skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Reduction when a call names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduction: Option<f32>,
    /// Longest input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// A setting for each layer where they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerMetadata>,
}

/// One layer of [`TaskMetadata::layers`].
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LayerMetadata {
    /// As [`TaskMetadata::attention`]; absent: the task's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<OrDense<AttentionMode>>,
    /// The layer's own reduction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduction: Option<f32>,
}

/// A setting of routed layers, or `dense`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrDense<T> {
    /// No routing.
    Dense,
    /// Routing of this kind.
    Routed(T),
}

impl<T: Named> OrDense<T> {
    /// The setting of a name.
    ///
    /// # Errors
    /// There is no such setting; what there is instead.
    pub fn from_name(name: &str) -> Result<Self, String> {
        if name == DENSE { Ok(Self::Dense) } else { from_name(name).map(Self::Routed) }
    }
}

impl<T: Named> Serialize for OrDense<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Dense => DENSE,
            Self::Routed(value) => value.name(),
        })
    }
}

impl<'de, T: Named> Deserialize<'de> for OrDense<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_name(&Cow::<str>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Settings by name, for serde.
mod named {
    use super::{Cow, Deserialize, Deserializer, Error, Named, Serialize, Serializer, from_name};

    pub(super) fn serialize<T: Named, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Named::name).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Named, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let name = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        name.map(|name| from_name(&name).map_err(D::Error::custom)).transpose()
    }
}

/// The setting of a name, or what there is instead.
fn from_name<T: Named>(name: &str) -> Result<T, String> {
    T::from_name(name).ok_or_else(|| {
        format!("{} {name:?} is not supported; supported are {}", T::WHAT, names::<T>())
    })
}

/// What a setting that is absent would have to be.
pub(super) fn missing<T: Named>() -> String {
    format!("\"{}\" is missing; supported are {}", T::WHAT, names::<T>())
}

fn names<T: Named>() -> String {
    let names: Vec<&str> = T::ALL.iter().map(|value| value.name()).collect();
    names.join(", ")
}

impl TaskMetadata {
    /// The same with a gate.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        let kind = |kind| Some(OrDense::Routed(kind));
        match gate {
            Gate::Ones => Self { gate: kind(GateKind::Ones), ..self },
            Gate::Sigmoid => Self { gate: kind(GateKind::Sigmoid), ..self },
            Gate::Exact { eps } => Self { gate: kind(GateKind::Exact), eps: Some(eps), ..self },
            Gate::Iterated { sweeps, eps, eps_start, decay } => Self {
                gate: kind(GateKind::Iterated),
                eps: Some(eps),
                sweeps: Some(sweeps),
                eps_start: Some(eps_start),
                decay: Some(decay),
                ..self
            },
        }
    }

    /// How each of `layers` layers is executed.
    pub(super) fn plans(&self, layers: usize) -> Result<Vec<LayerPlan>, String> {
        if !self.layers.is_empty() && self.layers.len() != layers {
            let found = self.layers.len();
            return Err(format!("settings for {found} layers, the base has {layers}"));
        }
        (0..layers).map(|index| self.plan(index)).collect()
    }

    fn plan(&self, index: usize) -> Result<LayerPlan, String> {
        let own = self.layers.get(index).cloned().unwrap_or_default();
        let attention = match own.attention.or(self.attention) {
            Some(OrDense::Routed(mode)) => mode,
            Some(OrDense::Dense) => return Ok(LayerPlan { routing: None }),
            None => return Err(missing::<AttentionMode>()),
        };
        if let Some(r) = own.reduction.filter(|r| !r.is_finite() || *r < 1.0) {
            return Err(format!("layer {index} has reduction {r}; it must be at least 1"));
        }
        Ok(LayerPlan { routing: Some(Routing { attention, reduction: own.reduction }) })
    }

    /// The settings of all layers, some of them routed or none.
    pub(super) fn config(&self, routed: bool) -> Result<TaskConfig, String> {
        let reduction = self.reduction.unwrap_or(DEFAULT_REDUCTION);
        if !reduction.is_finite() || reduction < 1.0 {
            return Err(format!("reduction {reduction} must be at least 1"));
        }
        let router_input = self.router_input.or((!routed).then_some(RouterInput::Norm));
        Ok(TaskConfig {
            adapter_activation: self.adapter_activation.unwrap_or(Activation::Relu),
            router_input: router_input.ok_or_else(missing::<RouterInput>)?,
            gate: self.gate(routed)?,
            reduction,
            max_tokens: self.max_tokens.unwrap_or(0),
        })
    }

    /// No router chooses.
    fn has_grid(&self) -> bool {
        self.router_input == Some(RouterInput::Grid)
    }

    fn gate(&self, routed: bool) -> Result<Gate, String> {
        let eps = self.eps.filter(|eps| eps.is_finite() && *eps > 0.0);
        let eps = eps.ok_or("this gate needs an \"eps\" above 0");
        match self.gate {
            None | Some(OrDense::Dense) if routed && !self.has_grid() => Err(missing::<GateKind>()),
            Some(OrDense::Routed(kind)) if self.has_grid() && kind != GateKind::Ones => Err(
                format!("with the router input \"grid\" every gate is 1, not \"{}\"", kind.name()),
            ),
            None | Some(OrDense::Dense | OrDense::Routed(GateKind::Ones)) => Ok(Gate::Ones),
            Some(OrDense::Routed(GateKind::Sigmoid)) => Ok(Gate::Sigmoid),
            Some(OrDense::Routed(GateKind::Exact)) => Ok(Gate::Exact { eps: eps? }),
            Some(OrDense::Routed(GateKind::Iterated)) => {
                let eps = eps?;
                Ok(Gate::Iterated {
                    sweeps: self.sweeps.unwrap_or(20),
                    eps,
                    eps_start: self.eps_start.unwrap_or(4.0).max(eps),
                    decay: self.decay.unwrap_or(0.7),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The value that a metadata text means, if every key of it is known.
    fn read(text: &str) -> TaskMetadata {
        let metadata: TaskMetadata = serde_json::from_str(text).unwrap();
        let again = serde_json::to_value(&metadata).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(text).unwrap());
        metadata
    }

    #[test]
    fn the_example_of_the_script_is_read_and_written_again() {
        let script = include_str!("../../trainer/write_task.py");
        let start = script.find("{\"").unwrap();
        let end = start + script[start..].find("\n\n").unwrap();
        let metadata = read(&script[start..end]);
        assert_eq!(metadata.config(true).unwrap().gate, Gate::Exact { eps: 0.25 });
    }

    #[test]
    fn every_gate_is_read_as_it_was_written() {
        let iterated = Gate::Iterated { sweeps: 3, eps: 0.5, eps_start: 2.0, decay: 0.75 };
        for gate in [Gate::Ones, Gate::Sigmoid, Gate::Exact { eps: 0.5 }, iterated] {
            let metadata = TaskMetadata::default().with_gate(gate);
            assert_eq!(read(&serde_json::to_string(&metadata).unwrap()).gate(true), Ok(gate));
        }
    }

    #[test]
    fn every_name_means_its_value_and_older_names_are_read() {
        fn check<T: Named + PartialEq + std::fmt::Debug>(older: &[(&str, T)]) {
            let names = T::ALL.iter().map(|value| (value.name(), *value));
            for (name, value) in names.chain(older.iter().copied()) {
                assert_eq!(T::from_name(name), Some(value));
            }
            assert_eq!(T::from_name("none of them"), None);
        }
        check(&[("gelu_new", Activation::GeluTanh), ("gelu_erf", Activation::GeluErf)]);
        check::<RouterInput>(&[]);
        check(&[("iter20", GateKind::Iterated)]);
        let modes = AttentionMode::ALL;
        check(&[("k2k", modes[0]), ("k2all", modes[1]), ("k-to-light", modes[2])]);
        check(&[("class token (position 0)", Pooling::ClassToken), ("mean of all", Pooling::Mean)]);
    }

    #[test]
    fn a_layer_may_have_settings_of_its_own() {
        let text = json!({
            "labels": [], "attention": "k-to-k",
            "layers": [{ "attention": "dense" }, { "reduction": 2.0 }],
        });
        let plans = read(&text.to_string()).plans(2).unwrap();
        assert_eq!(plans[0].routing, None);
        let attention = AttentionMode::KToK;
        assert_eq!(plans[1].routing, Some(Routing { attention, reduction: Some(2.0) }));
        assert!(read(&text.to_string()).plans(3).is_err());
    }
}
