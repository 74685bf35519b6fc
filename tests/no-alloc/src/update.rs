//! An update through two slots, with a signature, where there is no allocator.

use coda_runtime::signature::{Scope, SignatureError, SignedKind, Trust};
use coda_runtime::slots::Slots;
use coda_runtime::updates::Updates;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// The public key of RFC 8032, section 7.1, test 1.
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];
/// Release 7 of a task, signed with the key above; the bytes are those of `SIGNED.md`.
static SIGNED: &[u8] = include_bytes!("../../golden/bert-int8-v1.0-named.signed");
const SLOT: u32 = 12_288;

/// Flash in RAM.
struct Ram([u8; 2 * SLOT as usize]);

impl ErrorType for Ram {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// What the device takes.
const SCOPE: Scope =
    Scope { kind: SignedKind::Bundle, product: 1, component: 0, base: None, minimum: 7 };

/// `None` if anything is not as it should be.
pub(crate) fn run() -> Option<()> {
    let signed = core::hint::black_box(SIGNED);
    let trust = Trust::new(&KEY, SCOPE).ok()?;
    let slots = Slots::new(Ram([0; 2 * SLOT as usize]), [0, SLOT], SLOT).ok()?;
    let mut updates = Updates::new(slots, trust.clone(), 1);
    let (envelope, package) = signed.split_at_checked(trust.envelope_bytes())?;
    let mut incoming = updates.offer(envelope, None, None).ok()??;
    package.chunks(100).try_for_each(|piece| incoming.write(piece)).ok()?;
    let installed = incoming.finish().ok()?.confirm().ok()?;
    if updates.installed().ok()?.first() != Some(&installed) {
        return None;
    }
    let in_use = installed.manifest();
    let again = updates.offer(envelope, Some(in_use), Some(installed.slot()));
    if !matches!(again, Ok(None)) {
        return None;
    }
    let flash = updates.into_flash();
    let payload = installed.slot().payload();
    let opened = trust.open(&flash.0[payload.start as usize..payload.end as usize]).ok()?;
    let older = trust.clone().at_least(8).open(signed).err();
    let unsigned = trust.open(opened.package()).err();
    let refused = older == Some(SignatureError::Older { minimum: 8, found: 7 })
        && unsigned == Some(SignatureError::Unsigned);
    refused.then_some(())
}
