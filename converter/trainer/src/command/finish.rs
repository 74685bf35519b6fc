//! What stands in the output directory after a training.

use super::arguments::Training;
use super::files::name_of;
use anyhow::{Context, Result};
use coda_converter::evaluate::layer_reductions;
use coda_converter::output::write_whole;
use coda_converter::source::Base;
use coda_converter::{say, warn};
use coda_trainer::data::{Dataset, Sample};
use coda_trainer::model::{Method, Model, Selector, TaskSpec, Trained};
use coda_trainer::plot::svg;
use coda_trainer::record::{DataRecord, Origin, Record, TestRecord, Versions};
use coda_trainer::train::Trainer;
use coda_trainer::weights::{TaskDefaults, write_base, write_task};
use std::iter::repeat_n;

/// Files that a base directory has beside its weights.
const BESIDE_WEIGHTS: [&str; 14] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// A training that has ended.
pub(super) struct Finished<'a> {
    pub(super) base: &'a Base,
    pub(super) data: &'a Dataset,
    pub(super) test: Option<Dataset>,
    pub(super) sources: Vec<(String, String)>,
    pub(super) training: &'a Training,
}

impl Finished<'_> {
    /// Writes weights, record and curves, then removes the checkpoint.
    pub(super) fn write(&self, trainer: &Trainer<'_>) -> Result<()> {
        let out = &self.training.out;
        self.write_weights(trainer)?;
        let record = self.record(trainer)?;
        let json = serde_json::to_vec_pretty(&record)?;
        for (name, bytes) in
            [("training.json", json), ("curves.svg", svg(&record.progress)?.into_bytes())]
        {
            let path = out.join(name);
            write_whole(&path, &bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let checkpoint = out.join("checkpoint.safetensors");
        if checkpoint.is_file() {
            std::fs::remove_file(&checkpoint)
                .with_context(|| format!("cannot remove {}", checkpoint.display()))?;
        }
        report(&record);
        say!("{}", out.display());
        Ok(())
    }

    fn write_weights(&self, trainer: &Trainer<'_>) -> Result<()> {
        let Training { out, settings, .. } = self.training;
        let (model, precision) = (trainer.model(), settings.precision);
        let trained = model.trained()?;
        let learned = settings.routing.selection == Selector::Learned;
        if settings.method == Method::Coda && !learned {
            warn!("no task is written: the runtime selects with a router");
            return Ok(());
        }
        if settings.method != Method::Full {
            let path = out.join("task.safetensors");
            let labels = if model.spec.labels > 0 { self.data.labels.as_slice() } else { &[] };
            let reduction = settings.default_reduction();
            let defaults = TaskDefaults { reduction, max_tokens: settings.max_tokens };
            let mut spec = model.spec.clone();
            if !settings.routing.layer_factors.is_empty() {
                let layers = repeat_n(reduction, model.config().layers);
                spec.reductions = layer_reductions(layers, &settings.routing.layer_factors);
            }
            return write_task(&path, self.base, &spec, labels, &trained, precision, defaults);
        }
        self.write_base(&model.spec, &trained)
    }

    /// Weights of the base, and the files that stand beside them.
    fn write_base(&self, spec: &TaskSpec, trained: &Trained) -> Result<()> {
        let Training { out, settings, base: directory, .. } = self.training;
        let (path, labels) = (out.join("model.safetensors"), &self.data.labels);
        write_base(&path, self.base, spec, labels, trained, settings.precision)?;
        for name in BESIDE_WEIGHTS {
            let from = directory.join(name);
            if from.is_file() {
                let bytes = std::fs::read(&from)
                    .with_context(|| format!("cannot read {}", from.display()))?;
                write_whole(&out.join(name), &bytes)
                    .with_context(|| format!("cannot write {name}"))?;
            }
        }
        Ok(())
    }

    fn record(&self, trainer: &Trainer<'_>) -> Result<Record> {
        let Training { settings, data: path, .. } = self.training;
        let (training, validation) = trainer.parts();
        let model = trainer.model();
        Ok(Record {
            origin: Origin {
                settings: settings.recorded()?,
                sources: self.sources.clone(),
                data: DataRecord {
                    file: name_of(path),
                    sha256: self.data.hash.clone(),
                    samples: self.data.samples.len(),
                    training,
                    validation,
                    labels: self.data.labels.clone(),
                },
                trained_parameters: model.trained_values(),
                frozen_parameters: model.frozen_values(),
                new_parameters_percent: self.new_parameters_percent(model),
            },
            progress: trainer.progress().clone(),
            test: self.test(trainer)?,
            versions: Versions {
                coda_trainer: env!("CARGO_PKG_VERSION").to_owned(),
                target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
                threads: rayon::current_num_threads(),
            },
        })
    }

    fn new_parameters_percent(&self, model: &Model) -> f64 {
        if self.training.settings.method == Method::Full {
            return 100.0;
        }
        let decoder = self.base.decoder.as_ref();
        let mut places = model.spec.places(model.config());
        places.extend(decoder.into_iter().flat_map(|own| model.spec.adapter_places(&own.config)));
        let added: usize = places.iter().map(|(_, [rows, columns])| rows * columns).sum();
        let own = decoder.into_iter().flat_map(|decoder| decoder.tensors.values());
        let base: usize =
            self.base.tensors.values().chain(own).map(|tensor| tensor.values.len()).sum();
        100.0 * added as f64 / base as f64
    }

    /// The one look at the test data.
    fn test(&self, trainer: &Trainer<'_>) -> Result<Option<TestRecord>> {
        let Some((path, set)) = self.training.test.as_ref().zip(self.test.as_ref()) else {
            return Ok(None);
        };
        let samples: Vec<&Sample> = set.samples.iter().collect();
        Ok(Some(TestRecord {
            file: name_of(path),
            sha256: set.hash.clone(),
            samples: samples.len(),
            reductions: trainer.evaluate(&samples, &self.training.test_reductions)?,
        }))
    }
}

/// The figures for the terminal.
fn report(record: &Record) {
    let Record { origin, progress, .. } = record;
    say!(
        "{} parameters trained, {} frozen, {:.2} % new; {} steps in {:.0} s; best validation at step {}",
        origin.trained_parameters,
        origin.frozen_parameters,
        origin.new_parameters_percent,
        progress.step,
        progress.seconds,
        progress.best_step
    );
    for at in record.test.iter().flat_map(|test| &test.reductions) {
        match (at.accuracy, at.exact) {
            (Some(accuracy), _) => say!("test r = {}: {accuracy:.2} %", at.reduction),
            (_, Some(exact)) => {
                say!("test r = {}: {exact:.2} % exact, loss {:.5}", at.reduction, at.loss);
            }
            _ => say!("test r = {}: loss {:.5}", at.reduction, at.loss),
        }
    }
}
