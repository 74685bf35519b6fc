//! Where the files are that a program embeds: a part of the build scripts.

use std::error::Error;
use std::{env, path::PathBuf};

/// Names the directory that `program` writes: that of the environment's `variable`, else `folder` of the
/// target directory of the repository.
pub fn directory(variable: &str, folder: &str, program: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={variable}");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let usual = || here.ancestors().map(|up| up.join("target").join(folder)).find(|up| up.is_dir());
    let named = env::var_os(variable).map(PathBuf::from).or_else(usual);
    let directory = named.unwrap_or_else(|| PathBuf::from("target").join(folder));
    let directory = directory.canonicalize().map_err(|error| {
        format!("{}: {error}; `{program}` writes it, see README.md", directory.display())
    })?;
    println!("cargo::rerun-if-changed={}", directory.display());
    println!("cargo::rustc-env={variable}={}", directory.display());
    Ok(())
}
