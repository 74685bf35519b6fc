//! Arguments and messages that several subcommands have.

use anyhow::{Context, Result, bail, ensure};
use coda_converter::dataset::reads_images;
use coda_converter::evaluate::routes;
use coda_converter::pack::PackageBytes;
use coda_converter::preparation::Preparation;
use coda_converter::say;
use coda_converter::session::{Session, bind_packages};
use coda_runtime::config::Embedding;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use indicatif::{ProgressBar, ProgressStyle};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Packages to run: a bundle, a base, or a base and a task.
#[derive(Debug, clap::Args)]
pub(super) struct PackageFiles {
    /// A bundle, a base, or a base and a task
    #[arg(required = true, num_args = 1..=2, value_name = "PACKAGE")]
    pub(super) packages: Vec<PathBuf>,
}

impl PackageFiles {
    /// The first file: what belongs to a machine is stored beside it.
    pub(super) fn first(&self) -> &Path {
        self.packages.first().map_or(Path::new(""), PathBuf::as_path)
    }

    pub(super) fn read(&self) -> Result<Vec<PackageBytes>> {
        let read = |path: &PathBuf| {
            let bytes = PackageBytes::read(path);
            bytes.with_context(|| format!("cannot read {}", path.display()))
        };
        self.packages.iter().map(read).collect()
    }

    /// How pictures for the model in what [`Self::read`] gave are resized.
    pub(super) fn preparation(&self, files: &[PackageBytes]) -> Result<Preparation> {
        // Of a base and a task, in any order, the base alone says it.
        let found = files.iter().map(|bytes| Preparation::of_package(bytes));
        let found = found
            .collect::<Result<Vec<_>>>()
            .with_context(|| self.first().display().to_string())?;
        Ok(found.into_iter().find(|found| *found != Preparation::default()).unwrap_or_default())
    }

    /// The model in what [`Self::read`] gave.
    pub(super) fn bind<'a>(&self, files: &'a [PackageBytes]) -> Result<Model<'a>> {
        let parsed = files
            .iter()
            .zip(&self.packages)
            .map(|(bytes, path)| bytes.parse().with_context(|| path.display().to_string()));
        bind_packages(&parsed.collect::<Result<Vec<_>>>()?)
    }
}

/// How to compute.
#[derive(Debug, clap::Args)]
pub(super) struct Compute {
    /// Kernel table (`coda cpu` lists them); else that of `CODA_KERNELS`, else the fastest
    #[arg(long, value_name = "TABLE")]
    pub(super) kernels: Option<String>,
    /// Threads of one inference, at most those of the machine; the answer is the same to the bit
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    #[arg(long, hide = true, value_name = "REMOVED", value_parser = removed(
        "rows enter integer weights as int8; \
         to tell their error from that of the weights, pack with --weights f32"
    ))]
    activations: Option<Infallible>,
}

/// The parser of an option that this release no longer has: it says what to do instead.
pub(super) fn removed(
    instead: &'static str,
) -> impl Fn(&str) -> Result<Infallible, String> + Clone {
    move |_| Err(format!("removed in 0.2: {instead}"))
}

impl Compute {
    pub(super) fn kernels(&self) -> Result<&'static Kernels> {
        let Some(name) = &self.kernels else { return Ok(Kernels::from_environment()?) };
        Kernels::by_name(name).with_context(|| {
            let names: Vec<&str> = Kernels::available().map(|table| table.name).collect();
            format!("no kernel table \"{name}\" on this CPU; there are {}", names.join(", "))
        })
    }

    pub(super) fn session<'m>(
        &self,
        model: &'m Model<'m>,
        capacity: Capacity,
    ) -> Result<Session<'m>> {
        let session = Session::new(model, capacity)?.with_kernels(self.kernels()?);
        session.with_threads(self.threads())
    }

    /// The threads asked for, at most as many as the machine runs at once: more only wait.
    pub(super) fn threads(&self) -> usize {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.get().min(most)
    }

    /// A note if fewer threads are used than asked for.
    pub(super) fn note(&self) -> Option<String> {
        let (asked, used) = (self.threads.get(), self.threads());
        (asked > used).then(|| {
            format!("--threads {asked}: this machine runs {used} at once, so {} used", are(used))
        })
    }
}

fn are(count: usize) -> String {
    if count == 1 { "1 is".to_owned() } else { format!("{count} are") }
}

/// A number of threads.
pub(super) fn threads(count: usize) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}

/// A note about `option`, if the model routes nothing.
pub(super) fn no_routing(model: &Model<'_>, option: &str) -> Option<String> {
    (!routes(model)).then(|| {
        format!(
            "this package routes nothing: every token passes every layer, {option} has no effect"
        )
    })
}

/// Prints notes, one a line.
pub(super) fn print_notes(notes: &[String]) {
    notes.iter().for_each(|note| say!("note: {note}"));
}

/// It reads sound.
pub(super) const fn reads_sound(model: &Model<'_>) -> bool {
    matches!(model.config().embedding, Embedding::Frames { .. })
}

/// What a model reads, with the options of `coda run` for it.
pub(super) fn reads(model: &Model<'_>) -> String {
    match model.patch_grid() {
        Some(grid) => format!(
            "the model reads images of {} by {} pixels: give --image FILE",
            grid.columns * grid.side,
            grid.rows * grid.side
        ),
        None if reads_sound(model) => {
            "the model reads sound: give --audio FILE, or --features FILE of its log-mel frames"
                .to_owned()
        }
        None if reads_images(model) => {
            "the model reads images of any size: give --image FILE".to_owned()
        }
        None if model.tokenizer().is_some() => {
            "the model reads texts: give --text TEXT, or --ids of tokens".to_owned()
        }
        None => {
            "the model reads texts as token ids, for it has no vocabulary: give --ids".to_owned()
        }
    }
}

/// A reduction, refused where it makes no sense for an input of `tokens` tokens.
pub(super) fn check_reduction(reduction: f32, tokens: usize) -> Result<()> {
    ensure!(
        reduction.is_finite() && reduction >= 1.0,
        "a reduction must be at least 1, not {reduction}"
    );
    if reduction > tokens as f32 {
        bail!(
            "reduction {reduction} is above the {tokens} tokens of the input: give at most \
             {tokens}, which selects one token"
        );
    }
    Ok(())
}

/// A progress bar on the terminal's error stream; it shows nothing where there is no terminal.
pub(super) fn progress(title: &'static str, length: u64) -> ProgressBar {
    let template = "{msg} [{bar:30}] {pos}/{len} {eta} left";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
    ProgressBar::new(length).with_style(style).with_message(title)
}

/// The name of this machine's CPU, for the record beside a measured figure.
pub(super) fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}
