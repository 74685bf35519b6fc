//! `coda bench --cold`: fresh processes, from mapping a package to the first answer.

use super::{Compute, PackageFiles};
use anyhow::{Context, Result, ensure};
use coda_converter::bench;
use coda_converter::dataset::SampleInput;
use coda_converter::evaluate::median;
use coda_converter::session::Session;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::process::Command;
use std::time::Instant;

/// Largest ratio of a cold start to a warm inference.
const BOUND: f64 = 1.2;
/// Inferences after the first.
const WARM_RUNS: usize = 20;

/// What one process found.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Start {
    /// From before the package was mapped until its first answer, milliseconds.
    cold_ms: f64,
    /// Median of the inferences after it, milliseconds.
    warm_ms: f64,
    /// Bytes of the arena.
    arena_bytes: usize,
    /// Bytes of memory that no file is behind; `None` where the system does not say.
    own_bytes: Option<u64>,
    /// Largest resident memory, the mapped package included, bytes.
    peak_bytes: Option<u64>,
}

/// Starts processes one after the other; whether the bounds hold.
pub(super) fn check(package_bytes: u64, runs: usize, json: bool) -> Result<bool> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let given: Vec<_> = std::env::args_os().skip(1).filter(|given| given != "--cold").collect();
    let start = || -> Result<Start> {
        let output = Command::new(&program).args(&given).arg("--first-answer").output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "a fresh process failed: {error}");
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let starts = (0..runs).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let of = |value: fn(&Start) -> f64| median(starts.iter().map(value).collect());
    let (cold_ms, warm_ms) = (of(|start| start.cold_ms), of(|start| start.warm_ms));
    let ratio = of(|start| start.cold_ms / start.warm_ms);
    let own_bytes = starts.iter().filter_map(|start| start.own_bytes).max();
    let peak_bytes = starts.iter().filter_map(|start| start.peak_bytes).max();
    let copied = own_bytes.is_some_and(|own| own > package_bytes / 2);
    if json {
        let object = json!({
            "processes": runs, "cold_ms": cold_ms, "warm_ms": warm_ms, "ratio": ratio,
            "package_bytes": package_bytes, "own_bytes": own_bytes, "peak_bytes": peak_bytes,
        });
        println!("{object}");
    } else {
        println!("{runs} fresh processes: {cold_ms:.3} ms from mapping to the first answer");
        println!("warm inference: {warm_ms:.3} ms; median ratio {ratio:.2}, bound {BOUND}");
        let bytes = |bytes: Option<u64>| match bytes {
            Some(bytes) => super::table::grouped(bytes as usize),
            None => "unknown".to_owned(),
        };
        println!(
            "package {} bytes; at most {} of a process's own, {} resident with the package",
            super::table::grouped(package_bytes as usize),
            bytes(own_bytes),
            bytes(peak_bytes)
        );
    }
    Ok(ratio <= BOUND && !copied)
}

/// The first answer of this process, and some after it.
pub(super) fn first_answer(
    files: &PackageFiles,
    tokens: Option<usize>,
    compute: &Compute,
) -> Result<()> {
    let start = Instant::now();
    let bytes = files.read()?;
    let (model, input) = files.bind_for(&bytes, |model| {
        let input = bench::input(model, tokens)?;
        let mut session = session(model, &input, compute)?;
        answer(&mut session, &input)?;
        Ok(input)
    })?;
    let cold_ms = start.elapsed().as_secs_f64() * 1000.0;
    let mut session = session(&model, &input, compute)?;
    let mut run = || answer(&mut session, &input);
    let mut warm = Vec::new();
    for _ in 0..WARM_RUNS {
        let start = Instant::now();
        run()?;
        warm.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let found = Start {
        cold_ms,
        warm_ms: median(warm),
        arena_bytes: session.plan().arena_bytes(),
        own_bytes: memory("RssAnon"),
        peak_bytes: memory("VmHWM"),
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// A session for one input.
fn session<'m>(
    model: &'m Model<'m>,
    input: &SampleInput,
    compute: &Compute,
) -> Result<Session<'m>> {
    compute.session(model, Capacity::any_budget(input.tokens(model)))
}

/// One dense inference.
fn answer(session: &mut Session<'_>, input: &SampleInput) -> Result<()> {
    session.run(input.as_input(), Budget::Reduction(1.0), &mut (), |_| ())
}

/// A line of what Linux says about the memory of this process, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
