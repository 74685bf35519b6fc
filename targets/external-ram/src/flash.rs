//! Flash that the program can write, simulated in RAM that a reset leaves as it is. For a real board
//! replace [`Flash`] by the one of its HAL, which implements the same traits, and keep [`mapped`].
#![allow(unsafe_code, reason = "reads and writes the region of the linker script")]

use core::ops::Range;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Bytes of a slot: 32 sectors.
pub(crate) const SLOT_BYTES: u32 = 128 * 1024;
/// Where the slots are, from the start of the flash.
pub(crate) const STARTS: [u32; 2] = [0, SLOT_BYTES];
/// Behind the slots: a number that a reset leaves as it is, like a backup register.
const STARTED_AT: usize = 2 * SLOT_BYTES as usize;

unsafe extern "C" {
    static _slots_start: u8;
    static _slots_end: u8;
}

fn start() -> *mut u8 {
    (&raw const _slots_start).cast_mut()
}

/// The flash. There is one.
pub(crate) struct Flash(());

/// The flash refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlashError(NorFlashErrorKind);

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl Flash {
    /// The flash, and how often the program has started before since power came.
    ///
    /// # Safety
    /// Once: there must be no other `Flash`.
    pub(crate) unsafe fn take() -> (Self, u32) {
        const MARK: u32 = 0xc0da_0000;
        let word = start().wrapping_add(STARTED_AT).cast::<u32>();
        // SAFETY: the word is in the region of the linker script, aligned, and used here only.
        let found = unsafe { word.read_volatile() };
        let started = if found & 0xffff_0000 == MARK { found & 0xffff } else { 0 };
        // SAFETY: as above.
        unsafe { word.write_volatile(MARK | (started + 1)) };
        (Self(()), started)
    }
}

/// Bytes of the flash where they lie.
///
/// # Safety
/// They must not be erased or written as long as the slice is in use.
pub(crate) unsafe fn mapped(range: Range<u32>) -> &'static [u8] {
    let first = start().wrapping_add(range.start as usize);
    // SAFETY: a range that slots give lies in the region, which is initialised memory of this
    // program; the caller keeps it unwritten.
    unsafe { core::slice::from_raw_parts(first, range.len()) }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_read(self, offset, bytes.len()).map_err(FlashError)?;
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: `check_read` has put the bytes inside the region.
            *byte = unsafe { start().wrapping_add(offset as usize + index).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        STARTED_AT
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 32;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to).map_err(FlashError)?;
        for offset in from..to {
            // SAFETY: `check_erase` has put the bytes inside the region.
            unsafe { start().wrapping_add(offset as usize).write_volatile(0xff) };
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len()).map_err(FlashError)?;
        for (index, byte) in bytes.iter().enumerate() {
            let cell = start().wrapping_add(offset as usize + index);
            // SAFETY: `check_write` has put the bytes inside the region.
            let found = unsafe { cell.read_volatile() };
            // Bits only go from 1 to 0.
            // SAFETY: as above.
            unsafe { cell.write_volatile(found & byte) };
        }
        Ok(())
    }
}

const _: () = assert!(SLOT_BYTES as usize % Flash::ERASE_SIZE == 0);
