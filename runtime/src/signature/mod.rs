#![doc = include_str!("../../SIGNED.md")]

mod error;

pub use error::{KeyId, SignatureError};

use crate::format::MAGIC as PACKAGE_MAGIC;
use core::ops::Range;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};

/// First bytes of a signed package.
pub const MAGIC: [u8; 8] = *b"\x89CoDS\r\n\x1a";
/// Major version of the envelope.
pub const MAJOR: u16 = 1;
/// Minor version of the envelope.
pub const MINOR: u16 = 0;

/// Where the fields of an envelope are.
pub mod envelope {
    use core::ops::Range;

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
    /// Zero.
    pub const RESERVED: Range<usize> = 32..64;
    /// SHA-512 of the package.
    pub const DIGEST: Range<usize> = 64..128;
    /// What is signed.
    pub const SIGNED: Range<usize> = 0..128;
    /// Signature.
    pub const SIGNATURE: Range<usize> = 128..192;
}

/// Names a public key.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> KeyId {
    array(&Sha512::digest(public_key), 0..8)
}

/// SHA-512 of a package, for the envelope's field.
#[must_use]
pub fn digest(package: &[u8]) -> [u8; 64] {
    Sha512::digest(package).into()
}

/// Whom a device trusts: one public key, and the oldest release that it still takes.
#[derive(Clone, Debug)]
pub struct Trust {
    key: VerifyingKey,
    minimum: u64,
}

impl Trust {
    /// Trusts what was signed with the private key of `public_key`, of any release.
    ///
    /// # Errors
    /// [`SignatureError::BadKey`] if it is no point of the curve or one of the few weak ones.
    pub fn new(public_key: &[u8; 32]) -> Result<Self, SignatureError> {
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| SignatureError::BadKey)?;
        if key.is_weak() { Err(SignatureError::BadKey) } else { Ok(Self { key, minimum: 0 }) }
    }

    /// Refuses releases below `release`, which is that of the task in use, or a counter that the
    /// device keeps.
    #[must_use]
    pub fn at_least(self, release: u64) -> Self {
        Self { minimum: release, ..self }
    }

    /// Checks the envelope at the start of `bytes`, which need not hold the package yet: so a
    /// device refuses a package before it erases anything for it. Takes about as long as a
    /// verification of Ed25519, whatever the length of the package.
    ///
    /// # Errors
    /// A [`SignatureError`] for anything but an envelope with a right signature of the trusted key
    /// and of a release that is not too old.
    pub fn manifest(&self, bytes: &[u8]) -> Result<Manifest, SignatureError> {
        let bytes = envelope_of(bytes)?;
        let expected = key_id(self.key.as_bytes());
        let found = array(bytes, envelope::KEY_ID);
        if expected != found {
            return Err(SignatureError::AnotherKey { expected, found });
        }
        let (signed, signature) = bytes.split_at(envelope::SIGNED.end);
        let signature = Signature::from_bytes(&array(signature, 0..64));
        self.key.verify_strict(signed, &signature).map_err(|_| SignatureError::BadSignature)?;
        let release = u64::from_le_bytes(array(bytes, envelope::RELEASE));
        if release < self.minimum {
            return Err(SignatureError::Older { minimum: self.minimum, found: release });
        }
        Ok(Manifest {
            release,
            package_length: u32::from_le_bytes(array(bytes, envelope::PACKAGE_LENGTH)),
            digest: array(bytes, envelope::DIGEST),
        })
    }

    /// Checks a whole signed package and returns what was signed. Every byte is read; nothing is
    /// copied.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest) and [`Manifest::check`].
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<Signed<'a>, SignatureError> {
        let manifest = self.manifest(bytes)?;
        let package = bytes.get(envelope::LENGTH_BYTES..).unwrap_or(&[]);
        manifest.check(package)?;
        Ok(Signed { manifest, package })
    }
}

/// What the trusted key signed about a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    release: u64,
    package_length: u32,
    digest: [u8; 64],
}

impl Manifest {
    /// The release of the package; a later one has a larger number.
    #[must_use]
    pub const fn release(&self) -> u64 {
        self.release
    }

    /// Bytes of the package.
    #[must_use]
    pub const fn package_length(&self) -> u32 {
        self.package_length
    }

    /// Checks that `package`, without the envelope, is the one that was signed.
    ///
    /// # Errors
    /// [`SignatureError::WrongLength`] or [`SignatureError::Altered`].
    pub fn check(&self, package: &[u8]) -> Result<(), SignatureError> {
        let (expected, found) = (self.package_length as usize, package.len());
        if expected != found {
            return Err(SignatureError::WrongLength { expected, found });
        }
        if digest(package) == self.digest { Ok(()) } else { Err(SignatureError::Altered) }
    }
}

/// A package that the trusted key signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    manifest: Manifest,
    package: &'a [u8],
}

impl<'a> Signed<'a> {
    /// The release of the package.
    #[must_use]
    pub const fn release(&self) -> u64 {
        self.manifest.release
    }

    /// The package, for [`Package::parse`](crate::format::Package::parse).
    #[must_use]
    pub const fn package(&self) -> &'a [u8] {
        self.package
    }
}

/// The envelope at the start of `bytes`, every field but the signature checked.
fn envelope_of(bytes: &[u8]) -> Result<&[u8; envelope::LENGTH_BYTES], SignatureError> {
    if bytes.starts_with(&PACKAGE_MAGIC) {
        return Err(SignatureError::Unsigned);
    }
    let Some(bytes) = bytes.first_chunk::<{ envelope::LENGTH_BYTES }>() else {
        return Err(SignatureError::TooShort { found: bytes.len() });
    };
    if !bytes.starts_with(&MAGIC) {
        return Err(SignatureError::BadMagic);
    }
    let major = u16::from_le_bytes(array(bytes, envelope::MAJOR));
    if major != MAJOR {
        return Err(SignatureError::UnsupportedVersion { found: major });
    }
    let reserved: [u8; 32] = array(bytes, envelope::RESERVED);
    match reserved.iter().position(|byte| *byte != 0) {
        Some(position) => {
            Err(SignatureError::NotZero { offset: envelope::RESERVED.start + position })
        }
        None => Ok(bytes),
    }
}

/// The field at `range`, zero if it were not all there.
fn array<const N: usize>(bytes: &[u8], range: Range<usize>) -> [u8; N] {
    bytes.get(range).and_then(|field| field.try_into().ok()).unwrap_or([0; N])
}
