//! Weights as the converter reads them: a task, or a whole base.

use crate::model::{Half, TaskSpec, Tensors, Trained};
use crate::settings::Precision;
use anyhow::{Context, Result, bail};
use coda_converter::output::write_whole;
use coda_converter::source::{
    Base, FloatTensor, LayerMetadata, OrDense, Place, TaskMetadata, file_tensors,
};
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
    trained: &Trained,
    precision: Precision,
    defaults: TaskDefaults,
) -> Result<()> {
    // As a value first: keys stand in order of their names.
    let metadata = serde_json::to_value(metadata(spec, labels, base, defaults))?.to_string();
    let mut named = BTreeMap::new();
    let halves = [(Half::Encoder, &trained.encoder), (Half::Decoder, &trained.decoder)];
    for (half, (place, tensor)) in
        halves.into_iter().flat_map(|(half, own)| own.iter().map(move |own| (half, own)))
    {
        let Some(name) = task_name(base, half, *place) else { continue };
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
fn task_name(base: &Base, half: Half, place: Place) -> Option<String> {
    let (layer, role) = place;
    let (of, names) = match (half, &base.decoder) {
        (Half::Decoder, Some(decoder)) => ("decoder.", &decoder.names),
        _ => ("", &base.names),
    };
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
        _ => return names.get(&place).cloned(),
    };
    Some(format!("coda.{of}layer.{layer}.{part}"))
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

/// Writes `model.safetensors` of a base; with its classifier, and which vector that reads, if it has one.
///
/// # Errors
/// As [`write_task`], and a tensor that cannot be written as the file held it.
pub fn write_base(
    path: &Path,
    base: &Base,
    spec: &TaskSpec,
    labels: &[String],
    trained: &Trained,
    precision: Precision,
) -> Result<()> {
    let mut named = base_tensors(base, Some(trained))?;
    for role in [Role::HeadWeight, Role::HeadBias] {
        let place = (GLOBAL_LAYER, role);
        if let Some((FloatTensor { shape, values }, name)) =
            trained.encoder.get(&place).zip(task_name(base, Half::Encoder, place))
        {
            let shape = if role == Role::HeadBias { vec![values.len()] } else { shape.clone() };
            named.insert(name, FloatTensor { shape, values: values.clone() });
        }
    }
    let head = TaskMetadata {
        labels: labels.to_vec(),
        pooling: Some(spec.pooling),
        ..TaskMetadata::default()
    };
    let head = serde_json::to_value(head)?.to_string();
    let metadata = [("format", "pt"), ("coda", head.as_str())];
    let metadata = if spec.labels > 0 { &metadata[..] } else { &metadata[..1] };
    write_tensors(path, named, metadata, precision)
}

/// The tensors of the file of a base, with what was trained in place of its own.
///
/// # Errors
/// A tensor cannot be written as a file holds it.
pub fn base_tensors(
    base: &Base,
    trained: Option<&Trained>,
) -> Result<BTreeMap<String, FloatTensor>> {
    let with = |own: &Tensors, trained: Option<&Tensors>| {
        let mut all = own.clone();
        all.extend(trained.cloned().unwrap_or_default());
        all
    };
    let encoder = with(&base.tensors, trained.map(|trained| &trained.encoder));
    let mut named = file_tensors(&base.config, &base.entries, &encoder)?;
    if let Some(decoder) = &base.decoder {
        let own = with(&decoder.tensors, trained.map(|trained| &trained.decoder));
        named.extend(file_tensors(&decoder.config, &decoder.entries, &own)?);
    }
    Ok(named)
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
