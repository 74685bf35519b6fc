//! Encoders of log-mel frames: the two convolutions against their definition in float64, on every kernel table and
//! any number of threads; and what is refused.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{WeightType, pack_base};
use coda_converter::session::Session;
use coda_converter::source::Base;
use coda_runtime::executor::{Executor, Input, Observer, RunError};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::kernels::{Kernels, scalar};
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::tensor::Matrix;
use coda_tests::tiny::{Tiny, TinyInput};
use coda_tests::tolerance::OTHER_F32;

/// Bins of the tiny model, and rows of its position table.
const BINS: usize = 5;
const POSITIONS: usize = 40;

/// Hidden states before the first layer.
#[derive(Default)]
struct Embedded(Vec<f32>);

impl Observer for Embedded {
    fn embedded(&mut self, hidden: Matrix<'_>) {
        self.0 = hidden.iter().flatten().copied().collect();
    }
}

/// `tokens` tokens of features that look random.
fn features(tokens: usize) -> Vec<f32> {
    (0..2 * tokens * BINS).map(|index| (index * 37 % 101) as f32 / 50.0 - 1.0).collect()
}

fn embedded(
    model: &Model<'_>,
    table: &'static Kernels,
    threads: usize,
    values: &[f32],
) -> Vec<f32> {
    let capacity = Capacity::any_budget(values.len() / (2 * BINS));
    let session = Session::new(model, capacity).unwrap().with_kernels(table);
    let mut session = session.with_threads(threads).unwrap();
    let mut seen = Embedded::default();
    session.run(Input::Features(values), Budget::Task, &mut seen, |_| ()).unwrap();
    seen.0
}

/// GELU by the integral of the normal density, in steps that are small enough for eight digits.
fn gelu(x: f64) -> f64 {
    const STEPS: usize = 2000;
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let step = x / (2 * STEPS) as f64;
    let at = |index: usize| density(index as f64 * step);
    let odd: f64 = (0..STEPS).map(|index| at(2 * index + 1)).sum();
    let even: f64 = (1..STEPS).map(|index| at(2 * index)).sum();
    x * (0.5 + step / 3.0 * (at(0) + at(2 * STEPS) + 4.0 * odd + 2.0 * even))
}

/// A convolution over three rows, every `stride`th one: weights `[outputs, 3, inputs]`.
fn convolved(rows: &[Vec<f64>], weights: &[f32], bias: &[f32], stride: usize) -> Vec<Vec<f64>> {
    let inputs = rows[0].len();
    let one = |centre: usize, (output, bias): (usize, &f32)| {
        let mut sum = f64::from(*bias);
        for place in 0..3 {
            let Some(row) = (centre + place).checked_sub(1).and_then(|at| rows.get(at)) else {
                continue;
            };
            let start = (output * 3 + place) * inputs;
            let weights = &weights[start..start + inputs];
            sum += row.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum::<f64>();
        }
        gelu(sum)
    };
    let centres = (0..rows.len()).step_by(stride);
    centres.map(|centre| bias.iter().enumerate().map(|own| one(centre, own)).collect()).collect()
}

/// The definition of docs/method.md, "Frames of sound".
fn expected(base: &Base, values: &[f32]) -> Vec<f64> {
    let tensor = |role| &*base.tensors[&(GLOBAL_LAYER, role)].values;
    let frames: Vec<Vec<f64>> =
        values.chunks(BINS).map(|frame| frame.iter().map(|x| f64::from(*x)).collect()).collect();
    let first = tensor(Role::FirstConvolution);
    let between = convolved(&frames, first, tensor(Role::FirstConvolutionBias), 1);
    let second = tensor(Role::SecondConvolution);
    let rows = convolved(&between, second, tensor(Role::SecondConvolutionBias), 2);
    let positions = tensor(Role::PositionEmbedding).iter().map(|x| f64::from(*x));
    rows.into_iter().flatten().zip(positions).map(|(x, position)| x + position).collect()
}

#[test]
fn the_embedding_is_two_convolutions_and_positions_at_every_length() {
    let tiny = Tiny::whisper();
    let packed = pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    // A token, those around the end of a tile, and all positions.
    for tokens in [1, 2, 3, 31, 32, 33, POSITIONS] {
        let values = features(tokens);
        let found = embedded(&model, Kernels::best(), 1, &values);
        let expected = expected(&tiny.base, &values);
        assert_eq!(found.len(), expected.len());
        let miss = OTHER_F32.first_miss(found.into_iter().map(f64::from), expected);
        assert_eq!(miss, None, "{tokens} tokens");
    }
}

#[test]
fn every_table_and_any_number_of_threads_give_the_same_bits() {
    let tiny = Tiny::whisper();
    for weights in [WeightType::F32, WeightType::F16, WeightType::Int8, WeightType::Int4] {
        let packed = pack_base(&tiny.base, weights, "").unwrap().bytes;
        let package = packed.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        for tokens in [1, 9, 33, POSITIONS] {
            let values = features(tokens);
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let scalar = bits(embedded(&model, &scalar::KERNELS, 1, &values));
            for table in Kernels::available() {
                for threads in 1..=3 {
                    let found = bits(embedded(&model, table, threads, &values));
                    assert_eq!(found, scalar, "{weights:?} {} {threads} {tokens}", table.name);
                }
            }
        }
    }
}

#[test]
fn features_that_are_no_whole_tokens_not_finite_or_too_many_are_refused() {
    let tiny = Tiny::whisper();
    let packages = tiny.pack(WeightType::Int8).unwrap();
    let model = packages.model().unwrap();
    let plan = Plan::new(&model.dimensions(), Capacity::any_budget(4)).unwrap();
    let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
    let arena = bytemuck::cast_slice_mut(&mut blocks);
    let mut executor = Executor::new(&model, Kernels::best(), plan, arena).unwrap();
    let mut refusal = |input: Input<'_>| executor.run(input, Budget::Task).map(drop).unwrap_err();
    let (each, values) = (2 * BINS, features(POSITIONS + 1));
    assert_eq!(refusal(Input::Features(&[])), RunError::Empty);
    for found in [1, each - 1, each + 1, each + BINS] {
        let error = refusal(Input::Features(&values[..found]));
        assert_eq!(error, RunError::FeatureValues { each, found });
    }
    for wrong in [f32::NAN, f32::INFINITY] {
        let mut own = features(3);
        own[7] = wrong;
        assert_eq!(refusal(Input::Features(&own)), RunError::NotFinite);
    }
    let error = refusal(Input::Features(&values[..5 * each]));
    assert_eq!(error, RunError::TooManyTokens { found: 5, capacity: 4 });
    let error = refusal(Input::Features(&values));
    let (found, limit) = (POSITIONS + 1, POSITIONS);
    assert_eq!(error, RunError::TooManyPositions { found, limit });
    assert_eq!(refusal(Input::tokens(&[1])), RunError::WrongInput);
    assert_eq!(refusal(Input::Patches(&values)), RunError::WrongInput);
    let TinyInput::Features(own) = &tiny.input else { panic!("it reads features") };
    assert!(own.len() > 4 * each);
}

/// One byte less is too little, and no byte behind the arena is written, whatever the weights.
#[test]
fn the_plan_is_exact_for_every_weight_type() {
    const GUARD: usize = 256;
    let tiny = Tiny::whisper();
    for weights in [WeightType::F32, WeightType::F16, WeightType::Int8, WeightType::Int4] {
        let packed = pack_base(&tiny.base, weights, "").unwrap().bytes;
        let package = packed.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        for tokens in [1, 2, 7, 33] {
            let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens)).unwrap();
            let bytes = plan.arena_bytes();
            let mut memory = vec![0xa5_u8; bytes + 16 + GUARD];
            let start = memory.as_ptr().align_offset(16);
            let (arena, guard) = memory[start..].split_at_mut(bytes);
            assert!(Executor::new(&model, Kernels::best(), plan, &mut arena[..bytes - 1]).is_err());
            let mut executor = Executor::new(&model, Kernels::best(), plan, arena).unwrap();
            executor.run(Input::Features(&features(tokens)), Budget::Task).unwrap();
            assert!(guard.iter().all(|byte| *byte == 0xa5), "{weights:?} {tokens}");
        }
    }
}
