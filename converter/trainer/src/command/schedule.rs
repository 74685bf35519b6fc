//! `coda-trainer schedule`: a reduction for each layer.

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use coda_converter::dataset::Sample;
use coda_converter::source::{Base, Task};
use coda_runtime::format::Role;
use coda_trainer::data::{Augmentation, Reader, split};
use coda_trainer::loss::{LossWeights, loss};
use coda_trainer::model::{Batch, Model, TaskSpec};
use coda_trainer::schedule::search;
use coda_trainer::settings::Precision;
use coda_trainer::weights::write_task;
use std::path::PathBuf;

/// Samples of a pass.
const BATCH: usize = 32;

/// Find a reduction for each layer on validation data, for a budget of multiply-accumulates, and write
/// the task with it as its default
#[derive(Debug, clap::Args)]
pub(crate) struct Schedule {
    /// The base: a Hugging Face directory
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// An elastic task
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// The training data of the task: its validation part is used, as `train` held it out
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// IDX labels, if they are not found beside the images
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Dense multiply-accumulates over those of the schedule
    #[arg(long, value_name = "X", default_value_t = 4.0)]
    speed: f64,
    /// Validation samples that are used at most
    #[arg(long, value_name = "N", default_value_t = 500)]
    samples: usize,
    /// As in the training
    #[arg(long, value_name = "PART", default_value_t = 0.05)]
    validation: f64,
    /// As in the training
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// As in the training
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// The task with its schedule
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Schedule {
    pub(super) fn run(&self) -> Result<()> {
        ensure!(self.speed > 1.0 && self.speed.is_finite(), "--speed must be above 1");
        let base = Base::open(&self.base, None)?;
        let task = Task::open(&self.task, &base)?;
        let mut spec = TaskSpec::of_task(&task, &base.config);
        ensure!(spec.attention.is_some(), "the task is dense: there is nothing to schedule");
        let mut values = base.tensors.clone();
        values.extend(task.tensors.clone());
        let trained = |(_, role): (u16, Role)| role.belongs_to_task();
        let model = Model::new(base.config, spec.clone(), &values, trained, DType::F32)?;
        let reader = Reader::new(&base, self.max_tokens)?;
        let data = reader.test(&self.data, self.labels.as_deref(), &task.labels)?;
        let (_, mut held_out) = split(&data, self.validation, self.seed);
        held_out.truncate(self.samples);
        ensure!(!held_out.is_empty(), "there is no validation sample: raise --validation");
        let samples: Vec<&Sample> = held_out.iter().map(|index| &data.samples[*index]).collect();
        let batches = samples
            .chunks(BATCH)
            .map(|part| reader.batch(part, Augmentation::default(), None))
            .collect::<Result<Vec<Batch>>>()?;
        let lengths: Vec<usize> = batches
            .iter()
            .flat_map(|batch| batch.ranges.iter().map(ExactSizeIterator::len))
            .collect();
        let mut measured = 0;
        let mean = |reductions: &[f32]| {
            measured += 1;
            self.loss(&model, &batches, reductions)
        };
        let tell = |reductions: &[f32], loss: f64| eprintln!("loss {loss:.5} with {reductions:?}");
        let schedule = search(&model, &lengths, self.speed, mean, tell)?;
        spec.reductions.clone_from(&schedule);
        let tensors = model.trained()?;
        let default = (self.speed as f32, self.max_tokens);
        write_task(&self.out, &base, &spec, &task.labels, (&tensors, Precision::F16), default)?;
        if self.json {
            println!("{}", serde_json::json!({ "reductions": schedule, "measured": measured }));
        } else {
            println!("{schedule:?} of {measured} schedules, in {}", self.out.display());
        }
        Ok(())
    }

    /// Mean cross-entropy over the validation samples.
    fn loss(&self, model: &Model, batches: &[Batch], reductions: &[f32]) -> Result<f64> {
        let weights = LossWeights {
            smoothing: 0.0,
            soft_labels: 0.0,
            temperature: 1.0,
            pooled: 0.0,
            hidden: 0.0,
        };
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches {
            let encoded = model.forward(batch, reductions)?;
            encoded.logits.as_ref().context("the task has no head")?;
            let value = loss(&encoded, &batch.labels, None, weights)?.to_scalar::<f32>()?;
            sum += f64::from(value) * batch.labels.len() as f64;
            count += batch.labels.len();
        }
        Ok(sum / f64::from(u32::try_from(count)?))
    }
}
