//! What a training writes beside its weights: `training.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A point of the training curve: means since the point before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps done.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Right answers of the training batches, per cent; absent without labels.
    pub accuracy: Option<f64>,
    /// Learning rate of the last step.
    pub rate: f64,
    /// Norm of the last gradient.
    pub gradient_norm: f64,
}

/// The accuracy or error at one reduction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtReduction {
    /// Reduction factor.
    pub reduction: f32,
    /// Right answers, per cent; absent without labels.
    pub accuracy: Option<f64>,
    /// Answers of a model that writes that are right to the last token, per cent. A greedy answer is right
    /// just where every token, after the right ones before it, is the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<f64>,
    /// Mean loss.
    pub loss: f64,
    /// Which samples are right, of test data alone: a hexadecimal digit for each four, the first sample
    /// in the highest bit. Two trainings are compared sample by sample with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
}

/// A validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// One entry for each reduction.
    pub reductions: Vec<AtReduction>,
}

impl Evaluation {
    /// What is compared: higher is better.
    #[must_use]
    pub fn score(&self) -> f64 {
        let value = |at: &AtReduction| at.accuracy.unwrap_or(-at.loss);
        self.reductions.iter().map(value).sum::<f64>() / self.reductions.len().max(1) as f64
    }
}

/// Sums since the last point of the curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Steps.
    pub steps: u64,
    /// Samples.
    pub samples: u64,
    /// Sum of losses.
    pub loss: f64,
    /// Right answers.
    pub right: u64,
}

/// How far a training is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The curve.
    pub curve: Vec<CurvePoint>,
    /// Validations.
    pub evaluations: Vec<Evaluation>,
    /// Sums since the last point of the curve.
    pub sums: Sums,
    /// Score of the best validation.
    pub best_score: Option<f64>,
    /// Its step.
    pub best_step: u64,
    /// Validations since then.
    pub worse: u64,
    /// Seconds of training, over all restarts.
    pub seconds: f64,
    /// It stopped early.
    pub stopped_early: bool,
}

/// The data of a training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Name of the file.
    pub file: String,
    /// SHA-256 of its files.
    pub sha256: String,
    /// Samples.
    pub samples: usize,
    /// Samples of the training part.
    pub training: usize,
    /// Samples held out for validation.
    pub validation: usize,
    /// Class names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Versions of what computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This crate.
    pub coda_trainer: String,
    /// Operating system and processor family.
    pub target: String,
    /// Threads of matrix products.
    pub threads: usize,
}

/// What was trained, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Every hyper-parameter.
    pub settings: Map<String, Value>,
    /// Files that the training began from, with their SHA-256.
    pub sources: Vec<(String, String)>,
    /// The data.
    pub data: DataRecord,
    /// Trained parameters.
    #[serde(alias = "trained_values")]
    pub trained_parameters: usize,
    /// Frozen parameters.
    #[serde(alias = "frozen_values")]
    pub frozen_parameters: usize,
    /// Parameters that the task adds to the base (norms that it changes replace the base's), per cent.
    #[serde(alias = "new_values_percent")]
    pub new_parameters_percent: f64,
}

/// The whole record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was trained, and from what.
    #[serde(flatten)]
    pub origin: Origin,
    /// Curves and the best validation.
    pub progress: Progress,
    /// Test data, looked at once after the training.
    pub test: Option<TestRecord>,
    /// Versions.
    pub versions: Versions,
}

/// The result on test data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestRecord {
    /// Name of the file.
    pub file: String,
    /// SHA-256 of its files.
    pub sha256: String,
    /// Samples.
    pub samples: usize,
    /// One entry for each reduction, f32 weights.
    pub reductions: Vec<AtReduction>,
}
