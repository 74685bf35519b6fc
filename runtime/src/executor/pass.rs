//! One inference at work: what its stages read and write.

use super::values::all_finite;
use crate::block::{Context, Transform};
use crate::memory::{Buffers, Scratch};
use crate::model::{Globals, Layer, Linear};
use crate::tensor::{Matrix, Part};

/// One inference at work.
pub(super) struct Pass<'p, 'b> {
    pub(super) context: Context<'p>,
    pub(super) globals: Globals<'p>,
    pub(super) buffers: Buffers<'b>,
    pub(super) scratch: Scratch<'b>,
    pub(super) tokens: usize,
}

impl Pass<'_, '_> {
    /// X, `[n, d]`.
    pub(super) fn hidden(&self) -> Matrix<'_> {
        Matrix::new(self.buffers.hidden, self.context.config.hidden).first_rows(self.tokens)
    }

    /// No value of the answer or of X is NaN or infinite. X too where only some rows of it make the
    /// answer: int8 rows of the others would hide what went wrong in them.
    pub(super) fn is_finite(&self) -> bool {
        let hidden = self.buffers.hidden.part(0..self.tokens * self.context.config.hidden);
        all_finite(hidden) && all_finite(self.buffers.output)
    }
}

/// How rows enter the query, key and value projections.
pub(super) fn attention_input<'a>(context: &Context<'_>, layer: &Layer<'a>) -> Transform<'a> {
    let attention = &layer.block.attention;
    Transform { norm: context.norm_before(attention.norm), scale: attention.input_scale }
}

/// How rows enter a map of the task: as they enter the projections if its weights are integers,
/// which were divided by the same scale.
pub(super) fn task_input<'a>(
    context: &Context<'_>,
    layer: &Layer<'a>,
    map: &Linear<'_>,
) -> Transform<'a> {
    let transform = attention_input(context, layer);
    if map.is_integer() { transform } else { Transform { scale: &[], ..transform } }
}
