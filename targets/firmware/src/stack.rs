//! How deep the stack went: it is painted, and the paint that is left is counted.
#![allow(unsafe_code, reason = "reads and writes the free part of the stack")]

use core::ptr::from_ref;

/// What free words hold.
const PAINT: u32 = 0x5aa5_a55a;
/// Bytes below the stack pointer that the painting itself may use.
const MARGIN: usize = 512;

unsafe extern "C" {
    /// End of the static variables, from the linker script of cortex-m-rt or riscv-rt.
    static __sheap: u32;
    /// Top of the stack, from the same.
    static _stack_start: u32;
}

fn bottom() -> *const u32 {
    &raw const __sheap
}

fn top() -> usize {
    (&raw const _stack_start).addr()
}

/// Bytes between the static variables and the top of the stack.
pub(crate) fn room() -> usize {
    top() - bottom().addr()
}

/// Paints all that is free.
#[inline(never)]
pub(crate) fn paint() {
    let here = 0u32;
    let end = from_ref(&here).addr() - MARGIN;
    let mut word = bottom().cast_mut();
    while word.addr() < end {
        // SAFETY: between the static variables and the stack pointer less a margin nothing lives;
        // both ends come from the linker script and the stack pointer.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
}

/// Bytes from the top of the stack to the deepest word written since [`paint`].
pub(crate) fn depth() -> usize {
    let mut word = bottom();
    // SAFETY: the stack is initialised memory of this program, and the loop ends at its top at the
    // latest.
    while word.addr() < top() && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    top() - word.addr()
}
