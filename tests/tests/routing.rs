//! Soft top-k against its definition, selection against a plain sort.

use coda_runtime::config::Gate;
use coda_runtime::routing::{CoordinateAscent, RouteScratch, exact, iterated, route};
use coda_tests::tolerance::Tolerance;
use proptest::prelude::*;

/// f32 gates against f64 ones: an error e in a score moves a gate by up to e / eps.
const GATES: Tolerance = Tolerance::Absolute(2e-4);
/// The sum of n f32 gates against k.
const SUM: Tolerance = Tolerance::Relative(1e-4);

/// A layer's decision.
struct Routed {
    selected: Vec<u32>,
    order: Vec<u32>,
    gates: Vec<f32>,
}

fn run(scores: &[f32], k: usize, pinned: &[usize], gate: Gate) -> Routed {
    let n = scores.len();
    let (mut order, mut gates) = (vec![u32::MAX; n], vec![f32::NAN; n]);
    let (mut keys, mut tails) = (vec![0; n], vec![0.0; n]);
    let mut scratch = RouteScratch { keys: &mut keys, tails: &mut tails };
    let pinned = pinned.iter().copied();
    let k = route(scores, k, pinned, gate, &mut order, &mut gates, &mut scratch);
    Routed { selected: order[..k].to_vec(), order, gates }
}

/// The definition by bisection in f64: `lambda = min(1, exp((s + a) / eps))` with a such that the
/// sum is k.
fn by_definition(scores: &[f32], k: usize, eps: f64) -> Vec<f64> {
    let lambda = |a: f64| -> Vec<f64> {
        scores.iter().map(|s| ((f64::from(*s) + a) / eps).exp().min(1.0)).collect()
    };
    let (mut low, mut high) = (-1000.0, 1000.0);
    for _ in 0..300 {
        let middle = 0.5 * (low + high);
        if lambda(middle).iter().sum::<f64>() < k as f64 { low = middle } else { high = middle }
    }
    lambda(high)
}

/// The iterated solver of `docs/method.md`, "Soft top-k", line by line in f64.
fn iterated_by_definition(scores: &[f32], k: usize, eps: f64) -> Vec<f64> {
    let s: Vec<f64> = scores.iter().copied().map(f64::from).collect();
    let (mut a, mut b, mut e) = (0.0, vec![0.0; s.len()], eps.max(4.0));
    for sweep in 0..20 {
        let x: Vec<f64> = s.iter().zip(&b).map(|(s, b)| (s + b) / e).collect();
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - top).exp()).sum();
        a = e * (k as f64).ln() - e * (top + sum.ln());
        b = s.iter().map(|s| (-s - a).min(0.0)).collect();
        if sweep < 19 {
            e = (0.7 * e).max(eps);
        }
    }
    s.iter().zip(&b).map(|(s, b)| ((s + a + b) / e).exp()).collect()
}

fn assert_close(found: &[f32], expected: &[f64], tolerance: Tolerance) {
    let found = found.iter().copied().map(f64::from);
    assert_eq!(tolerance.first_miss(found, expected.iter().copied()), None);
}

fn scores_and_k() -> impl Strategy<Value = (Vec<f32>, usize)> {
    prop::collection::vec(-4.0f32..4.0, 2..200)
        .prop_flat_map(|scores| (Just(scores.clone()), 1..scores.len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_exact_solver_is_the_maximiser_of_the_definition(
        (mut scores, k) in scores_and_k(),
        eps in prop::sample::select(vec![0.03f32, 0.3, 1.0]),
    ) {
        scores.sort_by(|a, b| b.total_cmp(a));
        let mut lambda = vec![0.0; scores.len()];
        exact(&scores, k, eps, &mut lambda);
        assert_close(&lambda, &by_definition(&scores, k, f64::from(eps)), GATES);
        let sum: f64 = lambda.iter().copied().map(f64::from).sum();
        prop_assert!(SUM.accepts(sum, k as f64), "{} of {}", sum, k);
        prop_assert!(lambda.iter().all(|l| (0.0..=1.0).contains(l)));
        prop_assert!(lambda.windows(2).all(|pair| pair[0] >= pair[1]));
    }

    #[test]
    fn the_iterated_solver_follows_the_papers_sweeps(
        (scores, k) in scores_and_k(),
        eps in prop::sample::select(vec![0.03f32, 0.3, 1.0]),
    ) {
        let mut lambda = vec![0.0; scores.len()];
        let settings = CoordinateAscent { sweeps: 20, eps, eps_start: 4.0, decay: 0.7 };
        iterated(&scores, k, settings, &mut lambda);
        assert_close(&lambda, &iterated_by_definition(&scores, k, f64::from(eps)), GATES);
    }

    #[test]
    fn the_k_highest_scores_are_selected_and_equal_ones_by_lower_index(
        scores in prop::collection::vec(prop::sample::select(vec![-1.0f32, -0.0, 0.0, 0.5, 2.0]), 1..80),
        k in 1usize..80,
    ) {
        let routed = run(&scores, k, &[], Gate::Ones);
        let mut expected: Vec<u32> = (0..scores.len() as u32).collect();
        expected.sort_by(|a, b| scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap());
        expected.truncate(k);
        expected.sort_unstable();
        prop_assert_eq!(&routed.selected, &expected);
        let mut all = routed.order.clone();
        all.sort_unstable();
        prop_assert_eq!(all, (0..scores.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn pinned_tokens_are_selected_have_gate_one_and_keep_out_of_the_soft_top_k(
        (scores, k) in scores_and_k(),
        pins in prop::collection::btree_set(0usize..220, 0..6),
    ) {
        let pinned: Vec<usize> = pins.into_iter().collect();
        let here: Vec<usize> = pinned.iter().copied().filter(|p| *p < scores.len()).collect();
        let gate = Gate::Exact { eps: 0.3 };
        let routed = run(&scores, k, &pinned, gate);
        prop_assert_eq!(routed.selected.len(), k.max(here.len()).min(scores.len()));
        for position in &here {
            prop_assert!(routed.selected.contains(&(*position as u32)));
            prop_assert_eq!(routed.gates[*position], 1.0);
        }
        // The others are routed as if the pinned tokens were not there.
        let rest: Vec<usize> = (0..scores.len()).filter(|i| !here.contains(i)).collect();
        if k > here.len() && k < scores.len() {
            let alone: Vec<f32> = rest.iter().map(|i| scores[*i]).collect();
            let alone = run(&alone, k - here.len(), &[], gate);
            for (index, token) in rest.iter().enumerate() {
                prop_assert_eq!(alone.gates[index].to_bits(), routed.gates[*token].to_bits());
            }
        }
    }

    #[test]
    fn any_scores_give_a_selection_without_panic(
        bits in prop::collection::vec(any::<u32>(), 1..60),
        k in 0usize..70,
        kind in 0usize..4,
    ) {
        let scores: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let iterated = Gate::Iterated { sweeps: 20, eps: 0.03, eps_start: 4.0, decay: 0.7 };
        let gate = [Gate::Ones, Gate::Sigmoid, Gate::Exact { eps: 0.03 }, iterated][kind];
        let routed = run(&scores, k, &[], gate);
        prop_assert_eq!(routed.selected.len(), k.min(scores.len()));
    }
}

#[test]
fn with_all_tokens_selected_every_gate_is_one_and_no_solver_runs() {
    let gate = Gate::Exact { eps: 0.03 };
    let routed = run(&[3.0, f32::NAN, -1.0], 3, &[], gate);
    assert_eq!(routed.gates, [1.0; 3]);
    assert_eq!(routed.selected, [0, 1, 2]);
}

#[test]
fn one_token_of_many_gets_the_softmax() {
    let scores = [0.5f32, -0.25, 1.0, 0.0];
    let routed = run(&scores, 1, &[], Gate::Exact { eps: 1.0 });
    let total: f64 = scores.iter().map(|s| f64::from(*s).exp()).sum();
    let softmax: Vec<f64> = scores.iter().map(|s| f64::from(*s).exp() / total).collect();
    assert_close(&routed.gates, &softmax, GATES);
}
