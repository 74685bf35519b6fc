//! Scores to selection and gates: what routing itself costs.

use coda_benches::problem::floats;
use coda_benches::run;
use coda_runtime::config::Gate;
use coda_runtime::routing::{RouteScratch, route};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;

const GATES: [(&str, Gate); 4] = [
    ("ones", Gate::Ones),
    ("sigmoid", Gate::Sigmoid),
    ("exact", Gate::Exact { eps: 0.05 }),
    ("iterated", Gate::Iterated { sweeps: 20, eps: 0.03, eps_start: 4.0, decay: 0.7 }),
];

fn main() {
    run(env!("CARGO_TARGET_TMPDIR"), |criterion: &mut Criterion| {
        for (name, gate) in GATES {
            let mut group = criterion.benchmark_group(format!("route/{name}"));
            for tokens in [50usize, 128, 256, 512] {
                let scores = floats(tokens);
                let (mut order, mut gates) = (vec![0; tokens], vec![0.0; tokens]);
                let (mut keys, mut tails) = (vec![0; tokens], vec![0.0; tokens]);
                group.throughput(Throughput::Elements(tokens as u64));
                let id = BenchmarkId::from_parameter(format!("{tokens:03} tokens"));
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        let mut scratch = RouteScratch { keys: &mut keys, tails: &mut tails };
                        let (scores, none) = (black_box(&scores), core::iter::empty());
                        let (order, gates) = (&mut order, &mut gates);
                        route(scores, tokens / 4, none, gate, order, gates, &mut scratch)
                    });
                });
            }
        }
    });
}
