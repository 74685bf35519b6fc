//! Measures the workspace's Rust: lines, functions and their lengths, parameters in tuples. That items are
//! documented and `unsafe` has its reason is for the lints to say.
//!
//! `cargo run --release -p coda-tests --bin style [DIRECTORY]` prints one table by area.

use anyhow::Result;
use clap::Parser;
use coda_tests::source::{Source, root, tracked};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Measures every Rust file of a checkout that git tracks, generated tables included.
#[derive(Parser)]
struct Arguments {
    /// The checkout; this workspace's own unless given.
    directory: Option<PathBuf>,
    /// The N longest functions as well.
    #[arg(long, value_name = "N", default_value_t = 0)]
    list: usize,
    /// Every function with a tuple as a parameter.
    #[arg(long)]
    tuples: bool,
    /// Only the files below this path.
    #[arg(long, value_name = "PATH")]
    below: Option<PathBuf>,
    /// The table as JSON.
    #[arg(long)]
    json: bool,
}

/// A row of the table, and the paths that it is made of.
const AREAS: [(&str, &[&str], &[&str]); 8] = [
    ("runtime", &["runtime"], &[]),
    ("- kernels", &["runtime/src/kernels"], &[]),
    ("converter", &["converter"], &["converter/trainer"]),
    ("trainer", &["converter/trainer"], &[]),
    ("targets", &["targets"], &[]),
    ("tests", &["tests"], &[]),
    ("benches", &["benches"], &[]),
    ("all", &[""], &[]),
];

/// Lines that a function should not exceed.
const LONG: usize = 30;
/// Lines that a file should not exceed.
const LONG_FILE: usize = 400;

#[derive(Default, Serialize)]
struct Row {
    area: &'static str,
    files: usize,
    long_files: usize,
    lines: usize,
    functions: usize,
    median: usize,
    p90: usize,
    p99: usize,
    longest: usize,
    short_share: f64,
    tuples: usize,
}

impl Row {
    fn new<'a>(area: &'static str, sources: impl Iterator<Item = &'a Source>) -> Self {
        let mut row = Self { area, ..Self::default() };
        let mut lengths = Vec::new();
        for source in sources {
            row.files += 1;
            row.long_files += usize::from(source.lines > LONG_FILE);
            row.lines += source.lines;
            row.tuples += source.functions.iter().map(|function| function.tuples).sum::<usize>();
            lengths.extend(source.functions.iter().map(|function| function.lines));
        }
        lengths.sort_unstable();
        let at = |percent| lengths.get(lengths.len() * percent / 100).copied().unwrap_or(0);
        row.functions = lengths.len();
        (row.median, row.p90, row.p99) = (at(50), at(90), at(99));
        row.longest = lengths.last().copied().unwrap_or(0);
        let short = lengths.iter().filter(|lines| **lines <= LONG).count();
        row.short_share = short as f64 / lengths.len().max(1) as f64;
        row
    }

    fn print(&self) {
        let Self { area, files, long_files, lines, functions, median, p90, p99, .. } = self;
        let (longest, short, tuples) = (self.longest, 100.0 * self.short_share, self.tuples);
        println!(
            "{area:<10} {files:>5} {long_files:>5} {lines:>6} {functions:>9} {median:>6} {p90:>4} \
             {p99:>4} {longest:>7} {short:>6.1} {tuples:>6}"
        );
    }
}

const HEAD: &str = "area       files  >400  lines functions median  p90  p99 longest  <=30% tuples";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let directory = arguments.directory.as_deref().unwrap_or(root());
    let mut sources = Vec::new();
    for path in tracked(directory, ".rs")? {
        if arguments.below.as_ref().is_none_or(|below| path.starts_with(below)) {
            let source = Source::open(&directory.join(&path))?;
            sources.push((path, source));
        }
    }
    let within = |path: &Path, roots: &[&str]| roots.iter().any(|root| path.starts_with(root));
    let rows = AREAS.iter().map(|&(area, roots, others)| {
        let inside =
            sources.iter().filter(|(path, _)| within(path, roots) && !within(path, others));
        Row::new(area, inside.map(|(_, source)| source))
    });
    let rows: Vec<Row> = rows.filter(|row| row.files > 0).collect();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{HEAD}");
        rows.iter().for_each(Row::print);
    }
    print_functions(&arguments, &sources);
    Ok(())
}

fn print_functions(arguments: &Arguments, sources: &[(PathBuf, Source)]) {
    let functions = sources.iter().flat_map(|(path, source)| {
        source.functions.iter().map(move |function| (path.display(), function))
    });
    let mut functions: Vec<_> = functions.collect();
    if arguments.tuples {
        for (path, function) in functions.iter().filter(|(_, function)| function.tuples > 0) {
            println!("{path}:{} {}, {} in tuples", function.line, function.name, function.tuples);
        }
    }
    functions.sort_by_key(|(_, function)| std::cmp::Reverse(function.lines));
    for (path, function) in functions.iter().take(arguments.list) {
        println!("{:>4} {path}:{} {}", function.lines, function.line, function.name);
    }
}
