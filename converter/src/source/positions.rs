//! Position tables of vision models, resized to another grid of patches.

/// Patches of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// From top to bottom.
    pub(super) rows: usize,
    /// From left to right.
    pub(super) columns: usize,
}

impl Grid {
    /// Their number.
    pub(super) const fn patches(self) -> usize {
        self.rows * self.columns
    }
}

/// Resizes the positions of the patches of a grid bicubically, as PyTorch does (`a = -0.75`,
/// `align_corners = False`); rows before them, those of a class token, stay.
///
/// **Shapes**: `table` `[c + from.patches(), d]`; result `[c + to.patches(), d]`.
#[must_use]
pub(super) fn resize(table: &[f32], from: Grid, to: Grid, d: usize) -> Vec<f32> {
    let (class, grid) = table.split_at(table.len() - from.patches() * d);
    let columns: Vec<Taps> = (0..to.columns).map(|x| taps(x, from.columns, to.columns)).collect();
    let mut out = class.to_vec();
    for row in (0..to.rows).map(|y| taps(y, from.rows, to.rows)) {
        for column in &columns {
            out.extend((0..d).map(|channel| {
                let at = |y: usize, x: usize| grid[(y * from.columns + x) * d + channel];
                let sum = row.iter().flat_map(|(y, wy)| {
                    column.iter().map(move |(x, wx)| wy * wx * f64::from(at(*y, *x)))
                });
                sum.sum::<f64>() as f32
            }));
        }
    }
    out
}

/// Source indices of a target index, and their weights.
type Taps = [(usize, f64); 4];

/// The four source indices of a target index, and their weights.
fn taps(index: usize, from: usize, to: usize) -> Taps {
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
        let table: Vec<f32> = (0..7 * 3).map(|i| i as f32).collect();
        let grid = Grid { rows: 2, columns: 3 };
        assert_eq!(resize(&table, grid, grid, 3), table);
    }

    #[test]
    fn each_axis_is_resized_by_its_own_factor() {
        let (from, to) = (Grid { rows: 2, columns: 4 }, Grid { rows: 4, columns: 2 });
        let (rows, columns) = ([1.0, 3.0], [0.0, 1.0, 2.0, 3.0]);
        let table: Vec<f32> =
            rows.iter().flat_map(|y| columns.iter().map(move |x| 10.0 * y + x)).collect();
        // What is a sum of two parts, one for each axis, stays such a sum.
        let found = resize(&[&[7.0], &table[..]].concat(), from, to, 1);
        let along = |values: &[f32], index, to| -> f64 {
            let taps = taps(index, values.len(), to);
            taps.iter().map(|(at, weight)| weight * f64::from(values[*at])).sum()
        };
        assert_eq!((found.len(), found[0]), (9, 7.0));
        for (index, value) in found[1..].iter().enumerate() {
            let expected = 10.0 * along(&rows, index / 2, 4) + along(&columns, index % 2, 2);
            assert!((f64::from(*value) - expected).abs() < 1e-5, "{index}: {value}, {expected}");
        }
    }

    #[test]
    fn weights_sum_to_one() {
        for index in 0..16 {
            let sum: f64 = taps(index, 37, 16).iter().map(|(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
