//! What a hostile sender, a worn flash and a power cut give to an update: signed packages, the
//! package inside and the slots never panic, and a whole task is never lost.
#![no_main]

use coda_fuzz::Aligned;
use coda_fuzz::nor::{Cut, Nor, Tear};
use coda_runtime::format::Package;
use coda_runtime::signature::{Keys, Scope, SignedKind, Trust};
use coda_runtime::slots::{Slot, SlotError, Slots};
use embedded_storage::nor_flash::NorFlashErrorKind;
use libfuzzer_sys::fuzz_target;

/// The public key of RFC 8032, section 7.1, test 1, which signed the golden package.
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];
/// Release of the golden package.
const RELEASE: u64 = 7;
/// What takes it.
const SCOPE: Scope =
    Scope { kind: SignedKind::Bundle, product: 1, component: 0, base: None, minimum: 0 };
/// Bytes of a slot.
const SLOT: u32 = 2048;

/// Flash of two slots.
type Flash = Nor<4, 1024>;

/// A device whose power comes, and fails at `cut`.
fn start(mut flash: Flash, cut: Option<Cut>) -> Slots<Flash> {
    flash.power_up(cut);
    Slots::new(flash, [0, SLOT], SLOT).expect("slots that fit")
}

/// Bytes of a whole slot.
fn payload(slots: &mut Slots<Flash>, slot: &Slot) -> Vec<u8> {
    let mut payload = vec![0; slot.payload().len()];
    slots.read(slot, 0, &mut payload).expect("a payload in its slot");
    payload
}

/// Opens an envelope and parses what is in it, if that is what the owner of the key signed.
fn check(trust: &Trust, bytes: &[u8]) {
    let aligned = Aligned::new(bytes);
    if let Ok(signed) = trust.open(aligned.bytes()) {
        assert_eq!(signed.release(), RELEASE);
        assert!(Package::parse(signed.package()).is_ok());
        let newer = trust.clone().at_least(RELEASE + 1);
        assert!(newer.open(aligned.bytes()).is_err());
    }
    let _ = Package::parse(Aligned::sealed(bytes).bytes()).map(|package| package.layers().len());
}

/// An update in pieces of 77 bytes.
fn update(
    slots: &mut Slots<Flash>,
    keep: Option<&Slot>,
    new: &[u8],
) -> Result<Slot, SlotError<NorFlashErrorKind>> {
    let mut update = slots.update(keep, new.len() as u32)?;
    for piece in new.chunks(77) {
        update.write(piece)?;
    }
    update.finish()?.commit()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[low, high, torn], bytes)) = bytes.split_first_chunk() else { return };
    let step = u64::from(u16::from_le_bytes([low, high]) % 1024);
    let cut = Cut { step, tear: Tear::ALL[usize::from(torn) % Tear::ALL.len()] };
    let trust = Trust::new(&KEY, SCOPE).expect("a public key");
    check(&trust, bytes);
    let _ = Keys::parse(bytes).map(|keys| Trust::of(keys, SCOPE).manifest(bytes).is_ok());
    if let Some(key) = bytes.first_chunk() {
        let _ = Trust::new(key, SCOPE).map(|trust| trust.open(bytes).is_ok());
    }

    // Whatever the flash holds is read without a fault, and what counts as whole is in its slot.
    let mut flash = bytes.to_vec();
    flash.resize(2 * SLOT as usize, 0xff);
    let mut slots = start(Nor::of(flash, u64::from(torn)), None);
    for slot in &slots.whole().expect("flash in memory reads") {
        check(&trust, &payload(&mut slots, slot));
    }

    // Two updates, then one in which power fails.
    let (old, new) = bytes.split_at(bytes.len() / 2);
    let capacity = slots.capacity() as usize;
    let (old, new) = (&old[..old.len().min(capacity)], &new[..new.len().min(capacity)]);
    if old.is_empty() {
        return;
    }
    let newest = slots.whole().expect("flash in memory reads").first().copied();
    let Ok(first) = update(&mut slots, newest.as_ref(), old) else { return };
    // But for the last sequence number, which a record on the flash may lead to.
    let Ok(kept) = update(&mut slots, Some(&first), old) else { return };
    let mut slots = start(slots.into_flash(), Some(cut));
    let result = update(&mut slots, Some(&kept), new);
    let mut slots = start(slots.into_flash(), None);
    let whole = slots.whole().expect("flash in memory reads");
    let found = whole.first().expect("a whole slot, whenever power failed");
    let expected = if *found == kept { old } else { new };
    assert!(*found == kept || found.sequence() == kept.sequence() + 1);
    assert!(result.is_err() || expected == new, "a commit that returned is found");
    assert!(whole.contains(&kept), "the slot in use is not touched");
    assert_eq!(payload(&mut slots, found), expected);
});
