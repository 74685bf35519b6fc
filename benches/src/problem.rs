//! Made-up operands, where those of a model are: weights at a multiple of 64 bytes.

use coda_runtime::format::ALIGNMENT;
use coda_runtime::kernels::{
    Epilogue, Int4Group, Kernels, Panels, PanelsInt4, PanelsInt8, RowsInt8,
};
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
    kind: Kind,
    rows: usize,
    inputs: usize,
    outputs: usize,
    lhs: Vec<f32>,
    lhs_int8: Vec<i8>,
    lhs_scales: Vec<f32>,
    f32: Stored<f32>,
    f16: Stored<f16>,
    int8: Stored<i8>,
    int4: Stored<Int4Group>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    out: Vec<f32>,
}

impl Gemm {
    /// `rows` rows of `inputs` values times `outputs` channels.
    #[must_use]
    pub fn new(kind: Kind, rows: usize, inputs: usize, outputs: usize) -> Self {
        let padded = inputs.next_multiple_of(PANEL);
        let channels = outputs.next_multiple_of(PANEL);
        let weights = channels * padded;
        let only = |wanted: Kind, count: usize| if kind == wanted { count } else { 0 };
        let groups = channels / PANEL * inputs.div_ceil(INT4_GROUP);
        let mut group = [0x5a; INT4_GROUP_BYTES];
        group[..2 * PANEL].fill(0x2c); // f16 scales of about 0.066
        Self {
            kind,
            rows,
            inputs,
            outputs,
            lhs: Rows::chosen().values(rows * inputs),
            lhs_int8: vec![0; rows * padded],
            lhs_scales: vec![0.0; rows],
            f32: Stored::new(&floats(only(Kind::F32, weights))),
            f16: Stored::new(
                &floats(only(Kind::F16, weights))
                    .into_iter()
                    .map(f16::from_f32)
                    .collect::<Vec<_>>(),
            ),
            int8: Stored::new(
                &(0..only(Kind::Int8, weights))
                    .map(|index| (index * 37 % 255) as i8)
                    .collect::<Vec<_>>(),
            ),
            int4: Stored::new(&vec![group; only(Kind::Int4, groups)]),
            scales: vec![0.01; channels],
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
        let Self { rows, inputs, outputs, .. } = *self;
        let stride = inputs.next_multiple_of(PANEL);
        if matches!(self.kind, Kind::Int8 | Kind::Int4) {
            let slots = self.lhs_int8.chunks_exact_mut(stride).zip(&mut self.lhs_scales);
            for ((slot, scale), row) in slots.zip(self.lhs.chunks_exact(inputs)) {
                *scale = (kernels.quantize_row)(slot, row, &[]);
            }
        }
        let mut out = MatrixMut::new(&mut self.out, outputs);
        let epilogue = Epilogue::overwrite(&self.bias);
        let lhs = Matrix::new(&self.lhs, inputs).first_rows(rows);
        let int8 = RowsInt8 { values: &self.lhs_int8, scales: &self.lhs_scales, stride };
        let (values, scales) = (self.int8.values(), &*self.scales);
        let weights = PanelsInt8 { values, scales, outputs, inputs };
        match self.kind {
            Kind::Int8 => (kernels.gemm_f32_qd8_qc8w)(&mut out, int8, weights, &epilogue),
            Kind::Int4 => {
                let weights = PanelsInt4 { groups: self.int4.values(), outputs, inputs };
                (kernels.gemm_f32_qd8_qc4w)(&mut out, int8, weights, &epilogue);
            }
            Kind::F16 => {
                let weights = Panels { values: self.f16.values(), outputs, inputs };
                (kernels.gemm_f32_f32_f16w)(&mut out, lhs, weights, &epilogue);
            }
            Kind::F32 => {
                let weights = Panels { values: self.f32.values(), outputs, inputs };
                (kernels.gemm_f32_f32_f32w)(&mut out, lhs, weights, &epilogue);
            }
        }
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
    fn new(values: &[T]) -> Self {
        let mut space: Vec<T> = Vec::with_capacity(values.len() + ALIGNMENT);
        let first = space.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        if let Some(filler) = values.first() {
            space.resize(first, *filler);
            space.extend_from_slice(values);
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
    (0..count).map(|index| (index * 7919 % 2001) as f32 / 1000.0 - 1.0).collect()
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
