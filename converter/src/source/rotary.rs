//! Tables of the angles of rotary positions.

use super::positions::Grid;
use std::f32::consts::TAU;

/// The angles of every position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Angles {
    /// Columns of a head that are turned.
    pub(super) columns: usize,
    /// How fast each pair turns.
    pub(super) rates: Rates,
    /// What the positions are.
    pub(super) places: Places,
}

/// How fast pairs turn: pair i of n by `1 / theta^(i / n)`, scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    /// The largest wave length is about so many positions.
    pub(super) theta: f64,
    pub(super) scaling: Scaling,
}

impl Rates {
    /// Those of the training.
    pub(super) const fn plain(theta: f64) -> Self {
        Self { theta, scaling: Scaling::None }
    }
}

/// What makes pairs turn more slowly, so that texts may be `factor` times longer than those of the training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scaling {
    /// Nothing.
    None,
    /// A base that is longer by the factor, and a root of it (GTE).
    Ntk { factor: f64 },
    /// All by the factor.
    Linear { factor: f64 },
    /// Wave lengths above `original / low` by the factor, those below `original / high` not at all.
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// Pairs from `last` on by the factor, those up to `first` not at all; cosines and sines are multiplied by
    /// `length` (`YaRN`).
    Yarn { factor: f64, first: f64, last: f64, length: f64 },
}

impl Scaling {
    /// The rate of pair `index`, from what it was in the training.
    fn applied(self, rate: f32, index: usize) -> f32 {
        match self {
            Self::None | Self::Ntk { .. } => rate,
            Self::Linear { factor } => rate / factor as f32,
            Self::Llama3 { factor, low, high, original } => {
                let turns = original as f32 / (TAU / rate);
                let share = ((turns - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                (1.0 - share) * rate / factor as f32 + share * rate
            }
            Self::Yarn { factor, first, last, .. } => {
                let steps = if first == last { 0.001 } else { last - first };
                let share = (((index as f64 - first) / steps) as f32).clamp(0.0, 1.0);
                rate / factor as f32 * share + rate * (1.0 - share)
            }
        }
    }

    /// What cosines and sines are multiplied by.
    const fn length(self) -> f64 {
        match self {
            Self::Yarn { length, .. } => length,
            _ => 1.0,
        }
    }
}

/// What positions are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Places {
    /// So many tokens in a row.
    Line(usize),
    /// The patches of an image, after so many tokens that are not turned.
    Patches { grid: Grid, prefix: usize },
}

impl Angles {
    /// `[positions, columns]`: the cosines of each position, then its sines. Angles are products in f32, as
    /// the models were trained with.
    pub(super) fn table(&self) -> Vec<f32> {
        let half = self.columns / 2;
        let length = self.rates.scaling.length();
        let row = |angles: &[f32]| {
            let exact = |curve: fn(f64) -> f64| {
                angles.iter().map(move |x| (curve(f64::from(*x)) * length) as f32)
            };
            exact(f64::cos).chain(exact(f64::sin)).collect::<Vec<_>>()
        };
        match self.places {
            Places::Line(positions) => {
                let rates = self.rates(half);
                let angles =
                    |at: usize| rates.iter().map(|rate| at as f32 * rate).collect::<Vec<_>>();
                (0..positions).flat_map(|at| row(&angles(at))).collect()
            }
            Places::Patches { grid, prefix } => {
                let rates = self.rates(half / 2);
                let along = |at: usize, count: usize| {
                    let place = 2.0 * ((at as f32 + 0.5) / count as f32) - 1.0;
                    rates.iter().map(move |rate| TAU * place * rate)
                };
                let patch = |at: usize| {
                    let (y, x) = (at / grid.columns, at % grid.columns);
                    row(&along(y, grid.rows).chain(along(x, grid.columns)).collect::<Vec<_>>())
                };
                let still = (0..prefix).flat_map(|_| row(&vec![0.0; half]));
                still.chain((0..grid.patches()).flat_map(patch)).collect()
            }
        }
    }

    /// The rate of each of `count` pairs.
    fn rates(&self, count: usize) -> Vec<f32> {
        let Rates { theta, scaling } = self.rates;
        let factor = if let Scaling::Ntk { factor } = scaling { factor } else { 1.0 };
        let base = f64::from((theta * factor) as f32);
        let slower = factor.powf(2.0 / self.columns as f64) as f32;
        let power = |i: usize| base.powf(f64::from((i as f64 / count as f64) as f32)) as f32;
        (0..count).map(|i| scaling.applied(1.0 / power(i) / slower, i)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_turn_by_their_position_and_each_pair_slower_than_the_one_before() {
        let table =
            Angles { columns: 4, rates: Rates::plain(100.0), places: Places::Line(3) }.table();
        let expected = [[0.0f64, 0.0], [1.0, 0.1], [2.0, 0.2]]
            .map(|[a, b]| [a.cos() as f32, b.cos() as f32, a.sin() as f32, b.sin() as f32]);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(table.iter().zip(expected.as_flattened()).all(close), "{table:?}");
        assert_eq!(table.len(), 12);
    }

    #[test]
    fn patches_turn_by_line_and_column_and_what_stands_before_them_does_not() {
        let places = Places::Patches { grid: Grid { rows: 1, columns: 2 }, prefix: 1 };
        let table = Angles { columns: 4, rates: Rates::plain(100.0), places }.table();
        assert_eq!(table[..4], [1.0, 1.0, 0.0, 0.0]);
        // The middle line is at 0, the columns at -1/2 and 1/2 of a whole turn.
        let expected = [1.0f32, -1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0];
        assert!(table[4..].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{table:?}");
    }
}
