//! Byte ranges and codes of an envelope.

use super::error::SignatureError;
use crate::format::{ContentId, MAGIC as PACKAGE_MAGIC, Package, PackageKind};
use core::ops::Range;

/// First bytes of a signed package.
pub const ENVELOPE_MAGIC: [u8; 8] = *b"\x89CoDS\r\n\x1a";
/// Major version of the envelope.
pub const ENVELOPE_MAJOR: u16 = 1;
/// Minor version of the envelope.
pub const ENVELOPE_MINOR: u16 = 1;

/// Bytes before the package.
pub const LENGTH_BYTES: usize = 192;
/// Magic.
pub const MAGIC: Range<usize> = 0..8;
/// Major version, u16.
pub const MAJOR: Range<usize> = 8..10;
/// Minor version, u16.
pub const MINOR: Range<usize> = 10..12;
/// Length of the package, u32.
pub const PACKAGE_LENGTH: Range<usize> = 12..16;
/// Release, u64.
pub const RELEASE: Range<usize> = 16..24;
/// Key id.
pub const KEY_ID: Range<usize> = 24..32;
/// [`SignedKind`](super::SignedKind), u16.
pub const KIND: Range<usize> = 32..34;
/// Component, u16.
pub const COMPONENT: Range<usize> = 34..36;
/// Zero.
pub const RESERVED: Range<usize> = 36..40;
/// Product, u64.
pub const PRODUCT: Range<usize> = 40..48;
/// Content id of the base.
pub const BASE_ID: Range<usize> = 48..64;
/// SHA-512 of the package.
pub const DIGEST: Range<usize> = 64..128;
/// What is signed.
pub const SIGNED: Range<usize> = 0..128;
/// Signature.
pub const SIGNATURE: Range<usize> = 128..192;

/// The base that an envelope names for a package: the content id of a base, of the base that a task was
/// made for, or of the base in a bundle.
#[must_use]
pub fn base_of(package: &Package<'_>) -> ContentId {
    match package.kind() {
        PackageKind::Base => package.content_id(),
        PackageKind::Task => package.base_id(),
        PackageKind::Bundle => package.base().map(|base| base.content_id()).unwrap_or_default(),
    }
}

/// The envelope at the start of `bytes`: what can be said of it without a key is checked.
pub(super) fn envelope_of(bytes: &[u8]) -> Result<&[u8; LENGTH_BYTES], SignatureError> {
    if bytes.starts_with(&PACKAGE_MAGIC) {
        return Err(SignatureError::Unsigned);
    }
    let Some(bytes) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Err(SignatureError::TooShort { needed: LENGTH_BYTES, found: bytes.len() });
    };
    if !bytes.starts_with(&ENVELOPE_MAGIC) {
        return Err(SignatureError::BadMagic);
    }
    let major = u16::from_le_bytes(array(bytes, MAJOR));
    if major != ENVELOPE_MAJOR {
        return Err(SignatureError::UnsupportedVersion { found: major });
    }
    let reserved: [u8; 4] = array(bytes, RESERVED);
    match reserved.iter().position(|byte| *byte != 0) {
        Some(position) => Err(SignatureError::NotZero { offset: RESERVED.start + position }),
        None => Ok(bytes),
    }
}

/// The field at `range`, zero if it were not all there.
pub(super) fn array<const N: usize>(bytes: &[u8], range: Range<usize>) -> [u8; N] {
    bytes.get(range).and_then(|field| field.try_into().ok()).unwrap_or([0; N])
}
