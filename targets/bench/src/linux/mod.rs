//! Linux: the bundled packages, or packages from files.

mod counter;
mod files;
#[allow(unsafe_code, reason = "one instruction that does nothing")]
mod marker;

use crate::packages::{self, MODES};
use clap::{Parser, ValueEnum};
use coda_bench::{Bench, Console, Format, Groups, Memory, Setup};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use counter::Count;
use files::Bytes;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures kernels, layers and inferences of the bundled model, or of other packages.
#[derive(Parser)]
#[command(name = "coda-bench", after_help = "CODA_KERNELS=NAME forces a kernel table")]
struct Options {
    /// A directory with base.coda and k-to-k.coda, k-to-all.coda, k-to-low-rank.coda, or one package;
    /// without it the bundled model is measured
    packages: Option<PathBuf>,
    /// A JSON array instead of CSV
    #[arg(long)]
    json: bool,
    /// Each figure is the least of N runs (default 20; 1 for instructions)
    #[arg(long, value_name = "N")]
    runs: Option<NonZeroUsize>,
    /// Nothing else
    #[arg(long, value_name = "GROUP")]
    only: Option<Group>,
    /// Tokens of an input, for models of text
    #[arg(long, value_name = "N")]
    tokens: Option<NonZeroUsize>,
    /// Default: cycles where Linux lets this program count them, else time. Instructions need the
    /// emulator: targets/bench.sh
    #[arg(long, value_name = "WHAT")]
    count: Option<Count>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Kernels,
    Layers,
    Inferences,
}

struct Terminal;

impl Console for Terminal {
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        writeln!(std::io::stdout(), "{text}").map_err(|_| fmt::Error)
    }
}

/// 0 done, 1 wrong usage, 2 failed.
pub(crate) fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Help is no error; a closed pipe is no reason to fail either.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coda-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn groups(only: Option<Group>) -> Groups {
    let of = |group| only.is_none_or(|only| only == group);
    let (kernels, layers) = (of(Group::Kernels), of(Group::Layers));
    Groups { kernels, layers, inferences: of(Group::Inferences) }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (mut counter, mut terminal) = (counter::open(options.count)?, Terminal);
    let setup = Setup {
        target: crate::TARGET,
        kernels: Kernels::from_environment()?,
        format: if options.json { Format::Json } else { Format::Csv },
        runs: options.runs.map_or(counter.runs(), NonZeroUsize::get),
    };
    let tokens = options.tokens.map(NonZeroUsize::get);
    let bench = Bench::start(setup, &mut counter, &mut terminal)?;
    let mut bench = bench.only(groups(options.only));
    let mut inputs =
        Inputs { ids: vec![0; tokens.unwrap_or(0).max(8192)], pixels: vec![0; 4 << 20] };
    match options.packages.as_deref() {
        None => {
            let mut arena = Bytes::zero(packages::ARENA);
            let memory = &mut inputs.with(&mut arena);
            bench.base_and_tasks(packages::base(), &packages::tasks(), None, memory)?;
        }
        Some(path) if path.is_dir() => {
            let base = Bytes::read(&path.join("base.coda"))?;
            let read = |mode: &str| Bytes::read(&path.join(mode).with_extension("coda"));
            let tasks = MODES.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let tasks: Vec<_> = MODES.into_iter().zip(tasks.iter().map(Bytes::get)).collect();
            let mut arena = Bytes::zero(arena_bytes(base.get(), &tasks, tokens)?);
            let memory = &mut inputs.with(&mut arena);
            bench.base_and_tasks(base.get(), &tasks, tokens, memory)?;
        }
        Some(path) => {
            let bytes = Bytes::read(path)?;
            let package = Package::parse(bytes.get())?;
            let model = Model::from_package(&package).or_else(|_| Model::dense(&package))?;
            let mut arena = Bytes::zero(arena_of(&model, tokens)?);
            bench.model(&model, name(path), tokens, &mut inputs.with(&mut arena))?;
        }
    }
    Ok(bench.finish()?)
}

/// Room for inputs.
struct Inputs {
    ids: Vec<u32>,
    pixels: Vec<u8>,
}

impl Inputs {
    fn with<'a>(&'a mut self, arena: &'a mut Bytes) -> Memory<'a> {
        Memory { arena: arena.get_mut(), pixels: &mut self.pixels, ids: &mut self.ids }
    }
}

fn name(path: &Path) -> &str {
    path.file_stem().and_then(|name| name.to_str()).unwrap_or("package")
}

fn arena_of(model: &Model<'_>, tokens: Option<usize>) -> Result<usize, Box<dyn Error>> {
    let tokens = tokens.or(model.max_tokens()).ok_or("the model needs --tokens")?;
    Ok(Plan::new(&model.dimensions(), Capacity::any_budget(tokens))?.arena_bytes())
}

/// The most that any of the tasks needs.
fn arena_bytes(
    base: &[u8],
    tasks: &[(&str, &[u8])],
    tokens: Option<usize>,
) -> Result<usize, Box<dyn Error>> {
    let base = Package::parse(base)?;
    tasks.iter().try_fold(0, |largest, (_, task)| {
        let task = Package::parse(task)?;
        Ok(largest.max(arena_of(&Model::bind(&base, &task)?, tokens)?))
    })
}
