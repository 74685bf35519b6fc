//! The pooling of `SigLIP` by attention of a learned query, in fewer tensors than it is trained in.
//!
//! The query is the same for every input, so that it and the map to keys are one vector for each head, and
//! what a bias of keys adds to all scores changes no softmax. Softmax weights add up to 1, so that a bias of
//! values is a bias behind them. Sums are in f64.

/// What each head multiplies a token's vector by for its score.
///
/// **Shapes**: `probe` `[d]`; `weight` `[2 d, d]` and `bias` `[2 d]` of queries, then keys; result
/// `[heads, d]`.
pub(super) fn keys(probe: &[f32], weight: &[f32], bias: &[f32], heads: usize) -> Vec<f32> {
    let d = probe.len();
    let (of_queries, of_keys) = weight.split_at(d * d);
    let head_dim = (d / heads.max(1)).max(1);
    let scale = 1.0 / (head_dim as f64).sqrt();
    let query = |(row, bias): (&[f32], &f32)| scale * (dot(row, probe) + f64::from(*bias));
    let queries: Vec<f64> = of_queries.chunks(d).zip(bias).map(query).collect();
    let of_head = |(queries, rows): (&[f64], &[f32])| {
        let column = |at: usize| {
            let products =
                queries.iter().zip(rows.chunks(d)).map(|(q, row)| q * f64::from(row[at]));
            products.sum::<f64>() as f32
        };
        (0..d).map(column).collect::<Vec<f32>>()
    };
    queries.chunks(head_dim).zip(of_keys.chunks(head_dim * d)).flat_map(of_head).collect()
}

/// The bias of the output with that of the values in it.
///
/// **Shapes**: `weight` `[d, d]`, `bias` and `of_values` `[d]`.
pub(super) fn output_bias(weight: &[f32], bias: &[f32], of_values: &[f32]) -> Vec<f32> {
    let rows = weight.chunks(of_values.len().max(1)).zip(bias);
    rows.map(|(row, bias)| (dot(row, of_values) + f64::from(*bias)) as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
