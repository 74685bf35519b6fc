//! Deadlines of whole answers: what is counted, what is set aside, and what the encoder gets of the rest.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::answer;
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::session::Session;
use coda_runtime::Generator;
use coda_runtime::config::Embedding;
use coda_runtime::decoder::{AnswerCosts, GenerateError, Search};
use coda_runtime::executor::RunError;
use coda_runtime::kernels::{Epilogue, Kernels, PanelsInt8, RowsInt8, scalar};
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan};
use coda_runtime::model::{AnswerMacs, AnswerSize, Model};
use coda_runtime::routing::{Budget, CostModel, DeadlineChoice, DeadlineError};
use coda_runtime::tensor::MatrixMut;
use coda_tests::seq2seq::{Given, Vectors};
use coda_tests::vectors::directories;
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

const LONGEST: usize = 5;
/// A nanosecond for each multiply-accumulate, and some for the rest.
const COSTS: CostModel =
    CostModel { fixed: 2000.0, token: 100.0, frozen: 1.0, attention: 2.0, task: 1.5, margin: 0.05 };
/// A weight of a step takes longer than one of many rows.
const ANSWER: AnswerCosts =
    AnswerCosts { memory: 1.0, weight: 8.0, row: 1.0, key: 2.0, margin: 0.1 };

fn all() -> Vec<Vectors> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq");
    let directories = directories(&root).unwrap();
    directories.iter().filter_map(|path| Vectors::open(path).unwrap()).collect()
}

/// Does something with an int8 model and one of its inputs.
fn with_model(vectors: &Vectors, work: impl FnOnce(&Model<'_>, &Given)) {
    let base = pack_base(vectors.base(), WeightType::Int8, "").unwrap().bytes;
    let task = vectors.any_task().unwrap();
    let task: PackageBytes =
        pack_task(&task, &base.parse().unwrap(), WeightType::Int8, "").unwrap().bytes;
    let (base, task) = (base.parse().unwrap(), task.parse().unwrap());
    work(&Model::bind(&base, &task).unwrap(), &vectors.inputs()[0]);
}

fn tokens_of(model: &Model<'_>, given: &Given) -> usize {
    match given {
        Given::Ids(ids) => ids.len(),
        Given::Patches(_) => model.max_tokens().unwrap(),
        Given::Grid(patches) => patches.rows * patches.columns,
        Given::Features(values) => match model.config().embedding {
            Embedding::Frames { bins, .. } => values.len() / bins / 2,
            _ => unreachable!("features are of frames"),
        },
    }
}

fn plan(model: &Model<'_>, given: &Given, beams: usize) -> GenerationPlan {
    let start = model.decoder().unwrap().rules().start.len();
    let capacity = AnswerCapacity { positions: start + LONGEST, beams };
    let tokens = Capacity::any_budget(tokens_of(model, given));
    answer::plan(model, tokens, capacity, 1).unwrap()
}

fn size(model: &Model<'_>, given: &Given, beams: usize) -> AnswerSize {
    let start = model.decoder().unwrap().rules().start.len();
    AnswerSize { tokens: tokens_of(model, given), start, longest: LONGEST, beams }
}

thread_local! {
    /// Multiply-accumulates of int8 weights.
    static DONE: Cell<u64> = const { Cell::new(0) };
}

fn counting(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    DONE.set(DONE.get() + (lhs.scales.len() * rhs.outputs * rhs.inputs) as u64);
    (scalar::KERNELS.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
}

static COUNTING: Kernels =
    Kernels { name: "counting", gemm_f32_qd8_qc8w: counting, ..scalar::KERNELS };

/// What kernels multiply is the reference of what is counted on paper.
#[test]
fn as_many_products_are_counted_as_kernels_do() {
    for vectors in all() {
        with_model(&vectors, |model, given| {
            let tokens = tokens_of(model, given);
            let mut session = Session::new(model, Capacity::any_budget(tokens)).unwrap();
            session = session.with_kernels(&COUNTING);
            DONE.set(0);
            session.run(given.input(), Budget::Reduction(2.0), &mut (), |_| ()).unwrap();
            let encoder = DONE.get();
            for beams in [1, 3] {
                let plan = plan(model, given, beams);
                let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
                let arena = bytemuck::cast_slice_mut(&mut blocks);
                let mut generator = Generator::new(model, &COUNTING, plan, arena).unwrap();
                DONE.set(0);
                let search = Search { longest: LONGEST, beams, ..Search::OF_PACKAGE };
                let mut answer =
                    generator.generate(given.input(), Budget::Reduction(2.0), &search).unwrap();
                let memory = DONE.get() - encoder;
                DONE.set(0);
                let mut steps = 0;
                while !answer.is_over() {
                    answer.step().unwrap();
                    steps += 1;
                }
                let size = AnswerSize { longest: steps, ..size(model, given, beams) };
                let found = model.decoder().unwrap().answer_macs(size);
                // A map of floats before the memory is none of int8.
                let decoder = model.decoder().unwrap();
                let projected = decoder.dimensions().projected;
                let map = decoder.config().hidden * decoder.dimensions().encoder_hidden;
                let mapped = if projected { tokens * map } else { 0 };
                assert_eq!(found.memory, memory + mapped as u64, "{beams}");
                assert_eq!(found.weights + found.rows, DONE.get(), "{beams}");
            }
        });
    }
}

#[test]
fn keys_are_those_that_each_query_meets() {
    for vectors in all() {
        with_model(&vectors, |model, given| {
            let decoder = model.decoder().unwrap();
            let each = 2 * decoder.config().attention_width() * decoder.config().layers;
            for (start, longest, beams) in [(1, 1, 1), (1, 6, 1), (3, 4, 2)] {
                let size = AnswerSize { start, longest, beams, ..size(model, given, 1) };
                let met = |position: usize| position + 1 + size.tokens;
                let first: usize = (0..start).map(met).sum();
                let later: usize = (start..start + longest - 1).map(met).sum();
                let expected = each * (first + beams * later);
                assert_eq!(decoder.answer_macs(size).keys, expected as u64);
            }
        });
    }
}

#[test]
fn the_encoder_gets_what_the_longest_answer_leaves() {
    with_model(&all()[0], |model, given| {
        let decoder = model.decoder().unwrap();
        let size = size(model, given, 2);
        let AnswerMacs { memory, weights, rows, keys } = decoder.answer_macs(size);
        let expected = (memory + 8 * weights + rows + 2 * keys) as f64 * 1.1;
        let reserved = ANSWER.reserve(&decoder, size);
        assert!((reserved.as_nanos() as f64 / expected - 1.0).abs() < 1e-5, "{reserved:?}");
        let longer = AnswerSize { longest: 2 * LONGEST, ..size };
        assert!(ANSWER.reserve(&decoder, longer) > reserved);
        let deadline = reserved + Duration::from_micros(70);
        let mut left = Duration::ZERO;
        let encoder = DeadlineChoice { tokens: 3, layers: 1, predicted: Duration::from_micros(60) };
        let choice = ANSWER.choose(&decoder, size, deadline, |given| {
            left = given;
            Ok(encoder)
        });
        assert_eq!(left, Duration::from_micros(70));
        assert_eq!(choice.map(|own| (own.encoder, own.reserved)), Ok((encoder, reserved)));
        // The encoder's least does not fit, or the tokens alone do not.
        let needed = Duration::from_micros(80);
        for given in [deadline, reserved / 2] {
            let choice = ANSWER.choose(&decoder, size, given, |given| {
                Err(DeadlineError::TooShort { needed, given })
            });
            let needed = needed + reserved;
            let error = DeadlineError::AnswerTooShort { needed, reserved, given };
            assert_eq!(choice, Err(error));
            assert!(error.to_string().contains("the tokens of the answer take"));
        }
        assert!(ANSWER.choose(&decoder, size, reserved / 2, |_| Ok(encoder)).is_err());
    });
}

#[test]
fn a_deadline_chooses_for_the_encoder_and_the_choice_is_what_runs() {
    for vectors in all() {
        with_model(&vectors, |model, given| {
            let (tokens, plan) = (tokens_of(model, given), plan(model, given, 1));
            let decoder = model.decoder().unwrap();
            let reserved = ANSWER.reserve(&decoder, size(model, given, 1));
            let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
            let arena = bytemuck::cast_slice_mut(&mut blocks);
            let generator = Generator::new(model, Kernels::best(), plan, arena).unwrap();
            let mut generator = generator.with_costs(COSTS).with_answer_costs(ANSWER);
            let search = Search { longest: LONGEST, ..Search::GREEDY };
            let mut run = |budget| -> Result<_, GenerateError> {
                let mut answer = generator.generate(given.input(), budget, &search)?;
                while answer.step().unwrap() {}
                Ok((answer.tokens().to_vec(), answer.choice(), answer.reserved()))
            };
            let mut chosen = Vec::new();
            let all = COSTS.choose(model, tokens, tokens, Duration::from_secs(9)).unwrap();
            for share in [1, 2, 4, 8] {
                let left = all.predicted.mul_f32(1.06) * share / 8;
                let deadline = reserved + left;
                let Ok((answer, choice, kept)) = run(Budget::Deadline(deadline)) else { continue };
                let choice = choice.unwrap();
                assert_eq!(choice, COSTS.choose(model, tokens, tokens, left).unwrap());
                assert_eq!(kept, Some(reserved));
                assert_eq!(run(choice.into()), Ok((answer, None, None)));
                chosen.push(choice.tokens);
            }
            assert_eq!(chosen.last(), Some(&tokens));
            assert!(chosen.iter().min() < Some(&tokens), "{chosen:?}");
            let error = run(Budget::Deadline(reserved / 2)).unwrap_err();
            let short = |error| matches!(error, DeadlineError::AnswerTooShort { .. });
            assert!(matches!(error, GenerateError::Run(RunError::Deadline(e)) if short(e)));
        });
    }
}

#[test]
fn a_deadline_without_the_costs_of_the_tokens_is_refused() {
    with_model(&all()[0], |model, given| {
        let plan = plan(model, given, 1);
        let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
        let arena = bytemuck::cast_slice_mut(&mut blocks);
        let generator = Generator::new(model, Kernels::best(), plan, arena).unwrap();
        let mut generator = generator.with_costs(COSTS);
        let budget = Budget::Deadline(Duration::from_secs(1));
        let error = generator.generate(given.input(), budget, &Search::GREEDY).map(drop);
        let expected = RunError::Deadline(DeadlineError::NoAnswerCosts);
        assert_eq!(error, Err(GenerateError::Run(expected)));
    });
}
