//! The curves of a training as an SVG picture.

use crate::record::Progress;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;

/// Pixels of one chart.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 320;

/// Points, from left to right.
pub(crate) type Points = Vec<(f64, f64)>;

/// Lines in a frame.
pub(crate) struct Chart<'c> {
    pub(crate) title: &'c str,
    /// What stands below, and to the left.
    pub(crate) axes: [&'c str; 2],
    pub(crate) across: Range<f64>,
    pub(crate) up: Range<f64>,
    /// Every point has a dot.
    pub(crate) dots: bool,
    pub(crate) lines: Vec<(String, Points)>,
}

/// Draws the loss above and the accuracies (or validation losses) below.
///
/// # Errors
/// The picture cannot be drawn.
pub fn svg(progress: &Progress) -> Result<String> {
    let loss = progress.curve.iter().map(|point| (point.step as f64, point.loss)).collect();
    let (title, lines) = lower(progress);
    let chart = |title, lines: Vec<(String, Points)>| {
        let points = || lines.iter().flat_map(|(_, points)| points);
        let across = bounds(points().map(|(step, _)| *step));
        let up = bounds(points().map(|(_, value)| *value));
        Chart { title, axes: ["step", ""], across, up, dots: false, lines }
    };
    let above = chart("training loss", vec![("training".to_owned(), loss)]);
    picture(WIDTH, HEIGHT, &[above, chart(title, lines)])
}

/// Draws charts of a size one below the other.
pub(crate) fn picture(width: u32, height: u32, charts: &[Chart<'_>]) -> Result<String> {
    let mut text = String::new();
    let count = charts.len().max(1);
    {
        let size = (width, height * count as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        for (chart, part) in charts.iter().zip(area.split_evenly((count, 1))) {
            chart.draw(&part)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture cannot be drawn: {error}")
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

fn bounds(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    match low < high {
        true => low..high,
        false if low.is_finite() => low - 1.0..low + 1.0,
        false => 0.0..1.0,
    }
}

impl Chart<'_> {
    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(35)
            .y_label_area_size(50)
            .build_cartesian_2d(self.across.clone(), self.up.clone())
            .map_err(drawing)?;
        let [below, left] = self.axes;
        chart.configure_mesh().x_desc(below).y_desc(left).draw().map_err(drawing)?;
        for (index, (name, points)) in self.lines.iter().enumerate() {
            let colour = Palette99::pick(index).to_rgba();
            let dots = points.iter().filter(|_| self.dots);
            let dots = dots.map(|point| Circle::new(*point, 4, colour.filled()));
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
}
