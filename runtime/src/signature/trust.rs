//! Whom a device trusts with what, and what was signed.

use super::envelope::{self, LENGTH_BYTES, array, envelope_of};
use super::error::SignatureError;
use super::keys::{Keys, point};
use super::kind::SignedKind;
use crate::format::ContentId;
use ed25519_dalek::Signature;
use sha2::{Digest as _, Sha512};

/// SHA-512 of a package, for the envelope's field.
#[must_use]
pub fn digest(package: &[u8]) -> [u8; 64] {
    Sha512::digest(package).into()
}

/// What a device takes. There is no default: a device states all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What it is.
    pub kind: SignedKind,
    /// The owner's number of the product.
    pub product: u64,
    /// Which of several of its kind in the device; 0 if there is one. Each has releases of its own.
    pub component: u16,
    /// Content id of the base that a base is, a task is for, or a bundle holds; zero for a key list.
    /// `None` takes any: for a device that takes bases, which cannot know their ids before.
    pub base: Option<ContentId>,
    /// The oldest release that is taken: that of the one in use, or a counter that the device keeps.
    pub minimum: u64,
}

/// Whom a device trusts with what.
#[derive(Clone, Debug)]
pub struct Trust {
    keys: Keys,
    scope: Scope,
}

impl Trust {
    /// Trusts what was signed with the private key of `public_key`, within `scope`.
    ///
    /// # Errors
    /// [`SignatureError::BadKey`] if it is no point of the curve or one of the few weak ones.
    pub fn new(public_key: &[u8; 32], scope: Scope) -> Result<Self, SignatureError> {
        Ok(Self::of(Keys::new(&[*public_key], 1)?, scope))
    }

    /// Trusts several keys, or those of a list.
    #[must_use]
    pub const fn of(keys: Keys, scope: Scope) -> Self {
        Self { keys, scope }
    }

    /// The same trust of the keys that `list`, a signed key list, names: its root must have signed it,
    /// of a release from [`Scope::minimum`] on. Gives the keys and the release of the list.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Keys::parse`].
    pub fn keys_of(&self, list: &[u8]) -> Result<(Keys, u64), SignatureError> {
        let signed = self.open(list)?;
        Ok((Keys::parse(signed.package())?, signed.release()))
    }

    /// The same trust, but of releases from `release` on; a higher minimum stays.
    #[must_use]
    pub fn at_least(self, release: u64) -> Self {
        let minimum = self.scope.minimum.max(release);
        Self { scope: Scope { minimum, ..self.scope }, ..self }
    }

    /// The keys.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What is taken.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Bytes before the package: an envelope for each key that must have signed.
    #[must_use]
    pub const fn envelope_bytes(&self) -> usize {
        self.keys.threshold() * LENGTH_BYTES
    }

    /// Checks the envelopes at the start of `bytes`, which need not hold the package yet: so a
    /// device refuses a package before it erases anything for it. Takes about as long as a
    /// verification of Ed25519 for each, whatever the length of the package.
    ///
    /// # Errors
    /// A [`SignatureError`] for anything but envelopes with right signatures of trusted keys, of what
    /// the scope takes.
    pub fn manifest(&self, bytes: &[u8]) -> Result<Manifest, SignatureError> {
        let first = envelope_of(bytes)?;
        let (needed, found) = (self.envelope_bytes(), bytes.len());
        if found < needed {
            return Err(SignatureError::TooShort { needed, found });
        }
        let (mut seen, mut signer) = (0u32, 0);
        for bytes in bytes.chunks(LENGTH_BYTES).take(self.keys.threshold()) {
            let envelope = envelope_of(bytes)?;
            signer = self.verify(envelope)?;
            let same = [0..envelope::KEY_ID.start, envelope::KEY_ID.end..envelope::SIGNED.end];
            if seen & 1 << signer != 0
                || same.into_iter().any(|at| envelope.get(at.clone()) != first.get(at))
            {
                return Err(SignatureError::Signers);
            }
            seen |= 1 << signer;
        }
        let manifest = Manifest::of(first, self.keys.threshold(), signer);
        self.admits(&manifest)?;
        Ok(manifest)
    }

    /// Checks the signature of an envelope. Gives the number of its key.
    fn verify(&self, envelope: &[u8; LENGTH_BYTES]) -> Result<usize, SignatureError> {
        let (number, key) = self.keys.find(array(envelope, envelope::KEY_ID))?;
        let (signed, signature) = envelope.split_at(envelope::SIGNED.end);
        let signature = Signature::from_bytes(&array(signature, 0..64));
        let verified = point(key)?.verify_strict(signed, &signature);
        verified.map_err(|_| SignatureError::BadSignature)?;
        Ok(number)
    }

    fn admits(&self, found: &Manifest) -> Result<(), SignatureError> {
        let Scope { kind, product, component, base, minimum } = self.scope;
        if found.kind != kind as u16 {
            return Err(SignatureError::AnotherKind { expected: kind, found: found.kind });
        }
        if found.product != product {
            return Err(SignatureError::AnotherProduct { expected: product, found: found.product });
        }
        if found.component != component {
            let found = found.component;
            return Err(SignatureError::AnotherComponent { expected: component, found });
        }
        if base.is_some_and(|base| base != found.base) {
            return Err(SignatureError::AnotherBase);
        }
        if found.release < minimum {
            return Err(SignatureError::Older { minimum, found: found.release });
        }
        Ok(())
    }

    /// Checks a whole signed package and returns what was signed. Every byte is read; nothing is
    /// copied.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest) and [`Manifest::check`].
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<Signed<'a>, SignatureError> {
        let manifest = self.manifest(bytes)?;
        let package = bytes.get(self.envelope_bytes()..).unwrap_or(&[]);
        manifest.check(package)?;
        Ok(Signed { manifest, package })
    }
}

/// What the trusted keys signed about a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    release: u64,
    product: u64,
    package_length: u32,
    kind: u16,
    component: u16,
    base: ContentId,
    digest: [u8; 64],
    envelopes: usize,
    signer: usize,
}

impl Manifest {
    fn of(envelope: &[u8; LENGTH_BYTES], envelopes: usize, signer: usize) -> Self {
        Self {
            release: u64::from_le_bytes(array(envelope, envelope::RELEASE)),
            product: u64::from_le_bytes(array(envelope, envelope::PRODUCT)),
            package_length: u32::from_le_bytes(array(envelope, envelope::PACKAGE_LENGTH)),
            kind: u16::from_le_bytes(array(envelope, envelope::KIND)),
            component: u16::from_le_bytes(array(envelope, envelope::COMPONENT)),
            base: array(envelope, envelope::BASE_ID),
            digest: array(envelope, envelope::DIGEST),
            envelopes,
            signer,
        }
    }

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

    /// Bytes before the package.
    #[must_use]
    pub const fn envelope_bytes(&self) -> usize {
        self.envelopes * LENGTH_BYTES
    }

    /// The number in [`Keys`] of the key that signed the last envelope.
    #[must_use]
    pub const fn signer(&self) -> usize {
        self.signer
    }

    /// Whether this envelope is to replace a package that is in use. The same package of a higher release is:
    /// so another key signs anew what is in use, before the first is revoked.
    ///
    /// # Errors
    /// [`SignatureError::Older`] and [`SignatureError::SameRelease`].
    pub fn after(&self, in_use: &Self) -> Result<Change, SignatureError> {
        if self.digest == in_use.digest && self.release <= in_use.release {
            return Ok(Change::Nothing);
        }
        if self.release < in_use.release {
            let (minimum, found) = (in_use.release, self.release);
            return Err(SignatureError::Older { minimum, found });
        }
        if self.release == in_use.release {
            return Err(SignatureError::SameRelease { release: self.release });
        }
        Ok(Change::Replace)
    }

    /// Checks that `package`, without the envelopes, is the one that was signed.
    ///
    /// # Errors
    /// [`SignatureError::WrongLength`] or [`SignatureError::Altered`].
    pub fn check(&self, package: &[u8]) -> Result<(), SignatureError> {
        let (expected, found) = (self.package_length as usize, package.len());
        if expected != found {
            return Err(SignatureError::WrongLength { expected, found });
        }
        let mut pieces = self.pieces();
        pieces.update(package);
        pieces.finish()
    }

    /// The same check in pieces, for memory that is not mapped. The caller counts the bytes.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        Pieces { digest: Sha512::new(), expected: self.digest }
    }
}

/// What an envelope changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is of the package in use, of no higher release: there is nothing to do.
    Nothing,
    /// It is of a later release.
    Replace,
}

/// A package that comes in pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    digest: Sha512,
    expected: [u8; 64],
}

impl Pieces {
    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.digest.update(piece);
    }

    /// Checks that all pieces are the package that was signed.
    ///
    /// # Errors
    /// [`SignatureError::Altered`].
    pub fn finish(self) -> Result<(), SignatureError> {
        let found: [u8; 64] = self.digest.finalize().into();
        if found == self.expected { Ok(()) } else { Err(SignatureError::Altered) }
    }
}

/// A package that the trusted keys signed.
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

    /// What was signed about it.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The package, for [`Package::parse`](crate::format::Package::parse).
    #[must_use]
    pub const fn package(&self) -> &'a [u8] {
        self.package
    }
}
