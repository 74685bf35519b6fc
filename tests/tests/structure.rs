//! The rooms of the runtime use each other in one direction, and no files go round in a circle.
//!
//! Rule: file A uses file B if A's code, outside `#[cfg(test)]` modules, names an item that B
//! defines, by whatever path or re-export. To pass a name on (`pub use`) is no use, nor is `mod`; so
//! a `mod.rs` and its child are a circle if each needs an item that the other defines.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_tests::modules::{Crate, Files, Use};
use coda_tests::source::{root, tracked};
use std::collections::BTreeSet;
use std::path::Path;

/// The library and the program of a package, and how many files they have.
fn crates_of(package: &str) -> (Files, Vec<Crate>) {
    let source = root().join(package).join("src");
    let names = tracked(&source, ".rs").unwrap().into_iter();
    let text = |name: &Path| std::fs::read_to_string(source.join(name)).unwrap();
    let files: Files = names.map(|name| (name.to_str().unwrap().to_owned(), text(&name))).collect();
    let roots = ["lib.rs", "main.rs"].into_iter().filter(|root| files.contains_key(*root));
    let crates: Vec<Crate> = roots.map(|root| Crate::read(&files, root).unwrap()).collect();
    let read: BTreeSet<&str> = crates.iter().flat_map(Crate::files).collect();
    let lost: Vec<_> = files.keys().filter(|name| !read.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "files of {package} that belong to no module: {lost:?}");
    (files, crates)
}

/// The table of rooms in the documentation of `lib.rs`, lowest first.
fn rooms(lib: &str) -> Vec<&str> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
    let names = rows.filter_map(|row| row.split_once(" |")).map(|(name, _)| name);
    let names = names.map(|name| name.trim_matches(['[', ']']));
    names.filter(|name| name.starts_with('`')).map(|name| name.trim_matches('`')).collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn upward<'u>(rooms: &[&str], uses: &'u BTreeSet<Use>) -> Vec<&'u Use> {
    let height = |file: &str| rooms.iter().position(|name| *name == room(file));
    let goes_up = |found: &&Use| match (height(&found.from), height(&found.to)) {
        (Some(from), Some(to)) => from < to,
        _ => found.from != "lib.rs", // from or to what is in no room
    };
    uses.iter().filter(goes_up).collect()
}

/// The files that `file` needs items of, directly or through others.
fn reached<'u>(file: &'u str, uses: &'u BTreeSet<Use>) -> BTreeSet<&'u str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        let uses = uses.iter().filter(|found| found.item && found.from == file);
        next.extend(uses.map(|found| &*found.to).filter(|to| reached.insert(*to)));
    }
    reached
}

/// Files that reach themselves, with those that they share a circle with.
fn circles(uses: &BTreeSet<Use>) -> BTreeSet<BTreeSet<&str>> {
    let files: BTreeSet<&str> = uses.iter().map(|found| &*found.from).collect();
    let circles = files.into_iter().map(|file| {
        let others = reached(file, uses).into_iter();
        others.filter(|other| reached(other, uses).contains(file)).collect()
    });
    circles.filter(|circle: &BTreeSet<_>| !circle.is_empty()).collect()
}

fn show(circle: &BTreeSet<&str>, uses: &BTreeSet<Use>) -> String {
    let inside =
        |found: &&Use| found.item && circle.contains(&*found.from) && circle.contains(&*found.to);
    let lines = uses.iter().filter(inside);
    lines.map(|found| format!("  {} -> {}: {}\n", found.from, found.to, found.path)).collect()
}

#[test]
fn no_room_uses_one_above_it_and_no_files_go_in_circles() {
    let (mut files_read, mut uses_read, mut faults) = (0, 0, Vec::new());
    for package in ["runtime", "converter", "converter/trainer"] {
        let (files, crates) = crates_of(package);
        files_read += files.len();
        for uses in crates.iter().map(Crate::uses) {
            uses_read += uses.len();
            let circles = circles(&uses);
            faults.extend(circles.iter().map(|circle| format!("circle\n{}", show(circle, &uses))));
            if package == "runtime" {
                let upward = upward(&rooms(&files["lib.rs"]), &uses);
                faults.extend(upward.into_iter().map(|found| format!("upward {found:?}\n")));
            }
        }
    }
    let upward = faults.iter().filter(|fault| fault.starts_with("upward")).count();
    let circles = faults.len() - upward;
    println!("{files_read} files, {uses_read} uses: upward uses {upward}, circles {circles}");
    assert!(faults.is_empty(), "upward uses {upward}, circles {circles}\n{}", faults.concat());
    assert!(files_read > 100 && uses_read > 500, "{files_read} files, {uses_read} uses");
}

#[test]
fn the_table_of_rooms_names_every_module() {
    let (files, _) = crates_of("runtime");
    let lib = &files["lib.rs"];
    let modules = lib.lines().map(|line| line.trim_start_matches("pub "));
    let modules = modules.filter_map(|line| line.strip_prefix("mod "));
    let modules: BTreeSet<&str> = modules.map(|name| name.trim_end_matches(';')).collect();
    assert_eq!(modules, rooms(lib).into_iter().collect());
}

fn read<const N: usize>(files: [(&str, &str); N]) -> BTreeSet<Use> {
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    Crate::read(&files.into(), "lib.rs").unwrap().uses()
}

/// The paths of upward uses in a house of two rooms, `low` and `high`.
fn upward_paths(low: &str) -> Vec<String> {
    let high = "pub struct Roof; #[macro_export] macro_rules! tile { () => {} }";
    let lib = "pub mod low; mod high; pub use high::Roof;";
    let uses = read([("lib.rs", lib), ("low.rs", low), ("high.rs", high)]);
    upward(&["low", "high"], &uses).iter().map(|found| found.path.clone()).collect()
}

#[test]
fn an_upward_use_is_found_however_it_is_written() {
    for (low, path) in [
        ("use crate::high;", "crate::high"),
        ("use crate::{high::Roof};", "crate::high::Roof"),
        ("use super::high::*;", "super::high"),
        ("pub use crate::Roof;", "crate::Roof"),
        ("fn f() { let _ = crate::high::Roof; }", "crate::high::Roof"),
        ("mod inner { fn f(_: super::super::Roof) {} }", "super::super::Roof"),
        ("fn f() { assert!(matches(crate::Roof)); }", "crate::Roof"),
        ("macro_rules! m { () => { $crate::high::Roof } }", "crate::high::Roof"),
        ("fn f() { tile!(); }", "tile!"),
    ] {
        assert_eq!(upward_paths(low), [path], "{low}");
    }
    assert_eq!(upward_paths("#[cfg(test)] mod tests { use crate::high::Roof; }"), [""; 0]);
    assert_eq!(upward_paths("struct Roof; fn f(_: Roof, _: self::Roof) {}"), [""; 0]);
}

#[test]
fn a_circle_of_files_is_found_through_globs_and_re_exports() {
    let head = "mod a; mod b; mod c; pub use a::A; pub use b::B;";
    let a = "use super::B; pub struct A(B);";
    let c = "use super::a::*; fn f(_: A) {}";
    let uses = read([("lib.rs", head), ("a.rs", a), ("b.rs", "pub struct B;"), ("c.rs", c)]);
    assert!(circles(&uses).is_empty(), "{uses:?}");
    let b = "pub struct B; mod inner { use crate::c::*; fn f(_: C) {} }";
    let c = "use super::*; pub struct C; fn f(_: A) {}";
    let uses = read([("lib.rs", head), ("a.rs", a), ("b.rs", b), ("c.rs", c)]);
    assert_eq!(circles(&uses), [["a.rs", "b.rs", "c.rs"].into()].into());
}

#[test]
fn a_module_and_its_child_are_a_circle_if_each_needs_the_other() {
    let lib = "mod room;";
    let door = "mod part; pub use part::Part; pub const WIDTH: usize = 2;";
    let part = "pub struct Part([u8; super::WIDTH]);";
    let files = [("lib.rs", lib), ("room/mod.rs", door), ("room/part.rs", part)];
    assert!(circles(&read(files)).is_empty(), "to pass a name on is no use of it");
    let door = format!("{door} fn f(_: Part) {{}}");
    let files = [("lib.rs", lib), ("room/mod.rs", &door), ("room/part.rs", part)];
    assert_eq!(circles(&read(files)), [["room/mod.rs", "room/part.rs"].into()].into());
}
