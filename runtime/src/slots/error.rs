//! Why a slot cannot be read or written.

use core::fmt;
use embedded_storage::nor_flash::NorFlashError;

/// Why a slot cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotError<E> {
    /// The slots do not fit the flash.
    Layout,
    /// More bytes than there is room for, or fewer than were announced.
    Length {
        /// Bytes that fit, or that were announced.
        most: u32,
        /// Bytes found.
        found: usize,
    },
    /// The slot to keep is not in the flash any more.
    Stale,
    /// Power failed again and again while records were written, so that what reads right now may
    /// not at a later start, and no place is left to write it again. Nothing was erased: the device
    /// goes on with the task it has, but takes no update any more. One with a task outside the slots
    /// may erase both and begin anew.
    Unconfirmed,
    /// The sequence number is at its end.
    Sequence,
    /// The flash does not hold what was written.
    Verify,
    /// The flash's own error.
    Flash(E),
}

impl<E: NorFlashError> From<E> for SlotError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

impl<E: fmt::Debug> fmt::Display for SlotError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str(
                "the slots must be whole sectors of the flash that do not overlap, of more than \
                 640 bytes, and its words must divide 64 bytes",
            ),
            Self::Length { most, found } => {
                write!(f, "the payload or piece has {found} bytes, the slot takes {most}")
            }
            Self::Stale => f.write_str("the slot to keep has been overwritten: look for it again"),
            Self::Unconfirmed => f.write_str(
                "the record of the slot to keep may be cut, and no place is left to write it again: \
                 updates go on when both slots are erased",
            ),
            Self::Sequence => f.write_str("the sequence number of the slots is at its end"),
            Self::Verify => f.write_str("the flash does not hold what was written to it"),
            Self::Flash(error) => write!(f, "the flash reports {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for SlotError<E> {}
