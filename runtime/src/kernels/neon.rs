//! 64-bit Arm with NEON alone, which every such CPU has (Armv8.0: Cortex-A53, A72).
//!
//! int8 products: `smull` and `smlal` add two products in i16 (at most 2 * 127 * 127 = 32,258, which
//! fits), `sadalp` adds neighbours of those to i32. So the multiplier, which is the bottleneck, makes
//! 8 products an instruction and nothing else waits for it.

use super::PANEL;
use super::portable::{Block, BlockSums, Sums};
use core::arch::aarch64::{
    int8x16_t, int16x8_t, int32x4_t, vdupq_n_s32, vdupq_n_s64, vget_low_s8, vmlal_high_s8,
    vmlal_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s64,
};

recompiled_table!("neon", "neon", rows: 2, float_rows: 8, Neon);

/// The table: NEON is part of every 64-bit Arm that this crate is built for.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("neon").then_some(&KERNELS)
}

struct Neon;

impl BlockSums for Neon {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if rows.iter().any(|row| row.len() != panel.len()) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found NEON.
        unsafe { block_sums(rows, panel) }
    }
}

/// Eight values in both halves of a register.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn twice(values: [i8; PANEL]) -> int8x16_t {
    vreinterpretq_s8_s64(vdupq_n_s64(bytemuck::must_cast(values)))
}

/// Eight sums from eight registers of four partial sums.
#[target_feature(enable = "neon")]
#[inline]
fn fold(sums: [int32x4_t; PANEL]) -> [i32; PANEL] {
    let [a, b, c, d, e, f, g, h] = sums;
    let low = vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
    let high = vpaddq_s32(vpaddq_s32(e, f), vpaddq_s32(g, h));
    bytemuck::must_cast([low, high])
}

/// Products of one row with two channels, in i16.
#[target_feature(enable = "neon")]
#[inline]
fn products(row: int8x16_t, weights: int8x16_t) -> [int16x8_t; 2] {
    [vmull_s8(vget_low_s8(row), vget_low_s8(weights)), vmull_high_s8(row, weights)]
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    let mut sums = [[vdupq_n_s32(0); PANEL]; ROWS];
    let (pairs, last) = panel.as_chunks::<2>();
    for (index, [first, second]) in pairs.iter().enumerate() {
        let first: [int8x16_t; 4] = bytemuck::must_cast(*first);
        let second: [int8x16_t; 4] = bytemuck::must_cast(*second);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let left = twice(unsafe { *row.get_unchecked(2 * index) });
            // SAFETY: the row is as long as the panel.
            let right = twice(unsafe { *row.get_unchecked(2 * index + 1) });
            let (channels, _) = sums.as_chunks_mut::<2>();
            for ((sums, first), second) in channels.iter_mut().zip(first).zip(second) {
                let [low, high] = products(left, first);
                let low = vmlal_s8(low, vget_low_s8(right), vget_low_s8(second));
                sums[0] = vpadalq_s16(sums[0], low);
                sums[1] = vpadalq_s16(sums[1], vmlal_high_s8(high, right, second));
            }
        }
    }
    for block in last {
        let weights: [int8x16_t; 4] = bytemuck::must_cast(*block);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let row = twice(row.last().copied().unwrap_or([0; PANEL]));
            let (channels, _) = sums.as_chunks_mut::<2>();
            for (sums, weights) in channels.iter_mut().zip(weights) {
                let [low, high] = products(row, weights);
                sums[0] = vpadalq_s16(sums[0], low);
                sums[1] = vpadalq_s16(sums[1], high);
            }
        }
    }
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, sums) in folded.iter_mut().zip(sums) {
        *slot = fold(sums);
    }
    folded
}
