//! The subcommands.

mod collect;
mod examples;
mod files;
mod finish;
mod report;
mod watch;

use anyhow::{Context, Result, bail, ensure};
use coda_converter::source::{Base, Task};
use coda_trainer::answers;
use coda_trainer::data::{Dataset, Reader};
use coda_trainer::model::{Initializer, Method, Model, fill_base};
use coda_trainer::settings::{RouterStart, Settings};
use coda_trainer::train::{Checkpointing, Objective, Trainer, initial_model, teacher_model};
use files::{hash_of, name_of, prepare};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use watch::Bar;

/// Set by Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A subcommand.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Train a task on a frozen base, or with `--method full` a base of your own
    Train(Training),
    /// Teach adapters and routers the hidden states of the dense base, without labels
    ///
    /// The result is a task without head that many trainings can begin from (`train --init`).
    Pretrain(Training),
    Examples(examples::Examples),
    Collect(collect::Collect),
    Report(report::Report),
    /// Gone; it says so for one release
    #[command(hide = true)]
    Schedule {
        /// Whatever it was called with
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What to train with.
#[derive(Debug, clap::Args)]
pub(crate) struct Training {
    /// The base: a Hugging Face directory
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// TSV of label and text, IDX images, safetensors of token ids, or a folder of class folders
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// IDX labels, if they are not found beside the images
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Test data of the same kind, looked at once at the end
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// Reduction factors of the test
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0])]
    test_reductions: Vec<f32>,
    /// Where the result, `training.json`, `curves.svg` and the checkpoint go
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// A task to begin with, for instance a parallel adapter or a pretrained task
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// A parallel adapter to learn from; several, one option each, teach the mean of their answers
    #[arg(long, value_name = "FILE")]
    teacher: Vec<PathBuf>,
    /// File of the teachers' answers to the texts, for many trainings: read if it is there, written at
    /// the end
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// The base has no weights yet: begin with random ones
    #[arg(long)]
    from_scratch: bool,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 200)]
    checkpoint_every: u64,
    #[command(flatten)]
    settings: Settings,
    /// Gone; it says so for one release
    #[arg(long, hide = true, value_name = "REMOVED", value_parser = refuse_pooled_keys)]
    pooled_keys: Option<String>,
}

fn refuse_pooled_keys(_: &str) -> Result<String, String> {
    Err("removed in 0.2: no task could be written with it; low-rank keys (--attention k-to-low-rank) \
         are as accurate"
        .to_owned())
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        // A second Ctrl-C finds the flag set and ends the program at once.
        let handler = || {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("\nwriting a checkpoint; Ctrl-C again to stop at once");
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            eprintln!("warning: Ctrl-C will not write a checkpoint: {error}");
        }
        match self {
            Self::Train(training) => training.run(Objective::Labels),
            Self::Pretrain(training) => training.run(Objective::Pretrain),
            Self::Examples(examples) => examples.run(),
            Self::Collect(collect) => collect.run(),
            Self::Report(report) => report.run(),
            Self::Schedule { .. } => bail!(
                "removed in 0.2: schedules were no better than one r for all layers at the same speed; \
                 train with --layer-factors instead"
            ),
        }
    }
}

impl Training {
    fn run(&self, objective: Objective) -> Result<()> {
        self.check(objective)?;
        prepare(&self.out)?;
        let base = self.open_base()?;
        let sources = self.sources()?;
        let reader = Reader::new(&base, self.settings.max_tokens)?;
        let data = reader.training(&self.data, self.labels.as_deref())?;
        let open = |path: &PathBuf| Task::open(path, &base);
        let first = self.init.as_ref().map(open).transpose()?;
        let tasks: Vec<Task> = self.teacher.iter().map(open).collect::<Result<_, _>>()?;
        let labelled = objective == Objective::Labels;
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
        let identity = self.answers_identity(&data)?;
        if let Some(path) = self.answers.as_ref().filter(|path| path.is_file()) {
            let found = answers::read(path, &identity);
            trainer.set_answers(found.with_context(|| path.display().to_string())?);
        }
        self.train(&mut trainer)?;
        if let Some(path) = &self.answers {
            answers::write(path, &identity, trainer.answers())?;
        }
        let finished = finish::Finished { base: &base, data: &data, sources, training: self };
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
                self.settings.teacher.pooled > 0.0 || self.settings.teacher.hidden > 0.0,
                "pretraining needs --hidden or --pooled above 0"
            );
        }
        Ok(())
    }

    fn open_base(&self) -> Result<Base> {
        if !self.from_scratch {
            return Ok(Base::open(&self.base, self.settings.images.image_size)?);
        }
        let mut base = Base::blank(&self.base)?;
        fill_base(&mut base.tensors, Initializer { seed: self.settings.seed });
        Ok(base)
    }

    /// Names and SHA-256 of what the training begins from.
    fn sources(&self) -> Result<Vec<(String, String)>> {
        let weights = self.base.join("model.safetensors");
        let mut files = vec![self.base.join("config.json")];
        files.extend((!self.from_scratch).then_some(weights));
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

    fn test_data(&self, reader: &Reader<'_>, data: &Dataset) -> Result<Option<Dataset>> {
        let read = |path: &PathBuf| reader.test(path, None, &data.labels).context("the test data");
        self.test.as_ref().map(read).transpose()
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
