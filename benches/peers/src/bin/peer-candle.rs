//! A Hugging Face BERT directory in candle.
//!
//! No images: candle's DINOv2 reads other weights than the directory has (queries, keys and values
//! in one tensor, a classifier behind them), has 1e-5 in its norms, and resizes positions to the
//! nearest, so that it would be another model.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use coda_peers::{Input, Job};

fn main() -> Result<()> {
    let job = Job::read()?;
    let config: Config = serde_json::from_slice(&std::fs::read(job.model.join("config.json"))?)?;
    let weights = std::fs::read(job.model.join("model.safetensors"))?;
    let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let model = BertModel::load(builder, &config)?;
    job.serve(|input| {
        let Input::Ids(ids) = input else { bail!("no images here") };
        let ids = Tensor::new(ids.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let output = model.forward(&ids, &ids.zeros_like()?, None)?;
        Ok(output.flatten_all()?.to_vec1()?)
    })
}
