//! Power is cut in every single write and erase of a task update, in every way: the device always
//! has a whole, checked task.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{PackageBytes, WeightType, pack_task};
use coda_runtime::kernels::Kernels;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::slots::{HEADER_BYTES, SlotError, Slots};
use coda_tests::nor::{Coarse, Cut, Failure, Nor, OFF, Tear};
use coda_tests::tiny::{PROVENANCE, Tiny};
use core::ops::Range;
use embedded_storage::nor_flash::NorFlashErrorKind;

const SECTOR: usize = 1024;
/// Sectors of a slot.
const SECTORS: usize = 6;
const SLOT_BYTES: u32 = (SECTORS * SECTOR) as u32;
const STARTS: [u32; 2] = [SECTOR as u32, SECTOR as u32 + SLOT_BYTES];

/// A base and several tasks for it, each with other weights, and their answers.
struct Device {
    tiny: Tiny,
    base: PackageBytes,
    tasks: Vec<PackageBytes>,
    answers: Vec<Vec<f32>>,
}

impl Device {
    fn new(tasks: usize) -> Self {
        let tiny = Tiny::vit();
        let base = tiny.pack(WeightType::Int8).unwrap().base;
        let mut device = Self { tiny, base, tasks: Vec::new(), answers: Vec::new() };
        for number in 0..tasks {
            let mut task = device.tiny.task.clone();
            for tensor in task.tensors.values_mut() {
                tensor.values.iter_mut().for_each(|value| *value *= 1.0 + number as f32 / 4.0);
            }
            // Another length each time.
            let provenance = &PROVENANCE.repeat(1 + number % 4);
            let parsed = device.base.parse().unwrap();
            let task = pack_task(&task, &parsed, WeightType::Int8, provenance).unwrap().bytes;
            device.answers.push(device.answer(&task).unwrap());
            device.tasks.push(task);
        }
        device
    }

    /// New flash with the first task in it.
    fn first<const WORD: usize>(&self, seed: u64) -> Nor<WORD, SECTOR> {
        let mut slots = slots(Nor::new(2 * SECTORS + 1, seed));
        assert_eq!(slots.whole().unwrap().len(), 0);
        update(&mut slots, &self.tasks[0], 100).unwrap();
        slots.into_flash()
    }

    /// Slots that both hold a task.
    fn two_tasks(&self, seed: u64) -> Slots<Nor<4, SECTOR>> {
        let mut slots = slots(Nor::new(2 * SECTORS + 1, seed));
        self.tasks.iter().for_each(|task| update(&mut slots, task, 500).unwrap());
        slots
    }

    /// What the device answers with a task, if it is one for its base.
    fn answer(&self, task: &[u8]) -> Option<Vec<f32>> {
        let task = PackageBytes::new(task);
        let (base, task) = (self.base.parse().unwrap(), task.parse().ok()?);
        let model = Model::bind(&base, &task).ok()?;
        let budget = Budget::Reduction(2.0);
        self.tiny.run(&model, Kernels::best(), budget, |output| output.values.to_vec()).ok()
    }
}

/// The payload of the newest whole slot.
fn newest<const WORD: usize>(slots: &mut Slots<Nor<WORD, SECTOR>>) -> Option<Vec<u8>> {
    let slot = *slots.whole().unwrap().first()?;
    let mut payload = vec![0; slot.payload().len()];
    slots.read(&slot, 0, &mut payload).unwrap();
    Some(payload)
}

/// An update in pieces of `piece` bytes.
fn update<const WORD: usize>(
    slots: &mut Slots<Nor<WORD, SECTOR>>,
    payload: &[u8],
    piece: usize,
) -> Result<(), SlotError<NorFlashErrorKind>> {
    let keep = slots.whole()?.first().copied();
    let mut update = slots.update(keep.as_ref(), payload.len() as u32)?;
    payload.chunks(piece).try_for_each(|piece| update.write(piece))?;
    update.finish()?.commit()?;
    Ok(())
}

fn slots<const WORD: usize>(nor: Nor<WORD, SECTOR>) -> Slots<Nor<WORD, SECTOR>> {
    Slots::new(nor, STARTS, SLOT_BYTES).unwrap()
}

#[derive(Debug, Default)]
struct Count {
    points: u64,
    cuts: u64,
    old: u64,
    new: u64,
}

/// Cuts an update from `before` to `after` at every step, in every way, and starts the device
/// several times after each; then updates again. Returns the flash with the update done.
fn cut_everywhere<const WORD: usize>(
    nor: &Nor<WORD, SECTOR>,
    before: &[u8],
    after: &[u8],
    count: &mut Count,
) -> Nor<WORD, SECTOR> {
    let mut whole = slots(nor.clone());
    update(&mut whole, after, 37).unwrap();
    let whole = whole.into_flash();
    count.points += whole.steps();
    for step in 0..whole.steps() {
        for tear in Tear::ALL {
            let mut nor = nor.clone();
            nor.power_up(Some(Cut { step, tear }));
            let mut device = slots(nor);
            let result = update(&mut device, after, 37);
            assert_eq!(result, Err(SlotError::Flash(OFF)));
            count.cuts += 1;
            start_after_cut(device.into_flash(), before, after, Cut { step, tear }, count);
        }
    }
    whole
}

/// Starts the device on flash that a cut has left, then updates it.
fn start_after_cut<const WORD: usize>(
    mut nor: Nor<WORD, SECTOR>,
    before: &[u8],
    after: &[u8],
    cut: Cut,
    count: &mut Count,
) {
    // Unstable cells read otherwise each time.
    let starts = if nor.unstable_cells() > 0 { 4 } else { 1 };
    for start in 1..=starts {
        nor.power_up(None);
        let mut device = slots(nor.clone());
        let found = newest(&mut device).expect("a whole task after a cut");
        if found == after {
            count.new += 1;
        } else {
            assert_eq!(found, before, "{cut:?}: half a task");
            count.old += 1;
        }
        if start == starts {
            update(&mut device, after, 64).unwrap();
            assert_eq!(newest(&mut device).unwrap(), after);
        }
    }
}

fn every_cut<const WORD: usize>(device: &Device) -> Count {
    let mut nor = device.first::<WORD>(WORD as u64);
    let mut count = Count::default();
    for pair in device.tasks.windows(2) {
        nor.power_up(None);
        nor = cut_everywhere(&nor, &pair[0], &pair[1], &mut count);
    }
    let generations = device.tasks.len() - 1;
    println!(
        "words of {WORD}: {} cut points in {generations} updates, {} cuts, {} starts found the old task, {} the new, 0 none, 0 half",
        count.points, count.cuts, count.old, count.new
    );
    assert!(count.points > 100 && count.old > 0 && count.new > 0);
    count
}

#[test]
fn a_power_cut_at_any_write_or_erase_leaves_a_whole_task() {
    let device = Device::new(5);
    let lengths: Vec<usize> = device.tasks.iter().map(|task| task.len()).collect();
    println!("tasks of {lengths:?} bytes");
    assert!(device.answers.windows(2).all(|pair| pair[0] != pair[1]));
    every_cut::<1>(&device);
    every_cut::<4>(&device);
    every_cut::<8>(&device);
    every_cut::<32>(&device);
}

#[test]
fn power_that_fails_again_and_again_never_leaves_the_device_without_a_task() {
    let device = Device::new(4);
    let mut nor = device.first::<4>(99);
    let (mut random, mut generation) = (7u64, 0);
    let (mut cuts, mut updates, mut refused) = (0, 0, 0);
    let mut whole = slots(nor.clone());
    update(&mut whole, &device.tasks[1], 128).unwrap();
    let steps = whole.into_flash().steps() - nor.steps();
    let mut chance = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % most
    };
    for _ in 0..20_000 {
        // Most cuts near the end, where the commit is.
        let step = if chance(4) == 0 {
            chance(steps)
        } else {
            steps + chance(steps / 8) - chance(steps / 8)
        };
        let tear = Tear::ALL[chance(Tear::ALL.len() as u64) as usize];
        nor.power_up(Some(Cut { step, tear }));
        let mut running = slots(nor);
        let found = newest(&mut running).expect("a whole task");
        let task = |generation: usize| &*device.tasks[generation % device.tasks.len()];
        if found == *task(generation + 1) {
            generation += 1;
        } else {
            assert_eq!(found, *task(generation), "half a task");
        }
        match update(&mut running, task(generation + 1), 128) {
            Ok(()) => {
                generation += 1;
                updates += 1;
            }
            // The task in use is not firm, and could be lost with the other: the device begins anew.
            Err(SlotError::Unconfirmed) => {
                refused += 1;
                generation = 0;
                nor = device.first::<4>(refused);
                continue;
            }
            Err(error) => {
                assert_eq!(error, SlotError::Flash(OFF));
                cuts += 1;
            }
        }
        nor = running.into_flash();
    }
    println!(
        "{cuts} cuts one after another over {updates} updates, {refused} refused: a whole task each \
         time"
    );
    assert!(cuts > 1000 && updates > 1000 && 10 * refused < cuts);
}

#[test]
fn the_first_task_is_whole_or_absent() {
    let device = Device::new(1);
    let task: &[u8] = &device.tasks[0];
    let mut whole = slots(Nor::<4, SECTOR>::new(2 * SECTORS + 1, 5));
    let blank = whole.into_flash();
    whole = slots(blank.clone());
    update(&mut whole, task, 1000).unwrap();
    for step in 0..whole.into_flash().steps() {
        for tear in Tear::ALL {
            let mut nor = blank.clone();
            nor.power_up(Some(Cut { step, tear }));
            let mut cut = slots(nor);
            update(&mut cut, task, 1000).unwrap_err();
            let mut nor = cut.into_flash();
            nor.power_up(None);
            assert!(newest(&mut slots(nor)).is_none_or(|found| found == task));
        }
    }
}

#[test]
fn two_tasks_over_one_base_answer_in_turn_from_the_slots() {
    let device = Device::new(6);
    let mut running = slots(Nor::<8, SECTOR>::new(2 * SECTORS + 1, 1));
    for (task, answer) in device.tasks.iter().zip(&device.answers) {
        update(&mut running, task, 50).unwrap();
        // In use in place: at a multiple of 64 in flash.
        let whole = running.whole().unwrap();
        assert!(whole.iter().all(|slot| slot.payload().start.is_multiple_of(64)));
        assert_eq!(&device.answer(&newest(&mut running).unwrap()).unwrap(), answer);
    }
    let sequences: Vec<u32> =
        running.whole().unwrap().iter().map(coda_runtime::slots::Slot::sequence).collect();
    assert_eq!(sequences, [6, 5]);
}

#[test]
fn a_payload_with_any_bit_flipped_does_not_count_and_a_record_may_have_one() {
    let device = Device::new(2);
    let mut running = device.two_tasks(2);
    let newest_slot = running.whole().unwrap()[0];
    let nor = running.into_flash();
    let payload = newest_slot.payload();
    let header = payload.start - HEADER_BYTES..payload.start;
    for at in payload.clone() {
        let mut damaged = nor.clone();
        damaged.flip(at as usize, 1 << (at % 8));
        assert_eq!(newest(&mut slots(damaged)).unwrap(), *device.tasks[0]);
    }
    // One copy of the record may rot, the first as well, and bytes behind the payload do not matter.
    for at in header.chain([payload.end]) {
        let mut damaged = nor.clone();
        damaged.flip(at as usize, 1);
        assert_eq!(newest(&mut slots(damaged)).unwrap(), *device.tasks[1]);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_erased() {
    let device = Device::new(2);
    let mut running = device.two_tasks(3);
    let new = running.whole().unwrap()[0];
    let most = running.capacity();
    assert_eq!(most, SLOT_BYTES - HEADER_BYTES);
    for length in [0, most + 1, u32::MAX] {
        let found = running.update(Some(&new), length).err();
        assert_eq!(found, Some(SlotError::Length { most, found: length as usize }));
    }
    assert_eq!(running.whole().unwrap().len(), 2);
}

#[test]
fn more_pieces_than_announced_or_fewer_are_refused() {
    let mut running = Device::new(2).two_tasks(3);
    let [new, old] = running.whole().unwrap().into_array().unwrap();
    let mut short = running.update(Some(&new), 10).unwrap();
    short.write(&[1; 8]).unwrap();
    assert_eq!(short.write(&[1; 3]), Err(SlotError::Length { most: 2, found: 3 }));
    assert_eq!(short.missing(), 2);
    let found = short.finish().err();
    assert_eq!(found, Some(SlotError::Length { most: 10, found: 8 }));
    assert_eq!(running.whole().unwrap().as_slice(), [new]);
    assert_eq!(running.update(Some(&old), 10).err(), Some(SlotError::Stale));
}

#[test]
fn an_update_whose_check_fails_is_not_there() {
    let mut running = Device::new(2).two_tasks(3);
    let new = running.whole().unwrap()[0];
    let mut refused = running.update(Some(&new), 10).unwrap();
    refused.write(&[1; 10]).unwrap();
    let mut written = refused.finish().unwrap();
    let mut read = [0; 10];
    written.read(0, &mut read).unwrap();
    assert_eq!(read, [1; 10]);
    assert_eq!(written.payload().len(), 10);
    assert_eq!(running.whole().unwrap().as_slice(), [new]);
}

#[test]
fn the_newer_task_is_overwritten_if_the_device_keeps_the_older() {
    let mut running = Device::new(2).two_tasks(3);
    let [_, keep] = running.whole().unwrap().into_array().unwrap();
    let mut update = running.update(Some(&keep), 4).unwrap();
    update.write(b"task").unwrap();
    let slot = update.finish().unwrap().commit().unwrap();
    assert_eq!(running.whole().unwrap().as_slice(), [slot, keep]);
}

#[test]
fn an_update_that_keeps_neither_slot_is_the_newest() {
    let mut running = Device::new(2).two_tasks(3);
    let [new, _] = running.whole().unwrap().into_array().unwrap();
    for sequence in [3, 4] {
        let mut update = running.update(None, 4).unwrap();
        update.write(b"task").unwrap();
        let slot = update.finish().unwrap().commit().unwrap();
        assert_eq!((slot.index(), slot.sequence()), (0, sequence));
        assert_eq!(running.whole().unwrap().as_slice(), [slot, new]);
    }
}

#[test]
fn flash_that_is_read_in_whole_blocks_gives_any_bytes() {
    let nor = Nor::<8, SECTOR>::new(2 * SECTORS + 1, 3);
    let mut running = Slots::new(Coarse(nor), STARTS, SLOT_BYTES).unwrap();
    let payload: Vec<u8> = (0..300).map(|byte| byte as u8).collect();
    let mut update = running.update(None, 300).unwrap();
    payload.chunks(7).for_each(|piece| update.write(piece).unwrap());
    let slot = update.finish().unwrap().commit().unwrap();
    assert_eq!(running.whole().unwrap().as_slice(), [slot]);
    for (offset, length) in [(0, 300), (0, 1), (63, 2), (64, 64), (65, 199), (299, 1), (300, 0)] {
        let mut into = vec![0; length];
        running.read(&slot, offset as u32, &mut into).unwrap();
        assert_eq!(into, payload[offset..offset + length], "{offset}");
    }
    let odd = Coarse(Nor::<8, 96>::new(40, 3));
    assert_eq!(Slots::new(odd, [0, 1920], 960).err(), Some(SlotError::Layout));
}

#[test]
fn slots_that_do_not_fit_the_flash_are_refused() {
    let sector = SECTOR as u32;
    for (starts, bytes) in [
        ([1, 4 * sector], sector),
        ([0, sector / 2], sector),
        ([0, sector], 2 * sector),
        ([0, 0], sector),
        ([0, 12 * sector], 2 * sector),
        ([0, u32::MAX - sector + 1], sector),
        ([0, 4 * sector], 0),
        ([0, 4 * sector], sector + 4),
    ] {
        let nor = Nor::<4, SECTOR>::new(2 * SECTORS + 1, 4);
        assert_eq!(Slots::new(nor, starts, bytes).err(), Some(SlotError::Layout));
    }
    assert!(Slots::new(Nor::<3, 3072>::new(8, 4), [0, 3072], 3072).is_err());
    assert!(Slots::new(Nor::<128, SECTOR>::new(8, 4), [0, sector], sector).is_err());
    assert!(Slots::new(Nor::<64, SECTOR>::new(8, 4), [sector, 0], sector).is_ok());
}

/// Tasks as far as the slots know them, of several lengths.
const PAYLOADS: [&[u8]; 3] = [&[1; 200], &[2; 64], &[3; 130]];

/// Slots that hold the first two payloads.
fn two_payloads<const WORD: usize>(nor: Nor<WORD, SECTOR>) -> Nor<WORD, SECTOR> {
    let mut slots = slots(nor);
    PAYLOADS[..2].iter().for_each(|payload| update(&mut slots, payload, 50).unwrap());
    let mut nor = slots.into_flash();
    nor.power_up(None);
    nor
}

/// Any word of either slot does not read: the other slot is found, and an update goes on from it.
fn words_that_do_not_read<const WORD: usize>() -> usize {
    let nor = two_payloads(Nor::<WORD, SECTOR>::new(2 * SECTORS + 1, 8));
    let whole = slots(nor.clone()).whole().unwrap();
    let mut words = 0;
    for (slot, other) in [(whole[0], whole[1]), (whole[1], whole[0])] {
        let Range { start, end } = slot.payload();
        for at in (start - HEADER_BYTES..end).step_by(WORD) {
            let mut spoiled = nor.clone();
            spoiled.spoil(at as usize);
            let mut spoiled = slots(spoiled);
            let left = spoiled.whole().unwrap();
            assert!(left.contains(&other) && left.contains(&slot) == (at < start), "{WORD}: {at}");
            update(&mut spoiled, PAYLOADS[2], 50).unwrap();
            assert_eq!(newest(&mut spoiled).unwrap(), PAYLOADS[2]);
            words += 1;
        }
    }
    words
}

#[test]
fn a_word_that_does_not_read_takes_at_most_its_own_slot_away() {
    let words = [
        words_that_do_not_read::<8>(),
        words_that_do_not_read::<16>(),
        words_that_do_not_read::<32>(),
    ];
    println!("unreadable words of 8, 16 and 32 bytes, one by one: {words:?}, a task each time");
    let mut nor = two_payloads(Nor::<8, SECTOR>::new(2 * SECTORS + 1, 8));
    // Words of both payloads: then nothing is left, and that is an error.
    STARTS.iter().for_each(|start| nor.spoil((start + HEADER_BYTES) as usize));
    assert_eq!(slots(nor).whole(), Err(SlotError::Flash(OFF)));
}

/// Runs an update with an error at every call of the flash, and with several from there on.
fn errors_everywhere<const WORD: usize>() -> u64 {
    let nor = two_payloads(Nor::<WORD, SECTOR>::new(2 * SECTORS + 1, 9));
    let mut whole = slots(nor.clone());
    update(&mut whole, PAYLOADS[2], 50).unwrap();
    let (calls, mut runs) = (whole.into_flash().calls(), 0);
    for call in 0..calls {
        for length in [1, 2, 5, calls] {
            for tear in [Tear::Before, Tear::Half, Tear::Unstable, Tear::Unreadable] {
                let mut nor = nor.clone();
                nor.fail(Failure { calls: call..call + length, tear });
                let mut device = slots(nor);
                let result = update(&mut device, PAYLOADS[2], 50);
                let mut nor = device.into_flash();
                nor.power_up(None);
                let mut device = slots(nor);
                let found = newest(&mut device).expect("a whole task after an error");
                assert!(PAYLOADS.contains(&&*found), "half a task");
                assert!(result.is_err() || found == PAYLOADS[2], "an update that was taken");
                update(&mut device, PAYLOADS[0], 50).unwrap();
                assert_eq!(newest(&mut device).unwrap(), PAYLOADS[0]);
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn an_error_at_any_call_of_the_flash_leaves_a_whole_task() {
    let runs = errors_everywhere::<8>() + errors_everywhere::<32>();
    println!("{runs} updates with errors of the flash: a whole task after each");
}

#[test]
fn an_error_in_passing_hides_no_slot() {
    let nor = two_payloads(Nor::<8, SECTOR>::new(2 * SECTORS + 1, 9));
    let mut calm = slots(nor.clone());
    let whole = calm.whole().unwrap();
    for call in 0..calm.into_flash().calls() {
        let mut nor = nor.clone();
        nor.fail(Failure { calls: call..call + 1, tear: Tear::Before });
        assert_eq!(slots(nor).whole().unwrap(), whole);
    }
}

#[test]
fn a_bit_that_sticks_ends_in_an_error_or_in_the_new_task() {
    let nor = two_payloads(Nor::<4, SECTOR>::new(2 * SECTORS + 1, 9));
    let slot = slots(nor.clone()).whole().unwrap()[1];
    let start = slot.payload().start - HEADER_BYTES;
    let (mut taken, mut refused) = (0, 0);
    for at in start..start + HEADER_BYTES + 64 {
        for (bit, one) in (0..8).flat_map(|bit| [(bit, false), (bit, true)]) {
            let mut nor = nor.clone();
            nor.stick(at as usize, 1 << bit, one);
            let mut device = slots(nor);
            let result = update(&mut device, &PAYLOADS[2][..64], 50);
            match result {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert_eq!(error, SlotError::Verify);
                    refused += 1;
                }
            }
            let expected = if result.is_ok() { &PAYLOADS[2][..64] } else { PAYLOADS[1] };
            assert_eq!(newest(&mut device).unwrap(), expected);
        }
    }
    println!("bits that stick: {taken} updates taken, {refused} refused, a whole task after each");
    assert!(taken > 0 && refused > 0);
}

#[test]
fn a_flash_that_wears_out_keeps_its_last_task() {
    for seed in 0..20 {
        let mut device = slots(Nor::<8, SECTOR>::new(2 * SECTORS + 1, seed).with_endurance(4));
        let (mut taken, mut last) = (0, None);
        for number in 0..200u8 {
            let payload = vec![number; 3000];
            if update(&mut device, &payload, 500).is_ok() {
                (taken, last) = (taken + 1, Some(payload));
            }
            assert_eq!(newest(&mut device), last);
        }
        assert!((8..200).contains(&taken), "{taken}");
    }
}
