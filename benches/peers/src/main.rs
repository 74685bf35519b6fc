//! One encoder in one runtime, driven over a pipe by `compare.py`.
//!
//! `coda-peers RUNTIME MODEL INPUTS THREADS`: RUNTIME is `coda` or `coda@R` (a reduction), `tract`,
//! `candle` or `rten`; MODEL a package, a Hugging Face directory or an ONNX file; INPUTS a JSON list
//! of lists of token ids, all of one length. Prints one JSON line when ready, then, for each line
//! with an index on its input, the milliseconds of that inference; at the end of its input the mean
//! pooled states of every input it has run.

use anyhow::{Context, Result, bail, ensure};
use coda_converter::pack::PackageBytes;
use coda_converter::session::{Session, bind};
use coda_runtime::executor::Input;
use coda_runtime::memory::Capacity;
use coda_runtime::routing::Budget;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

/// Runs one input: token ids to the last hidden states, row after row.
type Run<'r> = dyn FnMut(&[u32]) -> Result<Vec<f32>> + 'r;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, model, inputs, threads] = arguments.as_slice() else {
        bail!("usage: coda-peers RUNTIME MODEL INPUTS THREADS");
    };
    let inputs: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(inputs)?)?;
    let length = inputs.first().context("no inputs")?.len();
    ensure!(inputs.iter().all(|ids| ids.len() == length), "inputs of several lengths");
    let threads: usize = threads.parse()?;
    let start = Instant::now();
    let model = Path::new(model);
    match runtime.split_once('@').unwrap_or((runtime, "1")) {
        ("coda", reduction) => {
            let files = [PackageBytes::read(model)?];
            let bound = bind(&files)?;
            let session = Session::new(&bound, Capacity::any_budget(length))?;
            let mut session = session.with_threads(threads)?;
            let budget = Budget::Reduction(reduction.parse()?);
            serve(start, &inputs, &mut |ids| {
                session.run(Input::tokens(ids), budget, &mut (), |output| {
                    output.hidden.iter().flatten().copied().collect()
                })
            })
        }
        ("tract", _) => serve(start, &inputs, &mut *tract(model, length)?),
        ("candle", _) => serve(start, &inputs, &mut *candle(model)?),
        ("rten", _) => serve(start, &inputs, &mut *rten(model)?),
        (other, _) => bail!("no runtime {other}"),
    }
}

fn tract(model: &Path, length: usize) -> Result<Box<Run<'static>>> {
    use tract_onnx::prelude::*;
    let model = tract_onnx::onnx()
        .model_for_path(model)?
        .with_input_fact(0, i64::fact([1, length]).into())?
        .into_optimized()?
        .into_runnable()?;
    Ok(Box::new(move |ids| {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let input = Tensor::from_shape(&[1, ids.len()], &ids)?;
        let output = model.run(tvec!(input.into()))?;
        Ok(output[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}

fn candle(directory: &Path) -> Result<Box<Run<'static>>> {
    use candle_core::{DType, Device, Tensor};
    use candle_nn::VarBuilder;
    use candle_transformers::models::bert::{BertModel, Config};
    let config: Config = serde_json::from_slice(&std::fs::read(directory.join("config.json"))?)?;
    let weights = std::fs::read(directory.join("model.safetensors"))?;
    let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let model = BertModel::load(builder, &config)?;
    Ok(Box::new(move |ids| {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let output = model.forward(&ids, &ids.zeros_like()?, None)?;
        Ok(output.flatten_all()?.to_vec1()?)
    }))
}

fn rten(model: &Path) -> Result<Box<Run<'static>>> {
    use rten_tensor::prelude::*;
    use rten_tensor::{NdTensor, Tensor};
    let model = rten::Model::load_file(model)?;
    Ok(Box::new(move |ids| {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let input = NdTensor::from_data([1, ids.len()], ids);
        let output: Tensor<f32> = model.run_one(input.view().into(), None)?.try_into()?;
        Ok(output.to_vec())
    }))
}

/// Says that the model is ready, then answers indices with milliseconds.
fn serve(start: Instant, inputs: &[Vec<u32>], run: &mut Run<'_>) -> Result<()> {
    let load = milliseconds(start);
    let first = Instant::now();
    run(&inputs[0])?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({ "load_ms": load, "first_ms": milliseconds(first) }))?;
    out.flush()?;
    let mut pooled = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let index: usize = line?.trim().parse()?;
        let ids = inputs.get(index).context("no such input")?;
        let start = Instant::now();
        let hidden = run(ids)?;
        writeln!(out, "{}", milliseconds(start))?;
        out.flush()?;
        pooled.entry(index).or_insert_with(|| mean(&hidden, ids.len()));
    }
    let pooled: Vec<_> = pooled.into_values().collect();
    writeln!(out, "{}", json!({ "pooled": pooled, "peak_kib": peak_kib() }))?;
    Ok(())
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
