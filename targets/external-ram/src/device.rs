//! The tasks of the device: one it was built with, one in the slots; both over one base.

use crate::flash::{self, Flash, FlashError, SLOT_BYTES, STARTS};
use crate::world::Request;
use coda_runtime::format::{Aligned, FormatError, Package};
use coda_runtime::model::{Model, ModelError};
use coda_runtime::signature::{SignatureError, Trust, envelope};
use coda_runtime::slots::{Slot, SlotError, Slots};
use core::ops::Range;

const BASE_FILE: &[u8] = include_bytes!(concat!(env!("CODA_SWAP"), "/base.coda"));
const FACTORY_FILE: &[u8] = include_bytes!(concat!(env!("CODA_SWAP"), "/garments-1.signed"));

/// The base, in flash.
// SAFETY: the section holds read-only data; the linker script places it in flash.
#[unsafe(link_section = ".package")]
static BASE: Aligned<[u8; BASE_FILE.len()]> =
    Aligned(*include_bytes!(concat!(env!("CODA_SWAP"), "/base.coda")));

/// The task that the firmware was built with.
// SAFETY: as above.
#[unsafe(link_section = ".package")]
static FACTORY: Aligned<[u8; FACTORY_FILE.len()]> =
    Aligned(*include_bytes!(concat!(env!("CODA_SWAP"), "/garments-1.signed")));

/// The public key whose owner may send tasks.
const KEY: [u8; 32] = *include_bytes!(concat!(env!("CODA_SWAP"), "/key.bin"));

/// Why a task is refused.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It does not fit the base.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The slots.
    #[error(transparent)]
    Slot(#[from] SlotError<FlashError>),
    /// Something else than a piece came.
    #[error("the update ended before its last byte")]
    Ended,
}

/// A task whose signature, format and base were checked; in use where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    pub(crate) package: Package<'static>,
    pub(crate) release: u64,
}

/// The tasks of the device.
pub(crate) struct Device {
    pub(crate) base: Package<'static>,
    pub(crate) factory: Task,
    /// The newest task in the slots that passes every check, and its slot.
    pub(crate) installed: Option<(Task, Slot)>,
    slots: Slots<Flash>,
    trust: Trust,
}

impl Device {
    /// Checks the tasks that are there.
    pub(crate) fn start(flash: Flash) -> Result<Self, Refusal> {
        let trust = Trust::new(&KEY)?;
        let base = Package::parse(&BASE.0)?;
        let factory = check(&trust, &base, &FACTORY.0)?;
        let mut slots = Slots::new(flash, STARTS, SLOT_BYTES)?;
        let mut installed = None;
        for slot in slots.whole()? {
            // SAFETY: only `update` writes, and to the slot that is not `installed`; its caller goes
            // on with the new task.
            let bytes = unsafe { flash::mapped(slot.payload()) };
            if let Ok(task) = check(&trust, &base, bytes) {
                installed = Some((task, slot));
                break;
            }
        }
        Ok(Self { base, factory, installed, slots, trust })
    }

    /// Takes an update, piece by piece, while the task in use stays where it is. `next` gives the
    /// pieces. Once it is taken, the task that was installed before must not be used any more: the
    /// next update overwrites it.
    pub(crate) fn update(&mut self, mut next: impl FnMut() -> Request) -> Result<u64, Refusal> {
        let mut piece = || match next() {
            Request::Piece(piece) => Ok(piece),
            _ => Err(Refusal::Ended),
        };
        let (running, slot) = match &self.installed {
            Some((task, slot)) => (*task, Some(slot)),
            None => (self.factory, None),
        };
        let trust = self.trust.clone().at_least(running.release);
        let mut start = heapless::Vec::<u8, 384>::new();
        while start.len() < envelope::LENGTH_BYTES {
            // A piece fits: it is shorter than the room behind an envelope.
            start.extend_from_slice(&piece()?).map_err(|_| Refusal::Ended)?;
        }
        // Nothing has been erased yet.
        let manifest = trust.manifest(&start)?;
        let length = (envelope::LENGTH_BYTES as u32).saturating_add(manifest.package_length());
        let mut update = self.slots.update(slot, length)?;
        update.write(&start)?;
        while update.missing() > 0 {
            update.write(&piece()?)?;
        }
        let written = update.finish()?;
        let bytes = mapped(written.payload());
        let task = check(&trust, &self.base, bytes)?;
        let slot = written.commit()?;
        self.installed = Some((task, slot));
        Ok(task.release)
    }

    /// The signed file of the task that the firmware was built with, and whom the device trusts.
    pub(crate) fn factory_file(&self) -> (&'static [u8], &Trust) {
        (&FACTORY.0, &self.trust)
    }
}

/// Signature, format and base of a signed task.
fn check(trust: &Trust, base: &Package<'static>, file: &'static [u8]) -> Result<Task, Refusal> {
    let signed = trust.open(file)?;
    let package = Package::parse(signed.package())?;
    Model::bind(base, &package)?;
    Ok(Task { package, release: signed.release() })
}

fn mapped(payload: Range<u32>) -> &'static [u8] {
    // SAFETY: the payload was written a moment ago. It is refused and the slice dropped, or it is
    // installed, and then `update` writes the other slot.
    unsafe { flash::mapped(payload) }
}
