//! Why a signed package is refused.

use super::kind::SignedKind;
use core::fmt;

/// Names a public key: the first 8 bytes of its SHA-512.
pub type KeyId = [u8; 8];

/// Why a signed package is refused. `SIGNED.md` numbers the reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// Fewer bytes than the envelopes.
    TooShort {
        /// Bytes of the envelopes.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// A package without an envelope.
    Unsigned,
    /// Neither an envelope nor a package.
    BadMagic,
    /// Another major version of the envelope.
    UnsupportedVersion {
        /// The version found.
        found: u16,
    },
    /// A reserved byte is not zero.
    NotZero {
        /// Its offset.
        offset: usize,
    },
    /// Signed with another key.
    AnotherKey {
        /// The trusted key.
        expected: KeyId,
        /// The key named.
        found: KeyId,
    },
    /// The signature is not that of the envelope.
    BadSignature,
    /// The release is older than the oldest that the device takes.
    Older {
        /// The oldest release.
        minimum: u64,
        /// The release found.
        found: u64,
    },
    /// The package has another length than the signed one.
    WrongLength {
        /// Bytes that were signed.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The package is not the signed one.
    Altered,
    /// The trusted key is no public key.
    BadKey,
    /// It is of another kind than the device takes here; 0 in an envelope of version 1.0.
    AnotherKind {
        /// What is taken.
        expected: SignedKind,
        /// The code found.
        found: u16,
    },
    /// It is for another product.
    AnotherProduct {
        /// The product of the device.
        expected: u64,
        /// The product named.
        found: u64,
    },
    /// It is for another component of the device.
    AnotherComponent {
        /// The component.
        expected: u16,
        /// The component named.
        found: u16,
    },
    /// It belongs to another base.
    AnotherBase,
    /// Two envelopes that must say the same do not, or are of one key.
    Signers,
    /// A key list that is none.
    BadKeyList,
    /// Another package with the release number of the one in use.
    SameRelease {
        /// The release.
        release: u64,
    },
}

impl SignatureError {
    /// The number of the rejection in `SIGNED.md`.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Unsigned => 1,
            Self::TooShort { .. } => 2,
            Self::BadMagic => 3,
            Self::UnsupportedVersion { .. } => 4,
            Self::NotZero { .. } => 5,
            Self::AnotherKey { .. } => 6,
            Self::BadSignature => 7,
            Self::Older { .. } => 8,
            Self::WrongLength { .. } => 9,
            Self::Altered => 10,
            Self::BadKey => 11,
            Self::AnotherKind { .. } => 12,
            Self::AnotherProduct { .. } => 13,
            Self::AnotherComponent { .. } => 14,
            Self::AnotherBase => 15,
            Self::Signers => 16,
            Self::BadKeyList => 17,
            Self::SameRelease { .. } => 18,
        }
    }
}

/// A key id as hexadecimal digits.
struct Hex(KeyId);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("the package is not signed"),
            Self::TooShort { needed, found } => {
                write!(f, "{found} bytes are fewer than the {needed} before a signed package")
            }
            Self::BadMagic => f.write_str("neither a signed package nor a package: wrong magic"),
            Self::UnsupportedVersion { found } => {
                write!(f, "the envelope has version {found}, this reader takes 1")
            }
            Self::NotZero { offset } => {
                write!(f, "byte {offset} of the envelope is reserved and not zero")
            }
            Self::AnotherKey { expected, found } => {
                write!(f, "signed with key {}, trusted is {}", Hex(*found), Hex(*expected))
            }
            Self::BadSignature => f.write_str("the signature is not that of this envelope"),
            Self::Older { minimum, found } => {
                write!(f, "release {found} is older than {minimum}, the oldest that is taken")
            }
            Self::WrongLength { expected, found } => {
                write!(f, "the package has {found} bytes, {expected} were signed")
            }
            Self::Altered => f.write_str("the package is not the one that was signed"),
            Self::BadKey => f.write_str("the trusted key is no Ed25519 public key"),
            _ => self.fmt_scope(f),
        }
    }
}

impl SignatureError {
    /// The sentences about what is taken.
    fn fmt_scope(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherKind { expected, found: 0 } => {
                write!(
                    f,
                    "the envelope does not say what it is for, a {} is taken",
                    expected.name()
                )
            }
            Self::AnotherKind { expected, found } => {
                write!(f, "the envelope is of kind {found}, a {} is taken", expected.name())
            }
            Self::AnotherProduct { expected, found } => {
                write!(f, "the envelope is for product {found}, this is {expected}")
            }
            Self::AnotherComponent { expected, found } => {
                write!(f, "the envelope is for component {found}, this is {expected}")
            }
            Self::AnotherBase => f.write_str("the envelope is for another base"),
            Self::Signers => f.write_str("the envelopes differ, or are of one key"),
            Self::SameRelease { release } => {
                write!(f, "another package has release {release}, which is in use")
            }
            _ => f.write_str("the list of keys is none"),
        }
    }
}

impl core::error::Error for SignatureError {}
