//! Position tables of vision models, resized to another number of patches.

/// Resizes the patch positions of a square grid bicubically, as PyTorch does (`a = -0.75`,
/// `align_corners = False`); the class token's position stays.
///
/// **Shapes**: `table` `[1 + from * from, d]`; result `[1 + to * to, d]`.
#[must_use]
pub(super) fn resize(table: &[f32], from: usize, to: usize, d: usize) -> Vec<f32> {
    let (class, grid) = table.split_at(d);
    let taps: Vec<[(usize, f64); 4]> = (0..to).map(|index| taps(index, from, to)).collect();
    let mut out = class.to_vec();
    for row in &taps {
        for column in &taps {
            out.extend((0..d).map(|channel| {
                let sum = row.iter().flat_map(|(y, wy)| {
                    column
                        .iter()
                        .map(move |(x, wx)| wy * wx * f64::from(grid[(y * from + x) * d + channel]))
                });
                sum.sum::<f64>() as f32
            }));
        }
    }
    out
}

/// The four source indices of a target index, and their weights.
fn taps(index: usize, from: usize, to: usize) -> [(usize, f64); 4] {
    let position = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let (whole, part) = (position.floor(), position - position.floor());
    let offsets = [-1.0, 0.0, 1.0, 2.0];
    offsets.map(|offset: f64| {
        let clamped = (whole + offset).clamp(0.0, (from - 1) as f64) as usize;
        (clamped, cubic((offset - part).abs()))
    })
}

/// The cubic convolution kernel with `a = -0.75`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    match x {
        x if x <= 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing() {
        let table: Vec<f32> = (0..10 * 3).map(|i| i as f32).collect();
        assert_eq!(resize(&table, 3, 3, 3), table);
    }

    #[test]
    fn weights_sum_to_one() {
        for index in 0..16 {
            let sum: f64 = taps(index, 37, 16).iter().map(|(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
