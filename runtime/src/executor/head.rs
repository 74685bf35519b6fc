//! Final norm, pooling, dense stages, classifier or embedding.

use super::pass::Pass;
use super::probe;
use super::values::larger;
use crate::block::{PreparedRows, apply, for_row_tiles, map_vector, norm_rows, rows_of};
use crate::config::{Config, Head, HeadKind, Pooling, StageActivation};
use crate::kernels::math::{self, sqrt};
use crate::kernels::{Epilogue, Kernels};
use crate::memory::typed;
use crate::model::Linear;
use crate::tensor::{Matrix, MatrixMut, Part};

/// Finishes the hidden states and writes the answer.
pub(super) fn forward(pass: &mut Pass<'_, '_>, head: Option<Head>) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    normalize(pass);
    let Some(head) = head else { return };
    if head.is_of_each_token() {
        return label_tokens(pass);
    }
    let hidden = Matrix::new(pass.buffers.hidden, d).first_rows(pass.tokens);
    let stage: &mut [f32] = typed(pass.scratch.stage);
    let (residual, stage) = match head.pooling.is_attention() {
        true => stage.parts_mut(d),
        false => (<_>::default(), stage),
    };
    let (mut vector, mut rest) = stage.parts_mut(d * head.pooling.count());
    if let Some(probe) = pass.globals.probe.iter().flatten().next() {
        probe::attend(&context, probe, hidden, [&mut *residual, &mut *vector, &mut *rest]);
    } else if cfg!(feature = "heads") {
        let parts = vector.chunks_exact_mut(d.max(1)).zip(head.pooling.iter());
        parts.for_each(|(part, pooling)| pool(context.config, part, hidden, pooling));
    } else {
        pool(context.config, vector, hidden, head.pooling.plain());
    }
    let floats = &mut *pass.scratch.tile.floats;
    let mut norm = |vector: &mut [f32], on: bool| {
        for weights in pass.globals.pooled_norm.iter().flatten().filter(|_| on) {
            norm_rows(&context, &mut MatrixMut::new(&mut *vector, d), floats, *weights);
        }
    };
    norm(vector, head.pooling.has_norm());
    for stage in pass.globals.stages.iter().flatten() {
        let (next, behind) = rest.parts_mut(stage.map.outputs);
        map_vector(context.kernels, next, vector, &stage.map);
        activate(next, stage.activation);
        norm(next, stage.activation.has_norm());
        (vector, rest) = (next, behind);
    }
    vector.iter_mut().zip(residual).for_each(|(x, p)| *x += *p);
    let classifier = pass.globals.classifier.as_ref();
    answer(context.kernels, head.kind, classifier, [&mut *vector, &mut *pass.buffers.output]);
}

/// The answer of a vector that has passed the stages.
fn answer(
    kernels: &Kernels,
    kind: HeadKind,
    classifier: Option<&Linear<'_>>,
    [vector, answer]: [&mut [f32]; 2],
) {
    match (kind, classifier) {
        (HeadKind::Embedding { normalize }, _) => {
            answer.fill_from(vector);
            if normalize {
                scale_to_unit_length(kernels, answer);
            }
        }
        (_, Some(classifier)) => map_vector(kernels, answer, vector, classifier),
        _ => debug_assert!(false, "binding has viewed the classifier of such a head"),
    }
}

/// The norm after the last layer.
fn normalize(pass: &mut Pass<'_, '_>) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    if let Some(weights) = pass.globals.final_norm {
        let mut rows = rows_of(pass.buffers.hidden, 0..pass.tokens, d);
        norm_rows(&context, &mut rows, pass.scratch.tile.floats, weights);
    }
}

/// `W x + b` of each token's vector: its logits.
fn label_tokens(pass: &mut Pass<'_, '_>) {
    let (context, d) = (pass.context, pass.context.config.hidden);
    let Some(map) = pass.globals.classifier else { return };
    let whole = core::mem::take(&mut pass.buffers.output);
    pass.buffers.output = whole.parts_mut(pass.tokens * map.outputs).0;
    let hidden = rows_of(pass.buffers.hidden, 0..pass.tokens, d);
    let logits = rows_of(pass.buffers.output, 0..pass.tokens, map.outputs);
    let rows = (0..pass.tokens, (hidden, logits));
    let scratch = pass.scratch.reborrow();
    for_row_tiles(context.workers, scratch, rows, |_, (_, (hidden, mut logits))| {
        let rows = PreparedRows::Float(hidden.as_matrix());
        apply(context.kernels, &mut logits, rows, &map, &Epilogue::overwrite(map.bias));
    });
}

/// The activation of a dense stage, one fixed sequence of steps on every CPU.
fn activate(values: &mut [f32], activation: StageActivation) {
    let function = match activation {
        StageActivation::Identity => return,
        StageActivation::Relu => math::relu,
        StageActivation::GeluErf | StageActivation::GeluErfNormed => math::gelu_erf,
        StageActivation::GeluTanh => math::gelu_tanh,
        StageActivation::Tanh => math::tanh,
    };
    values.iter_mut().for_each(|x| *x = function(*x));
}

/// One vector of all rows.
fn pool(config: &Config, out: &mut [f32], rows: Matrix<'_>, pooling: Pooling) {
    match pooling {
        Pooling::ClassToken => out.fill_from(rows.row(0)),
        Pooling::Mean => mean(out, rows, |_| 1.0, rows.rows() as f32),
        _ if cfg!(feature = "heads") => pool_otherwise(config, out, rows, pooling),
        _ => debug_assert!(false, "binding refuses such a head"),
    }
}

/// The poolings of the feature `heads`.
fn pool_otherwise(config: &Config, out: &mut [f32], rows: Matrix<'_>, pooling: Pooling) {
    let count = rows.rows();
    let position = |index: usize| (index + 1) as f32;
    match pooling {
        Pooling::LastToken => out.fill_from(rows.row(count.saturating_sub(1))),
        Pooling::Max => {
            out.fill_from(rows.row(0));
            for row in rows.iter() {
                out.iter_mut().zip(row).for_each(|(slot, x)| *slot = larger(*slot, *x));
            }
        }
        Pooling::MeanRootLength => mean(out, rows, |_| 1.0, sqrt(count as f32)),
        Pooling::WeightedMean => mean(out, rows, position, (0..count).map(position).sum()),
        Pooling::MeanOfRest => mean_from(1, out, rows),
        Pooling::MeanOfPatches => mean_from(config.prefix_tokens(), out, rows),
        Pooling::MeanOfPrefix => {
            let prefix = rows.first_rows(config.prefix_tokens());
            mean(out, prefix, |_| 1.0, config.prefix_tokens().max(1) as f32);
        }
        Pooling::SecondToken => {
            out.fill(0.0);
            out.iter_mut().zip(rows.row(1)).for_each(|(slot, x)| *slot = *x);
        }
        Pooling::ClassToken | Pooling::Mean | Pooling::Attention => {}
    }
}

/// The mean of all rows from `first` on; 0 where there is none.
fn mean_from(first: usize, out: &mut [f32], rows: Matrix<'_>) {
    let count = rows.rows().saturating_sub(first).max(1) as f32;
    mean(out, rows, |index| f32::from(index >= first), count);
}

/// The rows summed in order, each times its weight, over `count`.
fn mean(out: &mut [f32], rows: Matrix<'_>, weight: impl Fn(usize) -> f32, count: f32) {
    out.fill(0.0);
    for (index, row) in rows.iter().enumerate() {
        let weight = weight(index);
        out.iter_mut().zip(row).for_each(|(slot, x)| *slot += weight * x);
    }
    out.iter_mut().for_each(|slot| *slot /= count);
}

/// Divides by the Euclidean norm, at least 1e-12. Of a norm beyond f32 it makes NaN, not zero.
fn scale_to_unit_length(kernels: &Kernels, vector: &mut [f32]) {
    let length = sqrt((kernels.dot)(vector, vector)).max(1e-12);
    let one = 1.0 + 0.0 * length;
    vector.iter_mut().for_each(|x| *x = *x / length * one);
}
