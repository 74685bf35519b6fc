//! What the linker placed where.
#![allow(unsafe_code, reason = "names what the linker script defines")]

unsafe extern "C" {
    // From the linker script of cortex-m-rt or riscv-rt.
    static __stext: u32;
    static __etext: u32;
    static __srodata: u32;
    static __erodata: u32;
}

/// Bytes of code and constants, the package not counted.
pub(crate) fn code_bytes() -> usize {
    let text = (&raw const __etext).addr() - (&raw const __stext).addr();
    text + (&raw const __erodata).addr() - (&raw const __srodata).addr()
}
