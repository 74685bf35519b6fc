//! The curves of a training as an SVG picture.

use crate::record::Progress;
use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// Pixels of the picture.
const SIZE: (u32, u32) = (900, 640);

type Points = Vec<(f64, f64)>;

/// Draws the loss above and the accuracies (or validation losses) below.
///
/// # Errors
/// The picture cannot be drawn.
pub fn svg(progress: &Progress) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let halves = area.split_evenly((2, 1));
        let loss: Points =
            progress.curve.iter().map(|point| (point.step as f64, point.loss)).collect();
        draw(&halves[0], "training loss", &[("training".to_owned(), loss)])?;
        let (title, lines) = lower(progress);
        draw(&halves[1], title, &lines)?;
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the curves cannot be drawn: {error}")
}

/// A line of validations for each reduction.
fn lower(progress: &Progress) -> (&'static str, Vec<(String, Points)>) {
    let mut lines: Vec<(String, Points)> = Vec::new();
    let mut labelled = true;
    for evaluation in &progress.evaluations {
        for at in &evaluation.reductions {
            labelled &= at.accuracy.is_some();
            let name = format!("validation, r = {}", at.reduction);
            let point = (evaluation.step as f64, at.accuracy.unwrap_or(at.loss));
            match lines.iter_mut().find(|(own, _)| *own == name) {
                Some((_, points)) => points.push(point),
                None => lines.push((name, vec![point])),
            }
        }
    }
    let training =
        progress.curve.iter().filter_map(|point| Some((point.step as f64, point.accuracy?)));
    let training: Points = training.collect();
    if labelled && !training.is_empty() {
        lines.push(("training".to_owned(), training));
    }
    (if labelled { "accuracy, %" } else { "validation loss" }, lines)
}

fn bounds(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    match low < high {
        true => low..high,
        false if low.is_finite() => low - 1.0..low + 1.0,
        false => 0.0..1.0,
    }
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    lines: &[(String, Points)],
) -> Result<()> {
    let points = lines.iter().flat_map(|(_, points)| points);
    let across = bounds(points.clone().map(|(step, _)| *step));
    let up = bounds(points.map(|(_, value)| *value));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(across, up)
        .map_err(drawing)?;
    chart.configure_mesh().x_desc("step").draw().map_err(drawing)?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .map_err(drawing)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(drawing)
}
