//! 64-bit Arm with NEON alone, which every such CPU has (Armv8.0: Cortex-A53, A72).
//!
//! int8 products: `smull` and `smlal` add two products in i16 (at most 2 * 127 * 127 = 32,258, which
//! fits), `sadalp` adds neighbours of those to i32. So the multiplier, which is the bottleneck, makes
//! 8 products an instruction and nothing else waits for it.

use super::PANEL;
use super::portable::{self, Block, BlockSums, PortableSums, Sums, same_length};
use core::arch::aarch64::{
    int8x16_t, int16x8_t, int32x4_t, vdupq_n_s32, vdupq_n_s64, vget_low_s8, vmlal_high_s8,
    vmlal_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s64,
};
use core::arch::asm;
use core::num::NonZeroUsize;
use half::f16;

recompiled_table! {
    "neon", "neon", rows: portable,
    f32: portable::gemm_float::<8, f32, PortableSums>,
    f16: portable::gemm_float::<8, f16, PortableSums>,
    int8: portable::gemm_int8::<TILE, Neon>,
    int4: portable::gemm_int4::<TILE, Neon>,
}

/// Rows of the scheduled loop.
const TILE: usize = 2;

/// The table: NEON is part of every 64-bit Arm that this crate is built for.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("neon").then_some(&KERNELS)
}

block_sums!(Neon, block_sums);

/// Eight values in both halves of a register.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn twice(values: [i8; PANEL]) -> int8x16_t {
    vreinterpretq_s8_s64(vdupq_n_s64(bytemuck::must_cast(values)))
}

/// Eight sums from eight registers of four partial sums.
#[target_feature(enable = "neon")]
#[inline]
fn fold(sums: [[int32x4_t; 2]; PANEL / 2]) -> [i32; PANEL] {
    let [[a, b], [c, d], [e, f], [g, h]] = sums;
    let low = vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
    let high = vpaddq_s32(vpaddq_s32(e, f), vpaddq_s32(g, h));
    bytemuck::must_cast([low, high])
}

/// Partial sums of rows with each pair of channels.
type Partial<const ROWS: usize> = [[[int32x4_t; 2]; PANEL / 2]; ROWS];

/// Products of one row with two channels, in i16.
#[target_feature(enable = "neon")]
#[inline]
fn products(row: int8x16_t, weights: int8x16_t) -> [int16x8_t; 2] {
    [vmull_s8(vget_low_s8(row), vget_low_s8(weights)), vmull_high_s8(row, weights)]
}

/// Products of two rows with a pair of channels of two blocks, added to their sums.
macro_rules! add_pair {
    ($first:literal, $second:literal, $a:literal $b:literal, $c:literal $d:literal) => {
        concat!(
            add_pair!(@multiply "smull", "8", "10", $first),
            add_pair!(@multiply "smlal", "9", "11", $second),
            "sadalp v", $a, ".4s, v12.8h\n",
            "sadalp v", $b, ".4s, v13.8h\n",
            "sadalp v", $c, ".4s, v14.8h\n",
            "sadalp v", $d, ".4s, v15.8h\n",
        )
    };
    (@multiply $multiply:literal, $row:literal, $next:literal, $weights:literal) => {
        concat!(
            $multiply, " v12.8h, v", $row, ".8b, v", $weights, ".8b\n",
            $multiply, "2 v13.8h, v", $row, ".16b, v", $weights, ".16b\n",
            $multiply, " v14.8h, v", $next, ".8b, v", $weights, ".8b\n",
            $multiply, "2 v15.8h, v", $next, ".16b, v", $weights, ".16b\n",
        )
    };
}

/// Adds the products of [`TILE`] rows with pairs of blocks to their sums of each pair of channels.
///
/// As instructions, because a compiler sees both halves of a row's register as one and moves the
/// halves of the weights instead. v0 to v3 and v4 to v7 hold two blocks, v8, v9 and v10, v11 the
/// inputs of the two rows, v12 to v15 products, v16 to v31 sums.
///
/// # Safety
/// The panel and every row have twice `pairs` blocks; the CPU has NEON.
#[inline(always)]
unsafe fn tile_sums(
    rows: [*const [i8; PANEL]; TILE],
    panel: *const Block,
    pairs: NonZeroUsize,
    sums: &mut Partial<TILE>,
) {
    let [row, next] = rows;
    // SAFETY: it reads `pairs` pairs of blocks of the panel and of both rows, which the caller vouches
    // for, and the sums, which it writes back.
    unsafe {
        asm!(
            "ld1 {{v16.4s-v19.4s}}, [{sums}], #64",
            "ld1 {{v20.4s-v23.4s}}, [{sums}], #64",
            "ld1 {{v24.4s-v27.4s}}, [{sums}], #64",
            "ld1 {{v28.4s-v31.4s}}, [{sums}]",
            "sub {sums}, {sums}, #192",
            "2:",
            "ld1r {{v8.2d}}, [{row}], #8",
            "ld1r {{v10.2d}}, [{next}], #8",
            "ldr q0, [{panel}]",
            "ld1r {{v9.2d}}, [{row}], #8",
            "ld1r {{v11.2d}}, [{next}], #8",
            "ldr q4, [{panel}, #64]",
            "ldr q1, [{panel}, #16]",
            "ldr q5, [{panel}, #80]",
            add_pair!("0", "4", "16" "17", "24" "25"),
            "ldr q2, [{panel}, #32]",
            "ldr q6, [{panel}, #96]",
            add_pair!("1", "5", "18" "19", "26" "27"),
            "ldr q3, [{panel}, #48]",
            "ldr q7, [{panel}, #112]",
            add_pair!("2", "6", "20" "21", "28" "29"),
            "add {panel}, {panel}, #128",
            "subs {pairs}, {pairs}, #1",
            add_pair!("3", "7", "22" "23", "30" "31"),
            "b.ne 2b",
            "st1 {{v16.4s-v19.4s}}, [{sums}], #64",
            "st1 {{v20.4s-v23.4s}}, [{sums}], #64",
            "st1 {{v24.4s-v27.4s}}, [{sums}], #64",
            "st1 {{v28.4s-v31.4s}}, [{sums}]",
            row = inout(reg) row => _,
            next = inout(reg) next => _,
            panel = inout(reg) panel => _,
            pairs = inout(reg) pairs.get() => _,
            sums = inout(reg) sums.as_mut_ptr() => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _,
            out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    let mut sums: Partial<ROWS> = [[[vdupq_n_s32(0); 2]; PANEL / 2]; ROWS];
    let (pairs, last) = panel.as_chunks::<2>();
    if let (TILE, Some(rows), Some(sums)) = (ROWS, rows.first_chunk(), sums.first_chunk_mut()) {
        if let Some(pairs) = NonZeroUsize::new(pairs.len()) {
            // SAFETY: the rows are as long as the panel.
            unsafe { tile_sums(rows.map(<[_]>::as_ptr), panel.as_ptr(), pairs, sums) };
        }
    } else {
        // SAFETY: the rows are as long as the panel.
        unsafe { add_pairs(&mut sums, rows, pairs) };
    }
    for block in last {
        add_last(&mut sums, rows, block);
    }
    sums.map(|sums| fold(sums))
}

/// Adds the products of pairs of blocks.
///
/// # Safety
/// Every row has twice as many blocks as there are pairs.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn add_pairs<const ROWS: usize>(
    sums: &mut Partial<ROWS>,
    rows: [&[[i8; PANEL]]; ROWS],
    pairs: &[[Block; 2]],
) {
    for (index, [first, second]) in pairs.iter().enumerate() {
        let first: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*first);
        let second: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*second);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row has both blocks.
            let left = twice(unsafe { *row.get_unchecked(2 * index) });
            // SAFETY: the row has both blocks.
            let right = twice(unsafe { *row.get_unchecked(2 * index + 1) });
            for ((sums, first), second) in sums.iter_mut().zip(first).zip(second) {
                let [low, high] = products(left, first);
                let low = vmlal_s8(low, vget_low_s8(right), vget_low_s8(second));
                sums[0] = vpadalq_s16(sums[0], low);
                sums[1] = vpadalq_s16(sums[1], vmlal_high_s8(high, right, second));
            }
        }
    }
}

/// Adds the products of the last block of rows.
#[target_feature(enable = "neon")]
#[inline]
fn add_last<const ROWS: usize>(
    sums: &mut Partial<ROWS>,
    rows: [&[[i8; PANEL]]; ROWS],
    block: &Block,
) {
    let weights: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*block);
    for (sums, row) in sums.iter_mut().zip(rows) {
        let row = twice(row.last().copied().unwrap_or([0; PANEL]));
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let [low, high] = products(row, weights);
            sums[0] = vpadalq_s16(sums[0], low);
            sums[1] = vpadalq_s16(sums[1], high);
        }
    }
}
