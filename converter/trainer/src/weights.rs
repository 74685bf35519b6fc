//! Weights as the converter reads them: a task, or a whole base.

use crate::model::{TaskSpec, Tensors};
use crate::settings::Precision;
use anyhow::{Context, Result, bail};
use coda_converter::output::write_whole;
use coda_converter::source::{Base, FloatTensor, LayerMetadata, OrDense, Place, TaskMetadata};
use coda_runtime::config::Embedding;
use coda_runtime::format::{GLOBAL_LAYER, Role};
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// How a written task is run unless it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskDefaults {
    /// Reduction factor.
    pub reduction: f32,
    /// Tokens of the longest text.
    pub max_tokens: usize,
}

/// Writes a task file for `base`.
///
/// # Errors
/// A value does not fit the precision, or the file cannot be written.
pub fn write_task(
    path: &Path,
    base: &Base,
    spec: &TaskSpec,
    labels: &[String],
    tensors: &Tensors,
    precision: Precision,
    defaults: TaskDefaults,
) -> Result<()> {
    // As a value first: keys stand in order of their names.
    let metadata = serde_json::to_value(metadata(spec, labels, base, defaults))?.to_string();
    let mut named = BTreeMap::new();
    for (place, tensor) in tensors {
        let Some(name) = task_name(base, *place) else { continue };
        let shape = if tensor.shape[0] == 1 { vec![tensor.shape[1]] } else { tensor.shape.clone() };
        merge(&mut named, name, FloatTensor { shape, values: tensor.values.clone() });
    }
    write_tensors(path, named, &[("coda", metadata.as_str())], precision)
}

/// Keys come before values, so that halves of one tensor meet in their order.
fn merge(named: &mut BTreeMap<String, FloatTensor>, name: String, tensor: FloatTensor) {
    match named.get_mut(&name) {
        None => drop(named.insert(name, tensor)),
        Some(first) => {
            first.shape[0] += tensor.shape[0];
            first.values.extend(tensor.values);
        }
    }
}

/// The name of a place in a task file.
fn task_name(base: &Base, place: Place) -> Option<String> {
    let (layer, role) = place;
    let part = match role {
        Role::AdapterDown => "adapter.down.weight",
        Role::AdapterDownBias => "adapter.down.bias",
        Role::AdapterUp => "adapter.up.weight",
        Role::AdapterUpBias => "adapter.up.bias",
        Role::Router => "router.weight",
        Role::LowRankDown => "light_kv.down.weight",
        Role::LowRankKey | Role::LowRankValue => "light_kv.up.weight",
        Role::LowRankKeyBias | Role::LowRankValueBias => "light_kv.up.bias",
        Role::HeadWeight => return Some("classifier.weight".to_owned()),
        Role::HeadBias => return Some("classifier.bias".to_owned()),
        _ => return base.names.get(&place).cloned(),
    };
    Some(format!("coda.layer.{layer}.{part}"))
}

/// The `coda` metadata.
fn metadata(
    spec: &TaskSpec,
    labels: &[String],
    base: &Base,
    defaults: TaskDefaults,
) -> TaskMetadata {
    let TaskDefaults { reduction, max_tokens } = defaults;
    let text = matches!(base.config.embedding, Embedding::Tokens { .. });
    let shared = TaskMetadata {
        labels: labels.to_vec(),
        adapter_activation: Some(spec.adapter_activation),
        pooling: Some(spec.pooling),
        max_tokens: text.then_some(max_tokens),
        ..TaskMetadata::default()
    };
    let Some(mode) = spec.attention else {
        let (attention, gate) = (Some(OrDense::Dense), Some(OrDense::Dense));
        return TaskMetadata { attention, gate, ..shared };
    };
    let differ = !(spec.dense_layers.is_empty() && spec.reductions.is_empty());
    let routed = TaskMetadata {
        attention: Some(OrDense::Routed(mode)),
        router_input: Some(spec.router_input),
        pinned: spec.pinned.clone(),
        reduction: Some(reduction),
        layers: (0..base.config.layers)
            .filter(|_| differ)
            .map(|index| layer(spec, index))
            .collect(),
        ..shared
    };
    routed.with_gate(spec.gate.gate)
}

fn layer(spec: &TaskSpec, index: usize) -> LayerMetadata {
    let attention = spec.routing(index).map_or(OrDense::Dense, OrDense::Routed);
    let reduction = spec.reductions.get(index).copied().filter(|_| attention != OrDense::Dense);
    LayerMetadata { attention: Some(attention), reduction }
}

/// Writes `model.safetensors` of a base with its classifier, and which vector that reads.
///
/// # Errors
/// As [`write_task`].
pub fn write_base(
    path: &Path,
    base: &Base,
    spec: &TaskSpec,
    labels: &[String],
    tensors: &Tensors,
    precision: Precision,
) -> Result<()> {
    let mut named = BTreeMap::new();
    for (place, tensor) in tensors {
        let name = task_name(base, *place).with_context(|| format!("no name of {place:?}"))?;
        let shape = hugging_face_shape(base, *place, &tensor.shape);
        named.insert(name, FloatTensor { shape, values: tensor.values.clone() });
    }
    let head = TaskMetadata {
        labels: labels.to_vec(),
        pooling: Some(spec.pooling),
        ..TaskMetadata::default()
    };
    let head = serde_json::to_value(head)?.to_string();
    write_tensors(path, named, &[("format", "pt"), ("coda", head.as_str())], precision)
}

/// The shape that Hugging Face gives a tensor.
fn hugging_face_shape(base: &Base, place: Place, shape: &[usize]) -> Vec<usize> {
    let (layer, role) = place;
    let [rows, columns] = [shape[0], shape[1]];
    match (role, base.config.embedding) {
        (Role::PatchWeight, Embedding::Patches { channels, patch, .. }) => {
            vec![rows, channels, patch, patch]
        }
        (Role::ClassToken, _) | (Role::PositionEmbedding, Embedding::Patches { .. }) => {
            vec![1, rows, columns]
        }
        _ if rows == 1 && !(layer == GLOBAL_LAYER && role == Role::HeadWeight) => vec![columns],
        _ => shape.to_vec(),
    }
}

/// Writes tensors and strings of metadata by key: all of them, or the old file stays.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: BTreeMap<String, FloatTensor>,
    metadata: &[(&str, &str)],
    precision: Precision,
) -> Result<()> {
    let mut encoded = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let bytes =
            encode(&tensor.values, precision).with_context(|| format!("tensor \"{name}\""))?;
        encoded.push((name, tensor.shape, bytes));
    }
    let dtype = match precision {
        Precision::F16 => Dtype::F16,
        Precision::F32 => Dtype::F32,
    };
    let views = encoded
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = metadata.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    write_whole(path, &serialize(views, Some(metadata.collect::<HashMap<_, _>>()))?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn encode(values: &[f32], precision: Precision) -> Result<Vec<u8>> {
    match precision {
        Precision::F32 => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Precision::F16 => {
            let half: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
            if let Some(index) = half.iter().position(|value| !value.is_finite()) {
                bail!("{} does not fit f16: use --precision f32", values[index]);
            }
            Ok(half.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
    }
}
