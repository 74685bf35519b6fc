//! Rotary positions: pairs of columns, turned by the angle of their position.

use super::context::Context;
use crate::model::Places;
use crate::tensor::{MatrixMut, Part};

/// Turns queries or keys, `[rows, attention width]`, each row by the angles of its position, if the layer has
/// rotary positions. Every operation is rounded alone, so that every CPU gives the same bits.
pub(crate) fn turn(
    context: &Context<'_>,
    rows: &mut MatrixMut<'_>,
    places: Places<'_>,
    positions: impl Iterator<Item = usize>,
) {
    if places.rotary.is_empty() {
        return;
    }
    let (columns, head_dim) = (context.config.rotary.columns, context.config.head_dim.max(1));
    for (row, position) in rows.rows_from(0).zip(positions) {
        let angles = places.rotary.part(position * columns..(position + 1) * columns);
        let (cosines, sines) = angles.split_at_checked(columns / 2).unwrap_or_default();
        for head in row.chunks_exact_mut(head_dim) {
            let (first, second) = head.part_mut(0..columns).parts_mut(columns / 2);
            let pairs = first.iter_mut().zip(second).zip(cosines.iter().zip(sines));
            for ((a, b), (cos, sin)) in pairs {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
