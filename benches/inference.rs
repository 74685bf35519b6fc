//! Whole inferences of the bundled model (a small ViT for Fashion-MNIST), every table and reduction.

use anyhow::{Context, Result};
use coda_benches::{run, tables};
use coda_converter::bench::{input, macs};
use coda_converter::pack::WeightType;
use coda_converter::session::Session;
use coda_runtime::memory::Capacity;
use coda_runtime::routing::Budget;
use coda_tests::bundled;
use criterion::{BenchmarkId, Criterion, Throughput};

const WEIGHTS: [(&str, WeightType); 4] = [
    ("int8", WeightType::Int8),
    ("int4", WeightType::Int4),
    ("f16", WeightType::F16),
    ("f32", WeightType::F32),
];
const REDUCTIONS: [f32; 4] = [1.0, 2.0, 4.0, 8.0];

fn main() {
    run(env!("CARGO_TARGET_TMPDIR"), |criterion| {
        for (name, weights) in WEIGHTS {
            inference(criterion, name, weights).expect("the bundled model packs and runs");
        }
    });
}

fn inference(criterion: &mut Criterion, name: &str, weights: WeightType) -> Result<()> {
    let packages = bundled::pack(weights)?;
    let model = packages.model()?;
    let tokens = model.max_tokens().context("the bundled model reads images")?;
    let image = input(&model, None)?;
    for kernels in tables() {
        let mut session = Session::new(&model, Capacity::any_budget(tokens))?.with_kernels(kernels);
        let mut group = criterion.benchmark_group(format!("fashion-{name}/{}", kernels.name));
        for reduction in REDUCTIONS {
            group.throughput(Throughput::Elements(macs(&model, tokens, reduction)?.total()));
            let id = BenchmarkId::from_parameter(format!("r = {reduction}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let budget = Budget::Reduction(reduction);
                    session.run(image.as_input(), budget, &mut (), |_| ()).expect("a run");
                });
            });
        }
    }
    Ok(())
}
