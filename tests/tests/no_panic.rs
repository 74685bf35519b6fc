//! No panic can be reached in the hot path: the compiler has left none in it.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::Path;
use std::process::Command;

/// The rooms that work while an inference runs.
const HOT: [&str; 6] = ["executor", "kernels", "routing", "memory", "tensor", "image"];

/// The runtime's release build as assembly, in a target directory of its own.
fn assembly() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-panic");
    // Assembly of an earlier compiler must not be read instead.
    let _ = std::fs::remove_dir_all(&target);
    let status = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--release", "--locked", "--lib", "--manifest-path"])
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
    std::fs::read_to_string(files.next().expect("assembly of the runtime")).unwrap()
}

#[test]
fn the_hot_path_of_a_release_build_names_no_panic() {
    let text = assembly();
    let (mut function, mut hot, mut functions) = ("", false, 0);
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('_') && line.ends_with(':') {
            function = line.trim_end_matches(':');
            hot =
                function.contains("coda_runtime") && HOT.iter().any(|room| function.contains(room));
            functions += usize::from(hot);
        } else if hot && line.contains("panicking") {
            found.push(format!("{function}: {}", line.trim()));
        }
    }
    assert!(functions > 30, "only {functions} functions of the hot path: the names have changed");
    assert!(text.contains("panicking"), "no panic anywhere: their name has changed");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
