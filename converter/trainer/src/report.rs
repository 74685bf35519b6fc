//! The results page: tables and a picture from the records of many trainings.

use crate::record::{AtReduction, Progress};
use anyhow::{Context, Result, anyhow, ensure};
use plotters::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Pixels of the picture of one task.
const SIZE: (u32, u32) = (900, 420);

/// The part of a `training.json` that is reported.
#[derive(Clone, Debug, Deserialize)]
struct Training {
    new_values_percent: f64,
    data: Data,
    progress: Progress,
    test: Option<Test>,
}

#[derive(Clone, Debug, Deserialize)]
struct Data {
    sha256: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Test {
    reductions: Vec<AtReduction>,
}

/// What `coda eval --json` printed.
#[derive(Clone, Debug, Deserialize)]
struct Evaluated {
    samples: usize,
    kernels: String,
    cpu: String,
    reductions: Vec<Measured>,
}

#[derive(Clone, Debug, Deserialize)]
struct Measured {
    reduction: Option<f32>,
    accuracy: f64,
    median_ms: f64,
    speed_up: f64,
    /// From text to label; not in older records.
    end_to_end_ms: Option<f64>,
    end_to_end_speed_up: Option<f64>,
}

/// All seeds of one way of training.
#[derive(Clone, Debug, Default)]
struct Runs {
    trainings: BTreeMap<u64, Training>,
    evaluations: BTreeMap<u64, Evaluated>,
}

/// Mean and half the range.
fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    Some((values.iter().sum::<f64>() / count, (high - low) / 2.0))
}

fn shown(values: &[f64]) -> String {
    match spread(values) {
        None => "-".to_owned(),
        Some((mean, _)) if values.len() == 1 => format!("{mean:.2} (1 seed)"),
        Some((mean, half)) => format!("{mean:.2} ± {half:.2}"),
    }
}

impl Evaluated {
    fn at(&self, reduction: Option<f32>) -> Option<&Measured> {
        self.reductions.iter().find(|at| at.reduction == reduction)
    }

    /// CPU and kernel table.
    fn machine(&self) -> (&str, &str) {
        (&self.cpu, &self.kernels)
    }
}

/// The machine of most evaluations.
fn machine(runs: &BTreeMap<String, Runs>) -> Option<(&str, &str)> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for own in runs.values().flat_map(|own| own.evaluations.values()) {
        *counts.entry(own.machine()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(machine, _)| machine)
}

/// Mean of the median latencies, milliseconds.
fn mean_ms(at: &[&Measured]) -> Option<f64> {
    spread(&at.iter().map(|at| at.median_ms).collect::<Vec<_>>()).map(|(mean, _)| mean)
}

impl Runs {
    fn of_test(&self, reduction: f32) -> Vec<f64> {
        let at = |training: &Training| {
            let test = training.test.as_ref()?;
            test.reductions.iter().find(|at| at.reduction == reduction)?.accuracy
        };
        self.trainings.values().filter_map(at).collect()
    }

    fn measured(&self, reduction: Option<f32>) -> Vec<&Measured> {
        self.evaluations.values().filter_map(|own| own.at(reduction)).collect()
    }

    /// As [`measured`](Self::measured), of one machine: times of others cannot be compared with it.
    fn timed(&self, reduction: Option<f32>, machine: (&str, &str)) -> Vec<&Measured> {
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

    fn percent(&self) -> Vec<f64> {
        self.trainings.values().map(|training| training.new_values_percent).collect()
    }

    fn bits(&self, seed: u64, reduction: f32) -> Option<&str> {
        let test = self.trainings.get(&seed)?.test.as_ref()?;
        test.reductions.iter().find(|at| at.reduction == reduction)?.right.as_deref()
    }
}

/// How many samples only the first, and only the second, had right.
fn only(first: &str, second: &str) -> (u32, u32) {
    let digits = |text: &str| text.chars().map(|digit| digit.to_digit(16).unwrap_or(0)).collect();
    let (first, second): (Vec<u32>, Vec<u32>) = (digits(first), digits(second));
    first.iter().zip(&second).fold((0, 0), |(one, other), (a, b)| {
        (one + (a & !b).count_ones(), other + (b & !a).count_ones())
    })
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?))
}

fn directories(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let mut found = Vec::new();
    let list =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in list {
        let entry = entry?;
        if entry.path().is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads `NAME-sSEED/training.json` and `eval.json` of one task.
fn runs(task: &Path) -> Result<BTreeMap<String, Runs>> {
    let mut all: BTreeMap<String, Runs> = BTreeMap::new();
    for (name, path) in directories(task)? {
        let Some((method, seed)) = name.rsplit_once("-s") else { continue };
        let seed: u64 = seed.parse().with_context(|| format!("{name} does not end with -sSEED"))?;
        let own = all.entry(method.to_owned()).or_default();
        if let Some(training) = read(&path.join("training.json"))? {
            own.trainings.insert(seed, training);
        }
        if let Some(evaluated) = read(&path.join("eval.json"))? {
            own.evaluations.insert(seed, evaluated);
        }
    }
    Ok(all)
}

/// A page of every task below `directory`, and its picture of accuracy against speed-up.
///
/// # Errors
/// A record cannot be read, or there is none.
pub fn report(directory: &Path) -> Result<(String, String)> {
    let tasks = directories(directory)?;
    let mut page = String::new();
    let mut pictures = Vec::new();
    for (task, path) in &tasks {
        let runs = runs(path)?;
        if runs.is_empty() {
            continue;
        }
        let title = std::fs::read_to_string(path.join("title.txt")).unwrap_or_default();
        section(&mut page, task, title.trim(), &runs)?;
        pictures.push((task.clone(), points(&runs)));
    }
    ensure!(!pictures.is_empty(), "{} has no records", directory.display());
    Ok((page, picture(&pictures)?))
}

/// Every reduction once, ascending.
fn ascending(reductions: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut all: Vec<f32> = reductions.collect();
    all.sort_by(f32::total_cmp);
    all.dedup();
    all
}

/// The head of a table with a column for each reduction.
fn head(page: &mut String, first: &str, reductions: &[f32]) -> Result<()> {
    let columns: String = reductions.iter().map(|r| format!(" r = {r} |")).collect();
    let count = first.matches('|').count() - 1 + reductions.len();
    Ok(writeln!(page, "{first}{columns}\n|{}", "---|".repeat(count))?)
}

fn section(
    page: &mut String,
    task: &str,
    title: &str,
    runs: &BTreeMap<String, Runs>,
) -> Result<()> {
    writeln!(page, "\n## {}\n", if title.is_empty() { task } else { title })?;
    let evaluated = || runs.values().flat_map(|own| own.evaluations.values());
    if let (Some(first), Some(machine)) = (evaluated().next(), machine(runs)) {
        let ((cpu, kernels), samples) = (machine, first.samples);
        let elsewhere = evaluated().filter(|own| own.machine() != machine).count();
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
            "| method | r | new values, % | accuracy, % | to the adapter | median, ms | to the adapter, another run | to its own first r, interleaved | from text, ms | the same, interleaved |"
        )?;
        writeln!(page, "|---|---|---|---|---|---|---|---|---|---|")?;
        let adapter = runs.get("adapter");
        let dense = adapter.map(|own| own.measured(Some(1.0))).unwrap_or_default();
        let dense_accuracy = spread(&dense.iter().map(|at| at.accuracy).collect::<Vec<_>>());
        let dense_ms = adapter.and_then(|own| mean_ms(&own.timed(Some(1.0), machine)));
        for (method, own) in runs {
            let mut budgets: Vec<Option<f32>> = own.evaluated().into_iter().map(Some).collect();
            budgets.push(None);
            for budget in budgets {
                let at = own.measured(budget);
                if at.is_empty() {
                    continue;
                }
                let accuracy: Vec<f64> = at.iter().map(|at| at.accuracy).collect();
                let timed = own.timed(budget, machine);
                let ms = mean_ms(&timed);
                // A mean of some seeds would not stand beside the times of all.
                let mean = |of: fn(&Measured) -> Option<f64>| {
                    let of_all: Option<Vec<f64>> = timed.iter().map(|at| of(at)).collect();
                    spread(&of_all?).map(|own| own.0)
                };
                let times = |ratio: Option<f64>| {
                    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"))
                };
                let milliseconds =
                    |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.3}"));
                let apart =
                    spread(&accuracy).zip(dense_accuracy).map(|(own, dense)| own.0 - dense.0);
                let ratio = ms.zip(dense_ms).map(|(own, dense)| dense / own);
                writeln!(
                    page,
                    "| {method} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    budget.map_or_else(|| "schedule".to_owned(), |r| r.to_string()),
                    spread(&own.percent())
                        .map_or_else(|| "-".to_owned(), |own| format!("{:.2}", own.0)),
                    shown(&accuracy),
                    apart.map_or_else(|| "-".to_owned(), |apart| format!("{apart:+.2}")),
                    milliseconds(ms),
                    times(ratio),
                    times(mean(|at| Some(at.speed_up))),
                    milliseconds(mean(|at| at.end_to_end_ms)),
                    times(mean(|at| at.end_to_end_speed_up)),
                )?;
            }
        }
    }
    writeln!(page, "\nf32, by the trainer, test set looked at once:\n")?;
    let tested = ascending(runs.values().flat_map(Runs::tested));
    head(page, "| method | steps | minutes |", &tested)?;
    for (method, own) in runs.iter().filter(|(_, own)| !own.trainings.is_empty()) {
        let steps: Vec<f64> = own.trainings.values().map(|own| own.progress.step as f64).collect();
        let minutes: Vec<f64> =
            own.trainings.values().map(|own| own.progress.seconds / 60.0).collect();
        let mean = |values: &[f64]| spread(values).map_or(0.0, |own| own.0);
        let cells: Vec<String> = tested.iter().map(|r| shown(&own.of_test(*r))).collect();
        writeln!(
            page,
            "| {method} | {:.0} | {:.0} | {} |",
            mean(&steps),
            mean(&minutes),
            cells.join(" | ")
        )?;
    }
    paired(page, runs)
}

/// Learned routing against the ways to select without a router, sample by sample.
fn paired(page: &mut String, runs: &BTreeMap<String, Runs>) -> Result<()> {
    let pairs = || {
        let learned = [("coda", ""), ("short", "short-"), ("short-fitted", "short-")];
        learned.into_iter().flat_map(|(name, prefix)| {
            let pair = move |other| Some((name, runs.get(name)?, format!("{prefix}{other}")));
            ["random", "first", "every"].into_iter().filter_map(pair)
        })
    };
    let known = pairs().filter_map(|(own, learned, name)| {
        let other = runs.get(&name)?;
        Some((format!("{own} / {name}"), learned, other))
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        return Ok(());
    }
    let routed = known.iter().flat_map(|(_, _, other)| other.tested());
    let routed = ascending(routed.filter(|reduction| *reduction > 1.0));
    writeln!(
        page,
        "\nLearned routing against others, seed by seed and sample by sample (right only with the router / only with the other):\n"
    )?;
    head(page, "| pair | seed |", &routed)?;
    for (name, learned, other) in known {
        for seed in learned.trainings.keys() {
            let of = |runs: &Runs| runs.trainings.get(seed).map(|own| own.data.sha256.clone());
            if of(learned) != of(other) {
                continue;
            }
            let cells: Vec<String> = routed
                .iter()
                .map(|r| match (learned.bits(*seed, *r), other.bits(*seed, *r)) {
                    (Some(first), Some(second)) if first.len() == second.len() => {
                        let (one, two) = only(first, second);
                        // McNemar: the difference over its standard error if both were alike.
                        let z = (f64::from(one) - f64::from(two))
                            / f64::from((one + two).max(1)).sqrt();
                        format!("{one} / {two} ({z:+.1} σ)")
                    }
                    _ => "-".to_owned(),
                })
                .collect();
            writeln!(page, "| {name} | {seed} | {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

/// Name, and (speed-up, accuracy) of its points.
type Line = (String, Vec<(f64, f64)>);

fn points(runs: &BTreeMap<String, Runs>) -> Vec<Line> {
    let Some(machine) = machine(runs) else { return Vec::new() };
    let adapter = runs.get("adapter").map(|own| own.timed(Some(1.0), machine));
    let Some(dense_ms) = adapter.and_then(|at| mean_ms(&at)) else { return Vec::new() };
    let line = |(method, own): (&String, &Runs)| {
        let at = |budget| {
            let ms = mean_ms(&own.timed(Some(budget), machine))?;
            let at = own.measured(Some(budget));
            let (accuracy, _) = spread(&at.iter().map(|at| at.accuracy).collect::<Vec<_>>())?;
            Some((dense_ms / ms, accuracy))
        };
        let points: Vec<(f64, f64)> = own.evaluated().into_iter().filter_map(at).collect();
        (method.clone(), points)
    };
    runs.iter().map(line).filter(|(_, points)| !points.is_empty()).collect()
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture cannot be drawn: {error}")
}

/// Accuracy against speed-up, one chart for each task.
fn picture(tasks: &[(String, Vec<Line>)]) -> Result<String> {
    let mut text = String::new();
    let drawn: Vec<_> = tasks.iter().filter(|(_, lines)| !lines.is_empty()).collect();
    let size = (SIZE.0, SIZE.1 * drawn.len().max(1) as u32);
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let parts = area.split_evenly((drawn.len().max(1), 1));
        for ((task, lines), part) in drawn.into_iter().zip(&parts) {
            chart(part, task, lines)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    task: &str,
    lines: &[Line],
) -> Result<()> {
    let all = lines.iter().flat_map(|(_, points)| points);
    let most = all.clone().map(|(x, _)| *x).fold(1.0, f64::max);
    let low = all.clone().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let high = all.map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(task, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(50)
        .build_cartesian_2d(0.5..most + 0.5, low - 1.0..high + 1.0)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc("speed-up over the dense parallel adapter (measured)")
        .y_desc("accuracy, %")
        .draw()
        .map_err(drawing)?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let dots = points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .map_err(drawing)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        chart.draw_series(dots).map_err(drawing)?;
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK).draw().map_err(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_two_trainings_are_compared_sample_by_sample() {
        assert_eq!(only("f0", "0f"), (4, 4));
        assert_eq!(only("8", "c"), (0, 1));
        assert_eq!(only("a5", "a5"), (0, 0));
    }

    #[test]
    fn times_are_of_the_machine_of_most_records() {
        let evaluated = |cpu: &str, median_ms: f64| Evaluated {
            cpu: cpu.to_owned(),
            kernels: "scalar".to_owned(),
            samples: 1,
            reductions: vec![Measured {
                reduction: Some(1.0),
                accuracy: 50.0,
                median_ms,
                speed_up: 1.0,
                end_to_end_ms: None,
                end_to_end_speed_up: None,
            }],
        };
        let evaluations = [("a", 9.0), ("b", 1.0), ("b", 3.0)].map(|(cpu, ms)| evaluated(cpu, ms));
        let own = Runs { evaluations: (1..).zip(evaluations).collect(), ..Runs::default() };
        let runs = BTreeMap::from([("adapter".to_owned(), own)]);
        let found = machine(&runs).unwrap();
        assert_eq!(found, ("b", "scalar"));
        assert_eq!(mean_ms(&runs["adapter"].timed(Some(1.0), found)), Some(2.0));
        assert_eq!(runs["adapter"].measured(Some(1.0)).len(), 3);
    }

    #[test]
    fn a_spread_is_half_the_range() {
        assert_eq!(spread(&[1.0, 3.0]), Some((2.0, 1.0)));
        assert_eq!(spread(&[]), None);
    }
}
