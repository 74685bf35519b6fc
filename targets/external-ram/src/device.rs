//! The tasks of the device: one it was built with, one in the slots; both over one base.

use crate::flash::{self, Flash, FlashError, SLOT_BYTES, STARTS};
use crate::world::Request;
use coda_runtime::format::{Aligned, FormatError, Package};
use coda_runtime::model::{Model, ModelError};
use coda_runtime::self_test::SelfTestError;
use coda_runtime::signature::{Manifest, Scope, SignatureError, SignedKind, Trust};
use coda_runtime::slots::{SlotError, Slots};
use coda_runtime::updates::{Installed, UpdateError, Updates};
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

/// The owner's number of this device.
const PRODUCT: u64 = 7;
/// Updates that a key may begin between two starts.
const ERASES: u8 = 4;

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
    /// Its key has begun too many updates.
    #[error("{0} updates of this key were begun since the start")]
    Exhausted(u8),
    /// It answers otherwise on this device than where it was made.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// It has no self-test, or no memory for it.
    #[error("the self-test cannot run")]
    Untested,
    /// Something else than a piece came.
    #[error("the update ended before its last byte")]
    Ended,
}

impl From<UpdateError<FlashError>> for Refusal {
    fn from(error: UpdateError<FlashError>) -> Self {
        match error {
            UpdateError::Signature(error) => Self::Signature(error),
            UpdateError::Slot(error) => Self::Slot(error),
            UpdateError::Exhausted { erases } => Self::Exhausted(erases),
            // There is none yet.
            _ => Self::Ended,
        }
    }
}

/// A task whose signature, format and base were checked; in use where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    pub(crate) package: Package<'static>,
    pub(crate) manifest: Manifest,
}

/// The tasks of the device.
pub(crate) struct Device {
    pub(crate) base: Package<'static>,
    pub(crate) factory: Task,
    /// The newest task in the slots that passes every check, and its slot.
    pub(crate) installed: Option<(Task, Installed)>,
    updates: Updates<Flash>,
}

impl Device {
    /// Checks the tasks that are there.
    pub(crate) fn start(flash: Flash) -> Result<Self, Refusal> {
        let base = Package::parse(&BASE.0)?;
        let trust = Trust::new(
            &KEY,
            Scope {
                kind: SignedKind::Task,
                product: PRODUCT,
                component: 0,
                base: Some(base.content_id()),
                minimum: 1,
            },
        )?;
        let signed = trust.open(&FACTORY.0)?;
        let factory = check(&base, signed.package(), *signed.manifest())?;
        let mut updates = Updates::new(Slots::new(flash, STARTS, SLOT_BYTES)?, trust, ERASES);
        let mut installed = None;
        for found in updates.installed()? {
            // SAFETY: only `update` writes, and to the slot that is not `installed`; its caller goes
            // on with the new task.
            let bytes = unsafe { flash::mapped(found.package()) };
            if let Ok(task) = check(&base, bytes, *found.manifest()) {
                installed = Some((task, found));
                break;
            }
        }
        Ok(Self { base, factory, installed, updates })
    }

    /// Takes an update, piece by piece, while the task in use stays where it is. `next` gives the
    /// pieces, `try_out` says whether the new task is good. `None` if it is the task in use. Once it is
    /// taken, the task that was installed before must not be used any more: the next update overwrites it.
    pub(crate) fn update(
        &mut self,
        mut next: impl FnMut() -> Request,
        try_out: impl FnOnce(&Package<'static>, &Task) -> Result<(), Refusal>,
    ) -> Result<Option<u64>, Refusal> {
        let mut piece = || match next() {
            Request::Piece(piece) => Ok(piece),
            _ => Err(Refusal::Ended),
        };
        let (running, slot) = match &self.installed {
            Some((task, installed)) => (task, Some(*installed.slot())),
            None => (&self.factory, None),
        };
        let mut start = heapless::Vec::<u8, 384>::new();
        while start.len() < self.updates.trust().envelope_bytes() {
            // A piece fits: it is shorter than the room behind an envelope.
            start.extend_from_slice(&piece()?).map_err(|_| Refusal::Ended)?;
        }
        let offer = self.updates.offer(&start, Some(&running.manifest), slot.as_ref())?;
        let Some(mut incoming) = offer else { return Ok(None) };
        let envelopes = incoming.manifest().envelope_bytes();
        incoming.write(start.get(envelopes..).unwrap_or_default())?;
        while incoming.missing() > 0 {
            incoming.write(&piece()?)?;
        }
        let trial = incoming.finish()?;
        let task = check(&self.base, mapped(trial.package()), *trial.manifest())?;
        // From here until `confirm` a reset, a hang or a refusal leaves the task in use.
        try_out(&self.base, &task)?;
        self.installed = Some((task, trial.confirm()?));
        Ok(Some(task.manifest.release()))
    }

    /// The signed file of the task that the firmware was built with, and whom the device trusts.
    pub(crate) fn factory_file(&self) -> (&'static [u8], &Trust) {
        (&FACTORY.0, self.updates.trust())
    }
}

/// Format and base of a task that was signed.
fn check(
    base: &Package<'static>,
    bytes: &'static [u8],
    manifest: Manifest,
) -> Result<Task, Refusal> {
    let package = Package::parse(bytes)?;
    Model::bind(base, &package)?;
    Ok(Task { package, manifest })
}

fn mapped(payload: Range<u32>) -> &'static [u8] {
    // SAFETY: the payload was written a moment ago. It is refused and the slice dropped, or it is
    // installed, and then `update` writes the other slot.
    unsafe { flash::mapped(payload) }
}
