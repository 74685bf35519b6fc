//! `coda cpu`: what this CPU can run.

use super::shared::cpu_name;
use super::table::table;
use anyhow::Result;
use coda_converter::say;
use coda_runtime::kernels::{ENVIRONMENT_VARIABLE, Kernels};
use serde_json::json;

/// Show the kernel tables of this build, those this CPU can run, and the one in use
#[derive(Debug, clap::Args)]
pub(crate) struct Cpu {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Cpu {
    pub(super) fn run(&self) -> Result<()> {
        let used = Kernels::from_environment()?.name;
        let found: Vec<&str> = Kernels::available().map(|kernels| kernels.name).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        if self.json {
            let built: Vec<&str> = Kernels::compiled().collect();
            let object = json!({
                "cpu": cpu_name(),
                "architecture": std::env::consts::ARCH,
                "threads": threads,
                "built": built,
                "available": found,
                "used": used,
            });
            say!("{object}");
            return Ok(());
        }
        let rows = Kernels::compiled().map(|name| {
            let runs = if found.contains(&name) { "yes" } else { "no" };
            [name, runs, if name == used { "yes" } else { "" }].map(str::to_owned)
        });
        say!("{}", table(["kernel table", "this CPU has it", "in use"], rows.collect()));
        say!("{} ({}), {threads} threads", cpu_name(), std::env::consts::ARCH);
        say!("{ENVIRONMENT_VARIABLE}=TABLE or --kernels TABLE uses another");
        Ok(())
    }
}
