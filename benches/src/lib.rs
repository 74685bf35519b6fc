//! What the benchmarks share: the peak of this core, problems, and a table at the end.
//!
//! `cargo bench -p coda-benches` runs all; `cargo bench -p coda-benches --bench kernels -- avx2` those
//! whose name holds "avx2". Every figure is a median of this machine and this run.

pub mod peak;
pub mod problem;
pub mod report;

use coda_runtime::kernels::Kernels;
use criterion::Criterion;
use std::time::Duration;

/// Runs `benches` with short measurements and prints the table of what was measured.
///
/// `directory` receives criterion's files: `env!("CARGO_TARGET_TMPDIR")` of the benchmark.
pub fn run(directory: &str, benches: impl FnOnce(&mut Criterion)) {
    let directory = std::path::Path::new(directory).join("criterion");
    let mut criterion = Criterion::default()
        .output_directory(&directory)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    let start = std::time::SystemTime::now();
    let before = peak::measure_all();
    benches(&mut criterion);
    criterion.final_summary();
    let after = peak::measure_all();
    report::print(&directory, start, &peak::higher(before, after));
}

/// The tables to compare: all that this CPU can run.
pub fn tables() -> impl Iterator<Item = &'static Kernels> {
    Kernels::available()
}
