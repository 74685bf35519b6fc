//! WebAssembly with 128-bit SIMD. A module has it or has not: there is nothing to detect at run time.
//!
//! int8 products: both sides widened to i16, then `i32x4.dot_i16x8_s`.

use super::PANEL;
use super::portable::{self, Block, BlockSums, PortableSums, Sums, same_length};
use core::arch::wasm32::{
    i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4, i32x4_add, i32x4_dot_i16x8,
    i32x4_shuffle, i64x2_splat, v128,
};
use half::f16;

recompiled_table! {
    "simd128", "simd128", rows: portable,
    f32: portable::gemm_float::<4, f32, PortableSums>,
    f16: portable::gemm_float::<4, f16, PortableSums>,
    int8: portable::gemm_int8::<2, Simd128>,
    int4: portable::gemm_int4::<2, Simd128>,
}

/// The table, if this module was built with SIMD.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("simd128").then_some(&KERNELS)
}

block_sums!(Simd128, block_sums);

/// Four sums from four registers of four partial sums.
#[target_feature(enable = "simd128")]
#[inline]
fn fold([a, b, c, d]: [v128; 4]) -> v128 {
    let even = i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b));
    let odd = i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(c, d), i32x4_shuffle::<1, 3, 5, 7>(c, d));
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(even, odd), i32x4_shuffle::<1, 3, 5, 7>(even, odd))
}

/// # Safety
/// Every row is as long as the panel.
#[target_feature(enable = "simd128")]
#[inline]
unsafe fn block_sums<const ROWS: usize>(
    rows: [&[[i8; PANEL]]; ROWS],
    panel: &[Block],
) -> Sums<ROWS> {
    let mut sums = [[i32x4(0, 0, 0, 0); PANEL]; ROWS];
    for (index, block) in panel.iter().enumerate() {
        let weights: [v128; PANEL / 2] = bytemuck::must_cast(*block);
        for (sums, row) in sums.iter_mut().zip(rows) {
            // SAFETY: the row is as long as the panel.
            let row = i64x2_splat(bytemuck::must_cast(unsafe { *row.get_unchecked(index) }));
            let row = i16x8_extend_low_i8x16(row);
            let (channels, _) = sums.as_chunks_mut::<2>();
            for (sums, weights) in channels.iter_mut().zip(weights) {
                let low = i32x4_dot_i16x8(row, i16x8_extend_low_i8x16(weights));
                let high = i32x4_dot_i16x8(row, i16x8_extend_high_i8x16(weights));
                sums[0] = i32x4_add(sums[0], low);
                sums[1] = i32x4_add(sums[1], high);
            }
        }
    }
    let mut folded = [[0; PANEL]; ROWS];
    for (slot, sums) in folded.iter_mut().zip(sums) {
        let [a, b, c, d, e, f, g, h] = sums;
        *slot = bytemuck::must_cast([fold([a, b, c, d]), fold([e, f, g, h])]);
    }
    folded
}
