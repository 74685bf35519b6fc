//! Accuracy against speed-up.

use super::runs::{Methods, Runs, accuracies, machine, mean, mean_ms};
use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// Pixels of the picture of one task.
const SIZE: (u32, u32) = (900, 420);

/// The points of one way of training.
pub(super) struct Line<'r> {
    method: &'r str,
    /// Speed-up and accuracy.
    points: Vec<(f64, f64)>,
}

/// The lines of one task.
pub(super) fn lines<'r>(methods: &Methods<'r>) -> Vec<Line<'r>> {
    let Some(machine) = machine(methods) else { return Vec::new() };
    let adapter = methods.get("adapter").map(|own| own.timed(Some(1.0), machine));
    let Some(dense_ms) = adapter.and_then(|at| mean_ms(&at)) else { return Vec::new() };
    let line = |(method, own): (&&'r str, &Runs<'r>)| {
        let at = |reduction| {
            let ms = mean_ms(&own.timed(Some(reduction), machine))?;
            let accuracy = mean(&accuracies(&own.measured(Some(reduction))))?;
            Some((dense_ms / ms, accuracy))
        };
        Line { method, points: own.evaluated().into_iter().filter_map(at).collect() }
    };
    methods.iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture cannot be drawn: {error}")
}

/// Accuracy against speed-up, one chart for each task.
pub(super) fn svg(tasks: &[(&str, Vec<Line<'_>>)]) -> Result<String> {
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
    lines: &[Line<'_>],
) -> Result<()> {
    let all = lines.iter().flat_map(|line| &line.points);
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
    for (index, Line { method, points }) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let dots = points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .map_err(drawing)?
            .label(*method)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        chart.draw_series(dots).map_err(drawing)?;
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK).draw().map_err(drawing)
}
