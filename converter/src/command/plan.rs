//! `coda plan`: flash and RAM before flashing.

use super::board::Board;
use super::shared::PackageFiles;
use super::table::{grouped, plan_table, table};
use super::write::WriteArguments;
use anyhow::{Context, Result, ensure};
use coda_converter::answer;
use coda_converter::firmware::{
    c_answer_constants, c_constants, rust_answer_constants, rust_constants,
};
use coda_converter::say;
use coda_runtime::memory::{Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::tokens_for_reduction;
use serde_json::{Value, json};

/// Show the exact flash and RAM of a model, buffer by buffer
#[derive(Debug, clap::Args)]
pub(crate) struct PlanCommand {
    #[command(flatten)]
    files: PackageFiles,
    #[command(flatten)]
    capacity: CapacityArguments,
    #[command(flatten)]
    writing: WriteArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print Rust constants for a firmware
    #[arg(long, conflicts_with = "json")]
    rust: bool,
    /// Print C constants for a firmware
    #[arg(long, conflicts_with_all = ["json", "rust"])]
    c: bool,
    /// Add code and stack of a board of `targets`, and say whether all fits
    #[arg(long, value_name = "NAME", conflicts_with_all = ["rust", "c"])]
    target: Option<String>,
}

/// The largest call to plan for.
#[derive(Debug, clap::Args)]
pub(super) struct CapacityArguments {
    /// Longest input in tokens; the model's own bound if not given
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Smallest reduction that calls may ask for
    #[arg(long, value_name = "R", default_value_t = 1.0, conflicts_with = "selected")]
    reduction: f32,
    /// Largest k that calls may ask for, in place of a reduction
    #[arg(long, value_name = "K")]
    selected: Option<usize>,
}

impl CapacityArguments {
    /// The capacity for a model.
    pub(super) fn capacity(&self, model: &Model<'_>) -> Result<Capacity> {
        let tokens = self.max_tokens.or(model.max_tokens());
        let tokens = tokens.context("the model does not bound its inputs: give --max-tokens")?;
        if let Some(limit) = model.config().max_tokens() {
            ensure!(
                tokens <= limit,
                "--max-tokens {tokens} is above the model's {limit} positions"
            );
        }
        ensure!(
            self.reduction.is_finite() && self.reduction >= 1.0,
            "a reduction must be at least 1, not {}",
            self.reduction
        );
        let pinned = model.pinned().filter(|position| *position < tokens).count();
        let selected = self.selected.unwrap_or(tokens_for_reduction(tokens, self.reduction));
        Ok(Capacity { tokens, selected: selected.max(pinned) })
    }
}

impl PlanCommand {
    pub(super) fn run(&self) -> Result<()> {
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        let capacity = self.capacity.capacity(&model)?;
        if let Some(decoder) = model.decoder() {
            let answer = self.writing.capacity(&decoder)?;
            let plan = answer::plan(&model, capacity, answer, 1)?;
            let flash = files.iter().map(|file| file.len()).sum();
            return self.print_answer_plan(&plan, decoder.rules().start.len(), flash);
        }
        self.writing.refuse_without_decoder()?;
        let plan = Plan::new(&model.dimensions(), capacity)?;
        let flash: usize = files.iter().map(|file| file.len()).sum();
        let board = self.target.as_deref().map(Board::named).transpose()?;
        if self.json {
            say!("{}", to_json(&plan, flash, board.as_ref()));
            return Ok(());
        }
        if self.rust {
            say!("{}", rust_constants(&plan).trim_end());
            return Ok(());
        }
        if self.c {
            say!("{}", c_constants(&plan).trim_end());
            return Ok(());
        }
        say!("inputs of up to {} tokens, k up to {}", capacity.tokens, capacity.selected);
        say!("flash: {} bytes of packages", grouped(flash));
        say!("RAM:   {} bytes of arena, exactly", grouped(plan.arena_bytes()));
        say!("{}", plan_table(&plan));
        if let Some(board) = board {
            board.print(flash, plan.arena_bytes())?;
        }
        Ok(())
    }
}

impl PlanCommand {
    /// The plan of a model that writes: its three phases. Its answers begin with `start` ids.
    fn print_answer_plan(&self, plan: &GenerationPlan, start: usize, flash: usize) -> Result<()> {
        let board = self.target.as_deref().map(Board::writing).transpose()?;
        if self.json {
            say!("{}", answer_to_json(plan, flash, board.as_ref()));
            return Ok(());
        }
        if self.rust {
            say!("{}", rust_answer_constants(plan).trim_end());
            return Ok(());
        }
        if self.c {
            say!("{}", c_answer_constants(plan, start).trim_end());
            return Ok(());
        }
        print_phases(plan, flash);
        match board {
            Some(board) => board.print(flash, plan.arena_bytes()),
            None => Ok(()),
        }
    }
}

/// Sizes of the three phases, and buffer by buffer.
fn print_phases(plan: &GenerationPlan, flash: usize) {
    let (capacity, answer) = (plan.encoder().capacity(), plan.answer());
    let [encoder, memory, step] = plan.phases();
    say!(
        "inputs of up to {} tokens, k up to {}; answers of up to {} positions, {} hypotheses",
        capacity.tokens,
        capacity.selected,
        answer.positions,
        answer.beams
    );
    say!("flash: {} bytes of packages", grouped(flash));
    say!(
        "RAM:   {} bytes of arena, exactly: the longest of three phases",
        grouped(plan.arena_bytes())
    );
    let phases =
        [("encoder", encoder), ("memory of the encoder's states", memory), ("one step", step)];
    let rows = phases.into_iter().chain(plan.buffers());
    let rows = rows.map(|(name, bytes)| [name.to_owned(), grouped(bytes)]).collect();
    say!("{}", table(["phase, then buffers of memory and step", "bytes"], rows));
}

fn answer_to_json(plan: &GenerationPlan, flash: usize, board: Option<&Board>) -> Value {
    let (capacity, answer) = (plan.encoder().capacity(), plan.answer());
    let [encoder, memory, step] = plan.phases();
    let buffers = plan.buffers().map(|(name, bytes)| json!({ "name": name, "bytes": bytes }));
    json!({
        "target": board.map(|board| board.to_json(flash, plan.arena_bytes())),
        "flash_bytes": flash,
        "arena_bytes": plan.arena_bytes(),
        "tokens": capacity.tokens,
        "selected": capacity.selected,
        "positions": answer.positions,
        "beams": answer.beams,
        "phases": { "encoder": encoder, "memory": memory, "step": step },
        "buffers": buffers.collect::<Vec<_>>(),
    })
}

fn to_json(plan: &Plan, flash: usize, board: Option<&Board>) -> Value {
    let buffers = plan.buffers().iter().map(
        |buffer| json!({ "name": buffer.name, "offset": buffer.offset, "bytes": buffer.bytes }),
    );
    json!({
        "target": board.map(|board| board.to_json(flash, plan.arena_bytes())),
        "flash_bytes": flash,
        "arena_bytes": plan.arena_bytes(),
        "tokens": plan.capacity().tokens,
        "selected": plan.capacity().selected,
        "buffers": buffers.collect::<Vec<_>>(),
    })
}
