//! Made-up operands, where those of a model are: weights at a multiple of 64 bytes.

use coda_conformance::problem::{self, Product, quantize_rows};
use coda_runtime::format::ALIGNMENT;
use coda_runtime::kernels::{Epilogue, Int4Group, Kernels, Panels, PanelsInt4, PanelsInt8};
use coda_runtime::panel::{INT4_GROUP, INT4_GROUP_BYTES, PANEL};
use coda_runtime::tensor::{Matrix, MatrixMut};
use half::f16;

/// How the weights of a linear map are stored, and which rows they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// int8 weights; rows are quantised first, which counts.
    Int8,
    /// int4 weights; rows are quantised first, which counts.
    Int4,
    /// f16 weights, f32 rows.
    F16,
    /// f32 weights, f32 rows.
    F32,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Int8, Self::Int4, Self::F16, Self::F32];

    /// Name of the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "gemm_f32_qd8_qc8w",
            Self::Int4 => "gemm_f32_qd8_qc4w",
            Self::F16 => "gemm_f32_f32_f16w",
            Self::F32 => "gemm_f32_f32_f32w",
        }
    }
}

/// One linear map and its rows.
#[derive(Debug)]
pub struct Gemm {
    rows: usize,
    inputs: usize,
    outputs: usize,
    lhs: Vec<f32>,
    lhs_int8: Vec<i8>,
    lhs_scales: Vec<f32>,
    weights: Weights,
    scales: Vec<f32>,
    bias: Vec<f32>,
    out: Vec<f32>,
}

/// Weights of one kind.
#[derive(Debug)]
enum Weights {
    F32(Stored<f32>),
    F16(Stored<f16>),
    Int8(Stored<i8>),
    Int4(Stored<Int4Group>),
}

impl Weights {
    fn new(kind: Kind, inputs: usize, outputs: usize) -> Self {
        let channels = outputs.next_multiple_of(PANEL);
        let count = channels * inputs.next_multiple_of(PANEL);
        match kind {
            Kind::F32 => Self::F32(Stored::new(floats(count))),
            Kind::F16 => Self::F16(Stored::new(floats(count).into_iter().map(f16::from_f32))),
            Kind::Int8 => Self::Int8(Stored::new((0..count).map(|at| (at * 37 % 255) as i8))),
            Kind::Int4 => {
                let mut group = [0x5a; INT4_GROUP_BYTES];
                group[..2 * PANEL].fill(0x2c); // f16 scales of about 0.066
                let groups = channels / PANEL * inputs.div_ceil(INT4_GROUP);
                Self::Int4(Stored::new((0..groups).map(|_| group)))
            }
        }
    }
}

impl Gemm {
    /// `rows` rows of `inputs` values times `outputs` channels.
    #[must_use]
    pub fn new(kind: Kind, rows: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            rows,
            inputs,
            outputs,
            lhs: Rows::chosen().values(rows * inputs),
            lhs_int8: vec![0; rows * inputs.next_multiple_of(PANEL)],
            lhs_scales: vec![0.0; rows],
            weights: Weights::new(kind, inputs, outputs),
            scales: vec![0.01; outputs.next_multiple_of(PANEL)],
            bias: floats(outputs),
            out: vec![0.0; rows * outputs],
        }
    }

    /// Multiply-accumulates of a run.
    #[must_use]
    pub const fn macs(&self) -> u64 {
        (self.rows * self.inputs * self.outputs) as u64
    }

    /// Runs the kernel of `kernels` once.
    pub fn run(&mut self, kernels: &Kernels) {
        let Self { inputs, outputs, lhs_int8, lhs_scales, scales, .. } = self;
        let (inputs, outputs, lhs) = (*inputs, *outputs, Matrix::new(&self.lhs, *inputs));
        let product = match &self.weights {
            Weights::F32(values) => {
                Product::F32(lhs, Panels { values: values.values(), outputs, inputs })
            }
            Weights::F16(values) => {
                Product::F16(lhs, Panels { values: values.values(), outputs, inputs })
            }
            Weights::Int8(values) => {
                let rhs = PanelsInt8 { values: values.values(), scales, outputs, inputs };
                let lhs = quantize_rows(kernels, lhs_int8, lhs_scales, lhs.iter(), inputs);
                Product::Int8(lhs, rhs)
            }
            Weights::Int4(groups) => {
                let lhs = quantize_rows(kernels, lhs_int8, lhs_scales, lhs.iter(), inputs);
                Product::Int4(lhs, PanelsInt4 { groups: groups.values(), outputs, inputs })
            }
        };
        let mut out = MatrixMut::new(&mut self.out, outputs);
        product.run(kernels, &mut out, &Epilogue::overwrite(&self.bias));
    }
}

/// Values at a multiple of [`ALIGNMENT`] bytes, as the tensors of a package are; as they come if the allocator
/// gives no address from which whole values reach one.
#[derive(Debug)]
struct Stored<T> {
    space: Vec<T>,
    first: usize,
}

impl<T: Copy> Stored<T> {
    fn new(values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<T> = values.into_iter().collect();
        let mut space: Vec<T> = Vec::with_capacity(values.len() + ALIGNMENT);
        let first = space.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        if let Some(filler) = values.first() {
            space.resize(first, *filler);
            space.extend_from_slice(&values);
        }
        Self { space, first }
    }

    fn values(&self) -> &[T] {
        self.space.get(self.first..).unwrap_or_default()
    }
}

/// Values between -1 and 1.
#[must_use]
pub fn floats(count: usize) -> Vec<f32> {
    problem::floats().take(count).collect()
}

/// How the values of made-up rows are distributed: the time of a table may depend on how many of them are
/// near the largest of their row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As the hidden states of a transformer: many small, a few large (Laplace). Of the blocks of 384 such
    /// values `avx2` takes 41 % in pairs, 47 % one by one and 11 % with signs; of those of a MiniLM that
    /// reads a text 37, 49 and 14 %.
    Hidden,
    /// Normal (sums of twelve uniform ones): 3, 60 and 37 %.
    Normal,
    /// Between -1 and 1: nearly all with signs.
    Uniform,
}

impl Rows {
    /// Environment variable that chooses others than [`Hidden`](Self::Hidden).
    pub const VARIABLE: &str = "CODA_BENCH_ROWS";

    /// What [`VARIABLE`](Self::VARIABLE) names; ends the process if that is nothing.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var(Self::VARIABLE).as_deref() {
            Err(_) | Ok("hidden") => Self::Hidden,
            Ok("normal") => Self::Normal,
            Ok("uniform") => Self::Uniform,
            Ok(other) => {
                eprintln!("{}={other}: choose hidden, normal or uniform", Self::VARIABLE);
                std::process::exit(2)
            }
        }
    }

    /// Some values.
    #[must_use]
    pub fn values(self, count: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut uniform = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 + 0.5) / (1 << 24) as f32
        };
        let one = |_| match self {
            Self::Hidden => (uniform() / uniform()).ln(),
            Self::Normal => (0..12).map(|_| uniform()).sum::<f32>() - 6.0,
            Self::Uniform => 2.0 * uniform() - 1.0,
        };
        (0..count).map(one).collect()
    }
}
