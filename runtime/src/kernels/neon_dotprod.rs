//! 64-bit Arm with dot products (Armv8.2: Cortex-A55, A76, Neoverse N1).
//!
//! `sdot` adds four int8 products to each of four sums: half a row of a block for two channels.

use super::PANEL;
use super::neon::twice;
use super::portable::{Block, BlockSums, Sums};
use core::arch::aarch64::{int8x16_t, int32x4_t, vdupq_n_s32, vpaddq_s32};
use core::arch::asm;

recompiled_table!("neon_dotprod", "neon,dotprod", rows: 4, float_rows: 8, Dotprod);

/// The table, if this CPU has dot products.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("neon", "dotprod").then_some(&KERNELS)
}

struct Dotprod;

impl BlockSums for Dotprod {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if rows.iter().any(|row| row.len() != panel.len()) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found dot products.
        unsafe { block_sums(rows, panel) }
    }
}

/// `sum[i] += left[4 i..4 i + 4] . right[4 i..4 i + 4]`; the intrinsic is not stable.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn add_products(mut sum: int32x4_t, left: int8x16_t, right: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, of a feature that this function enables.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) left, in(vreg) right,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    // Channels 2 i and 2 i + 1, two partial sums each.
    let mut sums = [[vdupq_n_s32(0); PANEL / 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*block);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let row = twice(unsafe { *row.get_unchecked(index) });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = add_products(*sum, row, weights);
            }
        }
    }
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, [a, b, c, d]) in folded.iter_mut().zip(&sums) {
        *slot = bytemuck::must_cast([vpaddq_s32(*a, *b), vpaddq_s32(*c, *d)]);
    }
    folded
}
