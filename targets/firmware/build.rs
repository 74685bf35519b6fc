//! Where the files of `firmware-files DIR` are: in `CODA_FIRMWARE`, else in `target/firmware`.

use std::{env, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=CODA_FIRMWARE");
    let directory = match env::var_os("CODA_FIRMWARE") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../target/firmware"),
    };
    let directory = directory.canonicalize().map_err(|error| {
        format!(
            "{}: {error}; `firmware-files` writes it, see README.md of the board",
            directory.display()
        )
    })?;
    println!("cargo::rerun-if-changed={}", directory.display());
    println!("cargo::rustc-env=CODA_FIRMWARE={}", directory.display());
    Ok(())
}
