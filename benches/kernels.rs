//! Every kernel of every table, at the shapes of MiniLM-L6 and at the few rows that routing leaves.

use coda_benches::problem::{Gemm, Kind, floats};
use coda_benches::{run, tables};
use coda_runtime::kernels::{Kernels, NormWeights};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;

/// Inputs and outputs of the linear maps.
const SHAPES: [(usize, usize); 3] = [(384, 384), (384, 1536), (1536, 384)];
/// Width of a hidden state, and of a row of attention scores.
const WIDTH: usize = 384;

fn main() {
    run(env!("CARGO_TARGET_TMPDIR"), |criterion| {
        for kernels in tables() {
            gemm(criterion, kernels);
            rows(criterion, kernels);
        }
    });
}

fn gemm(criterion: &mut Criterion, kernels: &Kernels) {
    for kind in Kind::ALL {
        let mut group = criterion.benchmark_group(format!("{}/{}", kind.name(), kernels.name));
        for (inputs, outputs) in SHAPES {
            // The main path at every number of rows; the others where they differ.
            let main = kind == Kind::Int8;
            let rows: &[usize] = if main { &[1, 2, 4, 8, 16, 32, 64, 128] } else { &[1, 16, 64] };
            for rows in rows.iter().filter(|_| main || (inputs, outputs) == SHAPES[1]) {
                let mut problem = Gemm::new(kind, *rows, inputs, outputs);
                group.throughput(Throughput::Elements(problem.macs()));
                let id = BenchmarkId::from_parameter(format!("{rows:03}x{inputs}x{outputs}"));
                group.bench_function(id, |bencher| bencher.iter(|| problem.run(kernels)));
            }
        }
    }
}

fn rows(criterion: &mut Criterion, kernels: &Kernels) {
    let (row, mut out) = (floats(WIDTH), vec![0.0; WIDTH]);
    let (weight, bias) = (vec![1.0; WIDTH], vec![0.5; WIDTH]);
    let weights = NormWeights { weight: &weight, bias: &bias, eps: 1e-6 };
    let mut int8 = vec![0; WIDTH];
    let mut group = criterion.benchmark_group(format!("rows/{}", kernels.name));
    group.throughput(Throughput::Elements(WIDTH as u64));
    group.bench_function("quantize_row", |bencher| {
        bencher.iter(|| (kernels.quantize_row)(&mut int8, black_box(&row), &[]));
    });
    group.bench_function("layer_norm", |bencher| {
        bencher.iter(|| (kernels.layer_norm)(&mut out, black_box(&row), weights));
    });
    group.bench_function("rms_norm", |bencher| {
        bencher.iter(|| (kernels.rms_norm)(&mut out, black_box(&row), weights));
    });
    group.bench_function("dot", |bencher| {
        bencher.iter(|| (kernels.dot)(black_box(&row), &weight));
    });
    group.bench_function("softmax", |bencher| {
        bencher.iter(|| {
            out.copy_from_slice(black_box(&row));
            (kernels.softmax)(&mut out);
        });
    });
}
