//! Layers that prune the tokens they do not select, and selections of an even grid.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::bench;
use coda_converter::pack::{PackError, WeightType, pack_base, pack_task};
use coda_converter::session::Session;
use coda_runtime::config::{
    AttentionMode, Gate, Head, HeadKind, LayerPlan, Pooling, RouterInput, TaskConfig,
};
use coda_runtime::executor::{ExecutorError, Observer};
use coda_runtime::format::Role;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::ModelError;
use coda_runtime::routing::{Budget, CostModel, Selection};
use coda_runtime::tensor::Matrix;
use coda_tests::tiny::{Packages, Tiny, routing};

const WEIGHTS: [WeightType; 4] =
    [WeightType::F32, WeightType::F16, WeightType::Int8, WeightType::Int4];

/// What a run shows, rows as bits.
#[derive(Clone, Debug, Default, PartialEq)]
struct States {
    selected: Vec<Vec<u32>>,
    layers: Vec<Vec<Vec<u32>>>,
    hidden: Vec<Vec<u32>>,
}

impl Observer for States {
    fn selected(&mut self, _: usize, selection: &Selection<'_>) {
        self.selected.push(selection.selected.to_vec());
    }

    fn layer(&mut self, _: usize, hidden: Matrix<'_>) {
        self.layers.push(rows(hidden));
    }
}

fn rows(matrix: Matrix<'_>) -> Vec<Vec<u32>> {
    matrix.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

fn run(tiny: &Tiny, packages: &Packages, kernels: &'static Kernels, k: usize) -> States {
    let model = packages.model().unwrap();
    let mut states = States::default();
    let session = Session::new(&model, Capacity { tokens: tiny.tokens, selected: k }).unwrap();
    let mut session = session.with_kernels(kernels);
    let budget = Budget::Selected(k);
    let hidden = session.run(tiny.input.view(), budget, &mut states, |output| rows(output.hidden));
    States { hidden: hidden.unwrap(), ..states }
}

/// The model with such layers and such a router.
fn with(tiny: &Tiny, modes: [Option<AttentionMode>; 2], router_input: RouterInput) -> Tiny {
    let mut tiny = tiny.clone();
    let grid = router_input == RouterInput::Grid;
    let gate = if grid { Gate::Ones } else { tiny.task.config.gate };
    tiny.task.config = TaskConfig { router_input, gate, ..tiny.task.config };
    tiny.task.layers = modes.map(|mode| LayerPlan { routing: mode.map(routing) }).to_vec();
    if grid {
        tiny.task.tensors.retain(|(_, role), _| *role != Role::Router);
    }
    tiny
}

/// Models whose attention asks for no position, their first token pinned.
fn families() -> [Tiny; 3] {
    [Tiny::vit(), Tiny::bert(), Tiny::clip()].map(|mut tiny| {
        if !tiny.task.pinned.contains(&0) {
            tiny.task.pinned.insert(0, 0);
        }
        tiny
    })
}

const K_TO_K: Option<AttentionMode> = Some(AttentionMode::KToK);
const PRUNE: Option<AttentionMode> = Some(AttentionMode::Prune);

/// With one selection for all layers, k-to-k computes the selected tokens from each other alone: what
/// pruning leaves of them.
#[test]
fn pruned_rows_have_the_bits_of_k_to_k_with_the_same_selection() {
    for tiny in families() {
        let whole = with(&tiny, [K_TO_K; 2], RouterInput::Grid);
        for modes in [[PRUNE, None], [PRUNE, K_TO_K], [K_TO_K, PRUNE]] {
            let pruned = with(&tiny, modes, RouterInput::Grid);
            for weights in WEIGHTS {
                let (whole, own) = (whole.pack(weights).unwrap(), pruned.pack(weights).unwrap());
                for kernels in Kernels::available() {
                    for k in 2..=tiny.tokens {
                        let whole = run(&tiny, &whole, kernels, k);
                        let own = run(&tiny, &own, kernels, k);
                        let kept = whole.selected[0].iter();
                        let kept: Vec<_> =
                            kept.map(|token| whole.hidden[*token as usize].clone()).collect();
                        assert_eq!(kept.len(), k.max(tiny.task.pinned.len()));
                        assert_eq!(own.hidden, kept, "{} {modes:?} {weights:?} {k}", tiny.name);
                    }
                }
            }
        }
    }
}

#[test]
fn a_learned_router_prunes_what_k_to_k_would_not_select_gates_included() {
    for tiny in families() {
        let input = tiny.task.config.router_input;
        let whole = with(&tiny, [K_TO_K; 2], input).pack(WeightType::Int8).unwrap();
        let own = with(&tiny, [PRUNE, None], input).pack(WeightType::Int8).unwrap();
        for k in 2..tiny.tokens {
            let whole = run(&tiny, &whole, Kernels::best(), k);
            let own = run(&tiny, &own, Kernels::best(), k);
            assert_eq!(own.selected[0], whole.selected[0]);
            let kept = whole.selected[0].iter();
            let kept: Vec<_> = kept.map(|token| whole.layers[0][*token as usize].clone()).collect();
            assert_eq!(own.layers[0], kept, "{} {k}", tiny.name);
            let left: Vec<u32> = (0..kept.len() as u32).collect();
            assert_eq!((own.hidden.len(), &own.selected[1]), (kept.len(), &left));
        }
    }
}

#[test]
fn a_model_that_prunes_nothing_is_k_to_k_of_all() {
    for tiny in families() {
        for input in [RouterInput::Grid, tiny.task.config.router_input] {
            let whole = with(&tiny, [K_TO_K; 2], input).pack(WeightType::F32).unwrap();
            let own = with(&tiny, [PRUNE, None], input).pack(WeightType::F32).unwrap();
            let whole = run(&tiny, &whole, Kernels::best(), tiny.tokens);
            assert_eq!(run(&tiny, &own, Kernels::best(), tiny.tokens), whole);
        }
    }
}

#[test]
fn an_arena_holds_all_tokens_only_before_they_are_pruned_and_no_byte_is_missing() {
    for tiny in families() {
        let capacity = Capacity { tokens: tiny.tokens, selected: 2.max(tiny.task.pinned.len()) };
        let bytes = |modes| {
            let packages = with(&tiny, modes, RouterInput::Grid).pack(WeightType::Int8).unwrap();
            let model = packages.model().unwrap();
            let plan = Plan::new(&model.dimensions(), capacity).unwrap();
            let mut arena = vec![0; plan.arena_bytes() - 1];
            let error = coda_runtime::Executor::new(&model, Kernels::best(), plan, &mut arena);
            let needed = plan.arena_bytes();
            let expected = ExecutorError::ArenaTooSmall { needed, found: needed - 1 };
            assert_eq!(error.unwrap_err(), expected);
            needed
        };
        assert_eq!(bytes([PRUNE, None]), bytes([K_TO_K; 2]));
        assert!(bytes([PRUNE, None]) < bytes([None, PRUNE]));
        assert_eq!(bytes([None, PRUNE]), bytes([None, K_TO_K]));
    }
}

#[test]
fn costs_count_the_tokens_that_are_left() {
    for tiny in families() {
        let packages = with(&tiny, [PRUNE, None], RouterInput::Grid).pack(WeightType::F32).unwrap();
        let model = packages.model().unwrap();
        let (n, k) = (tiny.tokens, 3);
        let of = |index, tokens, selected| model.layer_macs(index, tokens, selected);
        let expected = [of(0, n, k), of(1, k, k)].into_iter().sum();
        assert_eq!(bench::macs_of(&model, n, k).unwrap(), expected);
        let adapter = model.layer(0).block.adapter.unwrap();
        let adapter = 2 * adapter.down.inputs * adapter.down.outputs * k;
        assert_eq!(of(0, n, k).task, adapter as u64);
        let costs = CostModel { frozen: 1e3, attention: 1e3, task: 1e3, ..CostModel::default() };
        let deadline = std::time::Duration::from_nanos(1000 * expected.total() + 1);
        let choice = costs.choose(&model, n, n, deadline).unwrap();
        assert_eq!(
            (choice.tokens, choice.predicted.as_nanos() as u64 / 1000),
            (k, expected.total())
        );
    }
}

/// What the model is refused for.
fn refusal(tiny: &Tiny) -> &'static str {
    let base = pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes;
    let base = base.parse().unwrap();
    match pack_task(&tiny.task, &base, WeightType::F32, "") {
        Err(PackError::Model(ModelError::Pruning { layer: 0, found })) => found,
        Err(other) => panic!("{}: {other}", tiny.name),
        Ok(_) => panic!("{}: not refused", tiny.name),
    }
}

#[test]
fn what_asks_for_pruned_tokens_is_refused() {
    for tiny in [Tiny::t5(), Tiny::modernbert(), Tiny::beit(), Tiny::dinov3()] {
        let found = refusal(&with(&tiny, [PRUNE, None], RouterInput::Grid));
        assert_eq!(found, "the encoder has positions in its attention", "{}", tiny.name);
    }
    let mut tiny = with(&Tiny::bert(), [PRUNE, None], RouterInput::Grid);
    tiny.task.pinned.clear();
    let kind = HeadKind::Classification { labels: 3 };
    for (pooling, pinned) in [
        (Pooling::ClassToken, vec![]),
        (Pooling::ClassToken, vec![1]),
        (Pooling::SecondToken, vec![0, 2]),
        (Pooling::MeanOfRest, vec![]),
    ] {
        tiny.task.head = Some(Head::new(pooling, kind));
        tiny.task.pinned = pinned;
        assert_eq!(refusal(&tiny), "the head reads a first token that is not pinned");
    }
    tiny.task.head = Some(Head::new(Pooling::LastToken, kind));
    assert_eq!(refusal(&tiny), "the head reads the last token");
    let tiny = with(&Tiny::bert_tokens(), [PRUNE, None], RouterInput::Grid);
    assert_eq!(refusal(&tiny), "the head labels every token");
}
