//! Kernels on the weights of a model's first layer: no others are needed in flash.

use crate::report::{Console, Row};
use crate::{Bench, BenchError, Counter};
use bytemuck::try_cast_slice_mut;
use coda_conformance::problem::{Product, floats, quantize_rows};
use coda_runtime::config::Activation;
use coda_runtime::kernels::{Epilogue, NormWeights, PANEL, PanelsInt8};
use coda_runtime::model::{Linear, Model, Weights};
use coda_runtime::tensor::MatrixMut;
use core::hint::black_box;

/// Rows of a GEMM: a decoder's one, the few that routing leaves, a whole input.
const ROWS: [usize; 4] = [1, 8, 16, 64];
/// Rows that show what an activation costs.
const GELU_ROWS: usize = 16;

/// Buffers cut from the arena.
struct Buffers<'a> {
    rows: &'a mut [i8],
    scales: [f32; 64],
    floats: &'a mut [f32],
    out: &'a mut [f32],
}

impl<C: Counter, O: Console> Bench<'_, C, O> {
    /// The kernels of an inference on `tokens` tokens. A GEMM that does not fit in the arena is left
    /// out.
    pub(crate) fn kernels(
        &mut self,
        model: &Model<'_>,
        tokens: usize,
        arena: &mut [u8],
    ) -> Result<(), BenchError> {
        let block = model.layer(0).block;
        let (query, wide) = (block.attention.query, block.feed_forward);
        let gemm = Row::of("kernel", "gemm_f32_qd8_qc8w");
        for linear in [query, wide.expand, wide.contract] {
            let Linear { inputs, outputs, .. } = linear;
            for rows in ROWS {
                if let Some(count) = self.gemm(&linear, rows, None, arena) {
                    self.report.row(&Row { rows, inputs, outputs, count, ..gemm })?;
                }
            }
        }
        let plain = self.gemm(&wide.expand, GELU_ROWS, None, arena);
        let gelu = self.gemm(&wide.expand, GELU_ROWS, Some(Activation::GeluErf), arena);
        if let (Some(plain), Some(gelu)) = (plain, gelu) {
            let (rows, inputs) = (GELU_ROWS, wide.expand.outputs);
            let count = gelu.saturating_sub(plain);
            self.report.row(&Row { rows, inputs, count, ..Row::of("kernel", "gelu_erf") })?;
        }
        let d = model.config().hidden;
        self.rows(block.attention.norm, d, tokens, wide.expand.outputs, arena)
    }

    /// The count of one int8 GEMM, the rows quantised before, if it fits.
    fn gemm(
        &mut self,
        linear: &Linear<'_>,
        rows: usize,
        activation: Option<Activation>,
        arena: &mut [u8],
    ) -> Option<u64> {
        let Linear { inputs, outputs, bias, .. } = *linear;
        let Weights::Int8 { values, scales } = linear.weights else { return None };
        let stride = inputs.next_multiple_of(PANEL);
        let buffers = buffers(arena, rows * stride, inputs, rows * outputs)?;
        fill(buffers.floats);
        let (kernels, mut row_scales) = (self.kernels, buffers.scales);
        let row = core::iter::repeat(&*buffers.floats);
        let row_scales = row_scales.get_mut(..rows).unwrap_or_default();
        let lhs = quantize_rows(kernels, buffers.rows, row_scales, row, inputs);
        let product = Product::Int8(lhs, PanelsInt8 { values, scales, outputs, inputs });
        let epilogue = Epilogue { activation, ..Epilogue::overwrite(bias) };
        Some(self.measure(|| {
            product.run(kernels, &mut MatrixMut::new(buffers.out, outputs), &epilogue);
        }))
    }

    /// Kernels of one row: norms of d values, softmax of a row of scores, quantisation of the rows
    /// that enter the two kinds of maps.
    fn rows(
        &mut self,
        norm: NormWeights<'_>,
        d: usize,
        tokens: usize,
        wide: usize,
        arena: &mut [u8],
    ) -> Result<(), BenchError> {
        let longest = wide.max(tokens).next_multiple_of(PANEL);
        let Some(mut buffers) = buffers(arena, longest, longest, longest) else { return Ok(()) };
        fill(buffers.floats);
        self.float_rows(norm, d, tokens, &mut buffers)?;
        self.int8_rows(tokens, [d, wide], &mut buffers)
    }

    fn float_rows(
        &mut self,
        norm: NormWeights<'_>,
        d: usize,
        tokens: usize,
        buffers: &mut Buffers<'_>,
    ) -> Result<(), BenchError> {
        let (kernels, floats, out) = (self.kernels, &*buffers.floats, &mut *buffers.out);
        self.row("layer_norm", d, |n| (kernels.layer_norm)(&mut out[..n], &floats[..n], norm))?;
        self.row("rms_norm", d, |n| (kernels.rms_norm)(&mut out[..n], &floats[..n], norm))?;
        self.row("softmax", tokens, |n| {
            out[..n].copy_from_slice(&floats[..n]);
            (kernels.softmax)(&mut out[..n]);
        })
    }

    fn int8_rows(
        &mut self,
        tokens: usize,
        quantized: [usize; 2],
        buffers: &mut Buffers<'_>,
    ) -> Result<(), BenchError> {
        let (kernels, floats, int8) = (self.kernels, &*buffers.floats, &mut *buffers.rows);
        self.row("softmax_int8", tokens, |n| {
            let padded = n.next_multiple_of(PANEL);
            black_box((kernels.softmax_int8)(&mut int8[..padded], &floats[..n]));
        })?;
        for inputs in quantized {
            self.row("quantize_row", inputs, |n| {
                let padded = n.next_multiple_of(PANEL);
                black_box((kernels.quantize_row)(&mut int8[..padded], &floats[..n], &[]));
            })?;
        }
        Ok(())
    }

    /// The count of a kernel on one row.
    fn row(
        &mut self,
        name: &'static str,
        inputs: usize,
        mut body: impl FnMut(usize),
    ) -> Result<(), BenchError> {
        let count = self.measure(|| body(inputs));
        Ok(self.report.row(&Row { rows: 1, inputs, count, ..Row::of("kernel", name) })?)
    }
}

fn buffers(arena: &mut [u8], rows: usize, floats: usize, out: usize) -> Option<Buffers<'_>> {
    let (rows, rest) = arena.split_at_mut_checked(rows.next_multiple_of(16))?;
    let (floats, rest) = rest.split_at_mut_checked(4 * floats)?;
    let out = rest.get_mut(..4 * out)?;
    Some(Buffers {
        rows: try_cast_slice_mut(rows).ok()?,
        scales: [0.0; 64],
        floats: try_cast_slice_mut(floats).ok()?,
        out: try_cast_slice_mut(out).ok()?,
    })
}

/// Values between -1 and 1.
fn fill(values: &mut [f32]) {
    values.iter_mut().zip(floats()).for_each(|(slot, value)| *slot = value);
}
