//! The table after a run: medians, rates, and how they stand to the peak of the core.

use crate::peak::{self, Measured};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Deserialize;
use std::path::Path;
use std::time::SystemTime;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: Option<u64>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Prints what criterion wrote below `directory` since `start`.
pub fn print(directory: &Path, start: SystemTime, peaks: &[Measured]) {
    let mut found = Vec::new();
    collect(directory, start, &mut found);
    if found.is_empty() {
        return;
    }
    found.sort_by(|(a, _), (b, _)| a.full_id.cmp(&b.full_id));
    println!();
    for peak in peaks {
        println!("peak of one core, {}: {:.1} GMAC/s", peak.name, peak.macs_per_second / 1e9);
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["benchmark", "median", "G/s", "of f32 FMA peak", "of the table's int8 peak"]);
    for (benchmark, nanoseconds) in &found {
        table.add_row(row(benchmark, *nanoseconds, peaks));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("G/s: 10^9 multiply-accumulates (products) or values (the rest) a second.");
}

/// The cells of a benchmark. Only products are compared with the peak of products.
fn row(benchmark: &Benchmark, nanoseconds: f64, peaks: &[Measured]) -> [String; 5] {
    let name = &benchmark.full_id;
    let macs = benchmark.throughput.as_ref().and_then(|throughput| throughput.elements);
    let rate = macs.map(|macs| macs as f64 / nanoseconds * 1e9);
    let share = |peak: Option<&str>| {
        let peak = peak.and_then(|name| peaks.iter().find(|peak| peak.name == name));
        match (rate, peak) {
            (Some(rate), Some(peak)) if name.contains("gemm") => {
                format!("{:.2}x", rate / peak.macs_per_second)
            }
            _ => String::new(),
        }
    };
    let int8 = name.split('/').nth(1).filter(|_| name.contains("qd8")).and_then(peak::of_table);
    let in_billions = rate.map_or_else(String::new, |rate| format!("{:.2}", rate / 1e9));
    [name.clone(), time(nanoseconds), in_billions, share(Some(peak::FMA)), share(int8)]
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns => format!("{:.3} ms", ns / 1e6),
    }
}

fn collect(directory: &Path, start: SystemTime, found: &mut Vec<(Benchmark, f64)>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if path.file_name().is_some_and(|name| name == "new") {
            found.extend(read(&path, start));
        } else {
            collect(&path, start, found);
        }
    }
}

fn read(directory: &Path, start: SystemTime) -> Option<(Benchmark, f64)> {
    let estimates = directory.join("estimates.json");
    let modified = estimates.metadata().and_then(|metadata| metadata.modified()).ok()?;
    if modified < start {
        return None;
    }
    let benchmark = std::fs::read(directory.join("benchmark.json")).ok()?;
    let benchmark = serde_json::from_slice(&benchmark).ok()?;
    let estimates: Estimates = serde_json::from_slice(&std::fs::read(estimates).ok()?).ok()?;
    Some((benchmark, estimates.median.point_estimate))
}
