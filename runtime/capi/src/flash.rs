//! The flash of a C program: three functions, as the runtime's slots want it.
#![expect(unsafe_code, reason = "functions of C")]

use core::ffi::c_void;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Flash of the caller. Each function returns 0, or a number of its own, which ends the call with
/// `CODA_STATUS_FLASH`. Offsets are bytes from the start of the flash.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flash {
    /// `sizeof` of this structure.
    pub bytes: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// Reads any bytes.
    pub read: Option<
        unsafe extern "C" fn(user: *mut c_void, offset: u32, to: *mut c_void, bytes: usize) -> i32,
    >,
    /// Writes a multiple of 64 bytes at a multiple of 64.
    pub write: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            offset: u32,
            from: *const c_void,
            bytes: usize,
        ) -> i32,
    >,
    /// Erases from one offset to another, both multiples of `erase_bytes`.
    pub erase: Option<unsafe extern "C" fn(user: *mut c_void, from: u32, to: u32) -> i32>,
    /// Bytes of the flash.
    pub capacity: u32,
    /// Bytes of a sector: a multiple of 64.
    pub erase_bytes: u32,
}

/// What a function of the flash returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashFailure(pub(crate) i32);

impl NorFlashError for FlashFailure {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

const fn done(code: i32) -> Result<(), FlashFailure> {
    if code == 0 { Ok(()) } else { Err(FlashFailure(code)) }
}

/// No function is there.
const ABSENT: FlashFailure = FlashFailure(i32::MIN);

impl ErrorType for Flash {
    type Error = FlashFailure;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashFailure> {
        let read = self.read.ok_or(ABSENT)?;
        // SAFETY: the slice is memory of so many bytes; that the function is one for this flash is the
        // contract of `coda_updates_init`.
        done(unsafe { read(self.user, offset, bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl NorFlash for Flash {
    // The slots write blocks of 64 bytes, and check this against nothing larger.
    const WRITE_SIZE: usize = 64;
    // The real size is checked by `coda_updates_init`.
    const ERASE_SIZE: usize = 64;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashFailure> {
        let erase = self.erase.ok_or(ABSENT)?;
        // SAFETY: by the contract of `coda_updates_init`.
        done(unsafe { erase(self.user, from, to) })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashFailure> {
        let write = self.write.ok_or(ABSENT)?;
        // SAFETY: as in `read`; the memory is only read.
        done(unsafe { write(self.user, offset, bytes.as_ptr().cast(), bytes.len()) })
    }
}
