//! A head in float64, by the definitions of `FORMAT.md` and without code of the project.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::source::Base;
use coda_runtime::config::{HeadKind, Pooling, StageActivation};
use coda_runtime::format::{GLOBAL_LAYER, Role};

/// `x/2 (1 + erf(x / sqrt 2))`, erf by its series.
fn gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let term = |(term, sum): (f64, f64), n: i32| {
        let next = -term * z * z / f64::from(n);
        (next, sum + next / f64::from(2 * n + 1))
    };
    let (_, sum) = (1..120).fold((z, z), term);
    x / 2.0 * (1.0 + 2.0 / std::f64::consts::PI.sqrt() * sum)
}

fn activate(activation: StageActivation, x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    match activation {
        StageActivation::Identity => x,
        StageActivation::Relu => x.max(0.0),
        StageActivation::GeluErf | StageActivation::GeluErfNormed => gelu(x),
        StageActivation::GeluTanh => x / 2.0 * (1.0 + inner.tanh()),
        StageActivation::Tanh => x.tanh(),
    }
}

/// One pooling of rows, by its definition.
fn pooled(base: &Base, pooling: Pooling, rows: &[Vec<f64>]) -> Vec<f64> {
    let n = rows.len();
    let columns = (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).collect());
    let of_column = |column: Vec<f64>| match pooling {
        Pooling::ClassToken => column[0],
        Pooling::LastToken => column[n - 1],
        Pooling::Max => column.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Pooling::Mean => column.iter().sum::<f64>() / n as f64,
        Pooling::MeanRootLength => column.iter().sum::<f64>() / (n as f64).sqrt(),
        Pooling::WeightedMean => {
            let weighted = column.iter().enumerate().map(|(i, x)| (i + 1) as f64 * x);
            weighted.sum::<f64>() / (1..=n).sum::<usize>() as f64
        }
        Pooling::SecondToken => column[1],
        Pooling::MeanOfPatches => {
            let first = base.config.prefix_tokens();
            column[first..].iter().sum::<f64>() / (n - first) as f64
        }
        Pooling::MeanOfPrefix => {
            let count = base.config.prefix_tokens();
            column[..count].iter().sum::<f64>() / count as f64
        }
        // Of all columns together: `attended`.
        Pooling::Attention => f64::NAN,
        Pooling::MeanOfRest => column[1..].iter().sum::<f64>() / (n - 1) as f64,
    };
    columns.map(of_column).collect()
}

fn linear(base: &Base, [weight, bias]: [Role; 2], x: &[f64]) -> Vec<f64> {
    let of = |role| base.tensor(role, GLOBAL_LAYER);
    let rows = of(weight).unwrap().values.chunks_exact(x.len()).enumerate();
    rows.map(|(index, row)| {
        let bias = of(bias).map_or(0.0, |bias| f64::from(bias.values[index]));
        row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + bias
    })
    .collect()
}

/// The `LayerNorm` of the pooled vector.
fn normed(base: &Base, x: &[f64]) -> Vec<f64> {
    let of = |role| &base.tensor(role, GLOBAL_LAYER).unwrap().values;
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64;
    let root = (variance + f64::from(base.config.norm_eps)).sqrt();
    let weights = of(Role::PooledNormWeight).iter().zip(of(Role::PooledNormBias));
    let rows = x.iter().zip(weights);
    rows.map(|(x, (w, b))| (x - mean) / root * f64::from(*w) + f64::from(*b)).collect()
}

/// A head that pools by attention, with its two stages.
fn attended(base: &Base, rows: &[Vec<f64>]) -> Vec<f64> {
    let head = base.head.unwrap();
    let d = rows[0].len();
    let dot =
        |a: &[f32], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum() };
    let of = |role| &base.tensor(role, GLOBAL_LAYER).unwrap().values;
    let head_dim = base.config.head_dim;
    let mut context = Vec::new();
    let maps = of(Role::ProbeValue).chunks(head_dim * d);
    for (key, map) in of(Role::Probe).chunks(d).zip(maps) {
        let weights: Vec<f64> = rows.iter().map(|row| dot(key, row).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mixed = |column: usize| rows.iter().zip(&weights).map(|(row, w)| w * row[column]).sum();
        let mixed: Vec<f64> = (0..d).map(mixed).map(|sum: f64| sum / total).collect();
        context.extend(map.chunks(d).map(|row| dot(row, &mixed)));
    }
    let p = linear(base, [Role::ProbeOutput, Role::ProbeOutputBias], &context);
    let first = linear(base, [Role::FirstStage, Role::FirstStageBias], &normed(base, &p));
    let inner: Vec<f64> =
        first.into_iter().map(|x| activate(head.stages.get(0).unwrap(), x)).collect();
    let second = linear(base, [Role::SecondStage, Role::SecondStageBias], &inner);
    second.iter().zip(&p).map(|(x, p)| x + p).collect()
}

/// The answer of the base's head for the hidden states.
///
/// # Panics
/// The base has no head, or lacks a tensor of it.
#[must_use]
pub fn expected(base: &Base, hidden: &[Vec<f64>]) -> Vec<f64> {
    let head = base.head.unwrap();
    let classifier = [Role::HeadWeight, Role::HeadBias];
    if let HeadKind::TokenClassification { .. } = head.kind {
        return hidden.iter().flat_map(|row| linear(base, classifier, row)).collect();
    }
    let poolings = head.pooling.iter();
    if head.pooling.is_attention() {
        return attended(base, hidden);
    }
    let mut x: Vec<f64> = poolings.flat_map(|pooling| pooled(base, pooling, hidden)).collect();
    if head.pooling.has_norm() {
        x = normed(base, &x);
    }
    let stages =
        [[Role::FirstStage, Role::FirstStageBias], [Role::SecondStage, Role::SecondStageBias]];
    for (index, roles) in stages.into_iter().enumerate() {
        let Some(activation) = head.stages.get(index) else { break };
        x = linear(base, roles, &x).into_iter().map(|x| activate(activation, x)).collect();
        if activation.has_norm() {
            x = normed(base, &x);
        }
    }
    match head.kind {
        HeadKind::Classification { .. } | HeadKind::TokenClassification { .. } => {
            linear(base, classifier, &x)
        }
        HeadKind::Embedding { normalize } => {
            let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            x.into_iter().map(|x| if normalize { x / length } else { x }).collect()
        }
    }
}
