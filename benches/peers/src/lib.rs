//! What the peers share: inputs, and the pipe over which `compare.py` drives them.
//!
//! Each peer is a binary of its own, so that its size is that of one runtime: `peer-RUNTIME MODEL
//! INPUTS THREADS`, where MODEL is a package, a Hugging Face directory or an ONNX file. INPUTS is
//! a JSON list of lists of token ids, all of one length; or images of 224 px, one after the other,
//! as interleaved bytes (`.u8`) or normalised planes (`.f32`). Prints one JSON line when ready,
//! then, for each line with an index on its input, the milliseconds of that inference; at the end
//! of its input the mean pooled states of every input it has run.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Pixels on a side of an image.
pub const SIDE: usize = 224;
/// Values of an image.
const PIXELS: usize = 3 * SIDE * SIDE;
/// Patches of 14 px, and the class token.
const IMAGE_TOKENS: usize = (SIDE / 14) * (SIDE / 14) + 1;

/// One input.
pub enum Input {
    /// Token ids.
    Ids(Vec<u32>),
    /// Rows of interleaved channels.
    Bytes(Vec<u8>),
    /// Planes of channels, normalised.
    Planes(Vec<f32>),
}

/// What to run, and since when.
pub struct Job {
    /// The model.
    pub model: PathBuf,
    /// All inputs, of one kind and length.
    pub inputs: Vec<Input>,
    /// Rows of the last hidden states.
    pub tokens: usize,
    /// Threads.
    pub threads: usize,
    /// What follows on the command line.
    pub more: Vec<String>,
    start: Instant,
}

impl Job {
    /// Reads the command line and the inputs.
    pub fn read() -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [model, inputs, threads, more @ ..] = arguments.as_slice() else {
            bail!("usage: peer-RUNTIME MODEL INPUTS THREADS");
        };
        let (inputs, tokens) = read(Path::new(inputs))?;
        let (model, threads, more) = (model.into(), threads.parse()?, more.to_vec());
        Ok(Self { model, inputs, tokens, threads, more, start: Instant::now() })
    }

    /// Whether inputs are images.
    pub fn images(&self) -> bool {
        !matches!(self.inputs.first(), Some(Input::Ids(_)))
    }

    /// Says that the model is ready, then answers indices with milliseconds. `run` takes one input
    /// to the last hidden states, row after row.
    pub fn serve(&self, mut run: impl FnMut(&Input) -> Result<Vec<f32>>) -> Result<()> {
        let load = milliseconds(self.start);
        let first = Instant::now();
        run(&self.inputs[0])?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", json!({ "load_ms": load, "first_ms": milliseconds(first) }))?;
        out.flush()?;
        let mut pooled = BTreeMap::new();
        for line in std::io::stdin().lock().lines() {
            let index: usize = line?.trim().parse()?;
            let input = self.inputs.get(index).context("no such input")?;
            let start = Instant::now();
            let hidden = run(input)?;
            writeln!(out, "{}", milliseconds(start))?;
            out.flush()?;
            pooled.entry(index).or_insert_with(|| mean(&hidden, self.tokens));
        }
        let pooled: Vec<_> = pooled.into_values().collect();
        writeln!(out, "{}", json!({ "pooled": pooled, "peak_kib": peak_kib() }))?;
        Ok(())
    }
}

/// The inputs of a file and the tokens of each.
fn read(path: &Path) -> Result<(Vec<Input>, usize)> {
    let bytes = std::fs::read(path)?;
    let float = |value: &[u8]| f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
    let planes = |image: &[u8]| Input::Planes(image.chunks_exact(4).map(float).collect());
    let kind = path.extension().and_then(|kind| kind.to_str());
    let (inputs, tokens): (Vec<Input>, usize) = match kind {
        Some("u8") => {
            let images = bytes.chunks_exact(PIXELS).map(|image| Input::Bytes(image.to_vec()));
            (images.collect(), IMAGE_TOKENS)
        }
        Some("f32") => (bytes.chunks_exact(4 * PIXELS).map(planes).collect(), IMAGE_TOKENS),
        _ => {
            let texts: Vec<Vec<u32>> = serde_json::from_slice(&bytes)?;
            let length = texts.first().map_or(0, Vec::len);
            ensure!(texts.iter().all(|ids| ids.len() == length), "inputs of several lengths");
            (texts.into_iter().map(Input::Ids).collect(), length)
        }
    };
    ensure!(!inputs.is_empty(), "no inputs");
    Ok((inputs, tokens))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

/// The mean over `rows` rows.
fn mean(hidden: &[f32], rows: usize) -> Vec<f32> {
    let columns = hidden.len() / rows.max(1);
    let column = |at: usize| hidden.iter().skip(at).step_by(columns).sum::<f32>() / rows as f32;
    (0..columns).map(column).collect()
}

/// The largest resident size of this process so far.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
