//! Matrix products with bf16 operands and f32 sums, by oneDNN: several times faster on CPUs with AMX.
#![expect(unsafe_code, reason = "a function of the C library oneDNN")]

use super::matrices::Matrices;
use super::real::vectorized;
use candle_core::{CpuStorage, Result};
use std::cell::RefCell;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

/// Products with fewer multiply-accumulates are left to candle.
const SMALLEST: usize = 4096;

#[link(name = "dnnl")]
unsafe extern "C" {
    /// Row-major `c = alpha * op(a) op(b) + beta * c`: the bf16 sibling of `dnnl_sgemm`, with its
    /// arguments. oneDNN 2 and 3 export it; their public header does not declare it.
    fn dnnl_gemm_bf16bf16f32(
        transposed_a: c_char,
        transposed_b: c_char,
        m: i64,
        n: i64,
        k: i64,
        alpha: f32,
        a: *const u16,
        stride_a: i64,
        b: *const u16,
        stride_b: i64,
        beta: f32,
        c: *mut f32,
        stride_c: i64,
    ) -> c_int;
}

thread_local! {
    /// The two operands of a product in bf16, kept so that their memory is mapped once.
    static OPERANDS: RefCell<[Vec<u16>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// How one matrix lies in memory.
struct Form {
    /// Columns are contiguous, not rows.
    by_columns: bool,
    /// Number and length of what is contiguous, and how far apart it is.
    lines: usize,
    length: usize,
    apart: usize,
}

impl Form {
    /// `None` if neither rows nor columns are contiguous.
    const fn of(matrices: &Matrices<'_>) -> Option<Self> {
        let ([_, rows, columns], [_, row, column]) = (matrices.sizes, matrices.strides);
        match (row, column) {
            (_, 1) => Some(Self { by_columns: false, lines: rows, length: columns, apart: row }),
            (1, _) => Some(Self { by_columns: true, lines: columns, length: rows, apart: column }),
            _ => None,
        }
    }

    const fn letter(&self) -> c_char {
        if self.by_columns { b'T' as c_char } else { b'N' as c_char }
    }

    /// Matrix `index` of a batch as dense bf16.
    fn round(&self, matrices: &Matrices<'_>, values: &[f32], index: usize, out: &mut Vec<u16>) {
        let size = self.lines * self.length;
        if out.len() < size {
            out.resize(size, 0);
        }
        let start = matrices.offset + index * matrices.strides[0];
        vectorized(|| {
            for (line, slots) in out[..size].chunks_exact_mut(self.length).enumerate() {
                let from = start + line * self.apart;
                round_each(&values[from..from + self.length], slots);
            }
        });
    }
}

/// To the nearest bf16, ties to even.
pub(super) fn round(values: &[f32], out: &mut [u16]) {
    vectorized(|| round_each(values, out));
}

#[inline(always)]
fn round_each(values: &[f32], out: &mut [u16]) {
    for (slot, value) in out.iter_mut().zip(values) {
        let bits = value.to_bits();
        *slot = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    }
}

/// Appends the product of each pair of matrices; false where candle does better.
pub(super) fn products(
    left: &Matrices<'_>,
    right: &Matrices<'_>,
    out: &mut Vec<f32>,
) -> Result<bool> {
    let ([b, m, k], [_, _, n]) = (left.sizes, right.sizes);
    if m * n * k < SMALLEST || m == 1 || n == 1 {
        return Ok(false);
    }
    let (CpuStorage::F32(a), CpuStorage::F32(c)) = (left.storage, right.storage) else {
        return Ok(false);
    };
    let (Some(first), Some(second)) = (Form::of(left), Form::of(right)) else { return Ok(false) };
    let (begin, size) = (out.len(), b * m * n);
    out.reserve(size);
    let slots: &mut [MaybeUninit<f32>] = &mut out.spare_capacity_mut()[..size];
    OPERANDS.with_borrow_mut(|[x, y]| {
        for (index, slots) in slots.chunks_exact_mut(m * n).enumerate() {
            first.round(left, a, index, x);
            let y = match right.rounded {
                Some(all) => &all[index * k * n..],
                None => {
                    second.round(right, c, index, y);
                    y.as_slice()
                }
            };
            // SAFETY: `x` holds m x k values, `y` k x n, by rows or by columns as their letters and
            // strides say, and `slots` has room for m x n; with beta = 0 oneDNN reads nothing of it.
            let status = unsafe {
                dnnl_gemm_bf16bf16f32(
                    first.letter(),
                    second.letter(),
                    m as i64,
                    n as i64,
                    k as i64,
                    1.0,
                    x.as_ptr(),
                    first.length as i64,
                    y.as_ptr(),
                    second.length as i64,
                    0.0,
                    slots.as_mut_ptr().cast(),
                    n as i64,
                )
            };
            if status != 0 {
                candle_core::bail!("oneDNN refused {m} x {k} by {k} x {n}: status {status}");
            }
        }
        Ok(())
    })?;
    // SAFETY: the products above wrote all `size` values.
    unsafe { out.set_len(begin + size) };
    Ok(true)
}
