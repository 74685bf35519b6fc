//! Every pooling and dense stage against a head in float64, against the oracle, and with the
//! same bits on every kernel table.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::dataset::SampleInput;
use coda_converter::pack::WeightType;
use coda_converter::session::Session;
use coda_converter::source::FloatTensor;
use coda_converter::verify::against_oracle;
use coda_runtime::config::{Named, Pooling, Poolings, StageActivation, Stages};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::{Model, ModelError};
use coda_runtime::routing::Budget;
use coda_tests::head64;
use coda_tests::tiny::{Tiny, TinyInput};
use coda_tests::tolerance::OTHER_F32;

/// Compares the packed base with the float64 head, with the oracle and among all kernel tables.
fn check(tiny: &Tiny, weights: WeightType) {
    let packed = tiny.pack(weights).unwrap();
    let package = packed.base.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let mut bits = Vec::new();
    for kernels in Kernels::available() {
        let read = |out: coda_runtime::executor::Output<'_>| {
            let hidden = out.hidden.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect());
            (hidden.collect::<Vec<Vec<f64>>>(), out.values.to_vec())
        };
        let (hidden, values) = tiny.run(&model, kernels, Budget::Task, read).unwrap();
        let exact = head64::expected(&tiny.base, &hidden);
        assert_eq!((values.len(), model.dimensions().outputs), (exact.len(), exact.len()));
        // f16 weights of this model are within 2^-11 of what the float64 head reads.
        if weights == WeightType::F32 {
            let found = values.iter().map(|x| f64::from(*x));
            let miss = OTHER_F32.first_miss(found, exact);
            assert_eq!(miss, None, "{:?} with {}", tiny.base.head, kernels.name);
        }
        bits.push(values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>());
    }
    assert!(bits.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", tiny.base.head);
    let TinyInput::Tokens { ids, .. } = &tiny.input else { return };
    if weights == WeightType::F32 {
        let inputs = [SampleInput::Tokens(ids.clone())];
        for stage in against_oracle(&tiny.base, &model, &inputs, || ()).unwrap().stages {
            assert!(OTHER_F32.accepts(stage.worst, 0.0), "{stage:?} of {:?}", tiny.base.head);
        }
    }
}

#[test]
fn each_token_is_labelled_by_its_vector() {
    let mut tiny = Tiny::bert_tokens();
    for weights in [WeightType::F32, WeightType::F16, WeightType::Int8] {
        check_rows(&tiny, weights);
    }
    let TinyInput::Tokens { ids, types } = &mut tiny.input else { return };
    ids.truncate(1);
    types.truncate(1);
    tiny.tokens = 1;
    check_rows(&tiny, WeightType::F32);
}

/// Compares labels of tokens on every kernel table, in a plan for more tokens and on two threads.
fn check_rows(tiny: &Tiny, weights: WeightType) {
    let packed = tiny.pack(weights).unwrap();
    let model = packed.model().unwrap();
    let dimensions = model.dimensions();
    assert_eq!((dimensions.pooled, dimensions.outputs), (0, 3));
    let mut bits = Vec::new();
    for (kernels, threads) in Kernels::available().flat_map(|table| [(table, 1), (table, 2)]) {
        let session = Session::new(&model, Capacity::any_budget(8)).unwrap();
        let mut session = session.with_kernels(kernels).with_threads(threads).unwrap();
        let plan = session.plan().buffers();
        let answer = plan.iter().find(|buffer| buffer.name == "answer").unwrap();
        assert_eq!(answer.bytes, 8 * 3 * size_of::<f32>());
        let (hidden, values) = session
            .run(tiny.input.view(), Budget::Reduction(2.0), &mut (), |out| {
                assert_eq!(out.label(), None);
                let rows = out.token_logits().unwrap();
                assert_eq!((rows.rows(), rows.columns()), (tiny.tokens, 3));
                let hidden: Vec<Vec<f64>> = out
                    .hidden
                    .iter()
                    .map(|row| row.iter().map(|x| f64::from(*x)).collect())
                    .collect();
                (hidden, out.values.to_vec())
            })
            .unwrap();
        if weights == WeightType::F32 {
            let found = values.iter().map(|x| f64::from(*x));
            assert_eq!(OTHER_F32.first_miss(found, head64::expected(&tiny.base, &hidden)), None);
        }
        bits.push(values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>());
    }
    assert!(bits.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_pooling_by_attention_is_its_definition_and_its_memory_is_counted() {
    let tiny = Tiny::siglip();
    check(&tiny, WeightType::F32);
    check(&tiny, WeightType::F16);
    check(&tiny, WeightType::Int8);
    let packed = tiny.pack(WeightType::F32).unwrap();
    let dimensions = packed.model().unwrap().dimensions();
    // Of d = 8 and a width of 8: p and its norm, and behind them 12 + 8 values of the stages or 3 of 8.
    assert_eq!((dimensions.pooled, dimensions.outputs), (2 * 8 + 3 * 8, 8));
    let mut narrow = tiny;
    narrow.base.tensors.get_mut(&(GLOBAL_LAYER, Role::SecondStage)).unwrap().shape = vec![4, 24];
    assert!(narrow.pack(WeightType::F32).is_err());
}

#[test]
fn a_norm_of_the_pooled_vector_is_its_definition() {
    for weights in [WeightType::F32, WeightType::F16, WeightType::Int8] {
        check(&Tiny::beit(), weights);
    }
}

#[test]
fn every_pooling_is_its_definition() {
    let mut together = Pooling::LastToken.alone();
    for mut tiny in [Tiny::bert(), Tiny::vit(), Tiny::clip()] {
        for pooling in Poolings::ORDER {
            together = together.with(pooling);
            for pooling in [pooling.alone(), together] {
                for labels in [None, Some(4)] {
                    tiny.set_head(pooling, &[], labels);
                    check(&tiny, WeightType::F32);
                }
            }
        }
        check(&tiny, WeightType::Int8);
    }
}

#[test]
fn every_dense_stage_is_its_definition() {
    let pooling = Pooling::ClassToken.alone().with(Pooling::Max);
    for first in StageActivation::ALL.iter().filter(|stage| !stage.has_norm()) {
        for second in &[StageActivation::Identity, *first] {
            let mut tiny = Tiny::bert();
            tiny.set_head(pooling, &[*first, *second], Some(4));
            check(&tiny, WeightType::F32);
        }
        let mut tiny = Tiny::bert();
        tiny.set_head(Pooling::Mean.alone(), &[*first], None);
        check(&tiny, WeightType::F32);
        check(&tiny, WeightType::Int8);
        check(&tiny, WeightType::F16);
    }
}

/// A stage of d values with a norm behind it, and a second one.
fn normed_stage(rows: usize) -> Tiny {
    let mut tiny = Tiny::bert();
    let stages = [StageActivation::GeluErfNormed, StageActivation::Tanh];
    tiny.set_head(Pooling::Mean.alone(), &stages, Some(3));
    let d = tiny.base.config.hidden;
    let values = |count: usize| (0..count).map(|index| (index % 5) as f32 / 4.0 - 0.5).collect();
    for (role, rows, columns) in [
        (Role::FirstStage, rows, d),
        (Role::FirstStageBias, 1, rows),
        (Role::PooledNormWeight, 1, d),
        (Role::PooledNormBias, 1, d),
        (Role::SecondStage, 9, rows),
    ] {
        let tensor = FloatTensor { shape: vec![rows, columns], values: values(rows * columns) };
        tiny.base.tensors.insert((GLOBAL_LAYER, role), tensor);
    }
    tiny
}

#[test]
fn a_norm_behind_a_stage_is_its_definition_and_has_the_width_of_the_model() {
    for weights in [WeightType::F32, WeightType::Int8, WeightType::F16] {
        check(&normed_stage(8), weights);
    }
    let refusal =
        |tiny: &Tiny| match coda_converter::pack::pack_base(&tiny.base, WeightType::F32, "") {
            Err(coda_converter::pack::PackError::Model(error)) => error,
            other => panic!("{other:?}"),
        };
    let (role, layer) = (Role::FirstStage, GLOBAL_LAYER);
    let shape = ModelError::Shape { role, layer, expected: (8, 8), found: (5, 8) };
    let mut narrow = normed_stage(5);
    narrow.base.tensors.remove(&(layer, Role::FirstStageBias));
    assert_eq!(refusal(&narrow), shape);
    let mut without = normed_stage(8);
    let role = Role::PooledNormWeight;
    without.base.tensors.remove(&(layer, role));
    assert_eq!(refusal(&without), ModelError::MissingTensor { role, layer });
}

#[test]
fn one_token_alone_is_pooled_too() {
    let mut tiny = Tiny::bert();
    (tiny.input, tiny.tokens) = (TinyInput::Tokens { ids: vec![5], types: vec![1] }, 1);
    for pooling in Poolings::ORDER {
        tiny.set_head(pooling.alone(), &[], Some(2));
        let packed = tiny.pack(WeightType::F32).unwrap();
        let package = packed.base.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        let run = |out: coda_runtime::executor::Output<'_>| out.values.to_vec();
        let values = tiny.run(&model, Kernels::best(), Budget::Task, run).unwrap();
        let bias = &tiny.base.tensor(Role::HeadBias, GLOBAL_LAYER).unwrap().values;
        let of_others = matches!(pooling, Pooling::MeanOfRest | Pooling::SecondToken);
        assert_eq!(values == *bias, of_others, "{}", pooling.name());
    }
}

#[test]
fn the_plan_of_a_plain_head_is_what_it_was_and_stages_are_counted_exactly() {
    let arena = |tiny: &Tiny, tokens: usize| {
        let packed = tiny.pack(WeightType::F32).unwrap();
        let package = packed.base.parse().unwrap();
        let dimensions = Model::dense(&package).unwrap().dimensions();
        let plan = Plan::new(&dimensions, Capacity::any_budget(tokens)).unwrap();
        (dimensions.pooled, dimensions.outputs, plan.arena_bytes())
    };
    let mut tiny = Tiny::bert();
    let plain = arena(&tiny, 7);
    assert_eq!((plain.0, plain.1), (8, 8));
    tiny.set_head(Pooling::Mean.alone(), &[StageActivation::Tanh], None);
    let (pooled, outputs, bytes) = arena(&tiny, 7);
    assert_eq!((pooled, outputs), (8 + 5, 5));
    assert!(bytes <= plain.2, "the stages fit what other stages of an inference leave");
    let all = Poolings::ORDER.into_iter().fold(Pooling::Mean.alone(), Poolings::with);
    tiny.set_head(all, &[StageActivation::Relu; 2], Some(3));
    assert_eq!(arena(&tiny, 1).0, 9 * 8 + 5 + 9);
}

#[test]
fn tensors_that_do_not_fit_the_head_are_refused() {
    let mut tiny = Tiny::bert();
    tiny.set_head(Pooling::Mean.alone(), &[StageActivation::Relu; 2], Some(3));
    let refusal = |change: &dyn Fn(&mut Tiny)| {
        let mut tiny = tiny.clone();
        change(&mut tiny);
        match coda_converter::pack::pack_base(&tiny.base, WeightType::F32, "") {
            Err(coda_converter::pack::PackError::Model(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let missing = refusal(&|tiny| {
        tiny.base.tensors.remove(&(GLOBAL_LAYER, Role::SecondStage));
    });
    let (role, layer) = (Role::SecondStage, GLOBAL_LAYER);
    assert_eq!(missing, ModelError::MissingTensor { role, layer });
    let shape = refusal(&|tiny| {
        if let Some(head) = &mut tiny.base.head {
            head.pooling = head.pooling.with(Pooling::Max);
        }
    });
    let role = Role::FirstStage;
    assert_eq!(shape, ModelError::Shape { role, layer, expected: (5, 16), found: (5, 8) });
}

#[test]
fn codes_of_poolings_and_stages_are_read_as_they_are_written() {
    for code in 0_u32..4100 {
        let normed = code > 1024 && (code - 1024).is_power_of_two() && code < 1024 + 512;
        let known = (1..=512).contains(&code) || normed || [2048, 3072].contains(&code);
        assert_eq!(Poolings::from_code(code).map(Poolings::code), known.then_some(code));
    }
    for code in 0..0x2_0000 {
        let (first, second) = (code & 0xff, code >> 8);
        let known = first <= 6 && second <= 6 && (first > 0 || second == 0);
        assert_eq!(Stages::from_code(code).map(Stages::code), known.then_some(code));
    }
    let full =
        Stages::NONE.then(StageActivation::Tanh).unwrap().then(StageActivation::Relu).unwrap();
    assert_eq!(full.then(StageActivation::Relu), None);
    assert_eq!((full.get(0), full.get(2)), (Some(StageActivation::Tanh), None));
}
