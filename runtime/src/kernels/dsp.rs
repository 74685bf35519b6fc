//! Cortex-M4, M7 and M33 with the DSP extension.
//!
//! int8 products: `sxtb16` widens every other byte of a word, `smlad` adds the products of both
//! halves. The bytes of rows and weights are parted in the same way, so no order has to be restored.

use super::portable::{self, Block, BlockSums};
use super::{Kernels, PANEL, cortex_m};
use core::arch::asm;

pub(super) const NAME: &str = "dsp";

static KERNELS: Kernels = Kernels {
    name: NAME,
    gemm_f32_qd8_qc8w: portable::gemm_int8::<2, Dsp>,
    gemm_f32_qd8_qc4w: portable::gemm_int4::<2, Dsp>,
    ..portable::KERNELS
};

/// The table, if this core has the DSP extension.
pub(super) fn detect() -> Option<&'static Kernels> {
    cortex_m::has_dsp().then_some(&KERNELS)
}

struct Dsp;

/// Eight int8 values as four pairs of i16.
type Halves = [u32; 4];

impl BlockSums for Dsp {
    #[inline(always)]
    fn sums<const ROWS: usize>(
        rows: [&[[i8; PANEL]]; ROWS],
        panel: &[Block],
    ) -> [[i32; PANEL]; ROWS] {
        let rows = rows.map(|row| &row[..panel.len()]);
        let mut sums = [[0; PANEL]; ROWS];
        for (index, block) in panel.iter().enumerate() {
            let mut inputs = [[0; 4]; ROWS];
            for (slot, row) in inputs.iter_mut().zip(rows) {
                *slot = widen(row[index]);
            }
            for (channel, weights) in block.iter().enumerate() {
                let weights = widen(*weights);
                for (sums, inputs) in sums.iter_mut().zip(inputs) {
                    for (weights, inputs) in weights.into_iter().zip(inputs) {
                        sums[channel] = multiply_add(sums[channel], weights, inputs);
                    }
                }
            }
        }
        sums
    }
}

#[inline(always)]
fn widen(values: [i8; PANEL]) -> Halves {
    let [low, high]: [u32; 2] = bytemuck::must_cast(values);
    [widen_even(low), widen_odd(low), widen_even(high), widen_odd(high)]
}

/// Bytes 0 and 2, with their signs.
#[inline(always)]
fn widen_even(bytes: u32) -> u32 {
    let halves;
    // SAFETY: one instruction on registers, of an extension that the core has.
    unsafe {
        asm!(
            ".cpu cortex-m33", "sxtb16 {}, {}", out(reg) halves, in(reg) bytes,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    halves
}

/// Bytes 1 and 3, with their signs.
#[inline(always)]
fn widen_odd(bytes: u32) -> u32 {
    let halves;
    // SAFETY: one instruction on registers, of an extension that the core has.
    unsafe {
        asm!(
            ".cpu cortex-m33", "sxtb16 {}, {}, ror #8", out(reg) halves, in(reg) bytes,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    halves
}

/// `sum + a.low * b.low + a.high * b.high`.
#[inline(always)]
fn multiply_add(sum: i32, a: u32, b: u32) -> i32 {
    let result;
    // SAFETY: one instruction on registers, of an extension that the core has.
    unsafe {
        asm!(
            ".cpu cortex-m33", "smlad {}, {}, {}, {}",
            out(reg) result, in(reg) a, in(reg) b, in(reg) sum,
            options(pure, nomem, nostack)
        );
    }
    result
}
