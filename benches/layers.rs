//! One layer of the size of MiniLM-L6's, in every attention mode, at several reductions.

use anyhow::Result;
use coda_benches::{run, tables};
use coda_converter::bench::macs;
use coda_converter::pack::WeightType;
use coda_converter::session::Session;
use coda_runtime::config::AttentionMode;
use coda_runtime::memory::Capacity;
use coda_runtime::routing::Budget;
use coda_tests::tiny::Tiny;
use criterion::{BenchmarkId, Criterion, Throughput};

const MODES: [(&str, AttentionMode); 3] = [
    ("k-to-k", AttentionMode::KToK),
    ("k-to-all", AttentionMode::KToAll),
    ("k-to-low-rank", AttentionMode::KToLowRank),
];
const REDUCTIONS: [f32; 4] = [1.0, 2.0, 4.0, 8.0];

fn main() {
    run(env!("CARGO_TARGET_TMPDIR"), |criterion| {
        for (name, mode) in MODES {
            for tokens in [128, 256] {
                layer(criterion, name, mode, tokens).expect("the layer packs and runs");
            }
        }
    });
}

fn layer(criterion: &mut Criterion, name: &str, mode: AttentionMode, tokens: usize) -> Result<()> {
    let made = Tiny::minilm_layer(tokens, mode);
    let packages = made.pack(WeightType::Int8)?;
    let model = packages.model()?;
    // The specification takes too long for whole layers.
    for kernels in tables().filter(|kernels| kernels.name != "scalar") {
        let mut session = Session::new(&model, Capacity::any_budget(tokens))?.with_kernels(kernels);
        let mut group = criterion.benchmark_group(format!("layer-{name}/{}", kernels.name));
        for reduction in REDUCTIONS {
            let macs = macs(&model, tokens, reduction)?.total();
            group.throughput(Throughput::Elements(macs));
            let id = BenchmarkId::from_parameter(format!("{tokens} tokens, r = {reduction}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let budget = Budget::Reduction(reduction);
                    session.run(made.input.view(), budget, &mut (), |_| ()).expect("a run");
                });
            });
        }
    }
    Ok(())
}
