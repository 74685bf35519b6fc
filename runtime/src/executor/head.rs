//! Final norm, pooling, classifier or embedding.

use super::embed::norm_rows;
use super::gemm::{Rows, apply};
use super::{Context, RunError};
use crate::config::{HeadKind, Pooling};
use crate::kernels::Epilogue;
use crate::kernels::math::sqrt;
use crate::memory::{Buffers, typed};
use crate::tensor::{Matrix, MatrixMut};

/// Finishes the hidden states and writes the answer.
pub(super) fn forward(
    context: &Context<'_>,
    buffers: &mut Buffers<'_>,
    tokens: usize,
) -> Result<(), RunError> {
    let d = context.model.config().hidden;
    if context.model.config().final_norm {
        let weights = context.model.final_norm()?;
        let mut hidden = MatrixMut::new(buffers.hidden, d);
        let rows = &mut hidden.first_rows(tokens);
        norm_rows(context, rows, buffers.scratch.tile.floats, weights);
    }
    let Some(head) = context.model.head() else { return Ok(()) };
    let hidden = Matrix::new(buffers.hidden, d).first_rows(tokens);
    let stage: &mut [f32] = typed(buffers.scratch.stage);
    let pooled = stage.get_mut(..d).unwrap_or_default();
    match head.pooling {
        Pooling::ClassToken => pooled.copy_from_slice(hidden.row(0)),
        Pooling::Mean => mean(pooled, hidden),
    }
    match head.kind {
        HeadKind::Classification { labels } => {
            let classifier = context.model.classifier()?;
            let rows = Rows::Float(Matrix::new(pooled, d));
            let mut out = MatrixMut::new(buffers.output, labels);
            let epilogue = Epilogue::overwrite(classifier.bias);
            apply(context.kernels, &mut out, rows, &classifier, &epilogue);
        }
        HeadKind::Embedding { normalize } => {
            buffers.output.copy_from_slice(pooled);
            if normalize {
                scale_to_unit_length(context, buffers.output);
            }
        }
    }
    Ok(())
}

/// The mean of all rows, summed in order.
fn mean(out: &mut [f32], rows: Matrix<'_>) {
    out.fill(0.0);
    for row in rows.iter() {
        out.iter_mut().zip(row).for_each(|(slot, x)| *slot += x);
    }
    let count = rows.rows() as f32;
    out.iter_mut().for_each(|slot| *slot /= count);
}

/// Divides by the Euclidean norm, at least 1e-12.
fn scale_to_unit_length(context: &Context<'_>, vector: &mut [f32]) {
    let length = sqrt((context.kernels.dot)(vector, vector)).max(1e-12);
    vector.iter_mut().for_each(|x| *x /= length);
}
