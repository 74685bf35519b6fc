//! The parity law and its relatives: what routing must not change.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::WeightType;
use coda_converter::session::Session;
use coda_converter::source::Task;
use coda_runtime::config::{AttentionMode, Gate, LayerPlan, RouterInput, Routing, TaskConfig};
use coda_runtime::executor::{Input, Observer, Output};
use coda_runtime::format::{PackageKind, Role};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, Selection};
use coda_runtime::tensor::Matrix;
use coda_tests::tiny::{Packages, TaskSizes, Tiny, TinyInput, routing, task};

const MODES: [AttentionMode; 3] =
    [AttentionMode::KToK, AttentionMode::KToAll, AttentionMode::KToLowRank];
const ROUTER_INPUTS: [RouterInput; 3] = [RouterInput::Norm, RouterInput::Raw, RouterInput::Rms];
const GATES: [Gate; 4] = [
    Gate::Exact { eps: 0.03 },
    Gate::Iterated { sweeps: 20, eps: 0.03, eps_start: 4.0, decay: 0.7 },
    Gate::Sigmoid,
    Gate::Ones,
];
const WEIGHTS: [WeightType; 4] =
    [WeightType::F32, WeightType::F16, WeightType::Int8, WeightType::Int4];

/// The modes that a model can have: low-rank keys have no place.
fn modes(tiny: &Tiny) -> &'static [AttentionMode] {
    let alike = tiny.base.config.rotary.columns == 0;
    if alike { &MODES } else { &MODES[..2] }
}

/// Everything a run shows, as bits.
#[derive(Clone, Debug, Default, PartialEq)]
struct States {
    layers: Vec<Vec<u32>>,
    hidden: Vec<u32>,
    answer: Vec<u32>,
    selected: Vec<Vec<u32>>,
}

impl Observer for States {
    fn selected(&mut self, _: usize, selection: &Selection<'_>) {
        self.selected.push(selection.selected.to_vec());
    }

    fn layer(&mut self, _: usize, hidden: Matrix<'_>) {
        self.layers.push(bits(hidden));
    }
}

fn bits(matrix: Matrix<'_>) -> Vec<u32> {
    matrix.iter().flatten().map(|x| x.to_bits()).collect()
}

fn run(model: &Model<'_>, input: Input<'_>, tokens: usize, budget: Budget<'_>) -> States {
    let mut states = States::default();
    let mut session = Session::new(model, Capacity::any_budget(tokens)).unwrap();
    let (hidden, answer) = session.run(input, budget, &mut states, answer).unwrap();
    States { hidden, answer, ..states }
}

/// The bits of the hidden states and of the values.
fn answer(output: Output<'_>) -> (Vec<u32>, Vec<u32>) {
    (bits(output.hidden), output.values.iter().map(|x| x.to_bits()).collect())
}

/// A task like the tiny one with every layer routed in one mode.
fn routed(tiny: &Tiny, mode: AttentionMode, config: TaskConfig) -> Task {
    let layers = vec![Some(routing(mode)); tiny.base.config.layers];
    let sizes = TaskSizes { adapter: 4, low_rank: 2 };
    let pooling = tiny.task.head.unwrap().pooling.single().unwrap();
    let task = task(&tiny.base.config, config, &layers, sizes, pooling, 11);
    Task { pinned: tiny.task.pinned.clone(), ..task }
}

/// Zero adapters, the base's norms and head.
fn without_change(mut task: Task) -> Task {
    task.tensors.retain(|(_, role), _| role.code() >= Role::AdapterDown.code());
    for ((_, role), tensor) in &mut task.tensors {
        if matches!(role, Role::AdapterUp | Role::AdapterUpBias) {
            tensor.values.fill(0.0);
        }
    }
    task.head = None;
    task.labels.clear();
    task
}

fn every_config(tiny: &Tiny) -> Vec<TaskConfig> {
    let with = |gate| {
        ROUTER_INPUTS.map(|router_input| TaskConfig { gate, router_input, ..tiny.task.config })
    };
    GATES.into_iter().flat_map(with).collect()
}

fn for_every_family(mut check: impl FnMut(&Tiny, WeightType, &Packages)) {
    for tiny in Tiny::all() {
        for weights in WEIGHTS {
            let packages = tiny.pack(weights).unwrap();
            assert_eq!(packages.base.parse().unwrap().kind(), PackageKind::Base);
            check(&tiny, weights, &packages);
        }
    }
}

#[test]
fn with_all_tokens_gate_one_and_a_zero_adapter_a_routed_layer_is_the_pretrained_layer() {
    for_every_family(|tiny, weights, packages| {
        let base = packages.base.parse().unwrap();
        let dense = Model::dense(&base).unwrap();
        let expected = run(&dense, tiny.input.view(), tiny.tokens, Budget::Task);
        for &mode in modes(tiny) {
            for config in every_config(tiny) {
                let task = without_change(routed(tiny, mode, config));
                let packages = Packages::of(&tiny.base, &task, weights, "").unwrap();
                let model = packages.model().unwrap();
                let found = run(&model, tiny.input.view(), tiny.tokens, Budget::Reduction(1.0));
                assert_eq!(found, expected, "{} {mode:?} {weights:?}", tiny.name);
            }
        }
    });
}

#[test]
fn dense_layers_with_a_zero_adapter_are_the_pretrained_layers_at_any_budget() {
    for_every_family(|tiny, weights, packages| {
        let base = packages.base.parse().unwrap();
        let expected =
            run(&Model::dense(&base).unwrap(), tiny.input.view(), tiny.tokens, Budget::Task);
        let mut task = without_change(routed(tiny, AttentionMode::KToK, tiny.task.config));
        task.layers.fill(LayerPlan { routing: None });
        let packages = Packages::of(&tiny.base, &task, weights, "").unwrap();
        let model = packages.model().unwrap();
        let found = run(&model, tiny.input.view(), tiny.tokens, Budget::Reduction(4.0));
        assert_eq!(found, expected, "{}", tiny.name);
    });
}

#[test]
fn every_kernel_table_gives_the_same_bits_in_every_mode() {
    for_every_family(|tiny, weights, _| {
        for &mode in modes(tiny) {
            let task = routed(tiny, mode, tiny.task.config);
            let packages = Packages::of(&tiny.base, &task, weights, "").unwrap();
            let model = packages.model().unwrap();
            let mut answers = Kernels::available()
                .map(|kernels| tiny.run(&model, kernels, Budget::Reduction(2.0), answer).unwrap());
            let first = answers.next().unwrap();
            assert!(answers.all(|answer| answer == first), "{} {mode:?}", tiny.name);
        }
    });
}

#[test]
fn padding_changes_nothing() {
    for tiny in Tiny::all() {
        let TinyInput::Tokens { ids, .. } = &tiny.input else { continue };
        for &mode in modes(&tiny) {
            let task = routed(&tiny, mode, tiny.task.config);
            let packages = Packages::of(&tiny.base, &task, WeightType::Int8, "").unwrap();
            let model = packages.model().unwrap();
            let mut padded = ids.clone();
            padded.extend([0; 3]);
            for budget in [Budget::Reduction(1.0), Budget::Reduction(2.0), Budget::Selected(1)] {
                let alone = run(&model, Input::tokens(ids), padded.len(), budget);
                let with = run(&model, Input::padded(&padded, ids.len()), padded.len(), budget);
                assert_eq!(alone, with, "{} {mode:?}", tiny.name);
            }
        }
    }
}

#[test]
fn equal_tokens_without_positions_tie_and_the_lower_index_wins() {
    let tiny = Tiny::t5();
    let task = routed(&tiny, AttentionMode::KToK, tiny.task.config);
    let packages = Packages::of(&tiny.base, &task, WeightType::F32, "").unwrap();
    let model = packages.model().unwrap();
    let states = run(&model, Input::tokens(&[5; 12]), 12, Budget::Selected(4));
    assert_eq!(states.selected[0], [0, 1, 2, 3]);
}

#[test]
fn pinned_tokens_are_always_selected_and_counted() {
    let tiny = Tiny::vit();
    let last = tiny.tokens as u32 - 1;
    for mode in MODES {
        let mut task = routed(&tiny, mode, tiny.task.config);
        task.pinned = vec![0, last];
        let packages = Packages::of(&tiny.base, &task, WeightType::F32, "").unwrap();
        let model = packages.model().unwrap();
        for k in 1..=tiny.tokens {
            let states = run(&model, tiny.input.view(), tiny.tokens, Budget::Selected(k));
            for selected in states.selected {
                assert_eq!(selected.len(), k.max(2));
                assert!(selected.contains(&0) && selected.contains(&last));
            }
        }
    }
}

#[test]
fn budgets_that_mean_the_same_give_the_same_bits() {
    let tiny = Tiny::bert();
    let config = TaskConfig { reduction: 2.0, ..tiny.task.config };
    let task = routed(&tiny, AttentionMode::KToAll, config);
    let packages = Packages::of(&tiny.base, &task, WeightType::Int8, "").unwrap();
    let model = packages.model().unwrap();
    let per_layer = vec![2.0; tiny.base.config.layers];
    let half = tiny.tokens.div_ceil(2);
    let halves = vec![half; tiny.base.config.layers];
    let budgets = [
        Budget::Task,
        Budget::Reduction(2.0),
        Budget::Selected(half),
        Budget::Fraction(0.5),
        Budget::PerLayer(&per_layer),
        Budget::SelectedPerLayer(&halves),
    ];
    let mut runs =
        budgets.into_iter().map(|budget| run(&model, tiny.input.view(), tiny.tokens, budget));
    let first = runs.next().unwrap();
    assert!(runs.all(|other| other == first));
}

#[test]
fn a_layers_own_reduction_holds_when_the_call_names_none() {
    let tiny = Tiny::bert();
    let mut task = routed(&tiny, AttentionMode::KToK, tiny.task.config);
    task.config.reduction = 1.0;
    for (index, layer) in task.layers.iter_mut().enumerate() {
        let reduction = (index == 0).then_some(tiny.tokens as f32);
        layer.routing = layer.routing.map(|routing| Routing { reduction, ..routing });
    }
    let packages = Packages::of(&tiny.base, &task, WeightType::F32, "").unwrap();
    let model = packages.model().unwrap();
    let counts = |budget| -> Vec<usize> {
        let states = run(&model, tiny.input.view(), tiny.tokens, budget);
        states.selected.iter().map(Vec::len).collect()
    };
    let mut expected = vec![tiny.tokens; tiny.base.config.layers];
    expected[0] = 1;
    assert_eq!(counts(Budget::Task), expected);
    assert_eq!(counts(Budget::Reduction(1.0)), vec![tiny.tokens; tiny.base.config.layers]);
}
