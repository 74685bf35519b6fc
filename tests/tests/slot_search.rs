//! All orders of up to so many faults in the updates of a task, on a flash of two small sectors.
//!
//! Each start of the device sees one of the values that unstable words may have, updates its task once
//! without a fault or not at all, and then once with a fault: power that is cut in any step, or an
//! error of any write or erase (a read that fails once is tried again, which `slots.rs` shows). States that are equal are followed once, and the orders that led there counted:
//! equal are flashes whose blocks read alike, up to the numbers of the updates; all blocks that are
//! neither erased nor what an update writes read as nothing.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_runtime::slots::{HEADER_BYTES, SlotError, Slots};
use coda_tests::nor::{Cut, Failure, Nor, OFF, Tear};
use embedded_storage::nor_flash::NorFlashErrorKind;
use std::collections::HashMap;

/// Most faults of a search.
const MOST: u32 = 5;
/// Bytes of a block, which is a word here.
const BLOCK: usize = 64;
/// A slot: four records and a block of payload.
const SECTOR: usize = HEADER_BYTES as usize + BLOCK;
/// What a cut leaves, without chance, and of which none is like another: before a step is after the one
/// before it, and a word that does not read is as good as one that reads as nothing.
const TEARS: [Tear; 4] = [Tear::After, Tear::Half, Tear::Unstable, Tear::Cleared];

type Flash = Nor<BLOCK, SECTOR>;
type Device = Slots<Flash>;
type Failed = SlotError<NorFlashErrorKind>;

/// What a block reads as: not at all, or erased, nothing, the record or the payload of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Block {
    Unreadable,
    Erased,
    Nothing,
    /// Sequence number and payload.
    Record(i64, i64),
    Note(i64),
    Payload(i64),
}

/// An update that was reported as taken.
#[derive(Clone, Copy)]
struct Taken {
    payload: u32,
    sequence: u32,
}

/// Where a device can be, and how many orders of faults lead there.
struct State {
    flash: Flash,
    taken: Taken,
    orders: u128,
    /// One of the orders.
    faults: Vec<Fault>,
}

type States = HashMap<Vec<Block>, State>;

/// What is wrong with one of the updates.
#[derive(Clone, Debug)]
enum Fault {
    Cut(Cut),
    Error(Failure),
}

/// What was tried.
#[derive(Default)]
struct Search {
    /// Payloads by their checksums.
    payloads: HashMap<u32, u32>,
    starts: u64,
    updates: u64,
}

fn add(states: &mut States, key: Vec<Block>, state: State) {
    match states.get_mut(&key) {
        Some(known) => known.orders += state.orders,
        None => drop(states.insert(key, state)),
    }
}

fn device(flash: Flash) -> Device {
    Slots::new(flash, [0, SECTOR as u32], SECTOR as u32).unwrap()
}

/// A payload, which no part of another is.
fn payload(number: u32) -> [u8; 8] {
    (u64::from(number) << 32 | u64::from(!number)).to_le_bytes()
}

/// The number of a payload.
fn number(payload: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(payload.get(4..8)?.try_into().ok()?);
    (payload.get(..8) == Some(&self::payload(number))).then_some(number)
}

/// As in a record.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

/// The payload of the newest slot.
fn newest(device: &mut Device) -> Result<Option<u32>, Failed> {
    let Some(slot) = device.whole()?.first().copied() else { return Ok(None) };
    let mut bytes = [0; 8];
    device.read(&slot, 0, &mut bytes)?;
    Ok(Some(number(&bytes).expect("half a task")))
}

/// One update to the next payload.
fn update(device: &mut Device) -> Result<Taken, Failed> {
    let keep = device.whole()?.first().copied();
    let payload = newest(device)?.map_or(1, |number| number + 1);
    let mut update = device.update(keep.as_ref(), 8)?;
    update.write(&self::payload(payload))?;
    Ok(Taken { payload, sequence: update.finish()?.commit()?.sequence() })
}

/// What an update leaves that has a fault, or none.
fn run(before: &State, fault: Option<Fault>) -> State {
    let mut flash = before.flash.clone();
    match fault.clone() {
        Some(Fault::Cut(cut)) => flash.start(Some(cut)),
        Some(Fault::Error(failure)) => flash.fail(failure),
        None => {}
    }
    let mut device = device(flash);
    let taken = match update(&mut device) {
        Ok(taken) => taken,
        Err(SlotError::Flash(OFF) | SlotError::Verify | SlotError::Unconfirmed) => before.taken,
        Err(error) => panic!("{error}"),
    };
    let faults = before.faults.iter().cloned().chain(fault).collect();
    State { flash: device.into_flash(), taken, orders: before.orders, faults }
}

/// Every fault of an update like this one, which had none.
fn faults(clean: &Flash) -> Vec<Fault> {
    let cuts = (0..clean.steps()).flat_map(|step| TEARS.map(|tear| Cut { step, tear }));
    let errors = clean.changes().iter().flat_map(|call| {
        [Tear::Before, Tear::Unstable].map(|tear| Failure { calls: *call..call + 1, tear })
    });
    cuts.map(Fault::Cut).chain(errors.map(Fault::Error)).collect()
}

impl Search {
    fn new() -> Self {
        let payloads = (1..=1 + 2 * MOST).map(|number| (crc32(&payload(number)), number));
        Self { payloads: payloads.collect(), ..Self::default() }
    }

    /// What a block reads as, numbers as from the last update taken.
    fn class(&self, block: &[u8], taken: Taken) -> Block {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
        let from = |number: u32, base: u32| i64::from(number) - i64::from(base);
        if block.iter().all(|byte| *byte == 0xff) {
            Block::Erased
        } else if let Some(number) = number(block) {
            Block::Payload(from(number, taken.payload))
        } else if !block.starts_with(b"\x89CoDT") || crc32(&block[..60]) != word(60) {
            Block::Nothing
        } else if word(16) == 0 {
            Block::Note(from(word(12), taken.sequence))
        } else {
            let payload = self.payloads[&word(20)];
            Block::Record(from(word(12), taken.sequence), from(payload, taken.payload))
        }
    }

    /// Every block of a flash with each of its readings.
    fn key(&self, state: &State) -> Vec<Block> {
        let blocks = (0..2 * SECTOR).step_by(BLOCK).flat_map(|at| {
            let class = |bytes: Vec<u8>| self.class(&bytes, state.taken);
            let readings = state.flash.readings(at..at + BLOCK);
            readings.map_or([Block::Unreadable; 3], |found| found.map(class))
        });
        blocks.collect()
    }

    /// The devices that start from these states, each once: they have a whole task, and none before the
    /// last that was taken.
    fn starts(&mut self, states: &States) -> States {
        let mut starts = States::new();
        for state in states.values() {
            for flash in state.flash.power_ups() {
                let start = State { flash, faults: state.faults.clone(), ..*state };
                let blocks = start.flash.bytes().chunks(BLOCK);
                let now = blocks.map(|block| self.class(block, start.taken));
                let key = self.key(&start).into_iter().chain(now).collect();
                add(&mut starts, key, start);
            }
        }
        for start in starts.values() {
            let (found, expected) = (newest(&mut device(start.flash.clone())), start.taken.payload);
            let kept = found.is_ok_and(|found| found >= Some(expected));
            assert!(kept, "{found:?} for {expected} after {:?}", start.faults);
            self.starts += 1;
        }
        starts
    }

    /// Adds to `next` all that one fault can make of states. Gives what none makes of them.
    fn follow(&mut self, states: &States, next: &mut States) -> States {
        let mut clean = States::new();
        for start in self.starts(states).values() {
            let after = run(start, None);
            for fault in faults(&after.flash) {
                self.updates += 1;
                let after = run(start, Some(fault));
                add(next, self.key(&after), after);
            }
            add(&mut clean, self.key(&after), after);
        }
        clean
    }
}

/// Follows all orders of `most` faults.
fn search(most: u32) {
    let mut search = Search::new();
    let (mut states, mut first) = (States::new(), device(Flash::new(2, 1)));
    for _ in 0..2 {
        let taken = update(&mut first).unwrap();
        let flash = first.into_flash();
        let state = State { flash: flash.clone(), taken, orders: 1, faults: Vec::new() };
        add(&mut states, search.key(&state), state);
        first = device(flash);
    }
    for count in 1..=most {
        let mut next = States::new();
        let updated = search.follow(&states, &mut next);
        search.follow(&updated, &mut next);
        states = next;
        let orders: u128 = states.values().map(|state| state.orders).sum();
        println!("{count} faults: {orders} orders, {} states", states.len());
    }
    search.starts(&states);
    let Search { starts, updates, .. } = search;
    println!("{updates} updates with a fault, {starts} starts: 0 lost, 0 half, 0 taken back");
}

/// All orders of up to three faults, or of as many as `CODA_FAULTS` says: of four it takes many minutes.
#[test]
fn no_order_of_faults_loses_the_task() {
    let most = std::env::var("CODA_FAULTS").map_or(3, |faults| faults.parse().unwrap());
    assert!((1..=MOST).contains(&most), "a search is of 1 to {MOST} faults");
    search(most);
}
