//! An ONNX file in rten.

use anyhow::{Result, bail};
use coda_peers::{Input, Job, SIDE};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView, Tensor};

fn main() -> Result<()> {
    let job = Job::read()?;
    let model = rten::Model::load_file(&job.model)?;
    job.serve(|input| {
        let output = match input {
            Input::Ids(ids) => {
                let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
                let input = NdTensor::from_data([1, ids.len()], ids);
                model.run_one(input.view().into(), None)?
            }
            Input::Planes(planes) => {
                let input = NdTensorView::from_data([1, 3, SIDE, SIDE], planes.as_slice());
                model.run_one(input.into(), None)?
            }
            Input::Bytes(_) => bail!("images are planes here"),
        };
        let output: Tensor<f32> = output.try_into()?;
        Ok(output.to_vec())
    })
}
