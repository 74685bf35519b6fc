//! Scores, softmax and context, one query and one head at a time: no n by n map exists.

use super::Context;
use crate::kernels::HeadRows;
use crate::memory::{Buffers, typed};
use crate::tensor::Matrix;

/// Relative position bias of one model.
#[derive(Clone, Copy)]
struct RelativeBias<'a> {
    /// `[heads, 2 D + 1]`.
    values: &'a [f32],
    distance: usize,
}

/// Replaces each query row by its attention context.
///
/// `positions` gives the original position of each key row; the first `queries` tokens of the order
/// are the queries.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    queries: usize,
    key_rows: usize,
    keys_are_selected: bool,
) {
    let config = context.model.config();
    let (width, head_dim) = (config.attention_width(), config.head_dim);
    let rows = |data| Matrix::new(data, width).first_rows(key_rows);
    let (keys, values) = (rows(&*buffers.keys), rows(&*buffers.values));
    let bias = context.model.relative_bias().ok().filter(|_| config.relative_distance > 0);
    let bias = bias.map(|values| RelativeBias { values, distance: config.relative_distance });
    let scores: &mut [f32] = typed(buffers.stage);
    let scores = scores.get_mut(..key_rows).unwrap_or_default();
    let (kernels, order) = (context.kernels, &*buffers.order);
    let positions = order.get(..key_rows).filter(|_| keys_are_selected);
    let queries = buffers.queries.chunks_exact_mut(width).take(queries).zip(order);
    for (row, position) in queries {
        for (head, query) in row.chunks_exact_mut(head_dim).enumerate() {
            let start = head * head_dim;
            let scale = config.attention_scale;
            (kernels.attention_scores)(scores, query, HeadRows { matrix: keys, start }, scale);
            if let Some(bias) = bias {
                bias.add(scores, head, *position, positions);
            }
            (kernels.softmax)(scores);
            (kernels.attention_mix)(query, scores, HeadRows { matrix: values, start });
        }
    }
}

impl RelativeBias<'_> {
    /// Adds the bias of one query to its scores. Without `positions` key j stands at position j.
    fn add(&self, scores: &mut [f32], head: usize, query: u32, positions: Option<&[u32]>) {
        let entries = 2 * self.distance + 1;
        let table = self.values.get(head * entries..(head + 1) * entries).unwrap_or(&[]);
        for (index, score) in scores.iter_mut().enumerate() {
            let key = match positions {
                Some(positions) => positions.get(index).map_or(0, |position| *position as usize),
                None => index,
            };
            let ahead = (key + self.distance).saturating_sub(query as usize);
            *score += table.get(ahead.min(2 * self.distance)).copied().unwrap_or(0.0);
        }
    }
}
