//! 64-bit Arm with dot products (Armv8.2: Cortex-A55, A76, Neoverse N1).
//!
//! `sdot` adds four int8 products to each of four sums, its right side in one lane. Eight rows are
//! packed once for all panels (`neon_packed`), the first four inputs of four rows in one register and their last four
//! in another, and take a channel's values from lanes of the panel as it lies. Fewer rows do not repay
//! that: there a block is read with `ld2`, and the lanes are the row's.

use super::PANEL;
use super::neon_packed::{self, Group, GroupSums};
use super::portable::{self, Block, BlockSums, PortableSums, Sums, same_length};
use core::arch::aarch64::{
    int8x8_t, int32x4_t, vdupq_n_s32, vld2q_s32, vuzp1q_s32, vuzp2q_s32, vzip1q_s32, vzip2q_s32,
};
use core::arch::asm;
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use half::f16;

recompiled_table! {
    "neon_dotprod", "neon,dotprod", rows: portable,
    f32: portable::gemm_float::<8, f32, PortableSums>,
    f16: portable::gemm_float::<8, f16, PortableSums>,
    int8: neon_packed::gemm_int8::<Dotprod>,
    int4: neon_packed::gemm_int4::<Dotprod>,
}

/// The table, if this CPU has dot products.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("neon", "dotprod").then_some(&KERNELS)
}

block_sums!(Dotprod, block_sums);

impl GroupSums for Dotprod {
    #[inline(always)]
    fn pack<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block] {
        if rows.iter().any(|row| row.len() != packed.len()) {
            return &[];
        }
        // SAFETY: the rows are as long as `packed`. Only functions of this file's table come here;
        // `detect` found NEON.
        unsafe { pack_rows_of(rows, packed) }
    }

    #[inline(always)]
    fn packed_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL> {
        if packed.len() != panel.len() {
            return [[0; PANEL]; PANEL];
        }
        // SAFETY: both have one length. Only functions of this file's table come here; `detect` found
        // dot products.
        unsafe { group_sums(packed, panel) }
    }
}

/// `sum[i] += left[4 i..4 i + 4] . right[4 LANE..4 LANE + 4]`; the intrinsic is not stable.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn add_products<const LANE: u8>(mut sum: int32x4_t, left: int32x4_t, right: int8x8_t) -> int32x4_t {
    // SAFETY: one instruction on registers, of a feature that this function enables.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{lane}]",
            inout(vreg) sum, in(vreg) left, in(vreg) right, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// The first four inputs of four channels of a block, and their last four.
#[target_feature(enable = "neon")]
#[inline]
fn halves(channels: &[[i8; PANEL]; PANEL / 2]) -> [int32x4_t; 2] {
    // SAFETY: it reads 32 bytes, which the channels are.
    let halves = unsafe { vld2q_s32(channels.as_ptr().cast()) };
    [halves.0, halves.1]
}

/// Adds the products of four rows of the packed group with half a channel.
macro_rules! add {
    ($sum:literal $rows:literal $weights:literal $lane:literal) => {
        concat!("sdot v", $sum, ".4s, v", $rows, ".16b, v", $weights, ".4b[", $lane, "]\n")
    };
}

/// The load of a register that is free, or none where nothing follows.
macro_rules! load {
    ($register:literal $base:literal "") => {
        ""
    };
    ($register:literal $base:literal $offset:tt) => {
        concat!("ldr ", $register, ", [", $base, ", ", $offset, "]\n")
    };
}

/// One block, at `$offset` from the bases, and the first loads of the one at `$next`.
macro_rules! block {
    ($offset:tt then $next:tt) => {
        concat!(
            add!("16" "0" "8" "0"), load!("q2" "x10" $offset),
            add!("17" "1" "8" "0"), load!("q3" "x11" $offset),
            add!("18" "0" "9" "0"), load!("d12" "x4" $offset),
            add!("19" "1" "9" "0"), load!("d13" "x5" $offset),
            add!("20" "0" "10" "0"), load!("d14" "x6" $offset),
            add!("21" "1" "10" "0"), load!("d15" "x7" $offset),
            add!("22" "0" "11" "0"),
            add!("23" "1" "11" "0"),
            add!("16" "2" "8" "1"),
            add!("17" "3" "8" "1"),
            add!("18" "2" "9" "1"),
            add!("19" "3" "9" "1"),
            add!("20" "2" "10" "1"),
            add!("21" "3" "10" "1"),
            add!("22" "2" "11" "1"),
            add!("23" "3" "11" "1"),
            add!("24" "0" "12" "0"), load!("d8" "x0" $next),
            add!("25" "1" "12" "0"), load!("d9" "x1" $next),
            add!("26" "0" "13" "0"), load!("d10" "x2" $next),
            add!("27" "1" "13" "0"), load!("d11" "x3" $next),
            add!("28" "0" "14" "0"),
            add!("29" "1" "14" "0"),
            add!("30" "0" "15" "0"),
            add!("31" "1" "15" "0"),
            add!("24" "2" "12" "1"), load!("q0" "x8" $next),
            add!("25" "3" "12" "1"), load!("q1" "x9" $next),
            add!("26" "2" "13" "1"),
            add!("27" "3" "13" "1"),
            add!("28" "2" "14" "1"),
            add!("29" "3" "14" "1"),
            add!("30" "2" "15" "1"),
            add!("31" "3" "15" "1"),
        )
    };
}

/// The whole loop: pointers, the first loads, sums of zero, rounds of four blocks, and the last four.
macro_rules! quads {
    () => {
        concat!(
            "add x1, x0, #8\n",
            "add x2, x0, #16\n",
            "add x3, x0, #24\n",
            "add x4, x0, #32\n",
            "add x5, x0, #40\n",
            "add x6, x0, #48\n",
            "add x7, x0, #56\n",
            "add x9, x8, #16\n",
            "add x10, x8, #32\n",
            "add x11, x8, #48\n",
            "add x13, x12, #64\n",
            "add x14, x12, #128\n",
            "add x15, x12, #192\n",
            "add x16, x12, #256\n",
            load!("d8" "x0" "x12"), load!("d9" "x1" "x12"), load!("d10" "x2" "x12"), load!("d11" "x3" "x12"),
            load!("q0" "x8" "x12"), load!("q1" "x9" "x12"),
            "movi v16.4s, #0\n", "movi v17.4s, #0\n", "movi v18.4s, #0\n", "movi v19.4s, #0\n",
            "movi v20.4s, #0\n", "movi v21.4s, #0\n", "movi v22.4s, #0\n", "movi v23.4s, #0\n",
            "movi v24.4s, #0\n", "movi v25.4s, #0\n", "movi v26.4s, #0\n", "movi v27.4s, #0\n",
            "movi v28.4s, #0\n", "movi v29.4s, #0\n", "movi v30.4s, #0\n", "movi v31.4s, #0\n",
            "cbz x12, 3f\n",
            "2:\n",
            block!("x12" then "x13"),
            block!("x13" then "x14"),
            block!("x14" then "x15"),
            block!("x15" then "x16"),
            "adds x12, x12, #256\n",
            "add x13, x13, #256\n",
            "add x14, x14, #256\n",
            "add x15, x15, #256\n",
            "add x16, x16, #256\n",
            "b.ne 2b\n",
            "3:\n",
            block!("x12" then "x13"),
            block!("x13" then "x14"),
            block!("x14" then "x15"),
            block!("x15" then ""),
        )
    };
}

/// The sums of a packed group with a panel of `4 * quads` blocks: of each channel, those of rows 0 to
/// 3 and of rows 4 to 7.
///
/// Scheduled for cores that issue in order: a load stands beside an `sdot` and is used eight of them
/// later. Its register offset is there for llvm-mca's Cortex-A55, where it takes as long as `sdot`;
/// anything shorter waits a cycle, so a round has four blocks and all its additions at its end. x0 to
/// x7 point to the channels and x8 to x11 to the rows of the last four blocks, x12 to x16 hold the
/// offsets of four blocks and of the next; v0 to v3 are rows, v8 to v15 channels, v16 to v31 sums.
///
/// # Safety
/// The panel and the group have `4 * quads` blocks; the CPU has dot products.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn quad_sums(
    packed: *const Block,
    panel: *const Block,
    quads: NonZeroUsize,
) -> [[int32x4_t; 2]; PANEL] {
    const QUAD: usize = 4 * size_of::<Block>();
    let last = (quads.get() - 1) * QUAD;
    let (sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7);
    let (sum8, sum9, sum10, sum11, sum12, sum13, sum14, sum15);
    // SAFETY: it reads 64 bytes of each block of the panel and of the group, which the caller vouches
    // for; the last four blocks are followed by no load.
    unsafe {
        asm!(
            quads!(),
            inout("x0") panel.byte_add(last) => _,
            inout("x8") packed.byte_add(last) => _,
            inout("x12") last.wrapping_neg() => _,
            out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _,
            out("x7") _, out("x9") _, out("x10") _, out("x11") _, out("x13") _, out("x14") _,
            out("x15") _, out("x16") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v8") _, out("v9") _,
            out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") sum0, out("v17") sum1, out("v18") sum2, out("v19") sum3,
            out("v20") sum4, out("v21") sum5, out("v22") sum6, out("v23") sum7,
            out("v24") sum8, out("v25") sum9, out("v26") sum10, out("v27") sum11,
            out("v28") sum12, out("v29") sum13, out("v30") sum14, out("v31") sum15,
            options(readonly, nostack)
        );
    }
    [
        [sum0, sum1],
        [sum2, sum3],
        [sum4, sum5],
        [sum6, sum7],
        [sum8, sum9],
        [sum10, sum11],
        [sum12, sum13],
        [sum14, sum15],
    ]
}

/// The first four inputs of rows 0 to 3 and of rows 4 to 7, then their last four.
#[target_feature(enable = "neon")]
#[inline]
fn pack_block(rows: Block) -> [int32x4_t; 4] {
    let [a, b, c, d]: [int32x4_t; 4] = bytemuck::must_cast(rows);
    [vuzp1q_s32(a, b), vuzp1q_s32(c, d), vuzp2q_s32(a, b), vuzp2q_s32(c, d)]
}

/// # Safety
/// The rows are as long as `packed`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn pack_rows_of<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block] {
    for (index, slot) in packed.iter_mut().enumerate() {
        // SAFETY: the row is as long as the slice of blocks.
        let block = rows.map(|row| unsafe { *row.get_unchecked(index) });
        slot.write(bytemuck::must_cast(pack_block(block)));
    }
    // SAFETY: each of them was written.
    unsafe { packed.assume_init_ref() }
}

/// # Safety
/// The panel is as long as the group.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn group_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL> {
    let mut sums = [[vdupq_n_s32(0); 2]; PANEL];
    if let Some(quads) = NonZeroUsize::new(panel.len() / 4) {
        // SAFETY: both have so many blocks, and dot products are there.
        sums = unsafe { quad_sums(packed.as_ptr(), panel.as_ptr(), quads) };
    }
    let whole = panel.len() & !3;
    for (rows, block) in packed.iter().zip(panel).skip(whole) {
        let rows: [[int32x4_t; 2]; 2] = bytemuck::must_cast(*rows);
        for (sums, channel) in sums.iter_mut().zip(block) {
            let channel: int8x8_t = bytemuck::must_cast(*channel);
            for ((sum, first), last) in sums.iter_mut().zip(rows[0]).zip(rows[1]) {
                *sum = add_products::<0>(*sum, first, channel);
                *sum = add_products::<1>(*sum, last, channel);
            }
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let mut turned = [[[0; PANEL / 2]; 2]; PANEL];
    for (half, rows) in turned.chunks_exact_mut(PANEL / 2).enumerate() {
        let low = transpose([a[half], b[half], c[half], d[half]]);
        let high = transpose([e[half], f[half], g[half], h[half]]);
        for (row, (low, high)) in rows.iter_mut().zip(low.into_iter().zip(high)) {
            *row = [bytemuck::must_cast(low), bytemuck::must_cast(high)];
        }
    }
    bytemuck::must_cast(turned)
}

/// Rows of four channels from channels of four rows.
#[target_feature(enable = "neon")]
#[inline]
fn transpose([a, b, c, d]: [int32x4_t; 4]) -> [int32x4_t; 4] {
    let (low, next) = (vzip1q_s32(a, c), vzip1q_s32(b, d));
    let (high, last) = (vzip2q_s32(a, c), vzip2q_s32(b, d));
    [vzip1q_s32(low, next), vzip2q_s32(low, next), vzip1q_s32(high, last), vzip2q_s32(high, last)]
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    // Channels 0 to 3 and 4 to 7.
    let mut sums = [[vdupq_n_s32(0); 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let [low, high]: &[_; 2] = bytemuck::must_cast_ref(block);
        let weights = [halves(low), halves(high)];
        for (sums, row) in sums.iter_mut().zip(&rows) {
            // SAFETY: the row is as long as the panel.
            let row: int8x8_t = bytemuck::must_cast(unsafe { *row.get_unchecked(index) });
            for (sum, [first, last]) in sums.iter_mut().zip(weights) {
                *sum = add_products::<0>(*sum, first, row);
                *sum = add_products::<1>(*sum, last, row);
            }
        }
    }
    sums.map(|sums| bytemuck::must_cast(sums))
}
