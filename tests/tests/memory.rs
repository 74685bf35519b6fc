//! The arena is exact: one byte less is refused, nothing behind it is touched.

use coda_converter::pack::WeightType;
use coda_runtime::executor::{Executor, ExecutorError};
use coda_runtime::kernels::{INT8_PRODUCTS, Kernels};
use coda_runtime::memory::{ARENA_ALIGNMENT, Capacity, Dimensions, Plan, PlanError};
use coda_runtime::routing::Budget;
use coda_tests::tiny::Tiny;

const GUARD: u8 = 0xa5;
const GUARD_BYTES: usize = 4096;

/// Memory whose first byte is aligned for an arena.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let offset = memory.as_ptr().align_offset(ARENA_ALIGNMENT);
    &mut memory[offset..]
}

#[test]
fn one_byte_less_is_refused_with_both_numbers() {
    for tiny in Tiny::all() {
        let packages = tiny.pack(WeightType::Int8).unwrap();
        let model = packages.model().unwrap();
        let tokens = tiny.tokens;
        let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens)).unwrap();
        let needed = plan.arena_bytes();
        let mut memory = vec![0; needed + ARENA_ALIGNMENT];
        let memory = aligned(&mut memory);
        let short = Executor::new(&model, Kernels::best(), plan, &mut memory[..needed - 1]);
        let expected = ExecutorError::ArenaTooSmall { needed, found: needed - 1 };
        assert_eq!(short.err(), Some(expected));
        assert!(Executor::new(&model, Kernels::best(), plan, &mut memory[..needed]).is_ok());
        let misaligned = Executor::new(&model, Kernels::best(), plan, &mut memory[1..=needed]);
        assert_eq!(misaligned.err(), Some(ExecutorError::ArenaMisaligned));
    }
}

#[test]
fn a_guard_behind_the_arena_is_untouched_and_its_content_does_not_matter() {
    for tiny in Tiny::all() {
        let packages = tiny.pack(WeightType::Int8).unwrap();
        let model = packages.model().unwrap();
        let tokens = tiny.tokens;
        let mut answers = Vec::new();
        for fill in [0, GUARD] {
            for selected in [1, tokens] {
                let capacity = Capacity { tokens, selected: selected.max(tiny.task.pinned.len()) };
                let plan = Plan::new(&model.dimensions(), capacity).unwrap();
                let mut memory = vec![fill; plan.arena_bytes() + ARENA_ALIGNMENT + GUARD_BYTES];
                let memory = aligned(&mut memory);
                let (arena, guard) = memory.split_at_mut(plan.arena_bytes());
                guard.fill(GUARD);
                let mut executor = Executor::new(&model, Kernels::best(), plan, arena).unwrap();
                let budget = Budget::Selected(1);
                let output = executor.run(tiny.input.view(), budget).unwrap();
                answers.push(output.values.to_vec());
                assert!(guard.iter().all(|byte| *byte == GUARD), "{}", tiny.name);
            }
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{}", tiny.name);
    }
}

#[test]
fn a_budget_above_the_plan_is_refused_and_every_smaller_one_fits() {
    for tiny in Tiny::all() {
        let packages = tiny.pack(WeightType::F32).unwrap();
        let model = packages.model().unwrap();
        let tokens = tiny.tokens;
        let capacity = Capacity { tokens, selected: tokens - 1 };
        let plan = Plan::new(&model.dimensions(), capacity).unwrap();
        let mut memory = vec![0; plan.arena_bytes() + ARENA_ALIGNMENT];
        let mut executor =
            Executor::new(&model, Kernels::best(), plan, aligned(&mut memory)).unwrap();
        for k in 1..tokens {
            assert!(executor.run(tiny.input.view(), Budget::Selected(k)).is_ok());
        }
        assert!(executor.run(tiny.input.view(), Budget::Selected(tokens)).is_err());
    }
}

#[test]
fn int8_attention_takes_as_many_keys_as_its_sums_hold() {
    let packages = Tiny::t5().pack(WeightType::Int8).unwrap();
    let dimensions = packages.model().unwrap().dimensions();
    let dimensions = Dimensions { int8_attention: true, ..dimensions };
    let most = INT8_PRODUCTS;
    assert!(Plan::new(&dimensions, Capacity::any_budget(most)).is_ok());
    let above = Plan::new(&dimensions, Capacity::any_budget(most + 1)).err();
    assert_eq!(above, Some(PlanError::TooManyKeys { keys: most + 1 }));
    // Not tokens count but keys, and attention in f32 has no such limit.
    let sparse = Dimensions { dense_layers: false, keys_of_all: false, ..dimensions };
    assert!(Plan::new(&sparse, Capacity { tokens: 2 * most, selected: most }).is_ok());
    let floats = Dimensions { int8_attention: false, ..dimensions };
    assert!(Plan::new(&floats, Capacity::any_budget(most + 1)).is_ok());
}
