//! 64-bit Arm with int8 matrix products (Armv8.6: Cortex-A510, A710, Neoverse N2).
//!
//! `smmla` adds to a 2 by 2 matrix the products of two rows with two channels, eight values each:
//! a register of `Panel8x8` as it lies in a package.

use super::PANEL;
use super::neon_packed::{self, Group, GroupSums};
use super::portable::{self, Block, BlockSums, PortableSums, Sums, same_length};
use core::arch::aarch64::{int8x16_t, int32x4_t, vdupq_n_s32};
use core::arch::asm;
use core::mem::MaybeUninit;
use half::f16;

recompiled_table! {
    "neon_i8mm", "neon,dotprod,i8mm", rows: portable,
    f32: portable::gemm_float::<8, f32, PortableSums>,
    f16: portable::gemm_float::<8, f16, PortableSums>,
    int8: neon_packed::gemm_int8::<MatrixProducts>,
    int4: neon_packed::gemm_int4::<MatrixProducts>,
}

/// The table, if this CPU has int8 matrix products.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("neon", "dotprod", "i8mm").then_some(&KERNELS)
}

block_sums!(MatrixProducts, block_sums);

impl GroupSums for MatrixProducts {
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
        // matrix products.
        unsafe { group_sums(packed, panel) }
    }
}

/// `sum += left right^T`, left two rows of eight, right two channels of eight, sum row by row; the
/// intrinsic is not stable.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn multiply(mut sum: int32x4_t, left: int8x16_t, right: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, of a feature that this function enables.
    unsafe {
        asm!(
            "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) left, in(vreg) right,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    // Of each pair of rows; the odd entries stay unused.
    let mut sums = [[vdupq_n_s32(0); PANEL / 2]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*block);
        for first in (0..ROWS).step_by(2) {
            // An odd last row stands beside itself.
            let second = if first + 1 < ROWS { first + 1 } else { first };
            // SAFETY: the row is as long as the panel.
            let left = unsafe { *rows[first].get_unchecked(index) };
            // SAFETY: the row is as long as the panel.
            let right = unsafe { *rows[second].get_unchecked(index) };
            let pair: int8x16_t = bytemuck::must_cast([left, right]);
            for (sum, weights) in sums[first].iter_mut().zip(weights) {
                *sum = multiply(*sum, pair, weights);
            }
        }
    }
    folded(sums)
}

/// # Safety
/// The rows are as long as `packed`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn pack_rows_of<'p>(rows: Group<'_>, packed: &'p mut [MaybeUninit<Block>]) -> &'p [Block] {
    for (index, slot) in packed.iter_mut().enumerate() {
        // SAFETY: the row is as long as the slice of blocks.
        slot.write(rows.map(|row| unsafe { *row.get_unchecked(index) }));
    }
    // SAFETY: each of them was written.
    unsafe { packed.assume_init_ref() }
}

/// # Safety
/// The panel is as long as the group.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn group_sums(packed: &[Block], panel: &[Block]) -> Sums<PANEL> {
    let mut sums = [[vdupq_n_s32(0); PANEL / 2]; PANEL / 2];
    for (rows, block) in packed.iter().zip(panel) {
        let rows: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*rows);
        let weights: [int8x16_t; PANEL / 2] = bytemuck::must_cast(*block);
        for (sums, pair) in sums.iter_mut().zip(rows) {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = multiply(*sum, pair, weights);
            }
        }
    }
    let mut spread = [[vdupq_n_s32(0); PANEL / 2]; PANEL];
    spread.iter_mut().step_by(2).zip(sums).for_each(|(to, from)| *to = from);
    folded(spread)
}

/// Sums of each row from those of pairs of rows and pairs of channels.
#[target_feature(enable = "neon")]
#[inline]
fn folded<const ROWS: usize>(sums: [[int32x4_t; PANEL / 2]; ROWS]) -> Sums<ROWS> {
    let mut folded = [[0; PANEL]; ROWS];
    for first in (0..ROWS).step_by(2) {
        for (channels, sum) in (0..PANEL).step_by(2).zip(sums[first]) {
            let sums: [[i32; 2]; 2] = bytemuck::must_cast(sum);
            for (row, sums) in folded.iter_mut().skip(first).zip(sums) {
                row[channels..channels + 2].copy_from_slice(&sums);
            }
        }
    }
    folded
}
