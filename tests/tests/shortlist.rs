//! Answers that may hold some ids alone: as if all others were suppressed, with fewer weights read.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::answer;
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::source::{Base, FloatTensor, Task};
use coda_runtime::Generator;
use coda_runtime::config::Embedding;
use coda_runtime::decoder::Search;
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::kernels::{Epilogue, Kernels, PanelsInt8, RowsInt8, scalar};
use coda_runtime::memory::{AnswerCapacity, Capacity};
use coda_runtime::model::{Model, ModelError};
use coda_runtime::routing::Budget;
use coda_runtime::tensor::MatrixMut;
use coda_tests::seq2seq::{Given, Vectors};
use coda_tests::vectors::directories;
use std::cell::Cell;
use std::path::Path;

const TYPES: [WeightType; 4] =
    [WeightType::F32, WeightType::F16, WeightType::Int8, WeightType::Int4];
const LONGEST: usize = 9;
const SEARCHES: [Search<'static>; 2] = [
    Search { longest: LONGEST, ..Search::GREEDY },
    Search { longest: LONGEST, beams: 3, ..Search::OF_PACKAGE },
];
/// Channels of a panel.
const PANEL: usize = 8;

fn all() -> Vec<Vectors> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq");
    let directories = directories(&root).unwrap();
    directories.iter().filter_map(|path| Vectors::open(path).unwrap()).collect()
}

/// A base and a task with a shortlist.
struct Packages {
    base: PackageBytes,
    task: PackageBytes,
}

impl Packages {
    fn of(base: &Base, task: &Task, shortlist: &[u32], weights: WeightType) -> Self {
        let mut task = task.clone();
        task.decoder.get_or_insert_default().shortlist = shortlist.to_vec();
        let base = pack_base(base, weights, "").unwrap().bytes;
        let task = pack_task(&task, &base.parse().unwrap(), weights, "").unwrap().bytes;
        Self { base, task }
    }

    fn with<T>(&self, work: impl FnOnce(&Model<'_>) -> T) -> T {
        let (base, task) = (self.base.parse().unwrap(), self.task.parse().unwrap());
        work(&Model::bind(&base, &task).unwrap())
    }

    /// Tokens, the bits of the score, and that it ended by its end id, in an arena of exactly the plan.
    fn answer(
        &self,
        given: &Given,
        search: &Search<'_>,
        table: &'static Kernels,
    ) -> (Vec<u32>, Option<u32>, bool) {
        self.with(|model| {
            let tokens = model.config().max_tokens().unwrap_or(16).min(16);
            let start = model.decoder().unwrap().rules().start.len();
            let capacity = AnswerCapacity { positions: start + LONGEST, beams: search.beams };
            let plan = answer::plan(model, Capacity::any_budget(tokens), capacity, 1).unwrap();
            let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
            let arena = &mut bytemuck::cast_slice_mut(&mut blocks)[..plan.arena_bytes()];
            let mut generator = Generator::new(model, table, plan, arena).unwrap();
            let budget = Budget::Reduction(2.0);
            let mut answer = generator.generate(given.input(), budget, search).unwrap();
            while answer.step().unwrap() {}
            let score = answer.score().map(f32::to_bits);
            (answer.tokens().to_vec(), score, answer.has_ended())
        })
    }
}

/// Every third id, and the end.
fn every_third(base: &Base) -> Vec<u32> {
    let decoder = base.decoder.as_ref().unwrap();
    let end = decoder.generation.end;
    (0..vocabulary(base) as u32).filter(|id| id % 3 == 1 || *id == end).collect()
}

fn vocabulary(base: &Base) -> usize {
    match base.decoder.as_ref().unwrap().config.embedding {
        Embedding::Tokens { vocabulary, .. } => vocabulary,
        Embedding::Patches { .. } | Embedding::Frames { .. } | Embedding::Grid { .. } => 0,
    }
}

#[test]
fn a_shortlist_is_as_if_all_others_were_suppressed_with_every_kernel_table() {
    for vectors in all() {
        let (base, task) = (vectors.base(), vectors.any_task().unwrap());
        let listed = every_third(base);
        let mut other = base.clone();
        let rules = &mut other.decoder.as_mut().unwrap().generation;
        let own = rules.suppressed.clone();
        let others = |id: &u32| !listed.contains(id) || own.contains(id);
        rules.suppressed = (0..vocabulary(base) as u32).filter(others).collect();
        for weights in TYPES {
            let own = Packages::of(base, &task, &listed, weights);
            let suppressing = Packages::of(&other, &task, &[], weights);
            for (given, search) in vectors.inputs().iter().zip(SEARCHES.into_iter().cycle()) {
                let expected = suppressing.answer(given, &search, &scalar::KERNELS);
                assert!(expected.0.iter().all(|id| listed.contains(id)));
                for table in Kernels::available() {
                    let found = own.answer(given, &search, table);
                    assert_eq!(found, expected, "{weights:?} {}", table.name);
                }
            }
        }
    }
}

/// The same base with so many tokens, whose rows are those of the first ones again, slightly changed.
fn with_vocabulary(base: &Base, tokens: usize) -> Base {
    let mut base = base.clone();
    let longer = |tensor: &mut FloatTensor| {
        let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
        let value = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            let change = (row / rows * (column + 3) % 7) as f32 / 16.0;
            tensor.values[row % rows * columns + column] + change
        };
        tensor.values = (0..tokens * columns).map(value).collect();
        tensor.shape[0] = tokens;
    };
    let decoder = base.decoder.as_mut().unwrap();
    for config in [&mut base.config, &mut decoder.config] {
        if let Embedding::Tokens { vocabulary, .. } = &mut config.embedding {
            *vocabulary = tokens;
        }
    }
    for tensors in [&mut base.tensors, &mut decoder.tensors] {
        for role in [Role::TokenEmbedding, Role::LogitWeight] {
            tensors.get_mut(&(GLOBAL_LAYER, role)).into_iter().for_each(longer);
        }
    }
    base
}

/// A bias that no id survives but those on the list.
fn bias(tokens: usize, listed: &[u32]) -> FloatTensor {
    let mut values = vec![-1e30; tokens];
    listed.iter().for_each(|id| values[*id as usize] = 0.0);
    FloatTensor { shape: vec![1, tokens], values }
}

#[test]
fn a_shortlist_over_several_parts_of_the_logits_gives_the_same_bits() {
    let tokens = 2 * 1024 + 77;
    for vectors in all() {
        let (base, task) = (with_vocabulary(vectors.base(), tokens), vectors.any_task().unwrap());
        let end = base.decoder.as_ref().unwrap().generation.end;
        let scattered = (0..tokens as u32).filter(|id| id % 37 == 5 || (1020..1030).contains(id));
        let mut listed: Vec<u32> = scattered.chain([end, tokens as u32 - 1]).collect();
        listed.sort_unstable();
        listed.dedup();
        let mut biased = base.clone();
        let decoder = biased.decoder.as_mut().unwrap();
        decoder.tensors.insert((GLOBAL_LAYER, Role::LogitBias), bias(tokens, &listed));
        for weights in [WeightType::F32, WeightType::Int8] {
            let own = Packages::of(&base, &task, &listed, weights);
            let expected = Packages::of(&biased, &task, &[], weights);
            let given = &vectors.inputs()[0];
            for search in SEARCHES {
                let found = own.answer(given, &search, Kernels::best());
                assert_eq!(found, expected.answer(given, &search, Kernels::best()));
                assert!(!found.0.is_empty());
            }
        }
    }
}

thread_local! {
    /// Bytes of int8 weights that were multiplied.
    static READ: Cell<usize> = const { Cell::new(0) };
}

fn counting(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    READ.set(READ.get() + rhs.values.len());
    (scalar::KERNELS.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
}

static COUNTING: Kernels =
    Kernels { name: "counting", gemm_f32_qd8_qc8w: counting, ..scalar::KERNELS };

#[test]
fn a_shortlist_reads_the_weights_of_its_panels_alone() {
    let vectors = &all()[0];
    let (base, task) = (vectors.base(), vectors.any_task().unwrap());
    let (tokens, d) = (vocabulary(base), base.decoder.as_ref().unwrap().config.hidden);
    let end = base.decoder.as_ref().unwrap().generation.end;
    // The end, and two ids of one other panel.
    let other = if end < 40 { 40 } else { 16 };
    let mut listed = [end, other + 1, other + 4];
    listed.sort_unstable();
    let search = Search { longest: 1, ..Search::GREEDY };
    let read = |shortlist: &[u32]| {
        READ.set(0);
        let packages = Packages::of(base, &task, shortlist, WeightType::Int8);
        packages.answer(&vectors.inputs()[0], &search, &COUNTING);
        (READ.get(), packages.with(|model| model.decoder().unwrap().channels().computed()))
    };
    let ((whole, all), (short, computed)) = (read(&[]), read(&listed));
    assert_eq!((all, computed), (tokens, 2 * PANEL));
    let panels = tokens.div_ceil(PANEL) - 2;
    assert_eq!(whole - short, panels * PANEL * d.next_multiple_of(PANEL));
}

#[test]
fn a_shortlist_without_the_end_or_beyond_the_table_is_no_model() {
    let vectors = &all()[0];
    let (base, task) = (vectors.base(), vectors.any_task().unwrap());
    let packed = pack_base(base, WeightType::Int8, "").unwrap().bytes;
    let end = base.decoder.as_ref().unwrap().generation.end;
    let refusal = |shortlist: &[u32]| {
        let mut task = task.clone();
        task.decoder.get_or_insert_default().shortlist = shortlist.to_vec();
        pack_task(&task, &packed.parse().unwrap(), WeightType::Int8, "").unwrap_err().to_string()
    };
    let error = refusal(&[end + 1, end + 2]);
    assert!(error.contains("a shortlist without the id that ends"), "{error}");
    let beyond = vocabulary(base) as u32 + 3;
    let expected =
        ModelError::VocabularySize { expected: vocabulary(base), found: 1 + beyond as usize };
    assert!(refusal(&[end, beyond]).contains(&expected.to_string()));
}

#[test]
fn a_task_without_adapters_of_the_decoder_may_have_a_shortlist() {
    let vectors = &all()[0];
    let mut task = vectors.any_task().unwrap();
    task.decoder = None;
    let listed = every_third(vectors.base());
    let own = Packages::of(vectors.base(), &task, &listed, WeightType::Int8);
    let (tokens, ..) = own.answer(&vectors.inputs()[0], &SEARCHES[0], Kernels::best());
    assert!(!tokens.is_empty() && tokens.iter().all(|id| listed.contains(id)));
}
