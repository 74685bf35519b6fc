//! 64-bit Arm with dot products (Armv8.2: Cortex-A55, A76, Neoverse N1).
//!
//! `sdot` adds four int8 products to each of four sums. A block is read with `ld2`, which puts the
//! first four inputs of four channels into one register and their last four into another, so that
//! `sdot` takes the row's four values from a lane: sums come out as channels, two registers a row.

use super::PANEL;
use super::portable::{Block, BlockSums, Sums, same_length};
use core::arch::aarch64::{int8x8_t, int32x4_t, vdupq_n_s32, vld2q_s32};
use core::arch::asm;
use core::num::NonZeroUsize;

recompiled_table!("neon_dotprod", "neon,dotprod", rows: 12, float_rows: 8, Dotprod);

/// The table, if this CPU has dot products.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("neon", "dotprod").then_some(&KERNELS)
}

/// Rows of the scheduled loop.
const TILE: usize = 12;

struct Dotprod;

impl BlockSums for Dotprod {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        if !same_length(&rows, &[panel]) {
            return [[0; PANEL]; ROWS];
        }
        // SAFETY: the rows are as long as the panel. Only functions of this file's table come here;
        // `detect` found dot products.
        unsafe { block_sums(rows, panel) }
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

/// Adds the products of one half of a block's inputs, in a lane of v4 to v7, with channels.
macro_rules! add_to {
    ($weights:literal, $lane:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            add_to!(@one $weights, $lane, $a, "4"),
            add_to!(@one $weights, $lane, $b, "5"),
            add_to!(@one $weights, $lane, $c, "6"),
            add_to!(@one $weights, $lane, $d, "7"),
        )
    };
    (@one $weights:literal, $lane:literal, $sum:literal, $row:literal) => {
        concat!("sdot v", $sum, ".4s, v", $weights, ".16b, v", $row, ".4b[", $lane, "]\n")
    };
}

/// The last quarter of four rows, each followed by the load of another row into its place.
macro_rules! add_and_load {
    ($($sum:literal $row:literal $next:literal),*) => {
        concat!($(
            add_to!(@one "3", "1", $sum, $row),
            "ldr d", $row, ", [x", $next, ", {offset}, lsl #3]\n",
        )*)
    };
}

/// Adds the products of [`TILE`] rows with a panel to their sums of channels 0 to 3 and 4 to 7.
///
/// Scheduled for cores that issue in order: an instruction is at least four multiplications after what
/// it waits for, eight after `ld2`. v0 to v3 hold a block, v4 to v7 eight inputs of four rows, v8 to
/// v31 the sums, x0 to x11 the rows.
///
/// # Safety
/// The panel and every row have `blocks` blocks; the CPU has dot products.
#[inline(always)]
unsafe fn tile_sums(
    rows: &[*const [i8; PANEL]; TILE],
    panel: *const Block,
    blocks: NonZeroUsize,
    sums: &mut [[int32x4_t; 2]; TILE],
) {
    // SAFETY: it reads `blocks` blocks of the panel and of each row, which the caller vouches for: in
    // the last round it loads the last block again instead of one behind it. It writes the sums.
    unsafe {
        asm!(
            "ldp x0, x1, [{rows}]",
            "ldp x2, x3, [{rows}, #16]",
            "ldp x4, x5, [{rows}, #32]",
            "ldp x6, x7, [{rows}, #48]",
            "ldp x8, x9, [{rows}, #64]",
            "ldp x10, x11, [{rows}, #80]",
            "ld1 {{v8.4s-v11.4s}}, [{sums}], #64",
            "ld1 {{v12.4s-v15.4s}}, [{sums}], #64",
            "ld1 {{v16.4s-v19.4s}}, [{sums}], #64",
            "ld1 {{v20.4s-v23.4s}}, [{sums}], #64",
            "ld1 {{v24.4s-v27.4s}}, [{sums}], #64",
            "ld1 {{v28.4s-v31.4s}}, [{sums}]",
            "sub {sums}, {sums}, #320",
            "ld2 {{v0.4s, v1.4s}}, [{panel}], #32",
            "ldr d4, [x0, {offset}, lsl #3]",
            "ldr d5, [x1, {offset}, lsl #3]",
            "ldr d6, [x2, {offset}, lsl #3]",
            "ldr d7, [x3, {offset}, lsl #3]",
            "2:",
            "ld2 {{v2.4s, v3.4s}}, [{panel}], #32",
            add_to!("0", "0", "8", "10", "12", "14"),
            add_to!("1", "1", "8", "10", "12", "14"),
            add_to!("2", "0", "9", "11", "13", "15"),
            add_and_load!("9" "4" "4", "11" "5" "5", "13" "6" "6", "15" "7" "7"),
            add_to!("0", "0", "16", "18", "20", "22"),
            add_to!("1", "1", "16", "18", "20", "22"),
            add_to!("2", "0", "17", "19", "21", "23"),
            add_and_load!("17" "4" "8", "19" "5" "9", "21" "6" "10", "23" "7" "11"),
            "subs {blocks}, {blocks}, #1",
            "sub {before}, {panel}, #64",
            add_to!("0", "0", "24", "26", "28", "30"),
            "csel {panel}, {panel}, {before}, ne",
            "cinc {offset}, {offset}, ne",
            add_to!("1", "1", "24", "26", "28", "30"),
            "ld2 {{v0.4s, v1.4s}}, [{panel}], #32",
            add_to!("2", "0", "25", "27", "29", "31"),
            add_and_load!("25" "4" "0", "27" "5" "1", "29" "6" "2", "31" "7" "3"),
            "b.ne 2b",
            "st1 {{v8.4s-v11.4s}}, [{sums}], #64",
            "st1 {{v12.4s-v15.4s}}, [{sums}], #64",
            "st1 {{v16.4s-v19.4s}}, [{sums}], #64",
            "st1 {{v20.4s-v23.4s}}, [{sums}], #64",
            "st1 {{v24.4s-v27.4s}}, [{sums}], #64",
            "st1 {{v28.4s-v31.4s}}, [{sums}]",
            rows = in(reg) rows.as_ptr(),
            panel = inout(reg) panel => _,
            blocks = inout(reg) blocks.get() => _,
            sums = inout(reg) sums.as_mut_ptr() => _,
            offset = inout(reg) 0usize => _,
            before = out(reg) _,
            out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
            out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
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
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    // Channels 0 to 3 and 4 to 7.
    let mut sums = [[vdupq_n_s32(0); 2]; ROWS];
    if let (TILE, Some(rows), Some(sums)) = (ROWS, rows.first_chunk(), sums.first_chunk_mut()) {
        let rows = rows.map(<[_]>::as_ptr);
        if let Some(blocks) = NonZeroUsize::new(panel.len()) {
            // SAFETY: the rows are as long as the panel.
            unsafe { tile_sums(&rows, panel.as_ptr(), blocks, sums) };
        }
    } else {
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
    }
    sums.map(|sums| bytemuck::must_cast(sums))
}
