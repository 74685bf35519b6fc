//! The book's commands do what it says, and every page and flag is in it.
//!
//! A block marked `console` has commands, `$ coda ...`, each followed by what it prints; `...` stands for
//! anything. The blocks of a page are run in turn, in a directory that has the repository's folders.
//! Blocks marked `sh` are run by `tests/book.sh`.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_tests::source::{root, tracked};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A command of a page, and what the page says that it prints.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    printed: String,
}

/// The steps of the blocks marked `console`.
fn steps(page: &str) -> Vec<Step> {
    let (mut inside, mut steps) = (false, Vec::<Step>::new());
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { command: command.to_owned(), printed: String::new() });
        } else if let Some(step) = steps.last_mut().filter(|_| inside) {
            writeln!(step.printed, "{line}").unwrap();
        }
    }
    steps
}

/// Whether a text is what a page says, where `...` may be anything.
fn fits(said: &str, text: &str) -> bool {
    let mut parts = said.trim_end().split("...").map(str::trim_end);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.trim_end().strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A directory in which the repository's entries can be named, and files written.
fn workplace() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for entry in ["converter", "targets", "tests", "docs"] {
        std::os::unix::fs::symlink(root().join(entry), place.path().join(entry)).unwrap();
    }
    place
}

/// Where the command lies, built with the profile of these tests.
fn programs() -> PathBuf {
    let (folder, profile) =
        if cfg!(debug_assertions) { ("debug", "dev") } else { ("release", "release") };
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--profile", profile, "--bin", "coda"]).current_dir(root());
    assert!(build.status().unwrap().success());
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    target.join(folder)
}

/// What a command prints, on both outputs.
fn run(command: &str, place: &Path, path: &str) -> (bool, String) {
    let script = format!("exec 2>&1\n{command}");
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(place);
    let output = shell.env("PATH", path).env("COLUMNS", "100").output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_command_of_the_book_prints_what_the_book_says() {
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let (mut commands, mut faults) = (0, String::new());
    for page in tracked(root(), ".md").unwrap() {
        let place = workplace();
        for step in steps(&std::fs::read_to_string(root().join(&page)).unwrap()) {
            commands += 1;
            let (done, printed) = run(&step.command, place.path(), &path);
            if !done || !fits(&step.printed, &printed) {
                writeln!(faults, "{}: {}\n{printed}", page.display(), step.command).unwrap();
            }
        }
    }
    println!("{commands} commands");
    assert!(faults.is_empty(), "{faults}\n(docs/commands.sh > docs/commands.md makes that page)");
    assert!(commands > 25, "the test read {commands} commands");
}

#[test]
fn every_page_stands_in_the_index() {
    let index = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let pages = tracked(root(), ".md").unwrap().into_iter().filter(|page| page.starts_with("docs"));
    let name = |page: &PathBuf| page.file_name().unwrap().to_str().unwrap().to_owned();
    let lost: Vec<_> = pages
        .map(|page| name(&page))
        .filter(|page| page != "SUMMARY.md" && !index.contains(&format!("({page})")))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let digits = |c: char| c.is_ascii_digit() || ".,".contains(c);
    let words = readme.split(|c: char| !digits(c));
    let numbers = words.filter(|word| word.contains(|c: char| c.is_ascii_digit())).count();
    println!("{} lines, {numbers} numbers", readme.lines().count());
    assert!(readme.lines().count() <= 120 && numbers <= 40);
}

#[test]
fn a_wrong_page_is_found() {
    let page = "```console\n$ coda a\nx 1\n...\n$ coda b\n```\n$ coda c\n```sh\n$ coda d\n```\n";
    let step =
        |command: &str, printed: &str| Step { command: command.into(), printed: printed.into() };
    assert_eq!(steps(page), [step("coda a", "x 1\n...\n"), step("coda b", "")]);
    assert!(fits("a\n...\nc\n", "a\nb\nc\n") && fits("...\n", "") && fits("a ... c", "a b c"));
    assert!(
        !fits("a\n", "a\nb\n") && !fits("a\n...\nd\n", "a\nb\nc\n") && !fits("b\n...", "a\nb\n")
    );
}
