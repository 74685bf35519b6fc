//! A call and a package with a right checksum: binding and running never panic or leave the arena.
//!
//! The first 16 bytes are the call (budget, length, kernels, token ids), the rest is the package.
#![no_main]

use coda_fuzz::Aligned;
use coda_runtime::Generator;
use coda_runtime::decoder::Search;
use coda_runtime::executor::{Executor, Input};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{ARENA_ALIGNMENT, AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::config::Embedding;
use coda_runtime::routing::Budget;
use libfuzzer_sys::fuzz_target;

/// A larger arena or image is not tried: it would measure the machine, not the code.
const LARGEST_ARENA: usize = 64 << 20;
/// Longest input, in tokens.
const MOST_TOKENS: usize = 48;
/// Bytes behind the arena that must stay as they are.
const GUARD: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((call, package)) = bytes.split_first_chunk() else { return };
    let package = Aligned::sealed(package);
    let Ok(package) = Package::parse(package.bytes()) else { return };
    let Ok(model) = Model::from_package(&package) else { return };
    run(&Call(*call), &model);
});

/// How the model is called.
struct Call([u8; 16]);

impl Call {
    fn budget<'r>(&self, reductions: &'r [f32]) -> Budget<'r> {
        let argument = f32::from(self.0[1]);
        match self.0[0] % 5 {
            0 => Budget::Task,
            1 => Budget::Reduction(1.0 + argument / 16.0),
            2 => Budget::Selected(usize::from(self.0[1])),
            3 => Budget::Fraction(argument / 255.0),
            _ => Budget::PerLayer(reductions),
        }
    }

    fn kernels(&self) -> &'static Kernels {
        let tables: Vec<_> = Kernels::available().collect();
        tables[usize::from(self.0[2]) % tables.len()]
    }
}

fn run(call: &Call, model: &Model<'_>) {
    if let Some(tokenizer) = model.tokenizer() {
        let mut ids = [0; MOST_TOKENS];
        tokenizer.encode(&String::from_utf8_lossy(&call.0), &mut ids);
    }
    let own = Own::of(call, model);
    let tokens = own.tokens(model);
    let capacity = Capacity::any_budget(tokens.max(1));
    let Ok(plan) = Plan::new(&model.dimensions(), capacity) else { return };
    if plan.arena_bytes() > LARGEST_ARENA {
        return;
    }
    // Leave room to align the start.
    let mut memory = vec![0xa5; ARENA_ALIGNMENT + plan.arena_bytes() + GUARD];
    let start = memory.as_ptr().align_offset(ARENA_ALIGNMENT);
    let (arena, guard) = memory[start..].split_at_mut(plan.arena_bytes());
    let reductions = vec![1.0 + f32::from(call.0[1]); model.config().layers];
    let input = own.input();
    write(call, model, plan, input);
    let mut executor = Executor::new(model, call.kernels(), plan, arena)
        .expect("the arena is as planned");
    if let Ok(output) = executor.run(input, call.budget(&reductions)) {
        assert_eq!(output.hidden.rows(), tokens);
        let _ = output.label();
    }
    assert!(guard.iter().all(|byte| *byte == 0xa5), "written behind the arena");
}

/// Some tokens of an answer, of a model that writes.
fn write(call: &Call, model: &Model<'_>, plan: Plan, input: Input<'_>) {
    let Some(decoder) = model.decoder() else { return };
    let positions = usize::from(call.0[3] % 8) + 2;
    let answer = AnswerCapacity { positions, beams: usize::from(call.0[3] >> 6) + 1 };
    let Ok(plan) = GenerationPlan::new(plan, &decoder.dimensions(), answer) else { return };
    if plan.arena_bytes() > LARGEST_ARENA {
        return;
    }
    let mut memory = vec![0xa5; ARENA_ALIGNMENT + plan.arena_bytes() + GUARD];
    let start = memory.as_ptr().align_offset(ARENA_ALIGNMENT);
    let (arena, guard) = memory[start..].split_at_mut(plan.arena_bytes());
    let mut generator = Generator::new(model, call.kernels(), plan, arena)
        .expect("the arena is as planned");
    if let Ok(mut answer) = generator.generate(input, Budget::Task, &Search::OF_PACKAGE) {
        while let Ok(true) = answer.step() {}
        assert!(answer.tokens().len() < positions);
    }
    assert!(guard.iter().all(|byte| *byte == 0xa5), "written behind the arena");
}

/// What a model reads.
enum Own {
    /// Ids within the vocabulary.
    Ids(Vec<u32>),
    /// An image.
    Pixels(Vec<u8>),
    /// Log-mel features.
    Features(Vec<f32>),
    /// An image of any size: patches in a row, pixels.
    Grid(usize, Vec<u8>),
}

impl Own {
    fn of(call: &Call, model: &Model<'_>) -> Self {
        let count = usize::from(call.0[4]) % MOST_TOKENS + 1;
        match model.config().embedding {
            Embedding::Tokens { vocabulary, .. } => {
                let id = |index: usize| usize::from(call.0[5 + index % 11]) + index;
                Self::Ids((0..count).map(|index| (id(index) % vocabulary) as u32).collect())
            }
            Embedding::Patches { .. } => {
                let bytes = model.patch_grid().map_or(0, |grid| grid.image_bytes());
                let bytes = if bytes > LARGEST_ARENA { 0 } else { bytes };
                Self::Pixels((0..bytes).map(|index| call.0[index % 16]).collect())
            }
            Embedding::Frames { bins, .. } => {
                let value = |index| f32::from(call.0[index % 16]) / 64.0 - 2.0;
                Self::Features((0..2 * count * bins).map(value).collect())
            }
            Embedding::Grid { columns, channels, patch, .. } => {
                let bytes = (count % 3 + 1) * columns * channels * patch * patch;
                let bytes = if bytes > LARGEST_ARENA { 0 } else { bytes };
                Self::Grid(columns, (0..bytes).map(|index| call.0[index % 16]).collect())
            }
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Ids(ids) => Input::tokens(ids),
            Self::Pixels(pixels) => Input::Pixels(pixels),
            Self::Features(values) => Input::Features(values),
            Self::Grid(columns, pixels) => Input::Grid { columns: *columns, pixels },
        }
    }

    fn tokens(&self, model: &Model<'_>) -> usize {
        match (self, model.config().embedding) {
            (Self::Ids(ids), _) => ids.len(),
            (Self::Features(values), Embedding::Frames { bins, .. }) => values.len() / (2 * bins),
            (Self::Grid(_, pixels), Embedding::Grid { channels, patch, .. }) => {
                pixels.len() / (channels * patch * patch)
            }
            _ => model.max_tokens().unwrap_or(1),
        }
    }
}
