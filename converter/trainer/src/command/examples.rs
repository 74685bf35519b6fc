//! `coda-trainer examples`: images that a task labels right at every reduction, with its answers.

use super::files::prepare;
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use coda_converter::dataset::SampleInput;
use coda_converter::output::write_whole;
use coda_converter::source::{Base, Task};
use coda_runtime::image::PatchGrid;
use coda_trainer::data::{Augmentation, Reader, Reading, Sample};
use coda_trainer::model::{Batch, Model, TaskSpec};
use coda_trainer::number::number;
use coda_trainer::train::right_answers;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Images that are looked at in one pass.
const BATCH: usize = 256;

/// Write the first image of each class that a task labels right at every reduction, as PNG, and the
/// logits of all of them, dense and routed
#[derive(Debug, clap::Args)]
pub(crate) struct Examples {
    /// The base: a Hugging Face directory of an image classifier
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// The task
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Labelled gray images (IDX)
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Reduction factors
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0], value_parser = number::<f32>)]
    reductions: Vec<f32>,
    /// Where the images and `expected.json` go
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
}

impl Examples {
    pub(super) fn run(&self) -> Result<()> {
        prepare(&self.out)?;
        let base = Base::open(&self.base, None)?;
        let head = base.head.context("the base has no classifier")?;
        let task = Task::open(&self.task, &base)?;
        let spec = TaskSpec::of_task(&task, &base.config);
        let labels = spec.labels;
        let mut values = base.tensors.clone();
        let pooling = head.pooling.single().context("the base has more than one pooling")?;
        let dense = TaskSpec::dense(pooling, labels);
        let dense = Model::new(base.config, dense, &values, |_| false, DType::F32)?;
        values.extend(task.tensors);
        let routed = Model::new(base.config, spec, &values, |_| false, DType::F32)?;
        let reader = Reader::new(&base, 0, &Reading::default())?;
        let samples = reader.training(&self.data, None)?.samples;
        let chosen = self.choose(&reader, &routed, &samples, labels)?;
        let of_chosen: Vec<&Sample> = chosen.iter().map(|index| &samples[*index]).collect();
        let batch = reader.batch(&of_chosen, Augmentation::default(), None)?;
        let mut object = Map::new();
        object.insert("source".to_owned(), json!("f32 logits of coda-trainer for these images"));
        object.insert("index".to_owned(), json!(chosen));
        object.insert("dense".to_owned(), logits(&dense, &batch, 1.0)?);
        for reduction in &self.reductions {
            object.insert(format!("r{reduction}"), logits(&routed, &batch, *reduction)?);
        }
        let json = serde_json::to_vec_pretty(&object)?;
        write_whole(&self.out.join("expected.json"), &json)?;
        let grid = PatchGrid::of(&base.config.embedding).context("the base reads texts")?;
        of_chosen.iter().try_for_each(|sample| self.write_image(sample, grid))
    }

    /// The first sample of each class that is right at every reduction.
    fn choose(
        &self,
        reader: &Reader<'_>,
        model: &Model,
        samples: &[Sample],
        labels: usize,
    ) -> Result<Vec<usize>> {
        let mut chosen: Vec<Option<usize>> = vec![None; labels];
        for (part, samples) in samples.chunks(BATCH).enumerate() {
            let list: Vec<&Sample> = samples.iter().collect();
            let batch = reader.batch(&list, Augmentation::default(), None)?;
            let mut right = vec![true; samples.len()];
            for reduction in &self.reductions {
                let found = right_answers(&forward(model, &batch, *reduction)?, &batch.labels)?;
                right.iter_mut().zip(found).for_each(|(right, found)| *right &= found);
            }
            for (index, sample) in samples.iter().enumerate().filter(|(index, _)| right[*index]) {
                chosen[sample.label].get_or_insert(part * BATCH + index);
            }
            if chosen.iter().all(Option::is_some) {
                break;
            }
        }
        let missing = chosen.iter().position(Option::is_none);
        ensure!(missing.is_none(), "no image of class {missing:?} is right at every reduction");
        Ok(chosen.into_iter().flatten().collect())
    }

    fn write_image(&self, sample: &Sample, grid: PatchGrid) -> Result<()> {
        ensure!(grid.channels == 1, "the images have {} channels, not 1", grid.channels);
        let SampleInput::Pixels(pixels) = &sample.input else { return Ok(()) };
        let (width, height) = (grid.columns * grid.side, grid.rows * grid.side);
        let mut png = Vec::new();
        let encoder = PngEncoder::new(&mut png);
        encoder.write_image(pixels, width as u32, height as u32, ExtendedColorType::L8)?;
        let path = self.out.join(format!("{}.png", sample.label));
        write_whole(&path, &png).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn forward(model: &Model, batch: &Batch, reduction: f32) -> Result<candle_core::Tensor> {
    let encoded = model.forward(batch, &vec![reduction; model.config().layers])?;
    encoded.logits.context("the task has no head")
}

fn logits(model: &Model, batch: &Batch, reduction: f32) -> Result<Value> {
    Ok(json!(forward(model, batch, reduction)?.to_vec2::<f32>()?))
}
