//! Signed packages and updates over two slots. Their documentation is that of `coda.h`.
#![expect(unsafe_code, reason = "exported symbols, memory of C that holds a borrow of itself")]
#![expect(clippy::missing_safety_doc, reason = "one contract for all, at the top of coda.h")]

use crate::abi::put_sentence;
use crate::flash::{Flash, FlashFailure};
use crate::pointers::{check_size, optional, slice, slice_mut, write};
use crate::status::Status;
use coda_runtime::signature::{Keys, Manifest, Scope, SignatureError, SignedKind, Trust};
use coda_runtime::slots::{Slot, SlotError, Slots};
use coda_runtime::updates::{Incoming, Installed, Trial, UpdateError, Updates};
use core::ffi::{c_char, c_void};
use core::fmt;
use core::mem::offset_of;
use core::ops::Range;

/// Whom a device trusts with what. All of it is stated: nothing has a default.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TrustConfig {
    /// `sizeof` of this structure.
    pub bytes: usize,
    /// Public keys of 32 bytes each, one behind the other.
    pub keys: *const u8,
    /// How many, 1 to 8.
    pub key_count: usize,
    /// How many of them must have signed; 1 is usual.
    pub threshold: usize,
    /// What is taken: 1 bases, 2 tasks, 3 bundles, 4 key lists.
    pub kind: u16,
    /// Which of several of its kind in the device; 0 if there is one.
    pub component: u16,
    /// The owner's number of the product.
    pub product: u64,
    /// The oldest release that is taken; for updates, one above that of a package that the program was built
    /// with.
    pub minimum: u64,
    /// 16 bytes: content id of the base (`coda_info.base_id`), zero for key lists; null takes any.
    pub base_id: *const u8,
}

/// A signed package.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Signed {
    /// `sizeof` of this structure, set before the call.
    pub bytes: usize,
    /// Its release.
    pub release: u64,
    /// Where the package begins: in the file, or from the start of the flash.
    pub offset: usize,
    /// Bytes of the package.
    pub length: usize,
}

/// Where two slots are, and how often a key may begin an update between two starts of the device.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SlotsConfig {
    /// `sizeof` of this structure.
    pub bytes: usize,
    /// Offset of each slot in the flash.
    pub starts: [u32; 2],
    /// Bytes of each: whole sectors.
    pub slot_bytes: u32,
    /// Updates that each key may begin.
    pub erases: u8,
}

/// First word of memory that holds updates.
const MAGIC: usize = 0x0c0d_a0b7;

/// What `coda_updates_error` tells.
type LastError = Option<UpdateError<FlashFailure>>;

/// Where an update is.
enum Phase {
    Idle,
    Incoming(Incoming<'static, Flash>),
    Trial(Trial<'static, Flash>),
}

/// What the memory of updates holds. While `phase` is not idle it borrows `updates`, so each is reached by a
/// pointer of its own and `updates` only when idle.
///
/// cbindgen:ignore
#[repr(C)]
struct Door {
    magic: usize,
    error: LastError,
    installed: heapless::Vec<Installed, 2>,
    phase: Phase,
    updates: Updates<Flash>,
}

/// Where a field of a door is.
const fn field<T>(door: *mut Door, offset: usize) -> *mut T {
    door.wrapping_byte_add(offset).cast()
}

/// A failure with its status: plain, or kept for `coda_updates_error`.
enum Failed {
    Plain(Status),
    Update(UpdateError<FlashFailure>),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Plain(status)
    }
}

impl From<UpdateError<FlashFailure>> for Failed {
    fn from(error: UpdateError<FlashFailure>) -> Self {
        Self::Update(error)
    }
}

fn of_signature(error: SignatureError) -> Status {
    match error {
        SignatureError::BadKey | SignatureError::BadKeyList => Status::BadArgument,
        _ => Status::Signature,
    }
}

fn of_update(error: &UpdateError<FlashFailure>) -> Status {
    match error {
        UpdateError::Signature(error) => of_signature(*error),
        UpdateError::Slot(SlotError::Flash(_)) => Status::Flash,
        UpdateError::Slot(_) => Status::Slot,
        UpdateError::Exhausted { .. } => Status::UpdatesExhausted,
        _ => Status::Internal,
    }
}

/// A structure of the caller, of this library's size.
fn sized<'a, T>(pointer: *const T) -> Result<&'a T, Status> {
    check_size(pointer)?;
    optional(pointer)?.ok_or(Status::NullPointer)
}

fn trust_of(config: *const TrustConfig) -> Result<Trust, Status> {
    let config = sized(config)?;
    let bytes = config.key_count.checked_mul(32).ok_or(Status::BadPointer)?;
    let (keys, _) = slice(config.keys, bytes)?.as_chunks::<32>();
    let keys = Keys::new(keys, config.threshold).map_err(of_signature)?;
    let kinds = [SignedKind::Base, SignedKind::Task, SignedKind::Bundle, SignedKind::KeyList];
    let kind = kinds.into_iter().find(|kind| *kind as u16 == config.kind);
    let base = match config.base_id.is_null() {
        true => None,
        false => slice(config.base_id, 16)?.first_chunk().copied(),
    };
    let scope = Scope {
        kind: kind.ok_or(Status::BadArgument)?,
        product: config.product,
        component: config.component,
        base,
        minimum: config.minimum,
    };
    Ok(Trust::of(keys, scope))
}

/// Fills a structure of the caller, whose size was checked.
fn fill(signed: *mut Signed, release: u64, package: Range<usize>) -> Result<(), Status> {
    let bytes = size_of::<Signed>();
    write(signed, Signed { bytes, release, offset: package.start, length: package.len() })
}

/// Checks a signed package that lies in memory, as a whole, and says where in it the package is.
/// `CODA_STATUS_SIGNATURE` if it is not what `trust` takes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_open_signed(
    trust: *const TrustConfig,
    file: *const c_void,
    file_bytes: usize,
    signed: *mut Signed,
) -> Status {
    let open = || {
        check_size(signed)?;
        let (trust, file) = (trust_of(trust)?, slice(file.cast::<u8>(), file_bytes)?);
        let opened = trust.open(file).map_err(of_signature)?;
        fill(signed, opened.release(), trust.envelope_bytes()..file_bytes)
    };
    open().err().unwrap_or(Status::Ok)
}

/// Bytes of memory that updates need.
#[unsafe(no_mangle)]
pub extern "C" fn coda_updates_bytes() -> usize {
    size_of::<Door>()
}

/// Alignment of that memory.
#[unsafe(no_mangle)]
pub extern "C" fn coda_updates_alignment() -> usize {
    align_of::<Door>()
}

/// Prepares updates of what `trust` takes, in `memory` of at least `coda_updates_bytes()` bytes, which must not
/// be moved from then on. Nothing is read or written of the flash.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_init(
    memory: *mut c_void,
    memory_bytes: usize,
    flash: *const Flash,
    slots: *const SlotsConfig,
    trust: *const TrustConfig,
) -> Status {
    let init = || {
        let whole: &mut [u8] = slice_mut(memory.cast(), memory_bytes)?;
        if whole.len() < size_of::<Door>() {
            return Err(Status::StructureSize);
        }
        let flash = sized(flash)?;
        let layout = sized(slots)?;
        let updates = updates_of(flash, layout, trust_of(trust)?)?;
        let (error, installed, phase) = (None, heapless::Vec::new(), Phase::Idle);
        write(memory.cast(), Door { magic: MAGIC, error, installed, phase, updates })
    };
    init().err().unwrap_or(Status::Ok)
}

fn updates_of(flash: &Flash, layout: &SlotsConfig, trust: Trust) -> Result<Updates<Flash>, Status> {
    if flash.read.is_none() || flash.write.is_none() || flash.erase.is_none() {
        return Err(Status::NullPointer);
    }
    let [first, second] = layout.starts;
    let sectors = [first, second, layout.slot_bytes, flash.capacity];
    let whole = |offset: u32| flash.erase_bytes != 0 && offset.is_multiple_of(flash.erase_bytes);
    if !flash.erase_bytes.is_multiple_of(64) || !sectors.into_iter().all(whole) {
        return Err(Status::Slot);
    }
    let slots = Slots::new(*flash, layout.starts, layout.slot_bytes).map_err(|_| Status::Slot)?;
    Ok(Updates::new(slots, trust, layout.erases))
}

/// Runs a call on memory that `coda_updates_init` has prepared.
fn on(memory: *mut c_void, call: impl FnOnce(*mut Door) -> Result<(), Failed>) -> Status {
    let door = memory.cast::<Door>();
    match slice(memory.cast::<usize>(), 1).map(|words| words.first() == Some(&MAGIC)) {
        Ok(true) if door.is_aligned() => {}
        Ok(true) => return Status::BadPointer,
        Ok(false) => return Status::NotInitialized,
        Err(status) => return status,
    }
    match call(door) {
        Ok(()) => Status::Ok,
        Err(Failed::Plain(status)) => status,
        Err(Failed::Update(error)) => {
            // SAFETY: the word says that a door is here; nothing borrows this field.
            unsafe {
                field::<LastError>(door, offset_of!(Door, error)).write(Some(error));
            };
            of_update(&error)
        }
    }
}

/// The phase of an update. A door is there, by [`on`].
fn phase<'a>(door: *mut Door) -> &'a mut Phase {
    // SAFETY: `on` has seen that a door is here; one call at a time uses it by the contract, and what the
    // phase borrows is another field.
    unsafe { &mut *field(door, offset_of!(Door, phase)) }
}

/// The slots found by the last `coda_updates_find`.
fn found<'a>(door: *mut Door) -> &'a mut heapless::Vec<Installed, 2> {
    // SAFETY: as in `phase`.
    unsafe { &mut *field(door, offset_of!(Door, installed)) }
}

/// The updates, dropped first what may borrow them.
fn idle(door: *mut Door) -> &'static mut Updates<Flash> {
    *phase(door) = Phase::Idle;
    // SAFETY: as in `phase`; nothing borrows this field now. The borrow lasts as long as the memory, which is
    // not moved by the contract; the next call of this function ends it before it makes another.
    unsafe { &mut *field(door, offset_of!(Door, updates)) }
}

fn fill_installed(
    signed: *mut Signed,
    manifest: &Manifest,
    package: Range<u32>,
) -> Result<(), Status> {
    fill(signed, manifest.release(), package.start as usize..package.end as usize)
}

/// Looks for the packages in the slots, the newest first: `index` 0, then 1. Each byte is read and checked, and
/// an update that is under way is given up. `CODA_STATUS_OUT_OF_RANGE` if there are not so many. Whether one is
/// a package for the device is for the caller to say, who takes the first that is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_find(
    memory: *mut c_void,
    index: usize,
    signed: *mut Signed,
) -> Status {
    on(memory, |door| {
        check_size(signed)?;
        if index > 1 {
            return Err(Status::OutOfRange.into());
        }
        let installed = idle(door).installed()?;
        *found(door) = installed;
        let own = found(door).get(index).ok_or(Status::OutOfRange)?;
        Ok(fill_installed(signed, own.manifest(), own.package())?)
    })
}

/// Reads the envelopes at the start of an update, 192 bytes for each key that must have signed. `in_use` is the
/// index of the package that the device runs, as of the last `coda_updates_find`; `SIZE_MAX` if it runs none of
/// them, but one that it was built with: then the newest in the slots is looked for, compared with and kept.
/// The release of the one that it was built with is not known here: `minimum` must be one above it, or an older
/// one may come.
///
/// `begun` becomes 1 if an update has begun, whose package is to come by `coda_updates_write`; 0 if the
/// envelopes are those of the package in use, or of one that was confirmed since `coda_updates_init`: there is
/// nothing to do. Everything that can be refused is refused before the first erase. A later release overwrites
/// the slot that is not in use, also if that one was confirmed and does not run yet.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_offer(
    memory: *mut c_void,
    in_use: usize,
    envelopes: *const c_void,
    envelope_bytes: usize,
    begun: *mut i32,
) -> Status {
    on(memory, |door| {
        write(begun, 0)?;
        let envelopes = slice(envelopes.cast::<u8>(), envelope_bytes)?;
        let own = match in_use {
            usize::MAX => None,
            index => Some(*found(door).get(index).ok_or(Status::OutOfRange)?),
        };
        let (manifest, slot): (_, Option<&Slot>) =
            (own.as_ref().map(Installed::manifest), own.as_ref().map(Installed::slot));
        if let Some(incoming) = idle(door).offer(envelopes, manifest, slot)? {
            *phase(door) = Phase::Incoming(incoming);
            write(begun, 1)?;
        }
        Ok(())
    })
}

/// Takes the next piece of the package, of any length.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_write(
    memory: *mut c_void,
    piece: *const c_void,
    bytes: usize,
) -> Status {
    on(memory, |door| match phase(door) {
        Phase::Incoming(incoming) => Ok(incoming.write(slice(piece.cast::<u8>(), bytes)?)?),
        _ => Err(Status::UpdateOrder.into()),
    })
}

/// Reads the package back from the flash, checks that it is the one that was signed, and says where it is. It
/// is on trial then: bind it, run inputs whose answers are known, and confirm it. On an error the update is given up.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_finish(memory: *mut c_void, signed: *mut Signed) -> Status {
    on(memory, |door| {
        check_size(signed)?;
        match core::mem::replace(phase(door), Phase::Idle) {
            Phase::Incoming(incoming) => {
                let trial = incoming.finish()?;
                fill_installed(signed, trial.manifest(), trial.package())?;
                *phase(door) = Phase::Trial(trial);
                Ok(())
            }
            other => {
                *phase(door) = other;
                Err(Status::UpdateOrder.into())
            }
        }
    })
}

/// Makes the package on trial the newest. Without it the package before is in use at the next start.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_confirm(memory: *mut c_void) -> Status {
    on(memory, |door| match core::mem::replace(phase(door), Phase::Idle) {
        Phase::Trial(trial) => Ok(trial.confirm().map(drop)?),
        other => {
            *phase(door) = other;
            Err(Status::UpdateOrder.into())
        }
    })
}

/// Gives up an update or a trial.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_cancel(memory: *mut c_void) -> Status {
    on(memory, |door| {
        *phase(door) = Phase::Idle;
        Ok(())
    })
}

/// The last error of updates as a sentence, as `coda_error_message` gives that of a context; empty if there was
/// none yet. It speaks of signatures, slots and the flash; other statuses have a short text only.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_updates_error(
    memory: *mut c_void,
    text: *mut c_char,
    bytes: usize,
    needed: *mut usize,
) -> Status {
    on(memory, |door| {
        // SAFETY: as in `phase`; it is only read.
        let error = unsafe { field::<LastError>(door, offset_of!(Door, error)).read() };
        Ok(put_sentence(format_args!("{}", Shown(error)), text, bytes, needed)?)
    })
}

struct Shown(LastError);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(UpdateError::Slot(SlotError::Flash(FlashFailure(code)))) => {
                write!(f, "a function of the flash returned {code}")
            }
            Some(error) => error.fmt(f),
        }
    }
}
