//! The tables of one task.

use super::runs::{Machine, Methods, Runs, accuracies, ascending, machine, mean, mean_ms, spread};
use crate::results::{LEARNED, Measured, Pair, Training, UNLEARNED};
use anyhow::Result;
use std::fmt::Write;

/// What is not known.
const NONE: &str = "-";

/// The section of one task.
pub(super) fn section(page: &mut String, title: &str, methods: &Methods<'_>) -> Result<()> {
    writeln!(page, "\n## {title}\n")?;
    if let Some(machine) = machine(methods) {
        evaluated(page, methods, machine)?;
    }
    tested(page, methods)?;
    paired(page, methods)
}

/// What `coda eval` measured in the runtime.
fn evaluated(page: &mut String, methods: &Methods<'_>, machine: Machine<'_>) -> Result<()> {
    let all = || methods.values().flat_map(|own| own.evaluations.values());
    let samples = all().next().map_or(0, |first| first.samples);
    let elsewhere = all().filter(|own| own.machine() != machine).count();
    let Machine { cpu, kernels } = machine;
    write!(
        page,
        "int8 packages in the runtime, {samples} test samples one at a time, {kernels} kernels on {cpu}"
    )?;
    if elsewhere > 0 {
        write!(page, " (of {elsewhere} records from another machine the accuracy alone)")?;
    }
    writeln!(page, ":\n")?;
    writeln!(
        page,
        "| method | r | new parameters, % | accuracy, % | to the adapter | median, ms | to the adapter, another run | to its own first r, interleaved | from text, ms | the same, interleaved |"
    )?;
    writeln!(page, "|{}", "---|".repeat(10))?;
    let dense = Dense::of(methods, machine);
    for (method, own) in methods {
        let reductions = own.evaluated().into_iter().map(Some);
        for reduction in reductions.chain([None]) {
            if !own.measured(reduction).is_empty() {
                let cells = cells(own, reduction, machine, &dense);
                writeln!(page, "| {method} | {} |", cells.join(" | "))?;
            }
        }
    }
    Ok(())
}

/// What the dense adapter has: others are compared with it.
struct Dense {
    accuracy: Option<f64>,
    ms: Option<f64>,
}

impl Dense {
    fn of(methods: &Methods<'_>, machine: Machine<'_>) -> Self {
        let adapter = methods.get("adapter");
        let at = adapter.map(|own| own.measured(Some(1.0))).unwrap_or_default();
        let timed = adapter.map(|own| own.timed(Some(1.0), machine)).unwrap_or_default();
        Self { accuracy: mean(&accuracies(&at)), ms: mean_ms(&timed) }
    }
}

/// The cells of a method at one reduction, or on its own schedule.
fn cells(
    own: &Runs<'_>,
    reduction: Option<f32>,
    machine: Machine<'_>,
    dense: &Dense,
) -> [String; 9] {
    let accuracy = accuracies(&own.measured(reduction));
    let timed = own.timed(reduction, machine);
    let ms = mean_ms(&timed);
    // A mean of some seeds would not stand beside the times of all.
    let mean_of = |of: fn(&Measured) -> Option<f64>| {
        let all: Option<Vec<f64>> = timed.iter().map(|at| of(at)).collect();
        mean(&all?)
    };
    let percent = own.mean_of(|training| training.origin.new_parameters_percent);
    let apart = mean(&accuracy).zip(dense.accuracy).map(|(own, dense)| own - dense);
    [
        reduction.map_or_else(|| "schedule".to_owned(), |r| r.to_string()),
        known(percent, |percent| format!("{percent:.2}")),
        shown(&accuracy),
        known(apart, |apart| format!("{apart:+.2}")),
        known(ms, milliseconds),
        known(ms.zip(dense.ms).map(|(own, dense)| dense / own), times),
        known(mean_of(|at| Some(at.speed_up)), times),
        known(mean_of(|at| at.end_to_end_ms), milliseconds),
        known(mean_of(|at| at.end_to_end_speed_up), times),
    ]
}

fn known(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), format)
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}

fn milliseconds(ms: f64) -> String {
    format!("{ms:.3}")
}

/// Mean and half the range of all seeds.
fn shown(values: &[f64]) -> String {
    match spread(values) {
        None => NONE.to_owned(),
        Some(own) if values.len() == 1 => format!("{:.2} (1 seed)", own.mean),
        Some(own) => format!("{:.2} ± {:.2}", own.mean, own.half),
    }
}

/// The head of a table with a column for each reduction.
fn head(page: &mut String, first: &str, reductions: &[f32]) -> Result<()> {
    let columns: String = reductions.iter().map(|r| format!(" r = {r} |")).collect();
    let count = first.matches('|').count() - 1 + reductions.len();
    Ok(writeln!(page, "{first}{columns}\n|{}", "---|".repeat(count))?)
}

/// What the trainer found on the test data.
fn tested(page: &mut String, methods: &Methods<'_>) -> Result<()> {
    writeln!(page, "\nf32, by the trainer, test set looked at once:\n")?;
    let reductions = ascending(methods.values().flat_map(Runs::tested));
    head(page, "| method | steps | minutes |", &reductions)?;
    for (method, own) in methods.iter().filter(|(_, own)| !own.trainings.is_empty()) {
        let steps = own.mean_of(|training| training.steps as f64).unwrap_or_default();
        let minutes = own.mean_of(|training| training.seconds / 60.0).unwrap_or_default();
        let cells: Vec<String> = reductions.iter().map(|r| shown(&own.of_test(*r))).collect();
        writeln!(page, "| {method} | {steps:.0} | {minutes:.0} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// Two ways to select that are compared.
struct Compared<'r> {
    learned: &'r str,
    other: String,
    own: &'r Runs<'r>,
    with: &'r Runs<'r>,
}

fn compared<'r>(methods: &'r Methods<'r>) -> Vec<Compared<'r>> {
    let ways = LEARNED
        .into_iter()
        .flat_map(|(learned, prefix)| UNLEARNED.map(|way| (learned, format!("{prefix}{way}"))));
    ways.filter_map(|(learned, other)| {
        let (own, with) = (methods.get(learned)?, methods.get(other.as_str())?);
        Some(Compared { learned, other, own, with })
    })
    .collect()
}

/// Learned routing against the ways to select without a router, sample by sample.
fn paired(page: &mut String, methods: &Methods<'_>) -> Result<()> {
    let compared = compared(methods);
    if compared.is_empty() {
        return Ok(());
    }
    let reductions = compared.iter().flat_map(|pair| pair.with.tested());
    let reductions = ascending(reductions.filter(|reduction| *reduction > 1.0));
    writeln!(
        page,
        "\nLearned routing against others, seed by seed and sample by sample (right only with the router / only with the other):\n"
    )?;
    head(page, "| pair | seed |", &reductions)?;
    for Compared { learned, other, own, with } in compared {
        for (seed, training) in &own.trainings {
            let data = |training: &Training| training.origin.data.sha256.clone();
            if with.trainings.get(seed).map(|own| data(own)) != Some(data(training)) {
                continue;
            }
            let pairs = training.pairs.get(&other).map(Vec::as_slice).unwrap_or_default();
            let cells: Vec<String> = reductions.iter().map(|r| difference(pairs, *r)).collect();
            writeln!(page, "| {learned} / {other} | {seed} | {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

/// Both counts, and their difference over its standard error if both trainings were alike.
fn difference(pairs: &[Pair], reduction: f32) -> String {
    let Some(pair) = pairs.iter().find(|pair| pair.reduction == reduction) else {
        return NONE.to_owned();
    };
    let Pair { own, other, .. } = *pair;
    let z = (f64::from(own) - f64::from(other)) / f64::from((own + other).max(1)).sqrt();
    format!("{own} / {other} ({z:+.1} σ)")
}
