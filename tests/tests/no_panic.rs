//! No panic can be reached in the hot path: the compiler has left none in it.
//!
//! Of this host's build. `targets/no-panic.sh` gives the assembly of every other target to the same
//! check: a kernel table is compiled for its own machine alone.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms that work while an inference runs.
const HOT: [&str; 8] =
    ["audio", "block", "executor", "kernels", "routing", "memory", "tensor", "image"];
/// Parts of the names of functions that panic: `core::panicking`, and those of slices and options.
const PANICS: [&str; 2] = ["panicking", "_fail"];
/// What runs once, before the first inference.
const SET_UP: [&str; 1] = ["ThreadPool3new"];
/// Files of assembly to read in place of this host's, with colons between them.
const VARIABLE: &str = "CODA_ASSEMBLY";

/// The runtime's release build as assembly, in a target directory of its own.
fn assembly_of_host() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-panic");
    // Assembly of an earlier compiler must not be read instead.
    let _ = std::fs::remove_dir_all(&target);
    let status = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--release", "--locked", "--lib", "--features", "std"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "--emit=asm", "-Ccodegen-units=1"])
        .status()
        .unwrap();
    assert!(status.success(), "the runtime does not build");
    let mut files = std::fs::read_dir(target.join("release/deps"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("coda_runtime-") && name.ends_with(".s")
        });
    files.next().expect("assembly of the runtime")
}

/// The lines of functions of the hot path that name a function that panics.
fn panics(text: &str) -> Vec<String> {
    let (mut function, mut hot, mut functions, mut all) = ("", false, 0, 0);
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('_') && line.ends_with(':') {
            function = line.trim_end_matches(':');
            hot = is_hot(function);
            functions += usize::from(hot);
        } else if names_a_panic(line) {
            all += 1;
            if hot {
                found.push(format!("{function}: {}", line.trim()));
            }
        }
    }
    assert!(functions > 30, "only {functions} functions of the hot path: the names have changed");
    assert!(all > 0, "no panic anywhere: their name has changed");
    found
}

fn is_hot(function: &str) -> bool {
    let of_one = |parts: &[&str]| parts.iter().any(|part| function.contains(part));
    function.contains("coda_runtime") && of_one(&HOT) && !of_one(&SET_UP)
}

/// Whether a line uses a function that panics, and does not only declare it.
fn names_a_panic(line: &str) -> bool {
    let line = line.trim();
    let data = [".long", ".word", ".quad", ".4byte", ".int32"];
    let used = !line.starts_with('.') || data.iter().any(|kind| line.starts_with(kind));
    used && PANICS.iter().any(|part| line.contains(part))
}

#[test]
fn the_hot_path_of_a_release_build_names_no_panic() {
    let files = std::env::var(VARIABLE).map_or_else(
        |_| vec![assembly_of_host()],
        |files| files.split(':').map(PathBuf::from).collect(),
    );
    for file in files {
        let found = panics(&std::fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}:\n{}", file.display(), found.join("\n"));
        println!("{}: no panic in the hot path", file.display());
    }
}
