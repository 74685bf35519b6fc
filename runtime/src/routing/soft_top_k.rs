//! The two soft top-k solvers (`docs/method.md`, "Soft top-k").
//!
//! Both maximise `s . lambda + eps H(lambda)` subject to `sum lambda = k`, `0 <= lambda <= 1`.

use crate::kernels::fold;
use crate::kernels::math::{exp, ln};

/// The exact maximiser (ours), for scores sorted in descending order.
///
/// With j saturated entries, the others are `(k - j) / t_j * exp((s_i - s_j) / eps)` where
/// `t_j = sum_{i >= j} exp((s_i - s_j) / eps)`; j is the smallest with `k - j <= t_j`:
/// the form without logarithms of `docs/method.md`, "Soft top-k".
///
/// **Shapes**: `sorted` and `lambda` `[n]`; k at least 1 and below n.
pub fn exact(sorted: &[f32], k: usize, eps: f32, lambda: &mut [f32]) {
    // lambda holds the tail sums t_j first.
    let (mut tail, mut behind) = (0.0, f32::NEG_INFINITY);
    for (slot, score) in lambda.iter_mut().zip(sorted).rev() {
        tail = 1.0 + tail * exp((behind - score) / eps);
        (*slot, behind) = (tail, *score);
    }
    let enough = |j: &usize| lambda.get(*j).is_none_or(|tail| (k - j) as f32 <= *tail);
    let saturated = (0..k).find(enough).unwrap_or(k.saturating_sub(1));
    let share = (k - saturated) as f32 / lambda.get(saturated).copied().unwrap_or(1.0);
    let first = sorted.get(saturated).copied().unwrap_or(0.0);
    for (index, (slot, score)) in lambda.iter_mut().zip(sorted).enumerate() {
        let soft = share * exp((score - first) / eps);
        *slot = if index < saturated { 1.0 } else { soft.min(1.0) };
    }
}

/// How [`iterated`] runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoordinateAscent {
    /// Number of sweeps T.
    pub sweeps: u32,
    /// Final entropy weight.
    pub eps: f32,
    /// Entropy weight of the first sweep.
    pub eps_start: f32,
    /// Factor on the entropy weight after each sweep.
    pub decay: f32,
}

/// Coordinate ascent on the dual (paper): `sweeps` times
/// `a = e ln k - e logsumexp((s + b) / e)`, `b = min(-s - a, 0)`, the entropy weight e starting at
/// `eps_start` and multiplied by `decay` after each sweep but the last, never below `eps`.
///
/// It is not fully converged for a small eps, by design: the sum may stay below k. b is never
/// stored: `s + b = min(s, -a)`.
///
/// **Shapes**: `scores` and `lambda` `[n]`; k at least 1 and below n.
pub fn iterated(scores: &[f32], k: usize, settings: CoordinateAscent, lambda: &mut [f32]) {
    let CoordinateAscent { sweeps, eps, eps_start, decay } = settings;
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut a, mut weight, mut bound) = (0.0, eps.max(eps_start), f32::INFINITY);
    for sweep in 0..sweeps {
        let top = largest.min(bound);
        let mut lanes = [0.0; 8];
        for (index, score) in scores.iter().enumerate() {
            lanes[index % 8] += exp((score.min(bound) - top) / weight);
        }
        a = weight * ln(k as f32) - weight * ln(fold(lanes)) - top;
        bound = -a;
        if sweep + 1 < sweeps {
            weight = (weight * decay).max(eps);
        }
    }
    for (slot, score) in lambda.iter_mut().zip(scores) {
        *slot = exp((score + a).min(0.0) / weight);
    }
}
