//! An instruction that does nothing, at which the emulator's plugin writes its count down.

use core::arch::asm;

/// `instructions.c` knows these encodings; every CPU passes over them.
#[inline(always)]
pub(super) fn marker() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: an unallocated hint, which the architecture defines as a no-operation.
    unsafe {
        asm!("hint #0x60", options(nostack, preserves_flags));
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: as above; this target is compiled to A32 code.
    unsafe {
        asm!(".inst 0xe320f060", options(nostack, preserves_flags));
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a long no-operation, whose address is not accessed.
    unsafe {
        asm!(".byte 0x0f, 0x1f, 0x80, 0xc0, 0xda, 0x00, 0x60", options(nostack, preserves_flags));
    }
}
