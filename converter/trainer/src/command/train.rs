//! `coda-trainer train` and `pretrain`.

use super::arguments::Training;
use super::files::{hash_of, name_of, prepare};
use super::finish::Finished;
use super::summary::{print_parts, print_read};
use super::watch::Bar;
use anyhow::{Context, Result, bail, ensure};
use coda_converter::source::{Base, Opening, Task, weight_files};
use coda_trainer::answers;
use coda_trainer::data::{Dataset, Reader};
use coda_trainer::model::{Half, Initializer, Method, Model, fill_base, untrained};
use coda_trainer::settings::RouterStart;
use coda_trainer::train::{Checkpointing, Objective, Trainer, initial_model, teacher_model};
use coda_trainer::weights::base_tensors;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Set by Ctrl-C.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

impl Training {
    pub(super) fn run(&self, objective: Objective) -> Result<()> {
        self.check(objective)?;
        prepare(&self.out)?;
        let base = self.open_base()?;
        let sources = self.sources()?;
        let reader = Reader::new(&base, self.settings.max_tokens, &self.reading)?;
        let (data, test) = self.read(&reader)?;
        let open = |path: &PathBuf| Task::open(path, &base);
        let first = self.init.as_ref().map(open).transpose()?;
        let tasks: Vec<Task> = self.teacher.iter().map(open).collect::<Result<_, _>>()?;
        let labelled = objective == Objective::Labels && reader.writing().is_none();
        if labelled {
            self.check_classes(&data)?;
        }
        for (path, task) in self.teacher.iter().zip(&tasks).filter(|_| labelled) {
            ensure!(
                task.labels == data.labels,
                "the labels of the teacher {} are not those of the data in the same order",
                path.display()
            );
        }
        let labels = if labelled { data.labels.len() } else { 0 };
        let model = initial_model(&self.settings, &base, labels, first.as_ref())?;
        let teachers = teachers(&base, &tasks, &model, objective)?;
        let mut trainer =
            Trainer::new(&self.settings, objective, reader, &data, model, teachers, &sources)?;
        ensure!(
            self.answers.is_none() || !trainer.model().writes(),
            "--answers keeps what teachers say of labels: it does not go with a model that writes"
        );
        let (training, held_out) = trainer.parts();
        print_parts(training, held_out);
        let identity = self.answers_identity(&data)?;
        if let Some(path) = self.answers.as_ref().filter(|path| path.is_file()) {
            let found = answers::read(path, &identity);
            trainer.set_answers(found.with_context(|| path.display().to_string())?);
        }
        self.train(&mut trainer)?;
        if let Some(path) = &self.answers {
            answers::write(path, &identity, trainer.answers())?;
        }
        let finished = Finished { base: &base, data: &data, test, sources, training: self };
        finished.write(&trainer)
    }

    fn check(&self, objective: Objective) -> Result<()> {
        self.settings.check()?;
        for r in &self.test_reductions {
            ensure!(r.is_finite() && *r >= 1.0, "a reduction must be at least 1, not {r}");
        }
        let full = self.settings.method == Method::Full;
        ensure!(full || !self.from_scratch, "--from-scratch needs --method full");
        ensure!(!full || self.init.is_none(), "--init is a task; --method full trains a base");
        let resized = self.settings.images.image_size.is_some();
        ensure!(!full || !resized, "--image-size does not go with --method full");
        if objective == Objective::Pretrain {
            ensure!(
                self.settings.method == Method::Coda,
                "pretraining is for --method coda: a dense model has nothing to learn from itself"
            );
            ensure!(
                self.settings.routing.router_start == RouterStart::Random,
                "--router-start saliency needs labels"
            );
            ensure!(
                self.settings.loss.pooled > 0.0 || self.settings.loss.hidden > 0.0,
                "pretraining needs --hidden or --pooled above 0"
            );
        }
        Ok(())
    }

    /// The data and those of the test, which are read before the first step.
    fn read(&self, reader: &Reader<'_>) -> Result<(Dataset, Option<Dataset>)> {
        let data = reader.training(&self.data, self.labels.as_deref())?;
        print_read(&self.data, &data, reader);
        let Some(path) = &self.test else { return Ok((data, None)) };
        let test = reader.test(path, None, &data.labels).context("the test data")?;
        print_read(path, &test, reader);
        Ok((data, Some(test)))
    }

    /// Refuses classes that nothing can be learnt of.
    fn check_classes(&self, data: &Dataset) -> Result<()> {
        let path = self.data.display();
        if let Some(doubt) = &data.doubt {
            bail!("{path}: {doubt}");
        }
        let classes = data.labels.len();
        ensure!(classes > 1, "{path}: every sample is of one class, \"{}\"", data.labels.join(""));
        Ok(())
    }

    fn open_base(&self) -> Result<Base> {
        if !self.from_scratch {
            let opening = Opening {
                image_size: self.settings.images.image_size,
                tower: self.tower,
                ..Opening::default()
            };
            let base = Base::open_as(&self.base, opening)?;
            self.check_base(&base)?;
            return Ok(base);
        }
        let mut base = Base::blank(&self.base, self.tower)?;
        self.check_base(&base)?;
        let initializer = Initializer { seed: self.settings.seed, half: Half::Encoder };
        fill_base(&mut base.tensors, initializer);
        if let Some(decoder) = &mut base.decoder {
            let initializer = Initializer { half: Half::Decoder, ..initializer };
            fill_base(&mut decoder.tensors, initializer);
        }
        Ok(base)
    }

    /// Refuses a base that is not computed, and one whose every tensor is trained, but could not be written
    /// as it was read.
    fn check_base(&self, base: &Base) -> Result<()> {
        let path = self.base.display();
        if let Some(why) = untrained(&base.config) {
            bail!("{path}: {why}");
        }
        if self.settings.method != Method::Full {
            return Ok(());
        }
        base_tensors(base, None).with_context(|| format!("{path}: --method full"))?;
        let shared = base.config.shared_layers;
        ensure!(!shared, "{path}: --method full would train each layer apart, which share weights");
        Ok(())
    }

    /// Names and SHA-256 of what the training begins from.
    fn sources(&self) -> Result<Vec<(String, String)>> {
        let mut files = vec![self.base.join("config.json")];
        if !self.from_scratch {
            files.extend(weight_files(&self.base)?);
        }
        files.extend(self.init.clone());
        files.extend(self.teacher.clone());
        files.iter().map(|path| Ok((name_of(path), hash_of(path)?))).collect()
    }

    /// Of which teachers to which texts the answers are.
    fn answers_identity(&self, data: &Dataset) -> Result<String> {
        let hashes: Vec<String> =
            self.teacher.iter().map(|path| hash_of(path)).collect::<Result<_>>()?;
        Ok(format!("{} {} {}", hashes.join("+"), data.hash, self.settings.max_tokens))
    }

    fn train(&self, trainer: &mut Trainer<'_>) -> Result<()> {
        let path = self.out.join("checkpoint.safetensors");
        if path.is_file() {
            trainer.resume(&path)?;
            eprintln!("going on from step {}", trainer.progress().step);
        } else if self.settings.routing.router_start == RouterStart::Saliency {
            let explained = trainer.fit_routers()?;
            let percent: Vec<String> =
                explained.iter().map(|part| format!("{:.0} %", 100.0 * part)).collect();
            eprintln!("routers explain {} of the saliency, layer by layer", percent.join(", "));
        }
        let every = self.checkpoint_every;
        let checkpoints = Checkpointing { path: &path, every, interrupted: &INTERRUPTED };
        let mut bar = Bar::new(self.settings.steps, trainer.progress().step);
        trainer.run(checkpoints, &mut bar)
    }
}

/// The dense models that are learnt from: the base itself, if nothing else teaches a pretraining.
fn teachers(
    base: &Base,
    tasks: &[Task],
    model: &Model,
    objective: Objective,
) -> Result<Vec<Model>> {
    if objective == Objective::Pretrain && tasks.is_empty() {
        return Ok(vec![teacher_model(base, None, &model.spec)?]);
    }
    tasks.iter().map(|task| teacher_model(base, Some(task), &model.spec)).collect()
}
