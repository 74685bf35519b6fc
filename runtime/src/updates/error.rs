//! Why an update is refused.

use crate::signature::SignatureError;
use crate::slots::SlotError;
use core::fmt;
use embedded_storage::nor_flash::NorFlashError;

/// Why an update is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// Its envelopes, or the package is not the one that was signed.
    Signature(SignatureError),
    /// The slots.
    Slot(SlotError<E>),
    /// Its key has begun as many updates as a key may since the device started.
    Exhausted {
        /// How many.
        erases: u8,
    },
}

impl<E> From<SignatureError> for UpdateError<E> {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

impl<E: NorFlashError> From<SlotError<E>> for UpdateError<E> {
    fn from(error: SlotError<E>) -> Self {
        Self::Slot(error)
    }
}

impl<E: fmt::Debug> fmt::Display for UpdateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::Slot(error) => error.fmt(f),
            Self::Exhausted { erases } => {
                write!(
                    f,
                    "{erases} updates of this key were begun since the start: no more until the next"
                )
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for UpdateError<E> {}
