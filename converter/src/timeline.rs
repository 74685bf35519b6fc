//! When each stage of an inference ended.

use coda_runtime::executor::Observer;
use coda_runtime::tensor::Matrix;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One stage of an inference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// `embedding`, `layer 0`, ..., `head`.
    pub name: String,
    /// Microseconds from the start of the inference.
    pub start_us: f64,
    /// Microseconds that it took.
    pub us: f64,
}

/// Keeps the time at which each stage ended.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Instant,
    ends: Vec<(String, Duration)>,
}

impl Timeline {
    /// An inference that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), ends: Vec::new() }
    }

    fn end(&mut self, name: String) {
        self.ends.push((name, self.start.elapsed()));
    }

    /// The stages of an inference that ends now, one after the other.
    #[must_use]
    pub fn finish(mut self) -> Vec<Stage> {
        self.end("head".to_owned());
        let starts = std::iter::once(Duration::ZERO).chain(self.ends.iter().map(|(_, end)| *end));
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let stage = |(start, (name, end)): (Duration, &(String, Duration))| Stage {
            name: name.clone(),
            start_us: micros(start),
            us: micros(end.saturating_sub(start)),
        };
        starts.zip(&self.ends).map(stage).collect()
    }
}

impl Observer for Timeline {
    fn embedded(&mut self, _: Matrix<'_>) {
        self.end("embedding".to_owned());
    }

    fn layer(&mut self, layer: usize, _: Matrix<'_>) {
        self.end(format!("layer {layer}"));
    }
}

/// Stages in the Trace Event Format, which Perfetto and the tracing pages of browsers open.
#[must_use]
pub fn trace_events(process: &str, stages: &[Stage]) -> Value {
    let event = |stage: &Stage| {
        json!({
            "name": stage.name, "ph": "X", "pid": 1, "tid": 1, "ts": stage.start_us, "dur": stage.us,
        })
    };
    let named = json!({
        "name": "process_name", "ph": "M", "pid": 1, "args": { "name": process },
    });
    let events: Vec<Value> = std::iter::once(named).chain(stages.iter().map(event)).collect();
    json!({ "traceEvents": events, "displayTimeUnit": "ms" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_each_other() {
        let mut timeline = Timeline::start();
        timeline.end("embedding".to_owned());
        timeline.end("layer 0".to_owned());
        let stages = timeline.finish();
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["embedding", "layer 0", "head"]);
        for pair in stages.windows(2) {
            assert!((pair[0].start_us + pair[0].us - pair[1].start_us).abs() < 1e-3);
        }
        let events = trace_events("model", &stages);
        assert_eq!(events["traceEvents"][2]["name"], "layer 0");
        assert_eq!(events["traceEvents"].as_array().map(Vec::len), Some(4));
    }
}
