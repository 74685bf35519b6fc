//! Hands the memory map and the linker scripts to the linker.

use std::env;

fn main() -> Result<(), env::VarError> {
    for script in ["memory.x", "package.x", "build.rs"] {
        println!("cargo::rerun-if-changed={script}");
    }
    println!("cargo::rustc-link-search={}", env::var("CARGO_MANIFEST_DIR")?);
    for argument in ["--nmagic", "-Tlink.x", "-Tpackage.x"] {
        println!("cargo::rustc-link-arg={argument}");
    }
    Ok(())
}
