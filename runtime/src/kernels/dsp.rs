//! Cortex-M4, M7 and M33 with the DSP extension.
//!
//! int8 products: `sxtb16` widens every other byte of a word, `smlad` adds the products of both
//! halves. The bytes of rows and weights are parted in the same way, so no order has to be restored.
//! Loops are in assembly: two rows and two channels, or one row and four channels, whose four sums
//! stay in registers over a whole panel, whatever the compiler is told to optimise for.

use super::compact::{self, RowSums};
use super::portable::Block;
use super::{Kernels, PANEL, cortex_m};
use core::arch::asm;

pub(super) const NAME: &str = "dsp";

static KERNELS: Kernels = Kernels {
    name: NAME,
    gemm_f32_qd8_qc8w: compact::gemm_int8::<Dsp>,
    gemm_f32_qd8_qc4w: if cfg!(feature = "int4") {
        compact::gemm_int4::<Dsp>
    } else {
        |_, _, _, _| {}
    },
    ..compact::KERNELS
};

/// The table, if this core has the DSP extension. A program that names no other table has no other
/// in its code.
#[must_use]
pub fn detect() -> Option<&'static Kernels> {
    cortex_m::has_dsp().then_some(&KERNELS)
}

struct Dsp;

impl RowSums for Dsp {
    fn one(row: &[[i8; PANEL]], panel: &[Block], sums: &mut [i32; PANEL]) {
        for (half, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *sums = one_row_four_channels(row, panel, half);
        }
    }

    fn two(
        [first, second]: [&[[i8; PANEL]]; 2],
        panel: &[Block],
        [of_first, of_second]: &mut [[i32; PANEL]; 2],
    ) {
        let (of_first, _) = of_first.as_chunks_mut::<2>();
        let (of_second, _) = of_second.as_chunks_mut::<2>();
        for (pair, (of_first, of_second)) in of_first.iter_mut().zip(of_second).enumerate() {
            let [a, b, c, d] = two_rows_two_channels(first, second, panel, 2 * pair);
            (*of_first, *of_second) = ([a, b], [c, d]);
        }
    }
}

/// Sums of two rows with channels `channel` and `channel + 1`: of the first row, then of the second.
#[inline(always)]
fn two_rows_two_channels(
    first: &[[i8; PANEL]],
    second: &[[i8; PANEL]],
    panel: &[Block],
    channel: usize,
) -> [i32; 4] {
    let mut sums = [0; 4];
    let count = panel.len().min(first.len()).min(second.len());
    if count == 0 || channel + 1 >= PANEL {
        return sums;
    }
    let [a, b, c, d] = &mut sums;
    // SAFETY: the loop reads `count` inputs of 8 bytes of each row and, of `count` blocks of 64 bytes,
    // the 16 bytes of two channels, which the slices hold; it runs only on a core with the extension.
    // r6 and r7, which the compiler keeps for itself, are restored.
    unsafe {
        asm!(
            ".cpu cortex-m33",
            "push {{r6, r7}}",
            "2:",
            ".irp half, 0, 4",
            "ldr r4, [r0], #4",
            "ldr r5, [r1], #4",
            "ldr lr, [r2, #\\half]",
            "sxtb16 r6, r4",
            "sxtb16 r4, r4, ror #8",
            "sxtb16 r7, r5",
            "sxtb16 r5, r5, ror #8",
            "sxtb16 r12, lr",
            "sxtb16 lr, lr, ror #8",
            "smlad r8, r6, r12, r8",
            "smlad r10, r7, r12, r10",
            "smlad r8, r4, lr, r8",
            "smlad r10, r5, lr, r10",
            "ldr lr, [r2, #\\half + 8]",
            "sxtb16 r12, lr",
            "sxtb16 lr, lr, ror #8",
            "smlad r9, r6, r12, r9",
            "smlad r11, r7, r12, r11",
            "smlad r9, r4, lr, r9",
            "smlad r11, r5, lr, r11",
            ".endr",
            "add r2, r2, #64",
            "subs r3, r3, #1",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r0") first.as_ptr() => _,
            inout("r1") second.as_ptr() => _,
            inout("r2") panel.as_ptr().cast::<u8>().wrapping_add(channel * PANEL) => _,
            inout("r3") count => _,
            inout("r8") *a, inout("r9") *b, inout("r10") *c, inout("r11") *d,
            out("r4") _, out("r5") _, out("r12") _, out("lr") _,
            options(readonly)
        );
    }
    sums
}

/// Sums of a row with channels 0 to 3 (`half` 0) or 4 to 7.
#[inline(always)]
fn one_row_four_channels(row: &[[i8; PANEL]], panel: &[Block], half: usize) -> [i32; 4] {
    let mut sums = [0; 4];
    let count = panel.len().min(row.len());
    if count == 0 || half > 1 {
        return sums;
    }
    let [a, b, c, d] = &mut sums;
    // SAFETY: the loop reads `count` inputs of 8 bytes and, of `count` blocks of 64 bytes, the 32 bytes
    // of four channels, which the slices hold; it runs only on a core with the extension.
    unsafe {
        asm!(
            ".cpu cortex-m33",
            "2:",
            ".irp half, 0, 4",
            "ldr r4, [r0], #4",
            "sxtb16 r5, r4",
            "sxtb16 r4, r4, ror #8",
            ".irp channel, 0, 1, 2, 3",
            "ldr r12, [r2, #\\half + 8 * \\channel]",
            "sxtb16 lr, r12",
            "sxtb16 r12, r12, ror #8",
            ".if \\channel == 0",
            "smlad r8, r5, lr, r8",
            "smlad r8, r4, r12, r8",
            ".elseif \\channel == 1",
            "smlad r9, r5, lr, r9",
            "smlad r9, r4, r12, r9",
            ".elseif \\channel == 2",
            "smlad r10, r5, lr, r10",
            "smlad r10, r4, r12, r10",
            ".else",
            "smlad r11, r5, lr, r11",
            "smlad r11, r4, r12, r11",
            ".endif",
            ".endr",
            ".endr",
            "add r2, r2, #64",
            "subs r3, r3, #1",
            "bne 2b",
            inout("r0") row.as_ptr() => _,
            inout("r2") panel.as_ptr().cast::<u8>().wrapping_add(half * 4 * PANEL) => _,
            inout("r3") count => _,
            inout("r8") *a, inout("r9") *b, inout("r10") *c, inout("r11") *d,
            out("r4") _, out("r5") _, out("r12") _, out("lr") _,
            options(readonly, nostack)
        );
    }
    sums
}
