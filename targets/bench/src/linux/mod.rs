//! Linux: the bundled packages, or packages from files.

mod counter;
mod files;
#[allow(unsafe_code, reason = "one instruction that does nothing")]
mod marker;

use crate::packages::{self, MODES};
use coda_bench::{Bench, Console, Format, Groups, Memory, Setup};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use counter::Count;
use files::Bytes;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: coda-bench [OPTION...] [PACKAGES]

PACKAGES is a directory with base.coda and k-to-k.coda, k-to-all.coda, k-to-low-rank.coda, or one package;
without it the bundled model is measured.

  --json                       a JSON array instead of CSV
  --runs N                     each figure is the least of N runs (default 20; 1 for instructions)
  --only GROUP                 kernels, layers or inferences
  --tokens N                   tokens of an input, for models of text
  --count WHAT                 time, cycles, instructions; default: cycles where Linux lets this
                               program count them, else time. Instructions need the emulator:
                               targets/bench.sh
  CODA_KERNELS=NAME            forces a kernel table";

struct Options {
    format: Format,
    runs: Option<usize>,
    tokens: Option<usize>,
    groups: Groups,
    count: Option<Count>,
    packages: Option<PathBuf>,
}

struct Terminal;

impl Console for Terminal {
    fn line(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        writeln!(std::io::stdout(), "{text}").map_err(|_| fmt::Error)
    }
}

/// 0 done, 1 wrong usage, 2 failed.
pub(crate) fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("coda-bench: {problem}\n\n{USAGE}");
            return ExitCode::from(1);
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

/// What the command line asks for; `None` for help.
fn options() -> Result<Option<Options>, String> {
    let mut options = Options {
        format: Format::Csv,
        runs: None,
        tokens: None,
        groups: Groups::ALL,
        count: None,
        packages: None,
    };
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some(option) if option.starts_with('-') => options.set(option, &mut arguments)?,
            _ if options.packages.is_none() => options.packages = Some(argument.into()),
            _ => return Err(format!("{}: one directory or package at a time", argument.display())),
        }
    }
    Ok(Some(options))
}

impl Options {
    /// Sets an option with the value that follows it, if it takes one.
    fn set(
        &mut self,
        option: &str,
        arguments: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let mut value = |what| {
            let value = arguments.next().and_then(|value| value.into_string().ok());
            value.ok_or(format!("{option} needs {what}"))
        };
        let number = |text: String| {
            let number = text.parse().ok().filter(|number| *number > 0);
            number.ok_or(format!("{option} needs a number above 0"))
        };
        match option {
            "--json" => self.format = Format::Json,
            "--runs" => self.runs = Some(number(value("a number above 0")?)?),
            "--tokens" => self.tokens = Some(number(value("a number above 0")?)?),
            "--only" => {
                let known = "kernels, layers or inferences";
                self.groups = groups(&value(known)?).ok_or(format!("{option} needs {known}"))?;
            }
            "--count" => {
                let known = "time, cycles or instructions";
                let count = Count::of(&value(known)?);
                self.count = Some(count.ok_or(format!("{option} needs {known}"))?);
            }
            _ => return Err(format!("{option} is no option")),
        }
        Ok(())
    }
}

fn groups(name: &str) -> Option<Groups> {
    let none = Groups { kernels: false, layers: false, inferences: false };
    match name {
        "kernels" => Some(Groups { kernels: true, ..none }),
        "layers" => Some(Groups { layers: true, ..none }),
        "inferences" => Some(Groups { inferences: true, ..none }),
        _ => None,
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (mut counter, mut terminal) = (counter::open(options.count)?, Terminal);
    let setup = Setup {
        target: crate::TARGET,
        kernels: Kernels::from_environment()?,
        format: options.format,
        runs: options.runs.unwrap_or(counter.runs()),
    };
    let bench = Bench::start(setup, &mut counter, &mut terminal)?;
    let mut bench = bench.only(options.groups);
    let mut inputs =
        Inputs { ids: vec![0; options.tokens.unwrap_or(0).max(8192)], pixels: vec![0; 4 << 20] };
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
            let mut arena = Bytes::zero(arena_bytes(base.get(), &tasks, options.tokens)?);
            let memory = &mut inputs.with(&mut arena);
            bench.base_and_tasks(base.get(), &tasks, options.tokens, memory)?;
        }
        Some(path) => {
            let bytes = Bytes::read(path)?;
            let package = Package::parse(bytes.get())?;
            let model = Model::from_package(&package).or_else(|_| Model::dense(&package))?;
            let mut arena = Bytes::zero(arena_of(&model, options.tokens)?);
            bench.model(&model, name(path), options.tokens, &mut inputs.with(&mut arena))?;
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
