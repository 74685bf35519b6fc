//! The records of each task, and means of them.

use crate::results::{Evaluated, Measured, Name, Results, Training};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// All seeds of one way of training.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs<'r> {
    pub(super) trainings: BTreeMap<u64, &'r Training>,
    pub(super) evaluations: BTreeMap<u64, &'r Evaluated>,
}

/// The ways in which one task was trained, by name.
pub(super) type Methods<'r> = BTreeMap<&'r str, Runs<'r>>;

/// What times depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Machine<'r> {
    pub(super) cpu: &'r str,
    pub(super) kernels: &'r str,
}

/// Mean and half the range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) half: f64,
}

/// `None` of no values.
pub(super) fn spread(values: &[f64]) -> Option<Spread> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some(Spread { mean, half: (high - low) / 2.0 })
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    spread(values).map(|own| own.mean)
}

/// Mean of the median latencies, milliseconds.
pub(super) fn mean_ms(at: &[&Measured]) -> Option<f64> {
    mean(&at.iter().map(|at| at.median_ms).collect::<Vec<_>>())
}

pub(super) fn accuracies(at: &[&Measured]) -> Vec<f64> {
    at.iter().map(|at| at.accuracy).collect()
}

/// The machine of most evaluations.
pub(super) fn machine<'r>(methods: &Methods<'r>) -> Option<Machine<'r>> {
    let mut counts: BTreeMap<Machine<'r>, usize> = BTreeMap::new();
    for own in methods.values().flat_map(|own| own.evaluations.values()) {
        *counts.entry(own.machine()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(machine, _)| machine)
}

impl Evaluated {
    pub(super) fn at(&self, reduction: Option<f32>) -> Option<&Measured> {
        self.reductions.iter().find(|at| at.reduction == reduction)
    }

    pub(super) fn machine(&self) -> Machine<'_> {
        Machine { cpu: &self.cpu, kernels: &self.kernels }
    }
}

impl<'r> Runs<'r> {
    pub(super) fn of_test(&self, reduction: f32) -> Vec<f64> {
        let at = |training: &&Training| {
            let test = training.test.as_ref()?;
            test.reductions.iter().find(|at| at.reduction == reduction)?.accuracy
        };
        self.trainings.values().filter_map(at).collect()
    }

    pub(super) fn measured(&self, reduction: Option<f32>) -> Vec<&'r Measured> {
        self.evaluations.values().filter_map(|own| own.at(reduction)).collect()
    }

    /// As [`measured`](Self::measured), of one machine: times of others cannot be compared with it.
    pub(super) fn timed(&self, reduction: Option<f32>, machine: Machine<'_>) -> Vec<&'r Measured> {
        let here = self.evaluations.values().filter(|own| own.machine() == machine);
        here.filter_map(|own| own.at(reduction)).collect()
    }

    /// The reductions of its evaluations.
    pub(super) fn evaluated(&self) -> Vec<f32> {
        let lines = self.evaluations.values().flat_map(|own| &own.reductions);
        ascending(lines.filter_map(|line| line.reduction))
    }

    /// The reductions of its trainings' tests.
    pub(super) fn tested(&self) -> impl Iterator<Item = f32> {
        let tests = self.trainings.values().filter_map(|own| own.test.as_ref());
        tests.flat_map(|test| test.reductions.iter().map(|at| at.reduction))
    }

    pub(super) fn mean_of(&self, of: impl Fn(&Training) -> f64) -> Option<f64> {
        mean(&self.trainings.values().map(|training| of(training)).collect::<Vec<_>>())
    }
}

/// Every reduction once, ascending.
pub(super) fn ascending(reductions: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut all: Vec<f32> = reductions.collect();
    all.sort_by(f32::total_cmp);
    all.dedup();
    all
}

/// The records of each task.
pub(super) fn tasks(results: &Results) -> Result<BTreeMap<&str, Methods<'_>>> {
    let mut all: BTreeMap<&str, Methods<'_>> = BTreeMap::new();
    let parts = |name| Name::parse(name).with_context(|| format!("{name} is no TASK/METHOD-sSEED"));
    let tabled = results.trainings.iter().filter(|(name, _)| name.contains('/'));
    for (name, training) in tabled {
        let Name { task, method, seed } = parts(name)?;
        let own = all.entry(task).or_default().entry(method).or_default();
        own.trainings.insert(seed, training);
    }
    for (name, evaluated) in &results.evaluations {
        let Name { task, method, seed } = parts(name)?;
        let own = all.entry(task).or_default().entry(method).or_default();
        own.evaluations.insert(seed, evaluated);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_machine_of_most_records() {
        let evaluated = |cpu: &str, median_ms: f64| Evaluated {
            name: String::new(),
            cpu: cpu.to_owned(),
            kernels: "scalar".to_owned(),
            samples: 1,
            tokens: 1,
            arena_bytes: 0,
            layer_factors: Vec::new(),
            reductions: vec![Measured {
                reduction: Some(1.0),
                accuracy: 50.0,
                median_ms,
                speed_up: 1.0,
                end_to_end_ms: None,
                end_to_end_speed_up: None,
            }],
        };
        let all = [("a", 9.0), ("b", 1.0), ("b", 3.0)].map(|(cpu, ms)| evaluated(cpu, ms));
        let own = Runs { evaluations: (1..).zip(&all).collect(), ..Runs::default() };
        let methods = Methods::from([("adapter", own)]);
        let found = machine(&methods).unwrap();
        assert_eq!(found, Machine { cpu: "b", kernels: "scalar" });
        assert_eq!(mean_ms(&methods["adapter"].timed(Some(1.0), found)), Some(2.0));
        assert_eq!(methods["adapter"].measured(Some(1.0)).len(), 3);
    }

    #[test]
    fn a_spread_is_half_the_range() {
        assert_eq!(spread(&[1.0, 3.0]), Some(Spread { mean: 2.0, half: 1.0 }));
        assert_eq!(spread(&[]), None);
    }
}
