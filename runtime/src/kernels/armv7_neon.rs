//! 32-bit Arm with NEON (Cortex-A7, A9).
//!
//! Only int8 products: 32-bit NEON flushes subnormal floats to zero, so floats stay with the scalar
//! unit and keep their bits. The intrinsics are not stable, hence assembly. Two products of i8 are
//! at most 2 * 127 * 128 = 32,512 and fit an i16, as in the 64-bit table.

use super::portable::{self, Block, BlockSums, Sums};
use super::{Kernels, PANEL};
use core::arch::asm;

pub(super) const NAME: &str = "armv7_neon";

static KERNELS: Kernels = Kernels {
    name: NAME,
    gemm_f32_qd8_qc8w: portable::gemm_int8::<1, Neon>,
    gemm_f32_qd8_qc4w: portable::gemm_int4::<1, Neon>,
    ..portable::KERNELS
};

/// The table, if the operating system says that this CPU has NEON; without one, if the build
/// demands it.
pub(super) fn detect() -> Option<&'static Kernels> {
    has_neon().then_some(&KERNELS)
}

#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
fn has_neon() -> bool {
    const AT_HWCAP: core::ffi::c_ulong = 16;
    const HWCAP_NEON: core::ffi::c_ulong = 1 << 12;
    #[link(name = "c")]
    // SAFETY: declared as in sys/auxv.h; it may be called at any time with any number.
    unsafe extern "C" {
        safe fn getauxval(kind: core::ffi::c_ulong) -> core::ffi::c_ulong;
    }
    getauxval(AT_HWCAP) & HWCAP_NEON != 0
}

#[cfg(not(all(feature = "std", any(target_os = "linux", target_os = "android"))))]
fn has_neon() -> bool {
    cfg!(target_feature = "neon")
}

struct Neon;

/// Four partial sums of each channel of a panel.
type Partial = [[i32; 4]; PANEL];

impl BlockSums for Neon {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[[i8; PANEL]]; ROWS], panel: &[Block]) -> Sums<ROWS> {
        let mut folded = [[0; PANEL]; ROWS];
        for (slot, row) in folded.iter_mut().zip(rows) {
            for (sum, partial) in slot.iter_mut().zip(row_sums(row, panel)) {
                *sum = partial.into_iter().sum();
            }
        }
        folded
    }
}

/// Sums of one row: pairs of blocks, and the last one of an odd number beside a row of zeros.
fn row_sums(row: &[[i8; PANEL]], panel: &[Block]) -> Partial {
    let mut sums = [[0; 4]; PANEL];
    let (inputs, last_input) = row.as_chunks::<2>();
    let (blocks, last_block) = panel.as_chunks::<2>();
    add_pairs(&mut sums, inputs, blocks);
    if let ([input], [block]) = (last_input, last_block) {
        add_pairs(&mut sums, &[[*input, [0; PANEL]]], &[[*block; 2]]);
    }
    sums
}

/// The products of a pair of blocks with four channels, whose weights it loads, added to their sums.
macro_rules! add_four_channels {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "vld1.8 {{d4-d7}}, [{first}]!\n",
            "vld1.8 {{d8-d11}}, [{second}]!\n",
            add_four_channels!(@two "d4" "d5" "d8" "d9" $a $b),
            add_four_channels!(@two "d6" "d7" "d10" "d11" $c $d),
        )
    };
    (@two $first:literal $next:literal $second:literal $last:literal $a:literal $b:literal) => {
        concat!(
            "vmull.s8 q6, d0, ", $first, "\n",
            "vmull.s8 q7, d0, ", $next, "\n",
            "vmlal.s8 q6, d1, ", $second, "\n",
            "vmlal.s8 q7, d1, ", $last, "\n",
            "vpadal.s16 ", $a, ", q6\n",
            "vpadal.s16 ", $b, ", q7\n",
        )
    };
}

/// Adds the products of pairs of blocks with the eight channels.
fn add_pairs(sums: &mut Partial, inputs: &[[[i8; PANEL]; 2]], blocks: &[[Block; 2]]) {
    let count = inputs.len().min(blocks.len());
    if count == 0 {
        return;
    }
    // SAFETY: the loop reads `count` inputs of 16 bytes and `count` pairs of blocks of 128 bytes,
    // which the slices hold, and eight partial sums, which it writes back; it runs only on a CPU
    // with NEON. d0, d1 hold the input, q2 to q5 weights, q6 and q7 products, q8 to q15 sums.
    unsafe {
        asm!(
            ".fpu neon",
            "vldmia {sums}, {{d16-d31}}",
            "2:",
            "vld1.8 {{d0-d1}}, [{input}]!",
            add_four_channels!("q8" "q9" "q10" "q11"),
            add_four_channels!("q12" "q13" "q14" "q15"),
            "add {first}, {first}, #64",
            "add {second}, {second}, #64",
            "subs {count}, {count}, #1",
            "bne 2b",
            "vstmia {sums}, {{d16-d31}}",
            sums = in(reg) sums.as_mut_ptr(),
            input = inout(reg) inputs.as_ptr() => _,
            first = inout(reg) blocks.as_ptr().cast::<u8>() => _,
            second = inout(reg) blocks.as_ptr().cast::<u8>().wrapping_add(64) => _,
            count = inout(reg) count => _,
            out("d0") _, out("d1") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _,
            out("d14") _, out("d15") _, out("d16") _, out("d17") _, out("d18") _, out("d19") _,
            out("d20") _, out("d21") _, out("d22") _, out("d23") _, out("d24") _, out("d25") _,
            out("d26") _, out("d27") _, out("d28") _, out("d29") _, out("d30") _, out("d31") _,
            options(nostack)
        );
    }
}
