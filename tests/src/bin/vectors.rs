//! Runs every case of the reference vectors below the given directories.
//!
//! `cargo run --release -p coda-tests --bin vectors -- DIR...` closes with `N passed, N failed`.

use anyhow::{Result, bail};
use coda_runtime::kernels::Kernels;
use coda_tests::vectors::{Vectors, directories};
use coda_tests::{log_mel, seq2seq};
use std::path::Path;
use std::process::ExitCode;

/// Checks by their names, and what came of each.
type Checks = Vec<(String, Result<()>)>;

/// The features of the sounds of a directory, if it has some.
fn features(directory: &Path) -> Checks {
    let (config, inputs) = (directory.join("config.json"), directory.join("inputs.safetensors"));
    match log_mel::check(&config, &inputs) {
        Ok(0) => Vec::new(),
        found => vec![(format!("{} log-mel", directory.display()), found.map(drop))],
    }
}

/// Every check of a directory; `None` for a kind that the runtime has not.
fn check(directory: &Path) -> Result<Option<Checks>> {
    if seq2seq::is_one(directory) {
        let vectors = seq2seq::Vectors::open(directory)?;
        let all =
            |own: seq2seq::Vectors| Kernels::available().flat_map(move |table| own.check(table));
        return Ok(vectors.map(|own| all(own).collect()));
    }
    let vectors = Vectors::open(directory)?;
    Ok(Some(Kernels::available().flat_map(|table| vectors.check(table)).collect()))
}

fn main() -> Result<ExitCode> {
    let roots: Vec<String> = std::env::args().skip(1).collect();
    if roots.is_empty() {
        bail!("usage: vectors DIR...");
    }
    let (mut passed, mut failed, mut unread) = (0, 0, 0);
    for root in &roots {
        for directory in directories(Path::new(root))? {
            let mut results = features(&directory);
            match check(&directory) {
                Ok(Some(found)) => results.extend(found),
                Ok(None) => {
                    unread += 1;
                    println!("NOT READ {}: the runtime has no such model", directory.display());
                }
                Err(error) => results.push((directory.display().to_string(), Err(error))),
            }
            for (name, result) in results {
                match result {
                    Ok(()) => passed += 1,
                    Err(error) => {
                        failed += 1;
                        println!("FAILED {name}: {error:#}");
                    }
                }
            }
        }
    }
    if unread > 0 {
        println!("{unread} directories not read");
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
