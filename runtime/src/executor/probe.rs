//! The pooling by attention of a learned query.
//!
//! ```text
//! for each head h
//!     w = softmax(x_j . k_h over all tokens j)
//!     a_h = (W_v sum_j w_j x_j) of that head
//! p = W_o a + b_o            the pooled vector is norm(p); p is added behind the stages
//! ```

use super::values::larger;
use crate::block::{Context, map_vector};
use crate::kernels::math::exp;
use crate::model::Probe;
use crate::tensor::{Matrix, Part};

/// Fills p and norm(p); `work` is scratch of d and twice the attention width.
pub(super) fn attend(
    context: &Context<'_>,
    probe: &Probe<'_>,
    rows: Matrix<'_>,
    [p, normed, work]: [&mut [f32]; 3],
) {
    let (kernels, head_dim) = (context.kernels, context.config.head_dim);
    let (mix, work) = work.parts_mut(rows.columns());
    let (values, work) = work.parts_mut(probe.value.outputs);
    let (attended, _) = work.parts_mut(probe.value.outputs);
    let keys = probe.keys.chunks_exact(rows.columns().max(1));
    let slots = attended.chunks_exact_mut(head_dim.max(1));
    for (head, (key, slot)) in keys.zip(slots).enumerate() {
        mix_rows(mix, rows, |row| (kernels.dot)(row, key));
        map_vector(kernels, values, mix, &probe.value);
        slot.fill_from(values.part(head * head_dim..(head + 1) * head_dim));
    }
    map_vector(kernels, p, attended, &probe.output);
    context.norm(normed, p, probe.norm);
}

/// The sum of all rows, each times the softmax weight of its score, which is computed twice to need no
/// memory.
fn mix_rows(out: &mut [f32], rows: Matrix<'_>, score: impl Fn(&[f32]) -> f32) {
    let top = rows.iter().map(&score).fold(f32::NEG_INFINITY, larger);
    let mut total = 0.0;
    out.fill(0.0);
    for row in rows.iter() {
        let weight = exp(score(row) - top);
        total += weight;
        out.iter_mut().zip(row).for_each(|(slot, x)| *slot += weight * x);
    }
    out.iter_mut().for_each(|slot| *slot /= total);
}
