//! Models that write: the reference vectors, the laws of the decoder, and its refusals.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::session::Session;
use coda_converter::source::{FloatTensor, Task};
use coda_runtime::decoder::{GenerateError, Search, StepObserver};
use coda_runtime::executor::{ExecutorError, Input, Output, RunError};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan, Plan, PlanError};
use coda_runtime::model::{Model, ModelError};
use coda_runtime::routing::Budget;
use coda_runtime::{Generation, Generator};
use coda_tests::seq2seq::{Given, Vectors};
use coda_tests::vectors::directories;
use coda_tests::writers;
use std::path::{Path, PathBuf};

const TYPES: [WeightType; 4] =
    [WeightType::F32, WeightType::F16, WeightType::Int8, WeightType::Int4];
const LONGEST: usize = 9;
const BEAMS: usize = 3;
const GUARD: u8 = 0xa5;
const GUARD_BYTES: usize = 4096;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq")
}

fn all() -> Vec<Vectors> {
    let open = |path: &PathBuf| Vectors::open(path).unwrap().unwrap();
    directories(&root()).unwrap().iter().map(open).collect()
}

/// A base and a task of one directory.
struct Packages {
    base: PackageBytes,
    task: PackageBytes,
}

impl Packages {
    fn of(vectors: &Vectors, weights: WeightType) -> Self {
        let base = pack_base(vectors.base(), weights, "").unwrap().bytes;
        let task: Task = vectors.any_task().unwrap();
        let task = pack_task(&task, &base.parse().unwrap(), weights, "").unwrap().bytes;
        Self { base, task }
    }

    fn with<T>(&self, work: impl FnOnce(&Model<'_>) -> T) -> T {
        let (base, task) = (self.base.parse().unwrap(), self.task.parse().unwrap());
        work(&Model::bind(&base, &task).unwrap())
    }
}

fn plan_for(model: &Model<'_>, positions: usize, beams: usize) -> GenerationPlan {
    let tokens = model.config().max_tokens().unwrap_or(16).min(16);
    let encoder = Plan::new(&model.dimensions(), Capacity::any_budget(tokens)).unwrap();
    let decoder = model.decoder().unwrap().dimensions();
    GenerationPlan::new(encoder, &decoder, AnswerCapacity { positions, beams }).unwrap()
}

/// Memory for exactly one arena, and a guard behind it.
struct Guarded {
    memory: Vec<u8>,
    first: usize,
    bytes: usize,
}

impl Guarded {
    fn new(bytes: usize) -> Self {
        let memory = vec![GUARD; bytes + 16 + GUARD_BYTES];
        let first = memory.as_ptr().align_offset(16);
        Self { memory, first, bytes }
    }

    fn arena(&mut self) -> &mut [u8] {
        &mut self.memory[self.first..self.first + self.bytes]
    }

    fn is_whole(&self) -> bool {
        self.memory[self.first + self.bytes..].iter().all(|byte| *byte == GUARD)
    }
}

/// Everything that a caller may see of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    tokens: Vec<u32>,
    score: Option<u32>,
    logits: Vec<u32>,
    ended: bool,
}

impl StepObserver for Seen {
    fn logits(&mut self, _: usize, _: usize, values: &[f32]) {
        self.logits.extend(values.iter().map(|value| value.to_bits()));
    }
}

fn finish(mut answer: Generation<'_>) -> Seen {
    let mut seen = Seen::default();
    while answer.step_observed(&mut seen).unwrap() {}
    seen.tokens = answer.tokens().to_vec();
    seen.score = answer.score().map(f32::to_bits);
    seen.ended = answer.has_ended();
    seen
}

fn answer(model: &Model<'_>, table: &'static Kernels, given: &Given, search: &Search<'_>) -> Seen {
    let own = model.decoder().unwrap().rules().start.len();
    let start = if search.start.is_empty() { own } else { search.start.len() };
    let plan = plan_for(model, start + LONGEST, BEAMS);
    let mut guarded = Guarded::new(plan.arena_bytes());
    let mut generator = Generator::new(model, table, plan, guarded.arena()).unwrap();
    let seen = finish(generator.generate(given.input(), Budget::Reduction(2.0), search).unwrap());
    assert!(guarded.is_whole(), "bytes behind the arena were written");
    seen
}

const GREEDY: Search<'static> = Search { longest: LONGEST, ..Search::GREEDY };
const WITH_BEAMS: Search<'static> = Search { longest: LONGEST, beams: BEAMS, ..Search::OF_PACKAGE };

#[test]
fn every_bundled_case_agrees_with_the_reference_with_every_kernel_table() {
    let (mut checks, mut failures) = (0, Vec::new());
    for vectors in all() {
        for (name, result) in Kernels::available().flat_map(|table| vectors.check(table)) {
            checks += 1;
            if let Err(error) = result {
                failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Six directories, two encoders and the answers of two models each.
    assert_eq!(checks, 6 * (2 + 2) * Kernels::available().count());
}

#[test]
fn every_table_gives_the_same_bits_in_an_arena_that_is_exact() {
    for vectors in all() {
        for weights in TYPES {
            Packages::of(&vectors, weights).with(|model| {
                for (given, search) in vectors.inputs().iter().zip([GREEDY, WITH_BEAMS]) {
                    let expected =
                        answer(model, &coda_runtime::kernels::scalar::KERNELS, given, &search);
                    assert!(!expected.tokens.is_empty());
                    for table in Kernels::available() {
                        let found = answer(model, table, given, &search);
                        assert_eq!(found, expected, "{weights:?} {}", table.name);
                    }
                }
            });
        }
    }
}

#[test]
fn the_golden_writers_give_their_answers_to_the_bit_with_every_kernel_table() {
    for golden in writers::read_all().unwrap() {
        let patches = golden.patches().unwrap();
        for table in Kernels::available() {
            let ids = &golden.expected.ids;
            let found = writers::compute(&golden.package, ids, &patches, table).unwrap();
            assert_eq!(found, golden.expected, "{} {}", golden.name, table.name);
        }
    }
}

/// The first law: what was kept of earlier tokens is what they would be anew.
#[test]
fn decoding_on_has_the_bits_of_decoding_each_prefix_anew() {
    for vectors in all() {
        for weights in TYPES {
            Packages::of(&vectors, weights).with(|model| {
                let given = &vectors.inputs()[0];
                let whole = answer(model, Kernels::best(), given, &GREEDY);
                let rules = *model.decoder().unwrap().rules();
                let each = model.decoder().unwrap().vocabulary();
                let mut start: Vec<u32> = rules.start.iter().collect();
                for (index, expected) in whole.logits.chunks(each).enumerate() {
                    let search = Search { start: &start, longest: 1, ..Search::GREEDY };
                    let found = answer(model, Kernels::best(), given, &search);
                    assert_eq!(found.logits, expected, "{weights:?}, step {index}");
                    start.extend(whole.tokens.get(index));
                }
            });
        }
    }
}

/// The second law, and that a search never finds less than the greedy one among as many hypotheses.
#[test]
fn one_beam_is_greedy_whatever_the_plan_holds() {
    for vectors in all() {
        Packages::of(&vectors, WeightType::Int8).with(|model| {
            for given in vectors.inputs() {
                let greedy = answer(model, Kernels::best(), given, &GREEDY);
                let start = model.decoder().unwrap().rules().start.len();
                let plan = plan_for(model, start + LONGEST, 1);
                let mut guarded = Guarded::new(plan.arena_bytes());
                let mut generator =
                    Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
                let search = Search { longest: LONGEST, ..Search::OF_PACKAGE };
                let one = generator.generate(given.input(), Budget::Reduction(2.0), &search);
                assert_eq!(finish(one.unwrap()), greedy);
            }
        });
    }
}

#[test]
fn an_answer_only_grows_with_one_beam_and_a_second_one_is_the_same() {
    let vectors = &all()[0];
    Packages::of(vectors, WeightType::Int8).with(|model| {
        let plan = plan_for(model, 1 + LONGEST, BEAMS);
        let mut guarded = Guarded::new(plan.arena_bytes());
        let mut generator = Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
        let mut answers = Vec::new();
        for search in [GREEDY, WITH_BEAMS, GREEDY, WITH_BEAMS] {
            let input = vectors.inputs()[0].input();
            let mut answer = generator.generate(input, Budget::Task, &search).unwrap();
            let mut before = Vec::new();
            while answer.step().unwrap() {
                assert!(search.beams > 1 || answer.tokens().starts_with(&before));
                assert!(search.beams > 1 || answer.tokens().len() == before.len() + 1);
                before = answer.tokens().to_vec();
            }
            assert!(answer.is_over() && !answer.step().unwrap());
            answers.push(answer.tokens().to_vec());
        }
        assert_eq!((&answers[0], &answers[1]), (&answers[2], &answers[3]));
    });
}

/// The packages of some vectors, of whose task the decoder finds rows behind the encoder's states.
fn appended(vectors: &Vectors, states: &[f32], weights: WeightType) -> Packages {
    let base = pack_base(vectors.base(), weights, "").unwrap().bytes;
    let mut task: Task = vectors.any_task().unwrap();
    let d = vectors.base().config.hidden;
    let tensor = FloatTensor { shape: vec![states.len() / d, d], values: states.to_vec() };
    let place = (GLOBAL_LAYER, Role::AppendedStates);
    task.decoder.get_or_insert_default().tensors.insert(place, tensor);
    let task = pack_task(&task, &base.parse().unwrap(), weights, "").unwrap().bytes;
    Packages { base, task }
}

fn encoder_states(model: &Model<'_>, given: &Given) -> Vec<f32> {
    let mut session = Session::new(model, Capacity::any_budget(16)).unwrap();
    let read = |output: Output<'_>| output.hidden.iter().flatten().copied().collect();
    session.run(given.input(), Budget::Reduction(2.0), &mut (), read).unwrap()
}

/// Where every state stands twice, each has half of its weight twice.
#[test]
fn a_copy_of_the_encoders_states_behind_them_changes_nothing_and_other_rows_do() {
    for vectors in all() {
        let (given, search) = (&vectors.inputs()[0], GREEDY);
        let plain = Packages::of(&vectors, WeightType::F32);
        let (states, expected) = plain.with(|model| {
            (encoder_states(model, given), answer(model, Kernels::best(), given, &search))
        });
        let compare = |states: &[f32]| {
            let packages = appended(&vectors, states, WeightType::F32);
            let found = packages.with(|model| answer(model, Kernels::best(), given, &search));
            let pairs = found.logits.iter().zip(&expected.logits);
            pairs.map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs()).fold(0.0, f32::max)
        };
        assert!(compare(&states) < 1e-4, "{}", compare(&states));
        let other: Vec<f32> = states.iter().map(|x| 1.0 - x).collect();
        assert!(compare(&other) > 1e-2, "{}", compare(&other));
    }
}

#[test]
fn appended_states_have_the_same_bits_on_every_table_in_an_arena_that_is_exact() {
    for vectors in all() {
        let given = &vectors.inputs()[0];
        let d = vectors.base().config.hidden;
        // More rows than the encoder has states, and than it has in one tile.
        let states: Vec<f32> = (0..40 * d).map(|index| (index % 23) as f32 / 11.0 - 1.0).collect();
        for weights in TYPES {
            appended(&vectors, &states, weights).with(|model| {
                assert_eq!(model.decoder().unwrap().dimensions().appended, 40);
                let scalar = &coda_runtime::kernels::scalar::KERNELS;
                let expected = answer(model, scalar, given, &WITH_BEAMS);
                assert_eq!(answer_in_parts(model, given, &WITH_BEAMS), expected);
                for table in Kernels::available() {
                    assert_eq!(
                        answer(model, table, given, &WITH_BEAMS),
                        expected,
                        "{}",
                        table.name
                    );
                }
            });
        }
    }
}

/// As [`answer`], set aside at each step, and each time another generator over the same arena, as a caller has that
/// keeps none.
fn answer_in_parts(model: &Model<'_>, given: &Given, search: &Search<'_>) -> Seen {
    let start = model.decoder().unwrap().rules().start.len();
    let plan = plan_for(model, start + LONGEST, BEAMS);
    let mut guarded = Guarded::new(plan.arena_bytes());
    let mut generator = Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
    let begun = generator.generate(given.input(), Budget::Reduction(2.0), search).unwrap();
    let (mut paused, mut seen) = (begun.pause(), Seen::default());
    loop {
        let mut generator = Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
        let mut answer = generator.resume(paused).unwrap();
        if !answer.step_observed(&mut seen).unwrap() {
            seen.tokens = answer.tokens().to_vec();
            seen.score = answer.score().map(f32::to_bits);
            seen.ended = answer.has_ended();
            return seen;
        }
        paused = answer.pause();
    }
}

#[test]
fn an_answer_that_is_set_aside_at_each_step_has_the_same_bits() {
    for vectors in all() {
        Packages::of(&vectors, WeightType::F16).with(|model| {
            for search in [GREEDY, WITH_BEAMS] {
                let given = &vectors.inputs()[0];
                let whole = answer(model, Kernels::best(), given, &search);
                assert_eq!(answer_in_parts(model, given, &search), whole);
            }
        });
    }
}

#[test]
fn an_answer_of_another_plan_or_in_a_spoilt_arena_does_no_harm() {
    let vectors = &all()[0];
    Packages::of(vectors, WeightType::Int8).with(|model| {
        let plan = plan_for(model, 1 + LONGEST, BEAMS);
        for (positions, beams) in [(LONGEST, BEAMS), (1 + LONGEST, BEAMS - 1)] {
            let mut guarded = Guarded::new(plan.arena_bytes());
            let mut generator =
                Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
            let input = vectors.inputs()[0].input();
            let begun = generator.generate(input, Budget::Task, &WITH_BEAMS).unwrap().pause();
            let other = plan_for(model, positions, beams);
            let mut guarded = Guarded::new(other.arena_bytes());
            let mut generator =
                Generator::new(model, Kernels::best(), other, guarded.arena()).unwrap();
            assert!(generator.resume(begun).is_none());
        }
        for byte in [0x00, 0x3c, 0x7f, 0xff] {
            let mut guarded = Guarded::new(plan.arena_bytes());
            let mut generator =
                Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
            let input = vectors.inputs()[0].input();
            let mut begun = generator.generate(input, Budget::Task, &WITH_BEAMS).unwrap();
            assert!(begun.step().unwrap());
            let begun = begun.pause();
            guarded.arena().fill(byte);
            let mut generator =
                Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
            let mut answer = generator.resume(begun).unwrap();
            while matches!(answer.step(), Ok(true)) {}
            assert!(answer.is_over() && guarded.is_whole());
        }
    });
}

#[test]
fn one_byte_less_and_another_models_plan_are_refused() {
    let all = all();
    let [first, second] = [&all[0], &all[1]].map(|own| Packages::of(own, WeightType::Int8));
    first.with(|model| {
        let plan = plan_for(model, 5, 2);
        let (needed, kernels) = (plan.arena_bytes(), Kernels::best());
        let mut guarded = Guarded::new(needed);
        let error = Generator::new(model, kernels, plan, &mut guarded.arena()[..needed - 1]);
        let expected = ExecutorError::ArenaTooSmall { needed, found: needed - 1 };
        assert_eq!(error.unwrap_err(), expected);
        let error = Generator::new(model, kernels, plan, &mut guarded.arena()[4..]);
        assert!(matches!(error, Err(ExecutorError::ArenaTooSmall { .. })));
        second.with(|other| {
            let error = Generator::new(other, kernels, plan, guarded.arena());
            assert_eq!(error.unwrap_err(), ExecutorError::AnotherModel);
        });
        let longest = plan.phases().into_iter().max();
        assert_eq!(longest, Some(needed));
    });
}

#[test]
fn settings_out_of_range_are_refused_before_any_work() {
    let vectors = &all()[2];
    Packages::of(vectors, WeightType::F16).with(|model| {
        let plan = plan_for(model, 6, 2);
        let mut guarded = Guarded::new(plan.arena_bytes());
        let mut generator = Generator::new(model, Kernels::best(), plan, guarded.arena()).unwrap();
        let given = vectors.inputs()[0].input();
        let mut refusal = |search: &Search<'_>| {
            generator.generate(given, Budget::Task, search).map(drop).unwrap_err()
        };
        let search = Search { longest: 6, ..Search::GREEDY };
        let expected = GenerateError::TooManyPositions { needed: 7, capacity: 6 };
        assert_eq!(refusal(&search), expected);
        let start = [1; 6];
        let search = Search { start: &start, ..Search::GREEDY };
        let expected = GenerateError::TooManyPositions { needed: 7, capacity: 6 };
        assert_eq!(refusal(&search), expected);
        let search = Search { beams: 3, ..Search::OF_PACKAGE };
        assert_eq!(refusal(&search), GenerateError::Beams { found: 3, capacity: 2 });
        let vocabulary = model.decoder().unwrap().vocabulary();
        let start = [0, vocabulary as u32];
        let search = Search { start: &start, ..Search::GREEDY };
        let (position, id) = (1, vocabulary as u32);
        let expected = GenerateError::StartOutOfRange { position, id, vocabulary };
        assert_eq!(refusal(&search), expected);
        let search = Search { length_penalty: Some(f32::NAN), ..Search::GREEDY };
        assert_eq!(refusal(&search), GenerateError::LengthPenalty);
        let empty = generator.generate(Input::tokens(&[]), Budget::Task, &Search::GREEDY);
        assert_eq!(empty.map(drop).unwrap_err(), GenerateError::Run(RunError::Empty));
    });
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let vectors = &all()[0];
    Packages::of(vectors, WeightType::F16).with(|model| {
        let encoder = Plan::new(&model.dimensions(), Capacity::any_budget(4)).unwrap();
        let dimensions = model.decoder().unwrap().dimensions();
        let plan = |positions, beams| {
            GenerationPlan::new(encoder, &dimensions, AnswerCapacity { positions, beams })
        };
        for (positions, beams) in [(0, 1), (1, 1), (2, 0), (2, 17), (65_537, 1)] {
            assert_eq!(plan(positions, beams), Err(PlanError::Answer { positions, beams }));
        }
        assert!(plan(2, 16).is_ok());
    });
}

#[test]
fn an_answer_whose_logits_are_not_finite_is_an_error() {
    let vectors = &all()[0];
    let mut base = vectors.base().clone();
    let decoder = base.decoder.as_mut().unwrap();
    let place = *decoder.names.keys().find(|(_, role)| role.name() == "final norm weight").unwrap();
    decoder.tensors.get_mut(&place).unwrap().values.fill(1e38);
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let plan = plan_for(&model, 4, 1);
    let mut guarded = Guarded::new(plan.arena_bytes());
    let mut generator = Generator::new(&model, Kernels::best(), plan, guarded.arena()).unwrap();
    let input = vectors.inputs()[0].input();
    let mut answer = generator.generate(input, Budget::Task, &Search::GREEDY).unwrap();
    assert_eq!(answer.step(), Err(RunError::NotFinite));
    assert_eq!((answer.step(), answer.tokens()), (Ok(false), &[][..]));
}

#[test]
fn a_task_for_another_decoder_and_ids_behind_the_table_are_refused() {
    let vectors = &all()[0];
    let own = Packages::of(vectors, WeightType::F32);
    let mut base = vectors.base().clone();
    let decoder = base.decoder.as_mut().unwrap();
    decoder.generation.end += 1;
    let other = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let error = Model::bind(&other.parse().unwrap(), &own.task.parse().unwrap());
    assert!(matches!(error, Err(ModelError::AnotherBase { .. })));
    base.decoder.as_mut().unwrap().generation.end = 1 << 20;
    let error = pack_base(&base, WeightType::F32, "").unwrap_err().to_string();
    assert!(error.contains("vocabulary"), "{error}");
}
