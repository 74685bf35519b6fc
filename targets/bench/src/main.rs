//! `coda-bench`: one program for Linux, boards and WebAssembly.
#![cfg_attr(not(target_os = "linux"), no_std, no_main)]

#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "linux")]
mod linux;
mod packages;
#[cfg(target_family = "wasm")]
mod web;

/// The triple this program was built for.
const TARGET: &str = env!("CODA_BENCH_TARGET");

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}
