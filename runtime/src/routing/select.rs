//! The k highest scores, and the gates of all.

use super::soft_top_k::{CoordinateAscent, exact, iterated};
use crate::config::Gate;
use crate::kernels::math::sigmoid;
use crate::tensor::Part;

/// What a layer decided, for an [`Observer`](crate::executor::Observer).
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Selected tokens, ascending; where a layer before has pruned some, numbers among those that were left.
    pub selected: &'a [u32],
    /// Router scores of all tokens, `[n]`; empty in a dense layer, and without a router.
    pub scores: &'a [f32],
    /// lambda of all tokens, `[n]`: the gate m of the selected ones. Empty in a dense layer.
    pub gates: &'a [f32],
}

/// Scratch of [`route`]: each slice as long as the scores.
#[derive(Debug)]
pub struct RouteScratch<'a> {
    /// Sort keys.
    pub keys: &'a mut [u64],
    /// Tail sums of the exact solver.
    pub tails: &'a mut [f32],
}

/// Selects the `k` tokens with the highest scores and computes every token's gate.
///
/// Equal scores: lower index first. Pinned positions are always selected, count in k, have gate 1
/// and keep out of the soft top-k of the rest; k grows to their number if it is smaller. With all
/// tokens selected every gate is 1 and no solver runs. Returns the number of selected tokens.
///
/// **Shapes**: `scores`, `gates` and `order` `[n]`, n at most 2^24; `order` receives the selected
/// tokens ascending, then the rest ascending.
pub fn route(
    scores: &[f32],
    k: usize,
    pinned: impl Iterator<Item = usize> + Clone,
    gate: Gate,
    order: &mut [u32],
    gates: &mut [f32],
    scratch: &mut RouteScratch<'_>,
) -> usize {
    let tokens = scores.len();
    let pinned = pinned.filter(|position| *position < tokens);
    let fixed = pinned.clone().count();
    let k = k.max(fixed).min(tokens);
    if k == tokens {
        gates.fill(1.0);
        order.iter_mut().zip(0..).for_each(|(slot, token)| *slot = token);
        return k;
    }
    let candidates = sort_candidates(scores, pinned.clone(), scratch.keys);
    let keys = scratch.keys.part(0..candidates);
    soft_gates(scores, keys, k - fixed, gate, gates, scratch.tails);
    let chosen = keys.iter().take(k - fixed).map(|key| token_of(*key));
    let pinned = pinned.map(|position| position as u32);
    order.iter_mut().zip(pinned.clone().chain(chosen)).for_each(|(slot, token)| *slot = token);
    pinned.for_each(|position| gates.part_mut(position as usize..position as usize + 1).fill(1.0));
    split_order(order, k);
    k
}

/// Sorts the tokens that are not pinned: highest score first, then lowest index.
fn sort_candidates(scores: &[f32], pinned: impl Iterator<Item = usize>, keys: &mut [u64]) -> usize {
    let mut pinned = pinned.peekable();
    let mut count = 0;
    for (token, score) in scores.iter().enumerate() {
        if pinned.next_if_eq(&token).is_some() {
            continue;
        }
        if let Some(slot) = keys.get_mut(count) {
            *slot = sort_key(*score, token as u32);
            count += 1;
        }
    }
    keys.get_mut(..count).into_iter().for_each(sort);
    count
}

/// Sorts values of which no two are equal.
#[cfg(feature = "std")]
fn sort<T: Ord>(values: &mut [T]) {
    values.sort_unstable();
}

/// Sorts values of which no two are equal. A heap sort takes a twentieth of the code of the standard
/// library's sort and never more than n log n steps.
#[cfg(not(feature = "std"))]
fn sort<T: Ord>(values: &mut [T]) {
    for parent in (0..values.len() / 2).rev() {
        sift_down(values, parent);
    }
    for end in (1..values.len()).rev() {
        exchange(values, 0, end);
        values.get_mut(..end).into_iter().for_each(|heap| sift_down(heap, 0));
    }
}

/// Exchanges two values; the check here leaves none that could panic.
#[cfg(not(feature = "std"))]
fn exchange<T>(values: &mut [T], first: usize, second: usize) {
    if first.max(second) < values.len() {
        values.swap(first, second);
    }
}

/// Moves a value down to where no child is larger.
#[cfg(not(feature = "std"))]
fn sift_down<T: Ord>(heap: &mut [T], mut parent: usize) {
    loop {
        let left = 2 * parent + 1;
        let Some(mut largest) = heap.get(left) else { return };
        let mut child = left;
        if let Some(right) = heap.get(left + 1)
            && right > largest
        {
            (largest, child) = (right, left + 1);
        }
        if heap.get(parent).is_none_or(|value| value >= largest) {
            return;
        }
        exchange(heap, parent, child);
        parent = child;
    }
}

/// A key that sorts ascending as scores sort descending, ties by index. A NaN sorts by its sign.
fn sort_key(score: f32, token: u32) -> u64 {
    // Adding zero makes -0 equal to 0, as comparing floats does.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits };
    u64::from(!ascending) << 32 | u64::from(token)
}

/// The token of a key.
const fn token_of(key: u64) -> u32 {
    key as u32
}

/// Writes lambda of every candidate; `keys` are in sorted order.
fn soft_gates(
    scores: &[f32],
    keys: &[u64],
    k: usize,
    gate: Gate,
    gates: &mut [f32],
    tails: &mut [f32],
) {
    let constant = match gate {
        _ if k == 0 => Some(0.0),
        Gate::Ones => Some(1.0),
        _ if k >= keys.len() => Some(1.0),
        _ => None,
    };
    if let Some(value) = constant {
        return gates.fill(value);
    }
    if gate == Gate::Sigmoid {
        let pairs = gates.iter_mut().zip(scores);
        return pairs.for_each(|(slot, score)| *slot = sigmoid(*score));
    }
    solve(scores, keys, k, gate, gates, tails);
}

/// Runs a solver on the sorted scores. They are gathered in `gates`, and lambda replaces them in
/// `tails`, before it is scattered to the tokens' places.
fn solve(scores: &[f32], keys: &[u64], k: usize, gate: Gate, gates: &mut [f32], tails: &mut [f32]) {
    let count = keys.len();
    let (Some(sorted), Some(tails)) = (gates.get_mut(..count), tails.get_mut(..count)) else {
        return;
    };
    for (slot, key) in sorted.iter_mut().zip(keys) {
        *slot = scores.get(token_of(*key) as usize).copied().unwrap_or(0.0);
    }
    match gate {
        Gate::Iterated { sweeps, eps, eps_start, decay } => {
            let settings = CoordinateAscent { sweeps, eps, eps_start, decay };
            iterated(sorted, k, settings, tails);
        }
        Gate::Exact { eps } => exact(sorted, k, eps, tails),
        Gate::Sigmoid | Gate::Ones => {}
    }
    for (key, lambda) in keys.iter().zip(tails.iter()) {
        gates.get_mut(token_of(*key) as usize).into_iter().for_each(|slot| *slot = *lambda);
    }
}

/// Sorts the first `k` entries and lists every other token behind them, ascending.
fn split_order(order: &mut [u32], k: usize) {
    let Some((selected, rest)) = order.split_at_mut_checked(k) else { return };
    sort(selected);
    let mut selected = selected.iter().peekable();
    let mut token = 0;
    for slot in rest {
        while selected.next_if(|chosen| **chosen == token).is_some() {
            token += 1;
        }
        (*slot, token) = (token, token + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn values_of_every_order_are_sorted() {
        for count in 0..40u64 {
            // Steps that share no factor with the modulus 41 visit every number once.
            for step in 1..41 {
                let mut values: Vec<u64> = (0..count).map(|index| index * step % 41).collect();
                let mut expected = values.clone();
                expected.sort_unstable();
                sort(&mut values);
                assert_eq!(values, expected);
            }
        }
    }
}
