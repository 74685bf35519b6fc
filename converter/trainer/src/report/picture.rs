//! Accuracy against speed-up.

use super::runs::{Methods, Runs, accuracies, machine, mean, mean_ms};
use crate::plot::{Chart, Points, picture};
use anyhow::Result;
use std::collections::BTreeMap;

/// Pixels of the picture of one task.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;

/// Speed-up and accuracy of each way of training one task.
fn lines(methods: &Methods<'_>) -> Vec<(String, Points)> {
    let Some(machine) = machine(methods) else { return Vec::new() };
    let adapter = methods.get("adapter").map(|own| own.timed(Some(1.0), machine));
    let Some(dense_ms) = adapter.and_then(|at| mean_ms(&at)) else { return Vec::new() };
    let line = |method: &str, own: &Runs<'_>| {
        let at = |reduction| {
            let ms = mean_ms(&own.timed(Some(reduction), machine))?;
            let accuracy = mean(&accuracies(&own.measured(Some(reduction))))?;
            Some((dense_ms / ms, accuracy))
        };
        (method.to_owned(), own.evaluated().into_iter().filter_map(at).collect())
    };
    let lines = methods.iter().map(|(method, own)| line(method, own));
    lines.filter(|(_, points): &(String, Points)| !points.is_empty()).collect()
}

/// Accuracy against speed-up, one chart for each task that was timed.
pub(super) fn svg(tasks: &BTreeMap<&str, Methods<'_>>) -> Result<String> {
    let charts = tasks.iter().map(|(task, methods)| chart(task, lines(methods)));
    let charts: Vec<Chart<'_>> = charts.filter(|chart| !chart.lines.is_empty()).collect();
    picture(WIDTH, HEIGHT, &charts)
}

fn chart(title: &str, lines: Vec<(String, Points)>) -> Chart<'_> {
    let all = lines.iter().flat_map(|(_, points)| points);
    let most = all.clone().map(|(x, _)| *x).fold(1.0, f64::max);
    let low = all.clone().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let high = all.map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
    let axes = ["speed-up over the dense parallel adapter (measured)", "accuracy, %"];
    let (across, up) = (0.5..most + 0.5, low - 1.0..high + 1.0);
    Chart { title, axes, across, up, dots: true, lines }
}
