//! A model of speech over a pipe, for `benches/peers/speech.py`:
//! `speech-worker PACKAGE CLIPS THREADS [REDUCTION]`.
//!
//! CLIPS has a line for each clip: the most tokens of its answer, a space, and the file of its log-mel
//! features, f32, `[frames, bins]`. Prints a JSON line when ready, then, for each line with the number of a
//! clip on its input, one with the milliseconds of that answer and its ids.

use anyhow::{Context, Result, bail};
use coda_converter::answer::Writer;
use coda_converter::bench_writer::step_bytes;
use coda_converter::pack::PackageBytes;
use coda_runtime::config::Embedding;
use coda_runtime::decoder::Search;
use coda_runtime::executor::Input;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde_json::json;
use std::io::{BufRead, Write};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [package, clips, threads, more @ ..] = &arguments[..] else {
        bail!("usage: speech-worker PACKAGE CLIPS THREADS [REDUCTION]");
    };
    let bytes = PackageBytes::read(package.as_ref())?;
    let package = bytes.parse()?;
    let model = Model::from_package(&package)?;
    let Embedding::Frames { bins, .. } = model.config().embedding else {
        bail!("the model does not read log-mel features");
    };
    let clips = std::fs::read_to_string(clips)?;
    let clips: Vec<Clip> = clips.lines().map(Clip::read).collect::<Result<_>>()?;
    let tokens = clips.iter().map(|clip| clip.features.len() / bins / 2).max().unwrap_or(0);
    let longest = clips.iter().map(|clip| clip.longest).max().unwrap_or(0);
    let start = model.decoder().context("the model does not write")?.rules().start.len();
    let answer = AnswerCapacity { positions: start + longest, beams: 1 };
    let capacity = Capacity::any_budget(tokens);
    let kernels = Kernels::best();
    let mut writer = Writer::new(&model, kernels, capacity, answer, threads.parse()?)?;
    let budget = match more.first() {
        Some(reduction) => Budget::Reduction(reduction.parse()?),
        None => Budget::Task,
    };
    let arena = writer.plan().arena_bytes();
    let step = step_bytes(&model)?;
    say(&json!({ "kernels": kernels.name, "arena_bytes": arena, "step_bytes": step }))?;
    for line in std::io::stdin().lock().lines() {
        let clip = clips.get(line?.trim().parse::<usize>()?).context("no such clip")?;
        let (input, search) = (Input::Features(&clip.features), clip.search());
        let answer = writer.run(input, budget, &search, &mut (), |_| Ok(()))?;
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        say(&json!({
            "encode_ms": ms(answer.encoding), "decode_ms": ms(answer.first + answer.rest),
            "steps": answer.steps, "ids": answer.tokens,
        }))?;
    }
    Ok(())
}

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// A clip's features, and the most tokens of its answer.
struct Clip {
    longest: usize,
    features: Vec<f32>,
}

impl Clip {
    fn read(line: &str) -> Result<Self> {
        let (longest, path) = line.split_once(' ').context("a line is \"LONGEST FILE\"")?;
        let bytes = std::fs::read(path).with_context(|| path.to_owned())?;
        let features = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        Ok(Self { longest: longest.parse()?, features })
    }

    const fn search(&self) -> Search<'static> {
        Search { longest: self.longest, ..Search::GREEDY }
    }
}
