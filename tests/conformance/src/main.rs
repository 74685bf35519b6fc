//! Runs the conformance suite with every kernel table of this CPU.
//!
//! `coda-conformance [--expect TABLE,TABLE,...]`: prints a line for each table, and fails if one
//! differs or if the tables are not exactly the expected ones.

use coda_conformance::{
    ARENA_BYTES, Summary, Workspace, check, check_long, check_parse, check_sound, long_arena_bytes,
};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{ARENA_ALIGNMENT, Arena};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let expected = match arguments.as_slice() {
        [] => None,
        [flag, tables] if flag == "--expect" => Some(tables.as_str()),
        _ => {
            eprintln!("usage: coda-conformance [--expect TABLE,TABLE,...]");
            return ExitCode::from(1);
        }
    };
    let mut workspace = Box::new(Workspace::new());
    let mut arena = Box::new(Arena::<ARENA_BYTES>::new());
    let mut long = vec![0; long_arena_bytes() + ARENA_ALIGNMENT];
    let start = long.as_ptr().align_offset(ARENA_ALIGNMENT);
    let mutants = check_parse();
    println!("{mutants} packages of hostile sizes: none panics, sizes have {} bits", usize::BITS);
    match check_sound() {
        Ok(banks) => println!("{banks} banks of sound features have the written bits"),
        Err(bins) => {
            eprintln!("features of {bins} bins have other bits");
            return ExitCode::from(3);
        }
    }
    let mut ran = Vec::new();
    for table in Kernels::available() {
        if !conforms(table, &mut workspace, &mut arena) || !is_long(table, &mut long[start..]) {
            return ExitCode::from(3);
        }
        ran.push(table.name);
    }
    match expected {
        Some(expected) if ran.join(",") != expected => {
            eprintln!("ran {}, but {expected} should have run", ran.join(","));
            ExitCode::from(3)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Checks a table and prints a line.
fn conforms(
    table: &'static Kernels,
    workspace: &mut Workspace,
    arena: &mut Arena<ARENA_BYTES>,
) -> bool {
    let name = format!("{} {}", std::env::consts::ARCH, table.name);
    match check(table, workspace, arena) {
        Ok(Summary { kernel_cases, golden_answers }) => println!(
            "{name}: {kernel_cases} kernel cases and {golden_answers} golden answers have the \
             scalar bits"
        ),
        Err(failure) => {
            eprintln!("{name}: {failure:?}");
            return false;
        }
    }
    true
}

/// Runs the long inputs and prints a line.
fn is_long(table: &'static Kernels, arena: &mut [u8]) -> bool {
    match check_long(table, arena) {
        Ok(inputs) => println!("{}: {inputs} long inputs have the written bits", table.name),
        Err(failure) => {
            eprintln!("{failure:?}");
            return false;
        }
    }
    true
}
