//! Hands the memory map to the linker, and says where the files of `firmware-files --swap DIR` are: in
//! `CODA_SWAP`, else in `target/swap`.

use std::{env, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for script in ["memory.x", "regions.x", "build.rs"] {
        println!("cargo::rerun-if-changed={script}");
    }
    let here = env::var("CARGO_MANIFEST_DIR")?;
    println!("cargo::rustc-link-search={here}");
    for argument in ["--nmagic", "-Tlink.x", "-Tregions.x"] {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::rerun-if-env-changed=CODA_SWAP");
    let directory = match env::var_os("CODA_SWAP") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(here).join("../../target/swap"),
    };
    let directory = directory.canonicalize().map_err(|error| {
        format!(
            "{}: {error}; `firmware-files --swap` writes it, see README.md",
            directory.display()
        )
    })?;
    println!("cargo::rerun-if-changed={}", directory.display());
    println!("cargo::rustc-env=CODA_SWAP={}", directory.display());
    Ok(())
}
