//! The runtime in a program without `std` and without an allocator.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Symbols of Rust's and C's allocators.
const ALLOCATORS: [&str; 6] =
    ["__rust_alloc", "__rust_realloc", "__rg_alloc", "malloc", "calloc", "realloc"];

/// Builds the program in a target directory of its own.
fn build() -> PathBuf {
    // There, for its profile.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("no-alloc");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-alloc");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target)
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(status.success(), "the program without std does not build");
    target.join("release").join("coda-no-alloc")
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn an_inference_without_std_or_allocator_has_the_golden_bits() {
    let program = build();
    let status = Command::new(&program).status().unwrap();
    assert_eq!(status.code(), Some(0), "see `Failure` in tests/no-alloc for the exit code");

    let bytes = std::fs::read(&program).unwrap();
    assert!(holds(&bytes, "abort"), "the symbol names are stripped: nothing to look at");
    for symbol in ALLOCATORS {
        assert!(!holds(&bytes, symbol), "the program without allocator names {symbol}");
    }
}
