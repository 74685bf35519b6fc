//! Writes a small T5 without weights and strings for it to learn from: `letters DIR`.

use anyhow::{Context, Result};
use std::path::Path;

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).context("usage: letters DIR")?;
    coda_tests::letters::write(Path::new(&directory))
}
