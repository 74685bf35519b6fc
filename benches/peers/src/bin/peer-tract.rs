//! An ONNX file in tract; it runs one thread.

use anyhow::{Result, bail};
use coda_peers::{Input, Job, SIDE};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let job = Job::read()?;
    let fact =
        if job.images() { f32::fact([1, 3, SIDE, SIDE]) } else { i64::fact([1, job.tokens]) };
    let model = tract_onnx::onnx()
        .model_for_path(&job.model)?
        .with_input_fact(0, fact.into())?
        .into_optimized()?
        .into_runnable()?;
    job.serve(|input| {
        let input = match input {
            Input::Ids(ids) => {
                let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
                Tensor::from_shape(&[1, ids.len()], &ids)?
            }
            Input::Planes(planes) => Tensor::from_shape(&[1, 3, SIDE, SIDE], planes)?,
            Input::Bytes(_) => bail!("images are planes here"),
        };
        let output = model.run(tvec!(input.into()))?;
        Ok(output[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    })
}
