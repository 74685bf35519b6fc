//! The best low-rank approximation of a matrix, by orthogonal iteration.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Multiplications by `A^T A`; the subspace error falls by the ratio of neighbouring squared singular
/// values with each.
const ITERATIONS: usize = 40;

/// Factors of `[rows, columns]` matrix `a`: `up [rows, rank]` and `down [rank, columns]` whose product
/// is nearest to it; `down` has orthogonal rows, and both share the singular values evenly.
#[must_use]
pub fn low_rank(a: &[f32], columns: usize, rank: usize) -> (Vec<f32>, Vec<f32>) {
    let a: Vec<f64> = a.iter().copied().map(f64::from).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(columns as u64);
    let uniform = |_| f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    let mut basis: Vec<f64> = (0..rank * columns).map(uniform).collect();
    let gram = gram(&a, columns);
    for _ in 0..ITERATIONS {
        orthonormalize(&mut basis, columns);
        basis = times(&basis, &gram, columns);
    }
    orthonormalize(&mut basis, columns);
    let mut up: Vec<f64> = Vec::with_capacity(a.len() / columns.max(1) * rank);
    for row in a.chunks_exact(columns) {
        up.extend(basis.chunks_exact(columns).map(|axis| dot(row, axis)));
    }
    balance(&mut up, &mut basis, columns, rank);
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (narrow(up), narrow(basis))
}

/// Moves the square root of each singular value from `up` to `down`.
fn balance(up: &mut [f64], down: &mut [f64], columns: usize, rank: usize) {
    for (index, axis) in down.chunks_exact_mut(columns).enumerate() {
        let column = || up.iter().skip(index).step_by(rank);
        let singular = column().map(|value| value * value).sum::<f64>().sqrt();
        let root = singular.sqrt().max(f64::MIN_POSITIVE);
        axis.iter_mut().for_each(|value| *value *= root);
        up.iter_mut().skip(index).step_by(rank).for_each(|value| *value /= root);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `A^T A`.
fn gram(a: &[f64], columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; columns * columns];
    for row in a.chunks_exact(columns) {
        for (value, slots) in row.iter().zip(out.chunks_exact_mut(columns)) {
            slots.iter_mut().zip(row).for_each(|(slot, other)| *slot += value * other);
        }
    }
    out
}

fn times(rows: &[f64], matrix: &[f64], columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; rows.len()];
    for (row, slots) in rows.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
        for (value, other) in row.iter().zip(matrix.chunks_exact(columns)) {
            slots.iter_mut().zip(other).for_each(|(slot, other)| *slot += value * other);
        }
    }
    out
}

/// Gram-Schmidt, row after row; a row of nothing becomes zero.
fn orthonormalize(rows: &mut [f64], columns: usize) {
    for index in 0..rows.len() / columns.max(1) {
        let (before, from) = rows.split_at_mut(index * columns);
        let row = &mut from[..columns];
        for axis in before.chunks_exact(columns) {
            let along = dot(row, axis);
            row.iter_mut().zip(axis).for_each(|(value, axis)| *value -= along * axis);
        }
        let length = dot(row, row).sqrt();
        let scale = if length > f64::EPSILON { 1.0 / length } else { 0.0 };
        row.iter_mut().for_each(|value| *value *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 6 x 4 matrix of rank 2.
    fn matrix() -> Vec<f32> {
        let left = [[1.0, 0.5], [-2.0, 1.0], [0.3, -0.7], [1.5, 2.0], [0.0, 1.0], [-1.0, 0.2]];
        let right = [[1.0, -1.0, 0.5, 2.0], [0.25, 1.0, -1.0, 0.5]];
        let entry =
            |row: &[f32; 2], column: usize| row[0] * right[0][column] + row[1] * right[1][column];
        left.iter().flat_map(|row| (0..4).map(move |column| entry(row, column))).collect()
    }

    fn product(up: &[f32], down: &[f32], rank: usize) -> Vec<f32> {
        let row = |row: &[f32], column| (0..rank).map(|i| row[i] * down[i * 4 + column]).sum();
        up.chunks(rank).flat_map(|own| (0..4).map(move |column| row(own, column))).collect()
    }

    #[test]
    fn a_matrix_of_rank_two_is_two_factors_of_rank_two() {
        let a = matrix();
        let (up, down) = low_rank(&a, 4, 2);
        for (found, expected) in product(&up, &down, 2).iter().zip(&a) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn rank_one_leaves_the_smaller_singular_value() {
        let a = matrix();
        let (up, down) = low_rank(&a, 4, 1);
        let left = product(&up, &down, 1);
        let error: f32 = left.iter().zip(&a).map(|(x, y)| (x - y) * (x - y)).sum();
        let total: f32 = a.iter().map(|x| x * x).sum();
        // The eigenvalues of A^T A, of a 2 x 2 problem in the two right vectors.
        assert!(error > 0.0 && error < 0.5 * total, "{error} of {total}");
    }
}
