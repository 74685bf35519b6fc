//! Runs every case of the reference vectors below the given directories.
//!
//! `cargo run --release -p coda-tests --bin vectors -- DIR...` closes with `N passed, N failed`.

use anyhow::{Result, bail};
use coda_runtime::kernels::Kernels;
use coda_tests::vectors::{Vectors, directories};
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let roots: Vec<String> = std::env::args().skip(1).collect();
    if roots.is_empty() {
        bail!("usage: vectors DIR...");
    }
    let (mut passed, mut failed) = (0, 0);
    for root in &roots {
        for directory in directories(Path::new(root))? {
            let vectors = match Vectors::open(&directory) {
                Ok(vectors) => vectors,
                Err(error) => {
                    failed += 1;
                    println!("FAILED {}: {error:#}", directory.display());
                    continue;
                }
            };
            for (name, result) in Kernels::available().flat_map(|table| vectors.check(table)) {
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
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
