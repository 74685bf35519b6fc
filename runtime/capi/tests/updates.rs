//! Signed packages and updates, called as C calls them: a trial that is not confirmed is gone, a replay is
//! nothing to do, and every misuse comes back as a status.

#![cfg(feature = "updates")]
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(unsafe_code, reason = "calls what C calls")]

use coda::*;
use std::ffi::{CStr, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

const SLOT: u32 = 16_384;
const SECTOR: u32 = 4096;
/// The public key of RFC 8032, section 7.1, test 1, which signed the golden package: release 7, product 1.
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

/// Flash in memory, which counts its erases and fails if told.
struct Memory {
    cells: Vec<u8>,
    erases: u32,
    code: i32,
}

/// The memory behind `user`.
fn of<'a>(user: *mut c_void) -> &'a mut Memory {
    // SAFETY: the tests hand the address of a `Memory` that they keep, and call from one thread.
    unsafe { &mut *user.cast() }
}

unsafe extern "C" fn read(user: *mut c_void, offset: u32, to: *mut c_void, bytes: usize) -> i32 {
    let from = &of(user).cells[offset as usize..][..bytes];
    // SAFETY: the library hands memory of so many bytes.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), bytes) };
    of(user).code
}

unsafe extern "C" fn write(
    user: *mut c_void,
    offset: u32,
    from: *const c_void,
    bytes: usize,
) -> i32 {
    let to = &mut of(user).cells[offset as usize..][..bytes];
    // SAFETY: the library hands memory of so many bytes.
    unsafe { std::ptr::copy_nonoverlapping(from.cast(), to.as_mut_ptr(), bytes) };
    of(user).code
}

unsafe extern "C" fn erase(user: *mut c_void, from: u32, to: u32) -> i32 {
    assert!(from.is_multiple_of(SECTOR) && to.is_multiple_of(SECTOR));
    of(user).cells[from as usize..to as usize].fill(0xff);
    of(user).erases += 1;
    of(user).code
}

/// A device: its flash and the memory of its updates.
struct Device {
    flash: Box<Memory>,
    door: Vec<u128>,
}

fn trust() -> TrustConfig {
    TrustConfig {
        bytes: size_of::<TrustConfig>(),
        keys: KEY.as_ptr(),
        key_count: 1,
        threshold: 1,
        kind: 3,
        component: 0,
        product: 1,
        minimum: 7,
        base_id: null(),
    }
}

const fn slots() -> SlotsConfig {
    SlotsConfig { bytes: size_of::<SlotsConfig>(), starts: [0, SLOT], slot_bytes: SLOT, erases: 3 }
}

fn blank() -> Signed {
    Signed { bytes: size_of::<Signed>(), release: 0, offset: 0, length: 0 }
}

fn file() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    std::fs::read(root.join("bert-int8-v1.0-named.signed")).unwrap()
}

/// Calls a function of the interface.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: each pointer is to memory of the test that outlives the call, or one that the function
        // must refuse before it reads or writes there.
        unsafe { $function($($argument),*) }
    };
}

impl Device {
    fn new() -> Self {
        let cells = vec![0xff; 2 * SLOT as usize];
        let flash = Box::new(Memory { cells, erases: 0, code: 0 });
        let mut device = Self { flash, door: Vec::new() };
        assert_eq!(device.start(&slots(), &trust()), Status::Ok);
        device
    }

    fn functions(&mut self) -> Flash {
        Flash {
            bytes: size_of::<Flash>(),
            user: (&raw mut *self.flash).cast(),
            read: Some(read),
            write: Some(write),
            erase: Some(erase),
            capacity: 2 * SLOT,
            erase_bytes: SECTOR,
        }
    }

    /// As after a reset: with fresh memory, on the flash that is there.
    fn start(&mut self, slots: &SlotsConfig, trust: &TrustConfig) -> Status {
        let bytes = coda_updates_bytes();
        assert!(coda_updates_alignment() <= 16);
        self.door = vec![0; bytes.div_ceil(16)];
        let flash = self.functions();
        call!(coda_updates_init(self.at(), bytes, &raw const flash, slots, trust))
    }

    fn at(&mut self) -> *mut c_void {
        self.door.as_mut_ptr().cast()
    }

    fn offer(&mut self, in_use: usize, envelope: &[u8]) -> (Status, i32) {
        let (mut begun, bytes) = (7, envelope.len());
        let at = envelope.as_ptr().cast();
        let status = call!(coda_updates_offer(self.at(), in_use, at, bytes, &raw mut begun));
        (status, begun)
    }

    fn write(&mut self, piece: &[u8]) -> Status {
        call!(coda_updates_write(self.at(), piece.as_ptr().cast(), piece.len()))
    }

    fn finish(&mut self) -> (Status, Signed) {
        let mut signed = blank();
        (call!(coda_updates_finish(self.at(), &raw mut signed)), signed)
    }

    fn find(&mut self, index: usize) -> (Status, Signed) {
        let mut signed = blank();
        (call!(coda_updates_find(self.at(), index, &raw mut signed)), signed)
    }

    /// The golden package on trial.
    fn on_trial(&mut self) -> Signed {
        let file = file();
        assert_eq!(self.offer(usize::MAX, &file[..192]), (Status::Ok, 1));
        file[192..].chunks(100).for_each(|piece| assert_eq!(self.write(piece), Status::Ok));
        let (status, signed) = self.finish();
        assert_eq!(status, Status::Ok);
        let place = signed.offset..signed.offset + signed.length;
        assert_eq!(self.flash.cells[place], file[192..]);
        signed
    }

    fn error(&mut self) -> String {
        let mut text = [0u8; 160];
        let at = text.as_mut_ptr().cast();
        assert_eq!(call!(coda_updates_error(self.at(), at, 160, null_mut())), Status::Ok);
        CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap().to_owned()
    }
}

#[test]
fn an_update_counts_from_its_confirmation_on() {
    let mut device = Device::new();
    let trial = device.on_trial();
    assert_eq!((trial.release, trial.offset % 64), (7, 0));
    // A reset in the trial: nothing is there.
    assert_eq!(device.start(&slots(), &trust()), Status::Ok);
    assert_eq!(device.find(0).0, Status::OutOfRange);
    device.on_trial();
    assert_eq!(call!(coda_updates_confirm(device.at())), Status::Ok);
    assert_eq!(device.start(&slots(), &trust()), Status::Ok);
    let (status, found) = device.find(0);
    assert_eq!((status, found.release, found.length), (Status::Ok, 7, file().len() - 192));
    assert_eq!(device.find(1).0, Status::OutOfRange);
}

#[test]
fn a_replay_is_nothing_to_do_and_other_packages_are_refused_before_an_erase() {
    let mut device = Device::new();
    device.on_trial();
    assert_eq!(call!(coda_updates_confirm(device.at())), Status::Ok);
    assert_eq!(device.find(0).0, Status::Ok);
    let (mut file, erases) = (file(), device.flash.erases);
    for _ in 0..3 {
        assert_eq!(device.offer(0, &file[..192]), (Status::Ok, 0));
        assert_eq!(device.find(0).0, Status::Ok);
    }
    file[20] ^= 1;
    assert_eq!(device.offer(0, &file[..192]), (Status::Signature, 0));
    assert_eq!(device.error(), "the signature is not that of this envelope");
    assert_eq!(device.offer(0, &file[..100]), (Status::Signature, 0));
    assert_eq!(device.offer(1, &file[..192]), (Status::OutOfRange, 0));
    assert_eq!(device.flash.erases, erases);
    for (change, other) in [
        TrustConfig { product: 2, ..trust() },
        TrustConfig { kind: 2, ..trust() },
        TrustConfig { minimum: 8, ..trust() },
        TrustConfig { base_id: KEY.as_ptr(), ..trust() },
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(device.start(&slots(), other), Status::Ok);
        assert_eq!(device.find(0).0, Status::OutOfRange, "{change}");
    }
}

#[test]
fn what_was_confirmed_is_nothing_to_do_for_a_program_that_runs_none_of_the_slots() {
    let mut device = Device::new();
    device.on_trial();
    assert_eq!(call!(coda_updates_confirm(device.at())), Status::Ok);
    let (file, erases) = (file(), device.flash.erases);
    assert_eq!(device.offer(usize::MAX, &file[..192]), (Status::Ok, 0));
    // After a reset it is looked for.
    assert_eq!(device.start(&slots(), &trust()), Status::Ok);
    assert_eq!(device.offer(usize::MAX, &file[..192]), (Status::Ok, 0));
    assert_eq!(device.flash.erases, erases);
    assert_eq!(device.find(0).0, Status::Ok);
}

#[test]
fn a_call_that_is_refused_for_its_arguments_gives_no_trial_up() {
    let mut device = Device::new();
    assert_eq!(device.error(), "");
    device.on_trial();
    let mut small = Signed { bytes: 8, ..blank() };
    let status = call!(coda_updates_find(device.at(), 0, &raw mut small));
    assert_eq!(status, Status::StructureSize);
    assert_eq!(call!(coda_updates_find(device.at(), 0, null_mut())), Status::NullPointer);
    assert_eq!(device.find(2).0, Status::OutOfRange);
    assert_eq!(device.offer(0, &file()[..192]).0, Status::OutOfRange);
    assert_eq!(call!(coda_updates_confirm(device.at())), Status::Ok);
}

#[test]
fn of_a_structure_of_another_size_only_its_size_is_read() {
    let (word, mut signed, mut device) = ([8usize], blank(), Device::new());
    let at = word.as_ptr();
    assert_eq!(
        call!(coda_open_signed(at.cast(), null(), 0, &raw mut signed)),
        Status::StructureSize
    );
    let (flash, layout, bytes) = (device.functions(), slots(), coda_updates_bytes());
    for (flash, layout) in [(at.cast(), &raw const layout), (&raw const flash, at.cast())] {
        let status = call!(coda_updates_init(device.at(), bytes, flash, layout, at.cast()));
        assert_eq!(status, Status::StructureSize);
    }
    // The place of the result is looked at before the package.
    let (trust, file) = (trust(), file());
    let from = file.as_ptr().cast();
    assert_eq!(
        call!(coda_open_signed(&raw const trust, from, 10, word.as_ptr().cast_mut().cast())),
        Status::StructureSize
    );
}

#[test]
fn a_key_begins_so_many_updates_and_a_flash_that_fails_is_a_status() {
    let (mut device, file) = (Device::new(), file());
    for _ in 0..3 {
        assert_eq!(device.offer(usize::MAX, &file[..192]), (Status::Ok, 1));
    }
    assert_eq!(device.offer(usize::MAX, &file[..192]), (Status::UpdatesExhausted, 0));
    assert_eq!(device.flash.erases, 3);
    assert_eq!(device.start(&slots(), &trust()), Status::Ok);
    device.flash.code = -5;
    assert_eq!(device.offer(usize::MAX, &file[..192]).0, Status::Flash);
    assert_eq!(device.error(), "a function of the flash returned -5");
}

#[test]
fn calls_out_of_order_and_bytes_that_changed_are_statuses() {
    let (mut device, file) = (Device::new(), file());
    assert_eq!(device.write(&file), Status::UpdateOrder);
    assert_eq!(device.finish().0, Status::UpdateOrder);
    assert_eq!(call!(coda_updates_confirm(device.at())), Status::UpdateOrder);
    assert_eq!(device.offer(usize::MAX, &file[..192]), (Status::Ok, 1));
    assert_eq!(call!(coda_updates_confirm(device.at())), Status::UpdateOrder);
    assert_eq!(device.write(&file), Status::Slot);
    let mut package = file[192..].to_vec();
    package[1000] ^= 2;
    assert_eq!(device.write(&package), Status::Ok);
    assert_eq!(device.finish().0, Status::Signature);
    assert_eq!(call!(coda_updates_cancel(device.at())), Status::Ok);
    assert_eq!(device.finish().0, Status::UpdateOrder);
}

#[test]
fn senseless_arguments_are_statuses() {
    let mut device = Device::new();
    let (right, layout) = (trust(), slots());
    for (slots, status) in [
        (SlotsConfig { bytes: 0, ..layout }, Status::StructureSize),
        (SlotsConfig { starts: [0, SLOT - 64], ..layout }, Status::Slot),
        (SlotsConfig { starts: [0, 0], ..layout }, Status::Slot),
        (SlotsConfig { slot_bytes: 0, ..layout }, Status::Slot),
        (SlotsConfig { starts: [0, u32::MAX - SECTOR + 1], ..layout }, Status::Slot),
    ] {
        assert_eq!(device.start(&slots, &right), status);
    }
    let twice = [KEY, KEY].concat();
    for (trust, status) in [
        (TrustConfig { bytes: 1, ..right }, Status::StructureSize),
        (TrustConfig { keys: null(), ..right }, Status::NullPointer),
        (TrustConfig { key_count: 0, ..right }, Status::BadArgument),
        (TrustConfig { key_count: usize::MAX, ..right }, Status::BadPointer),
        (TrustConfig { threshold: 2, ..right }, Status::BadArgument),
        (TrustConfig { keys: twice.as_ptr(), key_count: 2, ..right }, Status::BadArgument),
        (TrustConfig { kind: 5, ..right }, Status::BadArgument),
    ] {
        assert_eq!(device.start(&layout, &trust), status);
        assert_eq!(device.find(0).0, Status::NotInitialized);
    }
    let mut flash = device.functions();
    flash.write = None;
    let (at, bytes) = (device.at(), coda_updates_bytes());
    let init = |flash: &Flash, at, bytes| {
        call!(coda_updates_init(at, bytes, &raw const *flash, &raw const layout, &raw const right))
    };
    assert_eq!(init(&flash, at, bytes), Status::NullPointer);
    let flash = Flash { write: Some(write), ..flash };
    assert_eq!(init(&flash, at, bytes - 1), Status::StructureSize);
    assert_eq!(init(&flash, null_mut(), bytes), Status::NullPointer);
    assert_eq!(call!(coda_updates_find(null_mut(), 0, null_mut())), Status::NullPointer);
}

#[test]
fn a_signed_package_in_memory_is_opened() {
    let file = file();
    let open = |trust: &TrustConfig, bytes: usize| {
        let mut signed = blank();
        let at = file.as_ptr().cast();
        (call!(coda_open_signed(trust, at, bytes, &raw mut signed)), signed)
    };
    let (status, signed) = open(&trust(), file.len());
    assert_eq!((status, signed.release, signed.offset), (Status::Ok, 7, 192));
    assert_eq!(signed.length, file.len() - 192);
    assert_eq!(open(&trust(), file.len() - 1).0, Status::Signature);
    assert_eq!(open(&TrustConfig { component: 1, ..trust() }, file.len()).0, Status::Signature);
    let mut small = Signed { bytes: 8, ..blank() };
    let (at, bytes) = (file.as_ptr().cast(), file.len());
    let own = trust();
    let status = call!(coda_open_signed(&raw const own, at, bytes, &raw mut small));
    assert_eq!((status, small.release), (Status::StructureSize, 0));
}
