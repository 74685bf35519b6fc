//! Signed updates over two slots: refused before the first erase or tried before they count.
//!
//! A slot holds a signed file: envelopes and a package, as in [`signature`](crate::signature). An update
//! goes through four hands, each of which may stop it:
//!
//! 1. [`Updates::offer`] reads the envelopes. A wrong signature, another kind, product, component or base,
//!    an older release, another package of the release in use, a size that the slots do not have: refused.
//!    The package in use, or one that was confirmed already: nothing to do, `None`. Only then the slot that is not in use is erased,
//!    and only as often as a key may since the device started.
//! 2. [`Incoming`] takes the pieces, then reads the flash back and checks the digest of the package.
//! 3. [`Trial`]: the package lies in the flash and does not count yet. The application binds it where it
//!    lies, runs its self-test and its own first inputs.
//! 4. [`Trial::confirm`] makes it the newest slot. Without it, dropped, hanged, reset by a watchdog or
//!    by a power cut, the one before is in use at the next start.
//!
//! So a trial lasts until the next start at most, it needs no marks in the flash, and what
//! [`slots`](crate::slots) promises holds for it as it does for every update.
//!
//! Key lists go the same way, in slots of their own: [`Scope::kind`](crate::signature::Scope::kind) says
//! what a place takes.

mod error;

pub use error::UpdateError;

use crate::signature::{Change, KEYS, Manifest, Trust};
use crate::slots::{Slot, SlotError, Slots, Update, Written};
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

/// Bytes that are read from the flash at once.
const BLOCK: usize = 64;

/// Bytes of the envelopes of as many signers as there may be.
const ENVELOPES: usize = KEYS * crate::signature::envelope::LENGTH_BYTES;

/// A signed package in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    slot: Slot,
    manifest: Manifest,
}

impl Installed {
    /// Its slot.
    #[must_use]
    pub const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// What was signed about it.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the package is, in bytes from the start of the flash: at a multiple of 64 if the slot is.
    #[must_use]
    pub const fn package(&self) -> Range<u32> {
        behind(&self.manifest, self.slot.payload())
    }
}

const fn behind(manifest: &Manifest, payload: Range<u32>) -> Range<u32> {
    payload.start + manifest.envelope_bytes() as u32..payload.end
}

/// What a device takes into two slots.
#[derive(Debug)]
pub struct Updates<F> {
    slots: Slots<F>,
    trust: Trust,
    most: u8,
    begun: [u8; KEYS],
    /// The newest package in the slots, if it was confirmed since the start or looked for.
    newest: Option<Installed>,
}

impl<F: NorFlash> Updates<F> {
    /// Updates of what `trust` takes. Each key may begin `erases` of them until the next start.
    #[must_use]
    pub const fn new(slots: Slots<F>, trust: Trust, erases: u8) -> Self {
        Self { slots, trust, most: erases, begun: [0; KEYS], newest: None }
    }

    /// The slots whose packages are those that were signed, of the newest update first. Their bytes are
    /// read from the flash and not kept; whether one is a package for the device is for the caller to say.
    ///
    /// # Errors
    /// [`UpdateError::Slot`] if neither slot can be read, or one cannot be read any more that was whole.
    pub fn installed(&mut self) -> Result<Vec<Installed, 2>, UpdateError<F::Error>> {
        let mut installed = Vec::new();
        for slot in self.slots.whole()? {
            let manifest = match self.check(&slot) {
                Err(UpdateError::Signature(_)) => continue,
                checked => checked?,
            };
            // Two at most.
            let _ = installed.push(Installed { slot, manifest });
        }
        Ok(installed)
    }

    fn check(&mut self, slot: &Slot) -> Result<Manifest, UpdateError<F::Error>> {
        let mut envelopes = [0; ENVELOPES];
        let used = self.trust.envelope_bytes().min(slot.payload().len());
        let start = envelopes.get_mut(..used).unwrap_or_default();
        self.slots.read(slot, 0, start)?;
        let manifest = self.trust.manifest(start)?;
        let slots = &mut self.slots;
        digest(&manifest, slot.payload(), |offset, into| slots.read(slot, offset, into))?;
        Ok(manifest)
    }

    /// Reads the envelopes at the start of an update: [`Trust::envelope_bytes`] of them, or more of the
    /// file, of which no more is used. `in_use` is what the device runs, and `keep` its slot; a device that
    /// runs the package it was built with has a manifest of it and no slot. Then the newest package in the
    /// slots is looked for and kept, and the update must be of a later release than that, too.
    ///
    /// `None` if it is the package in use, or one that was confirmed since the start of the device and runs at
    /// the next: there is nothing to do, and nothing was written. A later release than both overwrites the
    /// slot that is not `keep`.
    ///
    /// # Errors
    /// [`UpdateError`]; the slots are as they were then, but for the errors of [`Slots::update`] that say
    /// otherwise.
    pub fn offer(
        &mut self,
        envelopes: &[u8],
        in_use: Option<&Manifest>,
        keep: Option<&Slot>,
    ) -> Result<Option<Incoming<'_, F>>, UpdateError<F::Error>> {
        let manifest = self.trust.manifest(envelopes)?;
        if keep.is_none() && self.newest.is_none() {
            self.newest = self.installed()?.first().copied();
        }
        let newest = self.newest;
        for known in in_use.into_iter().chain(newest.as_ref().map(Installed::manifest)) {
            if manifest.after(known)? == Change::Nothing {
                return Ok(None);
            }
        }
        let start = manifest.envelope_bytes();
        let length = manifest.package_length().saturating_add(start as u32);
        let most = self.slots.capacity();
        if length > most {
            return Err(SlotError::Length { most, found: length as usize }.into());
        }
        self.count(&manifest)?;
        let keep = keep.or(newest.as_ref().map(Installed::slot));
        // What is overwritten is forgotten, so that it may come again.
        self.newest = newest.filter(|newest| keep.map(Slot::index) == Some(newest.slot.index()));
        let mut update = self.slots.update(keep, length)?;
        update.write(envelopes.get(..start).unwrap_or_default())?;
        Ok(Some(Incoming { update, manifest, newest: &mut self.newest }))
    }

    /// Counts an erase that is about to begin.
    fn count(&mut self, manifest: &Manifest) -> Result<(), UpdateError<F::Error>> {
        match self.begun.get_mut(manifest.signer()) {
            Some(begun) if *begun < self.most => {
                *begun += 1;
                Ok(())
            }
            _ => Err(UpdateError::Exhausted { erases: self.most }),
        }
    }

    /// What is taken.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Takes no release below `release` any more.
    pub fn raise(&mut self, release: u64) {
        self.trust = self.trust.clone().at_least(release);
    }

    /// The slots, to read from them.
    pub const fn slots(&mut self) -> &mut Slots<F> {
        &mut self.slots
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.slots.into_flash()
    }
}

/// The digest of what lies behind the envelopes of a payload.
fn digest<E: embedded_storage::nor_flash::NorFlashError>(
    manifest: &Manifest,
    payload: Range<u32>,
    mut read: impl FnMut(u32, &mut [u8]) -> Result<(), SlotError<E>>,
) -> Result<(), UpdateError<E>> {
    let length = payload.end - payload.start;
    let (mut pieces, mut block) = (manifest.pieces(), [0; BLOCK]);
    for offset in (manifest.envelope_bytes() as u32..length).step_by(BLOCK) {
        let bytes = (length - offset).min(BLOCK as u32) as usize;
        let piece = block.get_mut(..bytes).unwrap_or_default();
        read(offset, piece)?;
        pieces.update(piece);
    }
    Ok(pieces.finish()?)
}

/// An update that comes in pieces. Dropped, it leaves the slot unused.
pub struct Incoming<'u, F> {
    update: Update<'u, F>,
    manifest: Manifest,
    newest: &'u mut Option<Installed>,
}

impl<'u, F: NorFlash> Incoming<'u, F> {
    /// What was signed about it.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of the package that are still to come.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.update.missing()
    }

    /// Takes the next piece of the package, of any length.
    ///
    /// # Errors
    /// As [`Update::write`].
    pub fn write(&mut self, piece: &[u8]) -> Result<(), UpdateError<F::Error>> {
        Ok(self.update.write(piece)?)
    }

    /// Reads the package back and checks that it is the one that was signed.
    ///
    /// # Errors
    /// As [`Update::finish`], and [`SignatureError::Altered`](crate::signature::SignatureError::Altered).
    pub fn finish(self) -> Result<Trial<'u, F>, UpdateError<F::Error>> {
        let Self { update, manifest, newest } = self;
        let mut written = update.finish()?;
        let payload = written.payload();
        digest(&manifest, payload, |offset, into| written.read(offset, into))?;
        Ok(Trial { written, manifest, newest })
    }
}

/// A package that lies in flash, was signed, and does not count yet.
pub struct Trial<'u, F> {
    written: Written<'u, F>,
    manifest: Manifest,
    newest: &'u mut Option<Installed>,
}

impl<F: NorFlash> Trial<'_, F> {
    /// What was signed about it.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the package is, in bytes from the start of the flash.
    #[must_use]
    pub const fn package(&self) -> Range<u32> {
        behind(&self.manifest, self.written.payload())
    }

    /// Reads bytes of the package, from `offset` in it, for flash that is not mapped to memory.
    ///
    /// # Errors
    /// As [`Slots::read`].
    pub fn read(&mut self, offset: u32, into: &mut [u8]) -> Result<(), UpdateError<F::Error>> {
        let offset = offset.saturating_add(self.manifest.envelope_bytes() as u32);
        Ok(self.written.read(offset, into)?)
    }

    /// Makes it the newest slot.
    ///
    /// # Errors
    /// As [`Written::commit`].
    pub fn confirm(self) -> Result<Installed, UpdateError<F::Error>> {
        let slot = self.written.commit()?;
        Ok(*self.newest.insert(Installed { slot, manifest: self.manifest }))
    }
}
