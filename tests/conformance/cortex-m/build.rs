//! The memory map of the emulated board: mps2-an386 and an500 (Cortex-M4F, M7), or mps3-an547 (M55).

use std::{env, fs, path::PathBuf};

const MPS2: &str = "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 2M
PACKAGE : ORIGIN = 0x00200000, LENGTH = 2M
RAM : ORIGIN = 0x20000000, LENGTH = 4M }";
const AN547: &str = "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 512K
PACKAGE : ORIGIN = 0x01000000, LENGTH = 2M
RAM : ORIGIN = 0x20000000, LENGTH = 512K }";
/// Golden packages that would not fit beside the code.
const PACKAGES: &str = "SECTIONS { .package : ALIGN(64) { KEEP(*(.package)); } > PACKAGE }
INSERT AFTER .rodata;";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let map = if env::var("TARGET")?.starts_with("thumbv8m") { AN547 } else { MPS2 };
    let directory = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(directory.join("memory.x"), map)?;
    fs::write(directory.join("package.x"), PACKAGES)?;
    println!("cargo::rustc-link-search={}", directory.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=-Tpackage.x");
    println!("cargo::rustc-link-arg=--nmagic");
    Ok(())
}
