//! The keys that a device trusts: one, several, or those of a signed list.

use super::envelope::array;
use super::error::{KeyId, SignatureError};
use core::ops::Range;
use ed25519_dalek::VerifyingKey;
use heapless::Vec;
use sha2::{Digest as _, Sha512};

/// Most keys of a list.
pub const KEYS: usize = 8;

/// Byte ranges of a key list.
pub mod key_list {
    use core::ops::Range;

    /// First bytes of a list.
    pub const MAGIC: [u8; 8] = *b"\x89CoDK\r\n\x1a";
    /// Version of a list.
    pub const VERSION: u16 = 1;
    /// Magic.
    pub const MAGIC_AT: Range<usize> = 0..8;
    /// Version, u16.
    pub const VERSION_AT: Range<usize> = 8..10;
    /// Number of keys, u16.
    pub const COUNT_AT: Range<usize> = 10..12;
    /// Threshold, u16.
    pub const THRESHOLD_AT: Range<usize> = 12..14;
    /// Zero.
    pub const RESERVED: Range<usize> = 14..64;
    /// Bytes before the keys.
    pub const LENGTH_BYTES: usize = 64;
    /// Bytes of a key.
    pub const KEY_BYTES: usize = 32;
}

/// Names a public key.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> KeyId {
    array(&Sha512::digest(public_key), 0..8)
}

/// Public keys, and how many of them must have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<[u8; 32], KEYS>,
    threshold: usize,
}

impl Keys {
    /// `threshold` of `public_keys` must have signed; 1 is usual.
    ///
    /// # Errors
    /// [`SignatureError::BadKey`] if one is no point of the curve or one of the few weak ones,
    /// [`SignatureError::BadKeyList`] if there are none, more than [`KEYS`] or the same twice, or if the
    /// threshold is 0 or above their number.
    pub fn new(public_keys: &[[u8; 32]], threshold: usize) -> Result<Self, SignatureError> {
        let keys = Vec::from_slice(public_keys).map_err(|_| SignatureError::BadKeyList)?;
        let rest = |index: usize| public_keys.get(index + 1..).unwrap_or_default();
        let twice = keys.iter().enumerate().any(|(index, key)| rest(index).contains(key));
        if twice || threshold == 0 || threshold > keys.len() {
            return Err(SignatureError::BadKeyList);
        }
        keys.iter().try_for_each(|key| point(key).map(drop))?;
        Ok(Self { keys, threshold })
    }

    /// The keys of a list, without its envelope, which must have been checked.
    ///
    /// # Errors
    /// [`SignatureError::BadKeyList`] for bytes that are no list, and those of [`Keys::new`].
    pub fn parse(list: &[u8]) -> Result<Self, SignatureError> {
        let Some((head, rest)) = list.split_first_chunk::<{ key_list::LENGTH_BYTES }>() else {
            return Err(SignatureError::BadKeyList);
        };
        let word = |at: Range<usize>| u16::from_le_bytes(array(head, at));
        let (keys, tail) = rest.as_chunks::<{ key_list::KEY_BYTES }>();
        let reserved: [u8; 50] = array(head, key_list::RESERVED);
        let right = head.starts_with(&key_list::MAGIC)
            && word(key_list::VERSION_AT) == key_list::VERSION
            && usize::from(word(key_list::COUNT_AT)) == keys.len()
            && tail.is_empty()
            && reserved == [0; 50]
            && keys.is_sorted_by(|first, second| first < second);
        if right {
            Self::new(keys, usize::from(word(key_list::THRESHOLD_AT)))
        } else {
            Err(SignatureError::BadKeyList)
        }
    }

    /// How many must have signed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys.
    #[must_use]
    pub fn public_keys(&self) -> &[[u8; 32]] {
        &self.keys
    }

    /// The key of an id, with its number.
    pub(super) fn find(&self, found: KeyId) -> Result<(usize, &[u8; 32]), SignatureError> {
        let mut keys = self.keys.iter().enumerate();
        let expected = self.keys.first().map(key_id).unwrap_or_default();
        let error = SignatureError::AnotherKey { expected, found };
        keys.find(|(_, key)| key_id(key) == found).ok_or(error)
    }
}

/// A public key as a point of the curve.
pub(super) fn point(public_key: &[u8; 32]) -> Result<VerifyingKey, SignatureError> {
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| SignatureError::BadKey)?;
    if key.is_weak() { Err(SignatureError::BadKey) } else { Ok(key) }
}
