//! Router scores to gates, with the router's gradient (`docs/method.md`, "Soft top-k").

use super::{Backward, Differentiable, Gradients, Out, Real, View, apply1};
use candle_core::{Result, Tensor};
use coda_runtime::config::Gate;
use std::ops::Range;
use std::sync::Arc;

/// How scores become gates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftTopK {
    /// As the runtime computes them.
    pub gate: Gate,
    /// Entropy weight of the exact soft top-k that gives gates of ones their gradient.
    pub eps: f32,
}

/// What one sequence selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The sequence's rows.
    pub rows: Range<usize>,
    /// Selected tokens, ascending, counted from the sequence's start.
    pub selected: Vec<u32>,
    /// Pinned tokens, ascending; they are among the selected ones.
    pub pinned: Vec<u32>,
}

/// The gates of the selected tokens of every sequence, one after the other.
///
/// Pinned tokens have gate 1 and keep out of the soft top-k of the rest. A sequence that selects all
/// of its tokens has gates 1 and no solver runs.
///
/// **Shapes**: `scores` `[n, 1]`; the result `[sum of selected, 1]`.
///
/// # Errors
/// A sequence is beyond the scores.
pub fn gates(scores: &Tensor, choices: Arc<[Selected]>, kind: SoftTopK) -> Result<Tensor> {
    apply1(Gates { choices, kind }, scores)
}

struct Gates {
    choices: Arc<[Selected]>,
    kind: SoftTopK,
}

/// The tokens of a sequence that take part in the soft top-k, and how many of them it selects.
fn candidates(choice: &Selected) -> Option<(Vec<usize>, usize)> {
    let (tokens, k) = (choice.rows.len(), choice.selected.len());
    let wanted = k.saturating_sub(choice.pinned.len());
    if k >= tokens || wanted == 0 {
        return None;
    }
    let free = |token: &usize| choice.pinned.binary_search(&(*token as u32)).is_err();
    Some(((0..tokens).filter(free).collect(), wanted))
}

/// lambda of every candidate, with what its gradient needs.
struct Solved<T> {
    lambda: Vec<T>,
    /// Candidates whose lambda depends on the scores.
    soft: Vec<bool>,
}

/// The exact maximiser of `s . lambda + eps H(lambda)`.
fn exact<T: Real>(scores: &[T], k: usize, eps: T) -> Solved<T> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| {
        scores[*b].partial_cmp(&scores[*a]).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b))
    });
    let sorted: Vec<T> = order.iter().map(|index| scores[*index]).collect();
    let mut tails = vec![T::zero(); sorted.len()];
    let (mut tail, mut behind) = (T::zero(), T::neg_infinity());
    for (slot, score) in tails.iter_mut().zip(&sorted).rev() {
        tail = T::one() + tail * ((behind - *score) / eps).exponential();
        (*slot, behind) = (tail, *score);
    }
    let enough = |j: &usize| T::constant((k - j) as f64) <= tails[*j];
    let saturated = (0..k).find(enough).unwrap_or(k - 1);
    let share = T::constant((k - saturated) as f64) / tails[saturated];
    let first = sorted[saturated];
    let mut solved =
        Solved { lambda: vec![T::one(); sorted.len()], soft: vec![false; sorted.len()] };
    for (index, score) in order.iter().zip(&sorted).skip(saturated) {
        let value = share * ((*score - first) / eps).exponential();
        solved.lambda[*index] = value.at_most(T::one());
        solved.soft[*index] = true;
    }
    solved
}

/// `J^T g` with `J = (lambda_i / eps) (delta_ip - lambda_p / sum lambda)` on the soft set.
fn exact_gradient<T: Real>(solved: &Solved<T>, g: &[T], eps: T) -> Vec<T> {
    let soft = || solved.lambda.iter().zip(&solved.soft).zip(g).filter(|((_, soft), _)| **soft);
    let total: T = soft().map(|((lambda, _), _)| *lambda).sum();
    let along: T = soft().map(|((lambda, _), g)| *lambda * *g).sum();
    let values = solved.lambda.iter().zip(&solved.soft).zip(g);
    values
        .map(|((lambda, soft), g)| match soft {
            true => *lambda / eps * (*g - along / total),
            false => T::zero(),
        })
        .collect()
}

/// One sweep: its entropy weight, the bound on the scores, and the dual variable a.
#[derive(Clone, Copy)]
struct Sweep<T> {
    weight: T,
    bound: T,
    a: T,
}

/// The sweeps of an iterated gate; none of another.
fn sweeps<T: Real>(scores: &[T], k: usize, gate: Gate) -> Vec<Sweep<T>> {
    let Gate::Iterated { sweeps, eps, eps_start, decay } = gate else { return Vec::new() };
    let (eps, decay) = (constant(eps), constant(decay));
    let mut weight = constant::<T>(eps_start).at_least(eps);
    let mut bound = T::infinity();
    let largest = scores.iter().fold(T::neg_infinity(), |top, score| top.at_least(*score));
    let mut done = Vec::with_capacity(sweeps as usize);
    for _ in 0..sweeps {
        let top = largest.at_most(bound);
        let total: T =
            scores.iter().map(|score| ((score.at_most(bound) - top) / weight).exponential()).sum();
        let a = weight * T::constant(k as f64).ln() - weight * total.ln() - top;
        done.push(Sweep { weight, bound, a });
        bound = -a;
        weight = eps.at_least(weight * decay);
    }
    done
}

fn iterated<T: Real>(scores: &[T], done: &[Sweep<T>]) -> Vec<T> {
    let Some(last) = done.last() else { return vec![T::one(); scores.len()] };
    let value = |score: &T| ((*score + last.a).at_most(T::zero()) / last.weight).exponential();
    scores.iter().map(value).collect()
}

fn iterated_gradient<T: Real>(scores: &[T], done: &[Sweep<T>], g: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); scores.len()];
    let Some(last) = done.last() else { return out };
    let mut of_a = T::zero();
    for ((slot, score), (lambda, g)) in
        out.iter_mut().zip(scores).zip(iterated(scores, done).iter().zip(g))
    {
        if *score + last.a < T::zero() {
            *slot = *g * *lambda / last.weight;
            of_a += *slot;
        }
    }
    for sweep in done.iter().rev() {
        let lowered = |score: &T| score.at_most(sweep.bound);
        let top = scores.iter().map(lowered).fold(T::neg_infinity(), T::at_least);
        let shares: Vec<T> = scores
            .iter()
            .map(|score| ((lowered(score) - top) / sweep.weight).exponential())
            .collect();
        let total: T = shares.iter().copied().sum();
        let mut of_bound = T::zero();
        for ((slot, score), share) in out.iter_mut().zip(scores).zip(&shares) {
            let part = of_a * *share / total;
            if *score < sweep.bound {
                *slot -= part;
            } else {
                of_bound -= part;
            }
        }
        of_a = -of_bound;
    }
    out
}

fn constant<T: Real>(value: f32) -> T {
    T::constant(value.into())
}

fn sigmoid<T: Real>(score: T) -> T {
    T::one() / (T::one() + (-score).exponential())
}

impl SoftTopK {
    fn lambda<T: Real>(self, scores: &[T], k: usize) -> Vec<T> {
        match self.gate {
            Gate::Exact { eps } => exact(scores, k, constant(eps)).lambda,
            Gate::Iterated { .. } => iterated(scores, &sweeps(scores, k, self.gate)),
            Gate::Sigmoid => scores.iter().map(|score| sigmoid(*score)).collect(),
            Gate::Ones => vec![T::one(); scores.len()],
        }
    }

    fn gradient<T: Real>(self, scores: &[T], k: usize, g: &[T]) -> Vec<T> {
        let of_exact = |eps| exact_gradient(&exact(scores, k, eps), g, eps);
        match self.gate {
            Gate::Exact { eps } => of_exact(constant(eps)),
            Gate::Ones => of_exact(constant(self.eps)),
            Gate::Iterated { .. } => iterated_gradient(scores, &sweeps(scores, k, self.gate), g),
            Gate::Sigmoid => {
                let slope = |score: &T| sigmoid(*score) * (T::one() - sigmoid(*score));
                scores.iter().zip(g).map(|(score, g)| *g * slope(score)).collect()
            }
        }
    }
}

impl Differentiable<1> for Gates {
    const NAME: &'static str = "gates";

    fn forward<T: Real>(&self, [scores]: [View<'_, T>; 1]) -> Result<Out<T>> {
        let mut out = Vec::new();
        for choice in self.choices.iter() {
            let mut own = vec![T::one(); choice.rows.len()];
            if let Some((tokens, k)) = candidates(choice) {
                let scores: Vec<T> =
                    tokens.iter().map(|token| scores.values[choice.rows.start + token]).collect();
                let lambda = self.kind.lambda(&scores, k);
                tokens.iter().zip(lambda).for_each(|(token, lambda)| own[*token] = lambda);
            }
            out.extend(choice.selected.iter().map(|token| own[*token as usize]));
        }
        Ok((out, 1))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let (scores, g) = (pass.inputs[0].values, pass.gradient.values);
        let (mut out, mut start) = (vec![T::zero(); scores.len()], 0);
        for choice in self.choices.iter() {
            let of_selected = &g[start..start + choice.selected.len()];
            start += choice.selected.len();
            let Some((tokens, k)) = candidates(choice) else { continue };
            let mut of_all = vec![T::zero(); choice.rows.len()];
            for (token, g) in choice.selected.iter().zip(of_selected) {
                of_all[*token as usize] = *g;
            }
            let own: Vec<T> =
                tokens.iter().map(|token| scores[choice.rows.start + token]).collect();
            let g: Vec<T> = tokens.iter().map(|token| of_all[*token]).collect();
            let found = self.kind.gradient(&own, k, &g);
            for (token, value) in tokens.iter().zip(found) {
                out[choice.rows.start + token] = value;
            }
        }
        Ok([Some(out)])
    }
}
