//! Budgets by time: what is chosen, and that the choice is what runs.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::WeightType;
use coda_runtime::config::Gate;
use coda_runtime::executor::{Executor, Input, RunError};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Arena, Capacity, Plan};
use coda_runtime::model::{EXPONENTIAL_MACS, Macs, Model};
use coda_runtime::routing::{Budget, CostModel, DeadlineError, token_step};
use coda_tests::tiny::{Tiny, TinyInput};
use std::time::Duration;

/// A microsecond for each thousand multiply-accumulates, and some for the rest.
const COSTS: CostModel =
    CostModel { fixed: 2000.0, token: 100.0, frozen: 1.0, attention: 2.0, task: 1.5, margin: 0.05 };

fn with_bert(test: impl FnOnce(&Model<'_>, &[u32], &[u8])) {
    let tiny = Tiny::bert();
    let packed = tiny.pack(WeightType::Int8).unwrap();
    let model = packed.model().unwrap();
    let TinyInput::Tokens { ids, types } = &tiny.input else { unreachable!() };
    test(&model, ids, types);
}

/// Predicted nanoseconds with the margin, from the public parts.
fn time(model: &Model<'_>, tokens: usize, k: usize, layers: usize) -> f32 {
    let macs = (0..model.config().layers).map(|index| {
        let more = if index < layers { token_step(k) } else { 0 };
        model.layer_macs(index, tokens, (k + more).min(tokens))
    });
    COSTS.predict(tokens, &macs.sum::<Macs>()) * (1.0 + COSTS.margin)
}

#[test]
fn the_choice_fits_and_a_step_more_would_not() {
    let lengths_and_steps =
        [7, 40].into_iter().flat_map(|n| (0..100u16).map(move |step| (n, step)));
    with_bert(|model, _, _| {
        for (tokens, step) in lengths_and_steps {
            let (least, most) = (time(model, tokens, 1, 0), time(model, tokens, tokens, 0));
            let deadline = least + 1.0 + (most - least) * f32::from(step) / 100.0;
            let given = Duration::from_nanos(deadline as u64);
            let choice = COSTS.choose(model, tokens, tokens, given).unwrap();
            assert!(time(model, tokens, choice.tokens, choice.layers) <= deadline * 1.0001);
            let more = choice.tokens + token_step(choice.tokens);
            let all = choice.layers == model.config().layers;
            let next = if all { (more, 0) } else { (choice.tokens, choice.layers + 1) };
            assert!(choice.tokens < 8 || choice.tokens.is_multiple_of(8), "{choice:?}");
            assert!(time(model, tokens, next.0, next.1) > deadline * 0.9999, "{choice:?}");
        }
    });
}

#[test]
fn a_long_deadline_lets_every_token_pass_and_a_plan_bounds_it() {
    with_bert(|model, ids, _| {
        let hour = Duration::from_secs(3600);
        let choice = COSTS.choose(model, ids.len(), ids.len(), hour).unwrap();
        assert_eq!((choice.tokens, choice.layers), (ids.len(), 0));
        assert_eq!(COSTS.choose(model, ids.len(), 3, hour).unwrap().tokens, 3);
    });
}

#[test]
fn a_run_with_a_deadline_is_the_run_of_its_choice() {
    with_bert(|model, ids, types| {
        let tokens = ids.len();
        let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens)).unwrap();
        let mut arena = Box::new(Arena::<65_536>::new());
        let input = Input::Tokens { ids, types, length: tokens };
        let executor = Executor::new(model, Kernels::best(), plan, &mut arena.0).unwrap();
        let mut executor = executor.with_costs(COSTS);
        let middle = f32::midpoint(time(model, tokens, 1, 0), time(model, tokens, tokens, 0));
        let deadline = Duration::from_nanos(middle as u64);
        let output = executor.run(input, Budget::Deadline(deadline)).unwrap();
        let (choice, values) = (output.choice.unwrap(), output.values.to_vec());
        assert!(choice.tokens > 1 && choice.tokens < tokens, "{choice:?}");
        let output = executor.run(input, choice.into()).unwrap();
        assert_eq!(output.values, values);
        assert_eq!(output.choice, None);
    });
}

#[test]
fn a_deadline_needs_costs_and_enough_time() {
    with_bert(|model, ids, types| {
        let plan = Plan::new(&model.dimensions(), Capacity::any_budget(ids.len())).unwrap();
        let mut arena = Box::new(Arena::<65_536>::new());
        let input = Input::Tokens { ids, types, length: ids.len() };
        let mut executor = Executor::new(model, Kernels::best(), plan, &mut arena.0).unwrap();
        let given = Duration::from_nanos(10);
        let error = executor.run(input, Budget::Deadline(given)).unwrap_err();
        assert_eq!(error, RunError::Deadline(DeadlineError::NoCostModel));
        let mut executor = executor.with_costs(COSTS);
        let error = executor.run(input, Budget::Deadline(given)).unwrap_err();
        assert!(matches!(error, RunError::Deadline(DeadlineError::TooShort { given: g, needed })
            if g == given && needed > given));
        assert!(error.to_string().contains("too short"), "{error}");
    });
}

#[test]
fn senseless_costs_choose_something_that_runs() {
    with_bert(|model, ids, _| {
        for cost in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
            let costs = CostModel { frozen: cost, ..COSTS };
            if let Ok(choice) = costs.choose(model, ids.len(), ids.len(), Duration::from_millis(1))
            {
                assert!((1..=ids.len()).contains(&choice.tokens), "{choice:?}");
            }
        }
    });
}

#[test]
fn sweeps_of_the_iterated_gate_are_counted() {
    let tiny =
        Tiny::all().into_iter().find(|tiny| matches!(tiny.task.config.gate, Gate::Iterated { .. }));
    let mut tiny = tiny.expect("a family of the iterated gate");
    let mut of = |sweeps: u32| {
        let Gate::Iterated { sweeps: own, .. } = &mut tiny.task.config.gate else { unreachable!() };
        *own = sweeps;
        let packed = tiny.pack(WeightType::Int8).unwrap();
        let model = packed.model().unwrap();
        let routed = (0..model.config().layers).find(|index| model.layer(*index).routing.is_some());
        let index = routed.unwrap();
        assert_eq!(model.layer_macs(index, 9, 9), model.layer(index).macs(9, 9));
        let (all, macs) = (model.layer_macs(index, 9, 3), model.layer(index).macs(9, 3));
        let choice = COSTS.choose(&model, 9, 9, Duration::from_secs(1)).unwrap();
        assert_eq!(choice.tokens, 9);
        (all.task - macs.task, COSTS.choose(&model, 9, 9, Duration::from_micros(1)).unwrap_err())
    };
    let ((few, short), (many, long)) = (of(20), of(1000));
    assert_eq!((few, many), (20 * 9 * EXPONENTIAL_MACS, 1000 * 9 * EXPONENTIAL_MACS));
    let needed = |error| match error {
        DeadlineError::TooShort { needed, .. } => needed,
        other => panic!("{other}"),
    };
    assert!(needed(long) > needed(short) + Duration::from_micros(100));
}
