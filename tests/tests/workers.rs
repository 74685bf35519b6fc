//! More cores give the same bits: by a thread pool, and by a hook as a firmware would write it.

use coda_converter::pack::WeightType;
use coda_converter::session::Session;
use coda_runtime::executor::{Executor, RunError, Workers};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{ARENA_ALIGNMENT, Capacity, Plan};
use coda_runtime::routing::Budget;
use coda_tests::tiny::{Tiny, TinyInput};
use std::sync::atomic::{AtomicUsize, Ordering};

const MOST_WORKERS: usize = 5;
const REDUCTIONS: [f32; 3] = [1.0, 2.0, 4.0];
/// Long enough that five workers each get several rows.
const LONG_INPUT: usize = 61;

/// A second core: it runs the right half while this one runs the left.
#[derive(Debug, Default)]
struct SecondCore {
    calls: AtomicUsize,
}

impl Workers for SecondCore {
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send)) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(right);
            left();
        });
    }
}

/// Tiny models with an input long enough to share out, where the family allows it.
fn models() -> Vec<Tiny> {
    let mut models = Vec::from(Tiny::all());
    for tiny in &mut models {
        let limit = tiny.base.config.max_tokens().unwrap_or(LONG_INPUT);
        if let TinyInput::Tokens { ids, types } = &mut tiny.input {
            *ids = ids.iter().copied().cycle().take(limit.min(LONG_INPUT)).collect();
            types.clear();
            tiny.tokens = ids.len();
        }
    }
    models
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for tiny in models() {
        let packages = tiny.pack(WeightType::Int8).unwrap();
        let model = packages.model().unwrap();
        for reduction in REDUCTIONS {
            let answers = (1..=MOST_WORKERS).map(|threads| {
                let session = Session::new(&model, Capacity::any_budget(tiny.tokens)).unwrap();
                let mut session = session.with_threads(threads).unwrap();
                let budget = Budget::Reduction(reduction);
                session
                    .run(tiny.input.view(), budget, &mut (), |out| {
                        (bits(out.values), out.hidden.iter().map(bits).collect::<Vec<_>>())
                    })
                    .unwrap()
            });
            let answers: Vec<_> = answers.collect();
            let same = answers.windows(2).all(|pair| pair[0] == pair[1]);
            assert!(same, "{} at r = {reduction}", tiny.name);
        }
    }
}

#[test]
fn a_second_core_gives_the_same_bits_within_its_plan() {
    let mut shared_out = 0;
    for tiny in models() {
        let packages = tiny.pack(WeightType::F16).unwrap();
        let model = packages.model().unwrap();
        let capacity = Capacity::any_budget(tiny.tokens);
        let mut answers = Vec::new();
        for workers in [1, 2] {
            let plan = Plan::with_workers(&model.dimensions(), capacity, workers).unwrap();
            let mut memory = vec![0xa5u8; plan.arena_bytes() + 2 * ARENA_ALIGNMENT];
            let offset = memory.as_ptr().align_offset(ARENA_ALIGNMENT);
            let (arena, guard) = memory[offset..].split_at_mut(plan.arena_bytes());
            let core = SecondCore::default();
            let mut executor =
                Executor::new(&model, Kernels::best(), plan, arena).unwrap().with_workers(&core);
            let output = executor.run(tiny.input.view(), Budget::Reduction(2.0)).unwrap();
            answers.push(bits(output.values));
            assert!(guard.iter().all(|byte| *byte == 0xa5), "{}", tiny.name);
            let calls = core.calls.into_inner();
            assert!(workers > 1 || calls == 0, "{}: one worker joins nothing", tiny.name);
            shared_out += calls;
        }
        assert_eq!(answers[0], answers[1], "{}", tiny.name);
    }
    assert!(shared_out > 0, "no stage was shared out");
}

/// Cores that forget one of two functions, or both.
#[derive(Debug)]
struct Forgetful([bool; 2]);

impl Workers for Forgetful {
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send)) {
        let [runs_left, runs_right] = self.0;
        if runs_left {
            left();
        }
        if runs_right {
            right();
        }
    }
}

#[test]
fn work_that_was_not_done_is_no_answer() {
    for tiny in models() {
        let packages = tiny.pack(WeightType::Int8).unwrap();
        let model = packages.model().unwrap();
        let capacity = Capacity::any_budget(tiny.tokens);
        let plan = Plan::with_workers(&model.dimensions(), capacity, 2).unwrap();
        for runs in [[true, true], [true, false], [false, true], [false, false]] {
            let mut memory = vec![0u8; plan.arena_bytes() + ARENA_ALIGNMENT];
            let offset = memory.as_ptr().align_offset(ARENA_ALIGNMENT);
            let arena = &mut memory[offset..];
            let cores = Forgetful(runs);
            let executor = Executor::new(&model, Kernels::best(), plan, arena).unwrap();
            let mut executor = executor.with_workers(&cores);
            let result = executor.run(tiny.input.view(), Budget::Selected(tiny.tokens));
            let expected = (runs != [true, true] && tiny.tokens >= 8).then_some(RunError::NotRun);
            assert_eq!(result.err(), expected, "{}: {runs:?}", tiny.name);
        }
    }
}

#[test]
fn a_plan_without_a_worker_is_refused() {
    let tiny = Tiny::bert();
    let packages = tiny.pack(WeightType::Int8).unwrap();
    let model = packages.model().unwrap();
    let capacity = Capacity::any_budget(tiny.tokens);
    let none = Plan::with_workers(&model.dimensions(), capacity, 0);
    assert_eq!(none.unwrap_err().to_string(), "a plan needs at least one worker");
    let one = Plan::new(&model.dimensions(), capacity).unwrap();
    let two = Plan::with_workers(&model.dimensions(), capacity, 2).unwrap();
    assert!(one.arena_bytes() < two.arena_bytes());
}
