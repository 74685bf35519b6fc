//! Tokens that stand apart evenly, whatever they are (`docs/method.md`, "Pruned tokens").

use crate::tensor::Part;

/// Selects `k` tokens: the pinned positions, and of the c tokens that are not pinned number
/// `floor(j c / m)` for j from 0 to m - 1, m being how many k leaves. k grows to the number of pinned
/// positions if it is smaller, and is at most all. Every gate is 1. Returns the number of selected tokens.
///
/// **Shapes**: `order` and `gates` `[n]`; `order` receives the selected tokens ascending, then the rest
/// ascending. `pinned` ascends.
pub fn grid(
    k: usize,
    pinned: impl Iterator<Item = usize> + Clone,
    order: &mut [u32],
    gates: &mut [f32],
) -> usize {
    let tokens = order.len();
    let fixed = pinned.clone().filter(|position| *position < tokens).count();
    let k = k.max(fixed).min(tokens);
    let (all, chosen) = ((tokens - fixed) as u64, (k - fixed) as u64);
    let is_chosen = |index: u64| (index * chosen).div_ceil(all.max(1)) * all < (index + 1) * chosen;
    let (selected, rest) = order.parts_mut(k);
    let (mut selected, mut rest) = (selected.iter_mut(), rest.iter_mut());
    let (mut pinned, mut index) = (pinned.peekable(), 0);
    for token in 0..tokens {
        let is_pinned = pinned.next_if_eq(&token).is_some();
        let chosen = is_pinned || is_chosen(index);
        let slot = if chosen { selected.next() } else { rest.next() };
        slot.into_iter().for_each(|slot| *slot = token as u32);
        index += u64::from(!is_pinned);
    }
    gates.fill(1.0);
    k
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn the_selected_are_those_of_the_definition_and_the_rest_follows() {
        for tokens in 1..40usize {
            for k in 1..=tokens {
                for pinned in [vec![], vec![0], vec![0, 1, tokens / 2 + 2], vec![tokens + 3]] {
                    let fixed = pinned.iter().filter(|position| **position < tokens).count();
                    let k = k.max(fixed);
                    let (mut order, mut gates) = (vec![9u32; tokens], vec![0.0; tokens]);
                    let count = grid(k, pinned.iter().copied(), &mut order, &mut gates);
                    let free: Vec<usize> =
                        (0..tokens).filter(|token| !pinned.contains(token)).collect();
                    let apart = (0..k - fixed).map(|j| free[j * free.len() / (k - fixed)]);
                    let within = pinned.iter().copied().filter(|position| *position < tokens);
                    let mut expected: Vec<usize> = within.chain(apart).collect();
                    expected.sort_unstable();
                    let rest = (0..tokens).filter(|token| !expected.contains(token));
                    let all: Vec<u32> =
                        expected.iter().copied().chain(rest).map(|token| token as u32).collect();
                    assert_eq!((count, order), (k, all), "{tokens} {k} {pinned:?}");
                    assert!(gates.iter().all(|gate| *gate == 1.0));
                }
            }
        }
    }
}
