//! Where the packages of `bench-packages` are (in `CODA_BENCH`, else in `target/bench/bundled`), and on
//! a board the memory map and the linker scripts.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "../named.rs"]
mod named;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    named::directory("CODA_BENCH", "bench/bundled", "bench-packages")?;
    let target = env::var("TARGET")?;
    println!("cargo::rustc-env=CODA_BENCH_TARGET={target}");
    match target.split('-').next() {
        Some("thumbv8m.main") => link(&folder, "mps3.x", None),
        Some(core) if core.starts_with("thumb") => link(&folder, "mps2.x", None),
        // The script of cortex-m-rt includes the memory map itself, that of riscv-rt does not.
        Some(core) if core.starts_with("riscv32") => link(&folder, "virt.x", Some("-Tmemory.x")),
        _ => Ok(()),
    }
}

/// Links for a board of the folder `boards`.
fn link(folder: &Path, board: &str, memory_map: Option<&str>) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::copy(folder.join("boards").join(board), out.join("memory.x"))?;
    println!("cargo::rerun-if-changed=boards");
    for directory in [&out, &folder.join("boards")] {
        println!("cargo::rustc-link-search={}", directory.display());
    }
    for argument in ["--nmagic"].into_iter().chain(memory_map).chain(["-Tlink.x", "-Tpackage.x"]) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    Ok(())
}
