//! A progress bar with loss, accuracy and the time left.

use coda_trainer::record::{Evaluation, Progress};
use coda_trainer::train::Observer;
use indicatif::{ProgressBar, ProgressStyle};

/// Weight of the newest step in the shown means.
const NEWEST: f64 = 0.05;

/// Shows a training on the terminal's error stream.
pub(super) struct Bar {
    bar: ProgressBar,
    loss: Option<f64>,
    accuracy: Option<f64>,
}

impl Bar {
    pub(super) fn new(steps: u64, done: u64) -> Self {
        let template = "training [{bar:24}] {pos}/{len} {msg} {eta} left";
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        let bar = ProgressBar::new(steps).with_style(style).with_position(done);
        bar.reset_eta();
        Self { bar, loss: None, accuracy: None }
    }
}

fn smooth(shown: Option<f64>, value: f64) -> f64 {
    shown.map_or(value, |shown| shown + NEWEST * (value - shown))
}

impl Observer for Bar {
    fn step(&mut self, progress: &Progress, loss: f64, accuracy: Option<f64>) {
        let loss = smooth(self.loss, loss);
        self.loss = Some(loss);
        self.accuracy = accuracy.map(|value| smooth(self.accuracy, value));
        let accuracy = self.accuracy.map(|value| format!(", {value:.1} %")).unwrap_or_default();
        self.bar.set_message(format!("loss {loss:.4}{accuracy}"));
        self.bar.set_position(progress.step);
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        let one = |at: &coda_trainer::record::AtReduction| match (at.accuracy, at.exact) {
            (Some(accuracy), _) => format!("r {}: {accuracy:.2} %", at.reduction),
            (_, Some(exact)) => {
                format!("r {}: {exact:.2} % exact, loss {:.5}", at.reduction, at.loss)
            }
            _ => format!("r {}: loss {:.5}", at.reduction, at.loss),
        };
        let line: Vec<String> = evaluation.reductions.iter().map(one).collect();
        let line = format!("step {}: validation {}", evaluation.step, line.join(", "));
        // Without a terminal the bar prints nothing: a log still has the validations.
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}
