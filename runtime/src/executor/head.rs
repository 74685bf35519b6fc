//! Final norm, pooling, classifier or embedding.

use super::pass::Pass;
use crate::block::{PreparedRows, apply, norm_rows, rows_of};
use crate::config::{Head, HeadKind, Pooling};
use crate::kernels::math::sqrt;
use crate::kernels::{Epilogue, Kernels};
use crate::memory::typed;
use crate::model::Linear;
use crate::tensor::{Matrix, MatrixMut, Part};

/// Finishes the hidden states and writes the answer.
pub(super) fn forward(pass: &mut Pass<'_, '_>, head: Option<Head>) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    if let Some(weights) = pass.globals.final_norm {
        let mut rows = rows_of(pass.buffers.hidden, 0..pass.tokens, d);
        norm_rows(&context, &mut rows, pass.scratch.tile.floats, weights);
    }
    let Some(head) = head else { return };
    let hidden = Matrix::new(pass.buffers.hidden, d).first_rows(pass.tokens);
    let stage: &mut [f32] = typed(pass.scratch.stage);
    let pooled = stage.part_mut(0..d);
    match head.pooling {
        Pooling::ClassToken => pooled.fill_from(hidden.row(0)),
        Pooling::Mean => mean(pooled, hidden),
    }
    let answer = &mut *pass.buffers.output;
    match (head.kind, &pass.globals.classifier) {
        (HeadKind::Embedding { normalize }, _) => {
            answer.fill_from(pooled);
            if normalize {
                scale_to_unit_length(context.kernels, answer);
            }
        }
        (_, Some(classifier)) => classify(context.kernels, answer, pooled, classifier),
        _ => debug_assert!(false, "binding has viewed the classifier of such a head"),
    }
}

/// One logit for each label.
fn classify(kernels: &Kernels, logits: &mut [f32], pooled: &[f32], classifier: &Linear<'_>) {
    let rows = PreparedRows::Float(Matrix::new(pooled, classifier.inputs));
    let mut logits = MatrixMut::new(logits, classifier.outputs);
    apply(kernels, &mut logits, rows, classifier, &Epilogue::overwrite(classifier.bias));
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

/// Divides by the Euclidean norm, at least 1e-12. Of a norm beyond f32 it makes NaN, not zero.
fn scale_to_unit_length(kernels: &Kernels, vector: &mut [f32]) {
    let length = sqrt((kernels.dot)(vector, vector)).max(1e-12);
    let one = 1.0 + 0.0 * length;
    vector.iter_mut().for_each(|x| *x = *x / length * one);
}
