//! Models that write against the oracle and against their float selves, at every position of an answer.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::dataset::SampleInput;
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::source::{Base, FloatTensor};
use coda_converter::verify::{
    Comparison, Difference, Lesson, Pair, decoder_against_float, decoder_against_oracle,
};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::seq2seq::{Given, Vectors};
use coda_tests::tolerance::Tolerance;
use coda_tests::vectors::directories;
use std::path::Path;

/// The float path against tract, whose erf is good to 2e-6.
const ORACLE: Tolerance = Tolerance::Relative(1e-4);
/// What `coda verify` allows the float path, as a share of a stage's scale.
const FLOAT_BOUND: f64 = 1e-3;
/// Mean errors of packed weights, as a share of a stage's scale.
const PACKED: [(WeightType, f64); 3] =
    [(WeightType::F16, 2e-3), (WeightType::Int8, 0.1), (WeightType::Int4, 0.5)];

fn all() -> Vec<Vectors> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq");
    let directories = directories(&root).unwrap();
    directories.iter().filter_map(|path| Vectors::open(path).unwrap()).collect()
}

fn inputs(vectors: &Vectors) -> Vec<SampleInput> {
    let input = |given: &Given| match given {
        Given::Ids(ids) => SampleInput::Tokens(ids.clone()),
        Given::Patches(values) => SampleInput::Patches(values.clone()),
        Given::Features(values) => SampleInput::Features(values.clone()),
        Given::Grid(patches) => SampleInput::Grid(patches.clone()),
    };
    vectors.inputs().iter().map(input).collect()
}

fn share(stage: &Difference) -> f64 {
    stage.worst / stage.scale
}

/// The dense base `packed` against the oracle of `base`.
fn against_oracle(packed: &PackageBytes, base: &Base, inputs: &[SampleInput]) -> Comparison {
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let lesson = Lesson { title: "decoder", inputs, budget: Budget::Task };
    decoder_against_oracle(base, None, &model, lesson, || ()).unwrap()
}

#[test]
fn every_decoder_agrees_with_the_oracle_at_every_position() {
    for vectors in all() {
        let (base, inputs) = (vectors.base(), inputs(&vectors));
        let packed = pack_base(base, WeightType::F32, "").unwrap().bytes;
        let found = against_oracle(&packed, base, &inputs);
        let layers = base.decoder.as_ref().unwrap().config.layers;
        // Embedding, each layer, logits; at least the fixed ids of every input.
        assert_eq!((found.stages.len(), found.inputs), (layers + 2, inputs.len()));
        assert!(found.labels > 4 * inputs.len() && found.writes, "{found:?}");
        assert!(found.stages.iter().all(|stage| ORACLE.accepts(share(stage), 0.0)), "{found:?}");
        assert!(found.agreement_within(FLOAT_BOUND) > Some(99.9), "{found:?}");
    }
}

#[test]
fn adapters_and_appended_states_agree_with_the_oracle_behind_a_routed_encoder() {
    for vectors in all() {
        let (base, inputs) = (vectors.base(), inputs(&vectors));
        let mut task = vectors.any_task().unwrap();
        let adapters = task.decoder.as_mut().unwrap();
        let values = (0..3 * base.config.hidden).map(|at| (at % 7) as f32 / 4.0 - 0.75).collect();
        let appended = FloatTensor { shape: vec![3, base.config.hidden], values };
        adapters.tensors.insert((GLOBAL_LAYER, Role::AppendedStates), appended);
        let packed = pack_base(base, WeightType::F32, "").unwrap().bytes;
        let package = packed.parse().unwrap();
        let of_task = pack_task(&task, &package, WeightType::F32, "").unwrap().bytes;
        let of_task = of_task.parse().unwrap();
        let model = Model::bind(&package, &of_task).unwrap();
        let lesson = Lesson { title: "task", inputs: &inputs, budget: Budget::Reduction(2.0) };
        let found = decoder_against_oracle(base, Some(&task), &model, lesson, || ()).unwrap();
        assert!(found.stages.iter().all(|stage| ORACLE.accepts(share(stage), 0.0)), "{found:?}");
        // An adapter of another value is seen.
        let adapters = task.decoder.as_mut().unwrap();
        let up = adapters.tensors.get_mut(&(0, Role::AdapterUp)).unwrap();
        up.values.iter_mut().for_each(|value| *value += 0.5);
        let found = decoder_against_oracle(base, Some(&task), &model, lesson, || ()).unwrap();
        assert!(found.stages.iter().any(|stage| share(stage) > FLOAT_BOUND), "{found:?}");
    }
}

/// What changes nothing: every key of a query moves by the same.
const WITHOUT_EFFECT: [Role; 2] = [Role::KeyBias, Role::CrossKeyBias];

#[test]
fn another_value_in_any_tensor_of_a_decoder_exceeds_the_bound() {
    let mut edited = 0;
    for vectors in all() {
        let inputs = [inputs(&vectors).swap_remove(0)];
        let packed = pack_base(vectors.base(), WeightType::F32, "").unwrap().bytes;
        let decoder = vectors.base().decoder.as_ref().unwrap();
        for place in decoder.tensors.keys().filter(|(_, role)| !WITHOUT_EFFECT.contains(role)) {
            let mut other = vectors.base().clone();
            let decoder = other.decoder.as_mut().unwrap();
            let values = &mut decoder.tensors.get_mut(place).unwrap().values;
            // No row or column changes as another does.
            let change = |index: usize| (index * index % 11) as f32 / 10.0 - 0.5;
            values.iter_mut().enumerate().for_each(|(index, value)| *value += change(index));
            let found = against_oracle(&packed, &other, &inputs);
            let exceeds = found.stages.iter().any(|stage| share(stage) > FLOAT_BOUND);
            assert!(exceeds, "{place:?}: {found:?}");
            edited += 1;
        }
    }
    assert!(edited > 100, "{edited} tensors");
}

#[test]
fn packed_decoders_are_close_to_the_float_one_and_the_float_one_is_itself() {
    for vectors in all() {
        let inputs = inputs(&vectors);
        let lesson = Lesson { title: "packed", inputs: &inputs, budget: Budget::Task };
        let float = pack_base(vectors.base(), WeightType::F32, "").unwrap().bytes;
        let package = float.parse().unwrap();
        let float = Model::dense(&package).unwrap();
        let itself = Pair { model: &float, float: &float };
        let found = decoder_against_float(itself, lesson, || ()).unwrap();
        assert!(found.stages.iter().all(|stage| stage.worst == 0.0), "{found:?}");
        assert_eq!(found.agreement, Some(100.0));
        for (weights, bound) in PACKED {
            let packed = pack_base(vectors.base(), weights, "").unwrap().bytes;
            let package = packed.parse().unwrap();
            let model = Model::dense(&package).unwrap();
            let pair = Pair { model: &model, float: &float };
            let found = decoder_against_float(pair, lesson, || ()).unwrap();
            let worst = found.stages.iter().map(|stage| stage.mean / stage.scale);
            let worst = worst.fold(0.0, f64::max);
            println!("{weights:?}: {worst:.5}, {:?} % same", found.agreement);
            // f16 holds the weights of the vectors exactly, but for the positions of frames.
            assert!(worst > 0.0 || !weights.is_integer(), "{weights:?}: {found:?}");
            assert!(worst < bound, "{weights:?}: {worst} {found:?}");
            // Four bits are too few for layers of so few columns to choose alike.
            let chooses_alike = found.agreement_within(bound) > Some(90.0);
            assert!(chooses_alike || weights == WeightType::Int4, "{weights:?}: {found:?}");
        }
    }
}

#[test]
fn what_is_not_finite_is_found_with_its_stage() {
    let vectors = &all()[0];
    let inputs = inputs(vectors);
    let mut base = vectors.base().clone();
    let decoder = base.decoder.as_mut().unwrap();
    let scale = |place: &(u16, Role)| place.1 == Role::FinalNormWeight || place.0 == 1;
    decoder.tensors.iter_mut().filter(|(place, _)| scale(place)).for_each(|(_, tensor)| {
        tensor.values.iter_mut().for_each(|value| *value *= 1e30);
    });
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let found = against_oracle(&packed, &base, &inputs);
    let place = found.not_finite.unwrap();
    assert!(place.starts_with("input 1, decoder layer 1"), "{place}");
}
