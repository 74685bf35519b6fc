//! What a panic does on bare metal. No input should cause one: it would be a fault of the library.
#![expect(unsafe_code, reason = "a function of the C library")]

unsafe extern "C" {
    /// Of the C library.
    fn abort() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: `abort` may be called at any time and does not return.
    unsafe { abort() }
}
