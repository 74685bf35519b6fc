//! The results page: tables and a picture from the records of many trainings.

mod picture;
mod tables;

use crate::results::{Evaluated, Measured, Name, Results, Training};
use anyhow::{Context, Result, ensure};
use picture::Line;
use std::collections::BTreeMap;

/// What the page says and shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// A section of tables for each task.
    pub text: String,
    /// Accuracy against speed-up, as SVG.
    pub picture: String,
}

/// All seeds of one way of training.
#[derive(Clone, Debug, Default)]
struct Runs<'r> {
    trainings: BTreeMap<u64, &'r Training>,
    evaluations: BTreeMap<u64, &'r Evaluated>,
}

/// The ways in which one task was trained, by name.
type Methods<'r> = BTreeMap<&'r str, Runs<'r>>;

/// What times depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Machine<'r> {
    cpu: &'r str,
    kernels: &'r str,
}

/// Mean and half the range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    mean: f64,
    half: f64,
}

/// `None` of no values.
fn spread(values: &[f64]) -> Option<Spread> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some(Spread { mean, half: (high - low) / 2.0 })
}

fn mean(values: &[f64]) -> Option<f64> {
    spread(values).map(|own| own.mean)
}

/// Mean of the median latencies, milliseconds.
fn mean_ms(at: &[&Measured]) -> Option<f64> {
    mean(&at.iter().map(|at| at.median_ms).collect::<Vec<_>>())
}

fn accuracies(at: &[&Measured]) -> Vec<f64> {
    at.iter().map(|at| at.accuracy).collect()
}

/// The machine of most evaluations.
fn machine<'r>(methods: &Methods<'r>) -> Option<Machine<'r>> {
    let mut counts: BTreeMap<Machine<'r>, usize> = BTreeMap::new();
    for own in methods.values().flat_map(|own| own.evaluations.values()) {
        *counts.entry(own.machine()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(machine, _)| machine)
}

impl Evaluated {
    fn at(&self, reduction: Option<f32>) -> Option<&Measured> {
        self.reductions.iter().find(|at| at.reduction == reduction)
    }

    fn machine(&self) -> Machine<'_> {
        Machine { cpu: &self.cpu, kernels: &self.kernels }
    }
}

impl<'r> Runs<'r> {
    fn of_test(&self, reduction: f32) -> Vec<f64> {
        let at = |training: &&Training| {
            let test = training.test.as_ref()?;
            test.reductions.iter().find(|at| at.reduction == reduction)?.accuracy
        };
        self.trainings.values().filter_map(at).collect()
    }

    fn measured(&self, reduction: Option<f32>) -> Vec<&'r Measured> {
        self.evaluations.values().filter_map(|own| own.at(reduction)).collect()
    }

    /// As [`measured`](Self::measured), of one machine: times of others cannot be compared with it.
    fn timed(&self, reduction: Option<f32>, machine: Machine<'_>) -> Vec<&'r Measured> {
        let here = self.evaluations.values().filter(|own| own.machine() == machine);
        here.filter_map(|own| own.at(reduction)).collect()
    }

    /// The reductions of its evaluations.
    fn evaluated(&self) -> Vec<f32> {
        let lines = self.evaluations.values().flat_map(|own| &own.reductions);
        ascending(lines.filter_map(|line| line.reduction))
    }

    /// The reductions of its trainings' tests.
    fn tested(&self) -> impl Iterator<Item = f32> {
        let tests = self.trainings.values().filter_map(|own| own.test.as_ref());
        tests.flat_map(|test| test.reductions.iter().map(|at| at.reduction))
    }

    fn mean_of(&self, of: impl Fn(&Training) -> f64) -> Option<f64> {
        mean(&self.trainings.values().map(|training| of(training)).collect::<Vec<_>>())
    }
}

/// Fills the figures of trials into a text: `{NAME r=R}` is the accuracy of the best validation at R, and
/// `{NAME new}` the per cent of new parameters.
///
/// # Errors
/// There is no such figure.
pub fn fill(text: &str, results: &Results) -> Result<String> {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (what, rest) = part.split_once('}').context("a { without its }")?;
        let figure = figure(what, results);
        out += &figure.with_context(|| format!("{{{what}}} is no figure of a trial"))?;
        out += rest;
    }
    Ok(out)
}

fn figure(what: &str, results: &Results) -> Option<String> {
    let (name, which) = what.split_once(' ')?;
    let training = results.trainings.get(name)?;
    if which == "new" {
        return Some(format!("{:.2}", training.new_parameters_percent));
    }
    let reduction: f32 = which.strip_prefix("r=")?.parse().ok()?;
    let at = training.validation.iter().find(|at| at.reduction == reduction)?;
    at.accuracy.map(|accuracy| format!("{accuracy:.1}"))
}

/// Every reduction once, ascending.
fn ascending(reductions: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut all: Vec<f32> = reductions.collect();
    all.sort_by(f32::total_cmp);
    all.dedup();
    all
}

/// The records of each task.
fn tasks(results: &Results) -> Result<BTreeMap<&str, Methods<'_>>> {
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

/// A page of every task, and its picture of accuracy against speed-up.
///
/// # Errors
/// There is no record, or one of another name.
pub fn report(results: &Results) -> Result<Page> {
    let tasks = tasks(results)?;
    ensure!(!tasks.is_empty(), "there are no records");
    let mut text = String::new();
    for (task, methods) in &tasks {
        let title = results.titles.get(*task).map_or(*task, String::as_str);
        tables::section(&mut text, title, methods)?;
    }
    let lines: Vec<(&str, Vec<Line<'_>>)> =
        tasks.iter().map(|(task, methods)| (*task, picture::lines(methods))).collect();
    Ok(Page { text, picture: picture::svg(&lines)? })
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
