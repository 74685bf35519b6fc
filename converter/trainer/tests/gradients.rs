//! Hand-written gradients against finite differences, in f64.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use candle_core::{DType, Device, Tensor, Var};
use coda_converter::source::{Base, Entry, FloatTensor};
use coda_runtime::config::{
    Activation, AttentionMode, Config, Embedding, Gate, LocalAttention, Named, Norm, NormPlacement,
    Pooling, Rotary, RouterInput,
};
use coda_runtime::image::PatchGrid;
use coda_tests::seq2seq::{Vectors, is_one};
use coda_tests::tiny::{ENCODER, Extras, base};
use coda_tests::vectors::directories;
use coda_trainer::loss::{LossWeights, loss};
use coda_trainer::model::{
    Batch, DecoderInputs, Half, Initializer, Inputs, Method, Model, TaskSpec, Tensors,
    blank_decoder_task, blank_task, untrained,
};
use coda_trainer::ops::{
    FrozenMap, Segment, Selected, SoftTopK, activation, add_gated, attention, attention_with_bias,
    frozen_feed_forward, gates, gather, layer_norm, linear, linear_without_bias, mean_rows,
    merge_rows, rms_norm,
};
use coda_trainer::random::{Draws, Purpose};
use std::path::Path;
use std::sync::Arc;

/// Step of the central differences.
const STEP: f64 = 1e-5;
/// Largest difference, relative to the larger of 1 and the gradient.
const LIMIT: f64 = 1e-6;

fn draws(index: u64) -> Draws {
    Draws::new(7, Purpose::Initial, index)
}

fn random(rows: usize, columns: usize, index: u64) -> Tensor {
    let mut draws = draws(index);
    let values: Vec<f64> = (0..rows * columns).map(|_| f64::from(draws.normal())).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

/// A sum of all values with different factors, so that no gradient cancels.
fn weighted(x: &Tensor) -> Tensor {
    let (rows, columns) = x.dims2().unwrap();
    (x * random(rows, columns, 999)).unwrap().sum_all().unwrap()
}

/// Compares the gradient of every value of every variable.
fn check(name: &str, variables: &[Var], function: impl Fn() -> Tensor) {
    check_some(name, variables, usize::MAX, function);
}

/// Compares the gradient of up to `most` values of every variable, spread over it.
fn check_some(name: &str, variables: &[Var], most: usize, function: impl Fn() -> Tensor) {
    let gradients = function().backward().unwrap();
    let value = || function().to_scalar::<f64>().unwrap();
    for (number, variable) in variables.iter().enumerate() {
        let start: Vec<f64> = variable.flatten_all().unwrap().to_vec1().unwrap();
        let found = gradients.get(variable.as_tensor());
        let found: Vec<f64> = match found {
            Some(found) => found.flatten_all().unwrap().to_vec1().unwrap(),
            None => panic!("{name}: variable {number} has no gradient"),
        };
        let set = |values: &[f64]| {
            let tensor = Tensor::from_slice(values, variable.dims(), &Device::Cpu).unwrap();
            variable.set(&tensor).unwrap();
        };
        for index in (0..start.len()).step_by(start.len().div_ceil(most)) {
            let mut moved = start.clone();
            moved[index] += STEP;
            set(&moved);
            let above = value();
            moved[index] -= 2.0 * STEP;
            set(&moved);
            let expected = (above - value()) / (2.0 * STEP);
            let difference = (found[index] - expected).abs() / expected.abs().max(1.0);
            assert!(
                difference < LIMIT,
                "{name}: value {index} of variable {number}: {} instead of {expected}",
                found[index]
            );
        }
        set(&start);
    }
}

fn variables<const N: usize>(shapes: [(usize, usize); N]) -> [Var; N] {
    let mut index = 0;
    shapes.map(|(rows, columns)| {
        index += 1;
        Var::from_tensor(&random(rows, columns, index)).unwrap()
    })
}

#[test]
fn linear_maps() {
    let own = variables([(5, 3), (4, 3), (1, 4)]);
    let [x, weight, bias] = &own;
    check("linear", &own, || weighted(&linear(x, weight, bias).unwrap()));
    check("without bias", &own[..2], || weighted(&linear_without_bias(x, weight).unwrap()));
}

/// More rows than are computed at once.
#[test]
fn frozen_maps() {
    let own = variables([(300, 3)]);
    let map = |outputs, inputs, index| {
        let bias = random(1, outputs, index + 1).flatten_all().unwrap();
        FrozenMap::new(&random(outputs, inputs, index), Some(&bias)).unwrap()
    };
    let (first, second) = (map(4, 3, 50), map(2, 4, 60));
    check("frozen map", &own, || weighted(&first.apply(&own[0]).unwrap()));
    for &kind in Activation::ALL {
        check("frozen feed-forward network", &own, || {
            weighted(&frozen_feed_forward(&own[0], &first, &second, kind).unwrap())
        });
    }
}

#[test]
fn norms() {
    let own = variables([(4, 19), (1, 19), (1, 19)]);
    let [x, weight, bias] = &own;
    check("layer norm", &own, || weighted(&layer_norm(x, weight, bias, 1e-6).unwrap()));
    check("rms norm", &own[..2], || weighted(&rms_norm(x, weight, 1e-6).unwrap()));
}

#[test]
fn activations() {
    let own = variables([(6, 5)]);
    for &kind in Activation::ALL {
        check("activation", &own, || weighted(&activation(&own[0], kind).unwrap()));
    }
}

#[test]
fn attention_of_ragged_sequences_with_a_bias() {
    let own = variables([(5, 6), (7, 6), (7, 6), (4, 2)]);
    let [q, k, v, table] = &own;
    let segment = |query_start, queries, key_start, keys| Segment {
        query_start,
        queries,
        key_start,
        keys,
        ..Segment::default()
    };
    let plain = vec![segment(0, 3, 0, 4), segment(3, 2, 4, 3)];
    let run = || attention(q, k, v, plain.clone(), 2, 0.6).unwrap();
    check("attention", &own[..3], || weighted(&run()));
    let entries = (0..4 * 3).map(|index| index * 7 % 4).collect();
    let mut biased = plain.clone();
    biased[0].entries = entries;
    let run = || attention_with_bias(q, [k, v], table, biased.clone(), 2, 0.6).unwrap();
    check("attention with bias", &own, || weighted(&run()));
    biased[0].entries[0] = 4;
    assert!(attention_with_bias(q, [k, v], table, biased.clone(), 2, 0.6).is_err());
}

#[test]
fn causal_attention() {
    let own = variables([(5, 6), (5, 6), (5, 6), (5, 2)]);
    let [q, k, v, table] = &own;
    let segment = |start, queries, entries| Segment {
        query_start: start,
        queries,
        key_start: start,
        keys: queries,
        causal: true,
        entries,
    };
    let plain = vec![segment(0, 3, Vec::new()), segment(3, 2, Vec::new())];
    let run = || attention(q, k, v, plain.clone(), 2, 0.6).unwrap();
    check("causal attention", &own[..3], || weighted(&run()));
    let entries = vec![0, 4, 4, 1, 0, 4, 2, 1, 0];
    let biased = vec![segment(0, 3, entries), segment(3, 2, vec![0, 4, 3, 0])];
    let run = || attention_with_bias(q, [k, v], table, biased.clone(), 2, 0.6).unwrap();
    check("causal attention with bias", &own, || weighted(&run()));
    // The last token of a sequence changes what none before it finds.
    let before = run();
    let rows: Vec<Vec<f64>> = before.to_vec2().unwrap();
    let mut moved: Vec<f64> = v.flatten_all().unwrap().to_vec1().unwrap();
    moved[2 * 6] += 1.0;
    v.set(&Tensor::from_vec(moved, (5, 6), &Device::Cpu).unwrap()).unwrap();
    let after: Vec<Vec<f64>> = run().to_vec2().unwrap();
    assert_eq!((&rows[..2], &rows[3..]), (&after[..2], &after[3..]));
    assert_ne!(rows[2], after[2]);
}

#[test]
fn rows_chosen_merged_added_and_averaged() {
    let own = variables([(5, 3), (4, 3), (2, 3), (2, 1)]);
    let [x, other, update, gate] = &own;
    let twice: Arc<[u32]> = vec![4, 0, 4].into();
    check("gather", &own[..1], || weighted(&gather(x, twice.clone()).unwrap()));
    let order: Arc<[u32]> = vec![5, 0, 8, 1, 1].into();
    check("merge", &own[..2], || weighted(&merge_rows(x, other, order.clone()).unwrap()));
    let rows: Arc<[u32]> = vec![3, 1].into();
    check("add gated", &[x.clone(), update.clone(), gate.clone()], || {
        weighted(&add_gated(x, update, gate, rows.clone()).unwrap())
    });
    check("mean", &own[..1], || weighted(&mean_rows(x, vec![0..2, 2..5]).unwrap()));
}

/// Two sequences; the second has a pinned token, and a third selects all of its tokens.
fn choices() -> Arc<[Selected]> {
    let choice = |rows, selected: &[u32], pinned: &[u32]| Selected {
        rows,
        selected: selected.to_vec(),
        pinned: pinned.to_vec(),
    };
    [choice(0..7, &[1, 4, 6], &[]), choice(7..13, &[0, 2, 3], &[0]), choice(13..15, &[0, 1], &[])]
        .into()
}

const fn soft(gate: Gate) -> SoftTopK {
    SoftTopK { gate, eps: 0.3 }
}

#[test]
fn the_exact_soft_top_k() {
    let own = variables([(15, 1)]);
    for eps in [0.03, 0.3, 2.0] {
        let kind = soft(Gate::Exact { eps });
        check("exact", &own, || weighted(&gates(&own[0], choices(), kind).unwrap()));
    }
}

#[test]
fn the_iterated_soft_top_k_through_every_sweep() {
    let own = variables([(15, 1)]);
    for (eps, eps_start) in [(0.3, 4.0), (1.0, 1.0)] {
        let kind = soft(Gate::Iterated { sweeps: 20, eps, eps_start, decay: 0.7 });
        check("iterated", &own, || weighted(&gates(&own[0], choices(), kind).unwrap()));
    }
}

#[test]
fn the_sigmoid_gate() {
    let own = variables([(15, 1)]);
    check("sigmoid", &own, || weighted(&gates(&own[0], choices(), soft(Gate::Sigmoid)).unwrap()));
}

#[test]
fn straight_through_is_one_forward_and_the_exact_gradient_backward() {
    let own = variables([(15, 1)]);
    let run = |kind| {
        let found = gates(&own[0], choices(), kind).unwrap();
        let gradients = weighted(&found).backward().unwrap();
        let gradient = gradients.get(own[0].as_tensor()).unwrap().clone();
        let values: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        (found.flatten_all().unwrap().to_vec1::<f64>().unwrap(), values)
    };
    let (ones, gradient) = run(soft(Gate::Ones));
    let (soft, expected) = run(soft(Gate::Exact { eps: 0.3 }));
    assert!(ones.iter().all(|gate| *gate == 1.0));
    assert!(soft.iter().any(|gate| *gate < 1.0));
    assert!(expected.iter().any(|value| *value != 0.0));
    assert_eq!(gradient, expected);
}

/// A small encoder of each kind.
fn config(placement: NormPlacement, norm: Norm, gated: bool) -> Config {
    let relative_distance = if norm == Norm::RmsNorm { 3 } else { 0 };
    Config {
        embedding: Embedding::Tokens {
            vocabulary: 9,
            positions: if relative_distance > 0 { 0 } else { 8 },
            token_types: if relative_distance > 0 { 0 } else { 2 },
            norm: placement == NormPlacement::Post,
            projected: 0,
        },
        head_dim: 3,
        feed_forward: 10,
        norm,
        placement,
        activation: if gated { Activation::GeluTanh } else { Activation::GeluErf },
        gated,
        relative_distance,
        final_norm: placement == NormPlacement::Pre,
        ..ENCODER
    }
}

fn spec(attention: AttentionMode, gate: Gate) -> TaskSpec {
    TaskSpec {
        adapter_hidden: 3,
        adapter_activation: Activation::GeluErf,
        router_input: RouterInput::Rms,
        gate: soft(gate),
        attention: Some(attention),
        low_rank: 2,
        pinned: vec![0],
        ..TaskSpec::dense(Pooling::Mean, 3)
    }
}

/// Random values for every tensor of an encoder and its task.
fn values(config: &Config, spec: &TaskSpec) -> Tensors {
    let extras = Extras { biases: true, layer_scale: true };
    let mut values = base(*config, extras, 5).tensors;
    let blank = blank_task(config, spec, &values, Initializer { seed: 3, half: Half::Encoder });
    for (index, (place, tensor)) in blank.into_iter().enumerate() {
        let mut draws = draws(2000 + index as u64);
        let moved = tensor.values.iter().map(|value| value + 0.3 * draws.normal()).collect();
        values.insert(place, FloatTensor { shape: tensor.shape, values: moved });
    }
    values
}

fn batch() -> Batch {
    let inputs = Inputs::Tokens {
        ids: vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 2],
        types: vec![0, 0, 0, 1, 1, 1, 0, 0, 1, 1],
    };
    Batch { inputs, ranges: vec![0..6, 6..10], labels: vec![0, 2], ..Batch::default() }
}

fn check_layers(name: &str, config: Config, spec: TaskSpec) {
    let values = values(&config, &spec);
    let trained = |(_, role): (u16, coda_runtime::format::Role)| role.belongs_to_task();
    let model = Model::new(config, spec, &values, trained, DType::F64).unwrap();
    // Only tensors that the encoder reads have a gradient.
    let run = || weighted(model.forward(&batch(), &[2.0, 2.0]).unwrap().logits.as_ref().unwrap());
    let gradients = run().backward().unwrap();
    let read: Vec<Var> = model
        .variables()
        .values()
        .filter(|variable| gradients.get(variable.as_tensor()).is_some())
        .cloned()
        .collect();
    assert!(read.len() >= 16, "{name}: {} variables", read.len());
    check(name, &read, run);
}

#[test]
fn whole_layers_in_every_attention_mode() {
    let post = config(NormPlacement::Post, Norm::LayerNorm, false);
    let pre = config(NormPlacement::Pre, Norm::LayerNorm, false);
    let relative = config(NormPlacement::Pre, Norm::RmsNorm, true);
    for mode in [AttentionMode::KToK, AttentionMode::KToAll, AttentionMode::KToLowRank] {
        for (name, config) in [("post", post), ("pre", pre), ("relative", relative)] {
            let gate = Gate::Exact { eps: 0.5 };
            check_layers(&format!("{name} {mode:?}"), config, spec(mode, gate));
        }
    }
}

#[test]
fn marks_of_a_dense_pass() {
    for placement in [NormPlacement::Post, NormPlacement::Pre] {
        let config = config(placement, Norm::LayerNorm, false);
        let spec = spec(AttentionMode::KToLowRank, Gate::Exact { eps: 0.5 });
        let values = values(&config, &spec);
        let model = Model::new(config, spec, &values, |_| false, DType::F64).unwrap();
        let ones = || Var::ones((10, 1), DType::F64, &Device::Cpu).unwrap();
        let marks = [ones(), ones()];
        let logits = || {
            let tensors: Vec<Tensor> = marks.iter().map(|mark| mark.as_tensor().clone()).collect();
            model.forward_marked(&batch(), &tensors).unwrap().0.logits.unwrap()
        };
        let dense = model.forward(&batch(), &[]).unwrap().logits.unwrap();
        let apart = (logits() - dense).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f64>().unwrap() < 1e-12);
        check("marks", &marks, || weighted(&logits()));
    }
}

#[test]
fn whole_layers_with_every_gate() {
    let pre = config(NormPlacement::Pre, Norm::LayerNorm, false);
    let iterated = Gate::Iterated { sweeps: 6, eps: 0.5, eps_start: 4.0, decay: 0.7 };
    for gate in [iterated, Gate::Sigmoid] {
        check_layers(&format!("{gate:?}"), pre, spec(AttentionMode::KToLowRank, gate));
    }
}

#[test]
fn encoders_with_rotary_positions_or_local_attention_are_not_trained() {
    let plain = config(NormPlacement::Pre, Norm::LayerNorm, true);
    let rotary = Rotary { columns: 2, positions: 8, own_of_local: false };
    let local = LocalAttention { distance: 2, period: 2 };
    for config in [Config { rotary, ..plain }, Config { local, ..plain }] {
        let spec = TaskSpec::dense(Pooling::Mean, 3);
        let model = Model::new(config, spec, &Default::default(), |_| false, DType::F64);
        let error = model.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("the trainer does not compute rotary positions"), "{error}");
    }
}

/// Values of every variable of a model that writes that are compared.
const COMPARED: usize = 5;
/// The rules of a loss that learns labels alone.
const LABELS: LossWeights =
    LossWeights { smoothing: 0.1, soft_labels: 0.0, temperature: 1.0, pooled: 0.0, hidden: 0.0 };

/// Adds something to every value of what a task begins with, so that no gradient is zero for a zero map.
fn moved(blank: Tensors) -> Tensors {
    let moved = |(index, (place, tensor)): (usize, (_, FloatTensor))| {
        let mut draws = draws(3000 + index as u64);
        let values = tensor.values.iter().map(|value| value + 0.3 * draws.normal()).collect();
        (place, FloatTensor { shape: tensor.shape, values })
    };
    blank.into_iter().enumerate().map(moved).collect()
}

/// A relative bias as it is trained: by bucket.
fn by_bucket(values: &mut Tensors, entries: &[Entry]) {
    for entry in entries {
        if let (Some(buckets), Some(tensor)) = (entry.buckets(), values.get_mut(&entry.place)) {
            let values = buckets.by_bucket(&tensor.values, tensor.shape[0]).unwrap();
            *tensor = FloatTensor { shape: vec![buckets.count, tensor.shape[0]], values };
        }
    }
}

/// A base that writes, in f64, with a routed task and adapters of both halves.
fn writer(base: &Base, method: Method, spec: TaskSpec) -> Model {
    let decoder = base.decoder.as_ref().unwrap();
    let initializer = |half| Initializer { seed: 3, half };
    let blank = blank_task(&base.config, &spec, &base.tensors, initializer(Half::Encoder));
    let of_decoder = blank_decoder_task(&decoder.config, &spec, initializer(Half::Decoder));
    let mut values: Tensors = base.tensors.clone().into_iter().chain(moved(blank)).collect();
    let mut own: Tensors = decoder.tensors.clone().into_iter().chain(moved(of_decoder)).collect();
    if method == Method::Full {
        by_bucket(&mut values, &base.entries);
        by_bucket(&mut own, &decoder.entries);
    }
    let trains = |place| method.trains(place);
    let model = Model::new(base.config, spec, &values, trains, DType::F64).unwrap();
    model.with_decoder(decoder, &own, trains, DType::F64).unwrap()
}

/// Two questions with answers of two and three ids behind two start ids.
fn questions(base: &Base) -> Batch {
    let answers = Some(DecoderInputs::new(&[0, 2], &[&[5, 1], &[3, 7, 1]]));
    let columns = PatchGrid::of(&base.config.embedding).map_or(0, |grid| grid.inputs());
    if columns == 0 {
        return Batch { answers, ..batch() };
    }
    let tokens = base.config.max_tokens().unwrap();
    let patches = tokens - base.config.prefix_tokens();
    let inputs = Inputs::Patches(random(2 * patches, columns, 77));
    Batch { inputs, ranges: vec![0..tokens, tokens..2 * tokens], answers, ..Batch::default() }
}

#[test]
fn every_parameter_of_models_that_write() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");
    let mut models = 0;
    for directory in directories(Path::new(root)).unwrap().into_iter().filter(|path| is_one(path)) {
        let Some(vectors) = Vectors::open(&directory).unwrap() else { continue };
        let base = vectors.base();
        if untrained(&base.config).is_some() {
            continue;
        }
        for method in [Method::Coda, Method::Full] {
            let spec = match method {
                Method::Coda => {
                    let gate = Gate::Exact { eps: 0.5 };
                    TaskSpec { labels: 0, ..spec(AttentionMode::KToLowRank, gate) }
                }
                _ => TaskSpec::dense(Pooling::Mean, 0),
            };
            let (model, batch) = (writer(base, method, spec), questions(base));
            let run = || {
                let encoded = model.forward(&batch, &vec![2.0; base.config.layers]).unwrap();
                loss(&encoded, batch.expected(), None, LABELS).unwrap()
            };
            let variables: Vec<Var> = model.variables().values().cloned().collect();
            let name = format!("{} {method:?}", directory.display());
            let decoders = model.variables().keys().filter(|(half, _)| *half == Half::Decoder);
            assert!(decoders.count() >= 12, "{name}");
            check_some(&name, &variables, COMPARED, run);
        }
        models += 1;
    }
    assert!(models >= 4, "{models} models");
}
