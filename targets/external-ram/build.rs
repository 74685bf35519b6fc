//! Hands the memory map to the linker, and says where the files of `firmware-files --swap DIR` are: in
//! `CODA_SWAP`, else in `target/swap`.

use std::env;

#[path = "../named.rs"]
mod named;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for script in ["memory.x", "regions.x", "build.rs"] {
        println!("cargo::rerun-if-changed={script}");
    }
    println!("cargo::rustc-link-search={}", env::var("CARGO_MANIFEST_DIR")?);
    for argument in ["--nmagic", "-Tlink.x", "-Tregions.x"] {
        println!("cargo::rustc-link-arg={argument}");
    }
    named::directory("CODA_SWAP", "swap", "firmware-files --swap")
}
