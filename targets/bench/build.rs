//! Where the packages of `bench-packages` are (in `CODA_BENCH`, else in `target/bench/bundled`), and on
//! a board the memory map and the linker scripts.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=CODA_BENCH");
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let packages = match env::var_os("CODA_BENCH") {
        Some(directory) => PathBuf::from(directory),
        None => folder.join("../../target/bench/bundled"),
    };
    let packages = packages.canonicalize().map_err(|error| {
        format!("{}: {error}; `bench-packages` writes it, see README.md", packages.display())
    })?;
    println!("cargo::rerun-if-changed={}", packages.display());
    println!("cargo::rustc-env=CODA_BENCH={}", packages.display());
    let target = env::var("TARGET")?;
    println!("cargo::rustc-env=CODA_BENCH_TARGET={target}");
    let board = match target.split('-').next() {
        Some("thumbv8m.main") => "mps3.x",
        Some(core) if core.starts_with("thumb") => "mps2.x",
        Some(core) if core.starts_with("riscv32") => "virt.x",
        _ => return Ok(()),
    };
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::copy(folder.join("boards").join(board), out.join("memory.x"))?;
    println!("cargo::rerun-if-changed=boards");
    for directory in [&out, &folder.join("boards")] {
        println!("cargo::rustc-link-search={}", directory.display());
    }
    // The script of cortex-m-rt includes the memory map itself.
    let memory_map = target.starts_with("riscv32").then_some("-Tmemory.x");
    for argument in ["--nmagic"].into_iter().chain(memory_map).chain(["-Tlink.x", "-Tpackage.x"]) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    Ok(())
}
