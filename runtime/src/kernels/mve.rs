//! Cortex-M55 and M85 with the vector extension MVE (Helium).
//!
//! int8 products: two blocks at a time. A channel's inputs of both blocks are 64 bytes apart, so one
//! gather of two double words brings them beside each other, as the row's inputs lie; `vmladava`
//! adds their 16 products to a core register. Rust has no intrinsics, hence assembly.

use super::compact::{self, RowSums};
use super::portable::Block;
use super::{Kernels, PANEL, cortex_m};
use core::arch::asm;

pub(super) const NAME: &str = "mve";

static KERNELS: Kernels = Kernels {
    name: NAME,
    gemm_f32_qd8_qc8w: compact::gemm_int8::<Mve>,
    gemm_f32_qd8_qc4w: if cfg!(feature = "int4") {
        compact::gemm_int4::<Mve>
    } else {
        |_, _, _, _| {}
    },
    ..compact::KERNELS
};

/// The table, if this core has MVE. A program that names no other table has no other in its code.
#[must_use]
pub fn detect() -> Option<&'static Kernels> {
    cortex_m::has_mve().then_some(&KERNELS)
}

struct Mve;

impl RowSums for Mve {
    /// Pairs of blocks, and the last one of an odd number beside a row of zeros.
    fn one(row: &[[i8; PANEL]], panel: &[Block], sums: &mut [i32; PANEL]) {
        let (inputs, _) = row.as_chunks::<2>();
        let (blocks, last_block) = panel.as_chunks::<2>();
        for (half, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *sums = [0; PANEL / 2];
            add_pairs(sums, inputs, blocks, half);
        }
        if let ([input, ..], [block]) = (row.get(2 * blocks.len()..).unwrap_or(&[]), last_block) {
            let (inputs, blocks) = ([[*input, [0; PANEL]]], [[*block; 2]]);
            for (half, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                add_pairs(sums, &inputs, &blocks, half);
            }
        }
    }
}

/// Where channels 0 to 3 of two neighbouring blocks are, in bytes.
static OFFSETS: [[u64; 2]; 4] = [[0, 64], [8, 72], [16, 80], [24, 88]];

/// Adds the products of pairs of blocks with four channels, the first four or (`half` 1) the last.
fn add_pairs(
    sums: &mut [i32; PANEL / 2],
    inputs: &[[[i8; PANEL]; 2]],
    blocks: &[[Block; 2]],
    half: usize,
) {
    let count = inputs.len().min(blocks.len());
    if count == 0 {
        return;
    }
    let [a, b, c, d] = sums;
    // SAFETY: the loop reads `count` inputs of 16 bytes and, of `count` pairs of blocks of 128 bytes,
    // the 32 bytes of four channels in each block, which the slices hold; it runs only on a core
    // with MVE. q0 is the input, q1 the weights, q4 to q7 the offsets. The sums are in even
    // registers, as `vmladava` demands.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vldrw.u32 q4, [{offsets}]",
            "vldrw.u32 q5, [{offsets}, #16]",
            "vldrw.u32 q6, [{offsets}, #32]",
            "vldrw.u32 q7, [{offsets}, #48]",
            "2:",
            "vldrb.u8 q0, [{input}], #16",
            "vldrd.u64 q1, [{weights}, q4]",
            "subs {count}, {count}, #1",
            "vmladava.s8 r0, q0, q1",
            "vldrd.u64 q2, [{weights}, q5]",
            "vmladava.s8 r2, q0, q2",
            "vldrd.u64 q3, [{weights}, q6]",
            "vmladava.s8 r4, q0, q3",
            "vldrd.u64 q1, [{weights}, q7]",
            "add {weights}, {weights}, #128",
            "vmladava.s8 r8, q0, q1",
            "bne 2b",
            offsets = in(reg) OFFSETS.as_ptr(),
            input = inout(reg) inputs.as_ptr() => _,
            weights = inout(reg) blocks.as_ptr().cast::<u8>().wrapping_add(half * 32) => _,
            count = inout(reg) count => _,
            inout("r0") *a, inout("r2") *b, inout("r4") *c, inout("r8") *d,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            options(readonly, nostack)
        );
    }
}
