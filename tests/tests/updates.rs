//! Updates over two slots: what can be refused is refused before an erase, a package on trial is gone at the
//! next start unless it was confirmed, and a self-test finds one wrong bit.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{PackageBytes, WeightType, with_self_test};
use coda_converter::sign::{Stamp, sign, sign_key_list};
use coda_runtime::executor::Executor;
use coda_runtime::format::{CaseInput, ContentId, FormatError, Package, SelfTestCase};
use coda_runtime::format::{SectionKind, encode_self_test, limits, self_test_layout};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::self_test::{self, SelfTestError};
use coda_runtime::signature::{Keys, Manifest, Scope, SignatureError, SignedKind, Trust, envelope};
use coda_runtime::slots::{Slot, SlotError, Slots};
use coda_runtime::updates::{Installed, UpdateError, Updates};
use coda_tests::nor::{Coarse, Cut, Failure, Nor, OFF, Tear};
use coda_tests::tiny::{Packages, Tiny, TinyInput};
use ed25519_dalek::SigningKey;
use std::sync::LazyLock;

const SECTOR: usize = 1024;
const SLOT: u32 = 16 * SECTOR as u32;
const STARTS: [u32; 2] = [0, SLOT];
const ERASES: u8 = 3;

type Flash = Nor<4, SECTOR>;

struct World {
    tiny: Tiny,
    packages: Packages,
    key: SigningKey,
    root: SigningKey,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let tiny = Tiny::vit();
    let packages = tiny.pack(WeightType::Int8).unwrap();
    let [key, root] = [[7; 32], [8; 32]].map(|seed| SigningKey::from_bytes(&seed));
    World { tiny, packages, key, root }
});

impl World {
    fn scope(&self, minimum: u64) -> Scope {
        let base = Package::parse(&self.packages.base).unwrap().content_id();
        Scope { kind: SignedKind::Task, product: 9, component: 0, base: Some(base), minimum }
    }

    fn trust(&self, minimum: u64) -> Trust {
        Trust::new(self.key.verifying_key().as_bytes(), self.scope(minimum)).unwrap()
    }

    fn sign(&self, package: &[u8], release: u64) -> Vec<u8> {
        let stamp = Stamp { release, product: 9, component: 0 };
        sign(&PackageBytes::new(package), &[&self.key], stamp).unwrap()
    }

    /// A task whose self-test's answer has `flip` changed in its first value.
    fn tested(&self, flip: u32) -> PackageBytes {
        let (base, task) =
            (self.packages.base.parse().unwrap(), self.packages.task.parse().unwrap());
        let model = Model::bind(&base, &task).unwrap();
        let values = self.tiny.run(&model, Kernels::best(), Budget::Task, |output| {
            output.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        });
        let mut values = values.unwrap();
        values[0] ^= flip;
        let TinyInput::Pixels(pixels) = &self.tiny.input else { panic!("a model of images") };
        let input = CaseInput::Pixels(pixels);
        let case = SelfTestCase { input, selected: 0, values: &values };
        with_self_test(&task, &[case]).unwrap()
    }
}

fn device(flash: Flash, minimum: u64) -> Updates<Flash> {
    let slots = Slots::new(flash, STARTS, SLOT).unwrap();
    Updates::new(slots, WORLD.trust(minimum), ERASES)
}

fn blank() -> Flash {
    Flash::new(32, 3)
}

type Failed = UpdateError<embedded_storage::nor_flash::NorFlashErrorKind>;

/// An update to `file`, confirmed if `good` says so. `None` if it is what is in use.
fn update(
    device: &mut Updates<Flash>,
    file: &[u8],
    good: impl FnOnce(&[u8]) -> bool,
) -> Result<Option<Installed>, Failed> {
    let in_use = device.installed()?.first().copied();
    let slot = in_use.map(|installed| *installed.slot());
    let manifest = in_use.as_ref().map(Installed::manifest);
    let (start, package) = file.split_at(envelope::LENGTH_BYTES.min(file.len()));
    let Some(mut incoming) = device.offer(start, manifest, slot.as_ref())? else {
        return Ok(None);
    };
    assert_eq!(incoming.missing() as usize, package.len());
    package.chunks(77).try_for_each(|piece| incoming.write(piece))?;
    let mut trial = incoming.finish()?;
    let mut bytes = vec![0; trial.package().len()];
    trial.read(0, &mut bytes)?;
    assert_eq!(bytes, package);
    if good(&bytes) { trial.confirm().map(Some) } else { Ok(None) }
}

fn releases(device: &mut Updates<Flash>) -> Vec<u64> {
    device.installed().unwrap().iter().map(|found| found.manifest().release()).collect()
}

/// A device of two releases, just started.
fn two_releases() -> Updates<Flash> {
    let mut device = device(blank(), 0);
    for (release, task) in [(1, WORLD.tested(0)), (2, WORLD.packages.task.clone())] {
        update(&mut device, &WORLD.sign(&task, release), |_| true).unwrap().unwrap();
    }
    restarted(device, 0)
}

fn restarted(old: Updates<Flash>, minimum: u64) -> Updates<Flash> {
    let mut flash = old.into_flash();
    flash.power_up(None);
    device(flash, minimum)
}

fn erases(device: Updates<Flash>) -> u64 {
    let flash = device.into_flash();
    (0..32).map(|sector| flash.erases(sector)).sum()
}

#[test]
fn a_thousand_replays_erase_nothing() {
    let installed = WORLD.sign(&WORLD.packages.task, 2);
    let mut device = two_releases();
    let before = erases(two_releases());
    let mut in_use = device.installed().unwrap()[0];
    for replay in 0..1000 {
        if replay % 100 == 0 {
            device = restarted(device, 1);
            in_use = device.installed().unwrap()[0];
        }
        let head = &installed[..envelope::LENGTH_BYTES];
        let offer = device.offer(head, Some(in_use.manifest()), Some(in_use.slot()));
        assert!(offer.unwrap().is_none());
    }
    assert_eq!(releases(&mut device), [2, 1]);
    assert_eq!(erases(device), before);
}

/// Whether an update to the file with this envelope begins.
fn begins(
    device: &mut Updates<Flash>,
    file: &[u8],
    in_use: Option<&Manifest>,
    keep: Option<&Slot>,
) -> Result<bool, SignatureError> {
    match device.offer(&file[..envelope::LENGTH_BYTES], in_use, keep) {
        Ok(incoming) => Ok(incoming.is_some()),
        Err(UpdateError::Signature(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_replay_of_what_was_confirmed_and_does_not_run_yet_erases_nothing() {
    let [two, three] = [2, 3].map(|release| WORLD.sign(&WORLD.packages.task, release));
    let another = WORLD.sign(&WORLD.tested(0), 3);
    let confirmed = || {
        let mut device = two_releases();
        let running = device.installed().unwrap()[0];
        update(&mut device, &three, |_| true).unwrap().unwrap();
        (device, running)
    };
    let (mut device, running) = confirmed();
    for _ in 0..100 {
        for slot in [Some(running.slot()), None] {
            let manifest = Some(running.manifest());
            assert_eq!(begins(&mut device, &three, manifest, slot), Ok(false));
            assert_eq!(begins(&mut device, &two, manifest, slot), Ok(false));
            let same = begins(&mut device, &another, manifest, slot).unwrap_err();
            assert_eq!(same, SignatureError::SameRelease { release: 3 });
        }
    }
    assert_eq!(releases(&mut device), [3, 2]);
    assert_eq!(erases(device), erases(confirmed().0));
    // A later release overwrites it, and then it may come again.
    let (mut device, running) = confirmed();
    let four = WORLD.sign(&WORLD.packages.task, 4);
    for file in [&four, &three] {
        let (manifest, slot) = (running.manifest(), running.slot());
        assert_eq!(begins(&mut device, file, Some(manifest), Some(slot)), Ok(true));
        assert_eq!(releases(&mut device), [2]);
    }
}

#[test]
fn a_device_that_runs_what_it_was_built_with_keeps_the_newest_package() {
    let factory = WORLD.sign(&WORLD.tested(0), 1);
    let factory = *WORLD.trust(0).open(&factory).unwrap().manifest();
    let old = WORLD.sign(&WORLD.tested(1), 2);
    let [newest, next] = [3, 4].map(|release| WORLD.sign(&WORLD.packages.task, release));
    let mut device = two_releases();
    update(&mut device, &newest, |_| true).unwrap().unwrap();
    let mut device = restarted(device, 0);
    for in_use in [Some(&factory), None] {
        assert_eq!(begins(&mut device, &newest, in_use, None), Ok(false));
        let older = begins(&mut device, &old, in_use, None).unwrap_err();
        assert_eq!(older, SignatureError::Older { minimum: 3, found: 2 });
        assert_eq!(releases(&mut device), [3, 2]);
    }
    assert_eq!(begins(&mut device, &next, Some(&factory), None), Ok(true));
    assert_eq!(releases(&mut device), [3]);
}

#[test]
fn an_error_of_the_flash_in_passing_hides_no_package() {
    let flash = two_releases().into_flash();
    let whole = device(flash.clone(), 0).installed().unwrap();
    let [mut looked, mut read] = [flash.clone(), flash.clone()].map(|flash| device(flash, 0));
    looked.slots().whole().unwrap();
    read.installed().unwrap();
    let [looked, read] = [looked, read].map(|device| device.into_flash().calls());
    // An error once or twice, in every seventh call and around where the packages are looked at.
    for call in (0..read).filter(|call| call % 7 == 0 || call.abs_diff(looked) < 10) {
        for length in [1, 2] {
            let mut flash = flash.clone();
            flash.fail(Failure { calls: call..call + length, tear: Tear::Before });
            let found = device(flash, 0).installed();
            match length {
                1 => assert_eq!(found.unwrap(), whole),
                _ if call < looked => assert!(!found.unwrap().is_empty()),
                _ => assert_eq!(found, Err(UpdateError::Slot(SlotError::Flash(OFF)))),
            }
        }
    }
}

#[test]
fn flash_that_is_read_in_whole_blocks_takes_updates() {
    let slots = Slots::new(Coarse(blank()), STARTS, SLOT).unwrap();
    let mut device = Updates::new(slots, WORLD.trust(0), ERASES);
    let file = WORLD.sign(&WORLD.tested(0), 3);
    assert!(!file.len().is_multiple_of(64));
    let (start, package) = file.split_at(envelope::LENGTH_BYTES);
    let mut incoming = device.offer(start, None, None).unwrap().unwrap();
    package.chunks(77).for_each(|piece| incoming.write(piece).unwrap());
    let mut trial = incoming.finish().unwrap();
    let mut bytes = vec![0; package.len() - 3];
    trial.read(3, &mut bytes).unwrap();
    assert_eq!(bytes, package[3..]);
    let installed = trial.confirm().unwrap();
    assert_eq!(device.installed().unwrap(), [installed]);
}

#[test]
fn what_can_be_refused_is_refused_before_an_erase() {
    let World { packages, key, .. } = &*WORLD;
    let other = SigningKey::from_bytes(&[9; 32]);
    let stamp = Stamp { release: 1000, product: 9, component: 0 };
    let signed = |package: &[u8], key: &SigningKey, stamp| {
        sign(&PackageBytes::new(package), &[key], stamp).unwrap()
    };
    let task = WORLD.tested(0);
    let mut long = signed(&task, key, stamp);
    long[envelope::PACKAGE_LENGTH].copy_from_slice(&(SLOT - 640 - 192 + 1).to_le_bytes());
    let signature = ed25519_dalek::Signer::sign(key, &long[envelope::SIGNED]);
    long[envelope::SIGNATURE].copy_from_slice(&signature.to_bytes());
    let files = [
        (1, task.to_vec()),
        (6, signed(&task, &other, stamp)),
        (12, signed(&packages.base, key, stamp)),
        (12, signed(&packages.bundle, key, stamp)),
        (13, signed(&task, key, Stamp { product: 8, ..stamp })),
        (14, signed(&task, key, Stamp { component: 1, ..stamp })),
        (8, signed(&task, key, Stamp { release: 1, ..stamp })),
        (18, signed(&task, key, Stamp { release: 2, ..stamp })),
        (0, long),
    ];
    let mut device = two_releases();
    for (number, file) in files {
        match update(&mut device, &file, |_| true).unwrap_err() {
            UpdateError::Signature(error) => assert_eq!(error.number(), number),
            UpdateError::Slot(SlotError::Length { .. }) => assert_eq!(number, 0),
            error => panic!("{error}"),
        }
        assert_eq!(releases(&mut device), [2, 1]);
    }
}

#[test]
fn each_key_begins_so_many_updates_between_two_starts() {
    let mut device = two_releases();
    let head = &WORLD.sign(&WORLD.tested(0), 3)[..envelope::LENGTH_BYTES];
    let begin = |device: &mut Updates<Flash>| {
        let in_use = device.installed().unwrap()[0];
        device.offer(head, Some(in_use.manifest()), Some(in_use.slot())).map(drop)
    };
    for _ in 0..ERASES {
        begin(&mut device).unwrap();
    }
    for _ in 0..10 {
        assert_eq!(begin(&mut device), Err(UpdateError::Exhausted { erases: ERASES }));
    }
    assert_eq!(releases(&mut device), [2]);
    // A start later it may again.
    let mut device = restarted(device, 0);
    begin(&mut device).unwrap();
}

#[test]
fn a_package_on_trial_is_gone_at_the_next_start_unless_it_was_confirmed() {
    let file = WORLD.sign(&WORLD.tested(0), 3);
    let mut device = two_releases();
    assert_eq!(update(&mut device, &file, |_| false), Ok(None));
    assert_eq!(releases(&mut device), [2]);
    let mut device = restarted(device, 0);
    assert_eq!(releases(&mut device), [2]);
    assert!(update(&mut device, &file, |_| true).unwrap().is_some());
    assert_eq!(releases(&mut restarted(device, 0)), [3, 2]);
}

#[test]
fn power_that_fails_at_any_step_of_a_signed_update_leaves_a_release() {
    let file = WORLD.sign(&WORLD.tested(0), 3);
    let mut whole = two_releases();
    update(&mut whole, &file, |_| true).unwrap().unwrap();
    let steps = whole.into_flash().steps();
    let mut found = [0; 2];
    // Every step near the erase and the commit, some of the payload.
    for step in (0..steps).filter(|step| *step < 40 || step + 40 > steps || step % 37 == 0) {
        for tear in [Tear::Before, Tear::Half, Tear::AllButOne] {
            let mut flash = two_releases().into_flash();
            flash.power_up(Some(Cut { step, tear }));
            let mut cut = device(flash, 0);
            let _ = update(&mut cut, &file, |_| true);
            let first = releases(&mut restarted(cut, 0))[0];
            assert!(first == 2 || first == 3, "release {first} after a cut at {step}");
            found[(first - 2) as usize] += 1;
        }
    }
    println!("{found:?} starts found release 2 and 3, 0 none");
    assert!(found[0] > 10);
}

#[test]
fn bytes_that_changed_on_their_way_are_found_before_the_trial() {
    let mut file = WORLD.sign(&WORLD.tested(0), 3);
    let middle = file.len() / 2;
    file[middle] ^= 4;
    let mut device = two_releases();
    let error = update(&mut device, &file, |_| panic!("on trial")).unwrap_err();
    assert_eq!(error, UpdateError::Signature(SignatureError::Altered));
    assert_eq!(releases(&mut device), [2]);
}

#[test]
fn a_slot_that_is_signed_for_something_else_is_not_installed() {
    let device = two_releases();
    assert_eq!(releases(&mut restarted(device, 2)), [2]);
    let mut flash = two_releases().into_flash();
    flash.power_up(None);
    let slots = Slots::new(flash, STARTS, SLOT).unwrap();
    let product = Scope { product: 10, ..WORLD.scope(0) };
    let trust = Trust::new(WORLD.key.verifying_key().as_bytes(), product).unwrap();
    assert!(Updates::new(slots, trust, ERASES).installed().unwrap().is_empty());
}

#[test]
fn a_key_list_is_updated_like_a_task() {
    let World { root, key, .. } = &*WORLD;
    let stamp = |release| Stamp { release, product: 9, component: 0 };
    let scope = stamp(0).scope(SignedKind::KeyList, ContentId::default());
    let trust = Trust::new(root.verifying_key().as_bytes(), scope).unwrap();
    let mut lists = Updates::new(Slots::new(blank(), STARTS, SLOT).unwrap(), trust, ERASES);
    let next = SigningKey::from_bytes(&[10; 32]);
    for (release, signer) in [(1, key), (2, &next)] {
        let keys = [signer.verifying_key()];
        let list = sign_key_list(&keys, 1, &[root], stamp(release)).unwrap();
        let good = |bytes: &[u8]| Keys::parse(bytes).is_ok();
        update(&mut lists, &list, good).unwrap().unwrap();
    }
    let newest = lists.installed().unwrap()[0];
    let mut bytes = vec![0; newest.package().len()];
    let offset = newest.manifest().envelope_bytes() as u32;
    lists.slots().read(newest.slot(), offset, &mut bytes).unwrap();
    let keys = Keys::parse(&bytes).unwrap();
    assert_eq!(keys.public_keys(), [next.verifying_key().to_bytes()]);
    // The first key is revoked.
    let file = WORLD.sign(&WORLD.packages.task, 1);
    let error = Trust::of(keys, WORLD.scope(0)).open(&file).unwrap_err();
    assert_eq!(error.number(), 6);
}

#[test]
fn the_package_in_use_signed_anew_by_another_key_outlives_the_key_before() {
    let next = SigningKey::from_bytes(&[10; 32]);
    let [old, new] = [&WORLD.key, &next].map(|key| key.verifying_key().to_bytes());
    let trusting = |keys: &[[u8; 32]], mut flash: Flash| {
        flash.power_up(None);
        let trust = Trust::of(Keys::new(keys, 1).unwrap(), WORLD.scope(0));
        Updates::new(Slots::new(flash, STARTS, SLOT).unwrap(), trust, ERASES)
    };
    // A list with both keys; the same package, of the next release, by the new one.
    let mut device = trusting(&[old, new], two_releases().into_flash());
    let stamp = Stamp { release: 3, product: 9, component: 0 };
    let again = sign(&WORLD.packages.task, &[&next], stamp).unwrap();
    let installed = update(&mut device, &again, |_| true).unwrap().unwrap();
    assert_eq!(installed.manifest().release(), 3);
    let mut device = trusting(&[old, new], device.into_flash());
    assert_eq!(releases(&mut device), [3, 2]);
    let signer = device.installed().unwrap()[0].manifest().signer();
    assert_eq!(device.trust().keys().public_keys()[signer], new);
    assert_eq!(update(&mut device, &again, |_| true), Ok(None));
    // A list without the old key.
    assert_eq!(releases(&mut trusting(&[new], device.into_flash())), [3]);
}

/// Runs the self-test of a task as a device does, on every table.
fn run_self_test(task: &PackageBytes) -> Vec<Result<usize, SelfTestError>> {
    let (base, task) = (WORLD.packages.base.parse().unwrap(), task.parse().unwrap());
    let model = Model::bind(&base, &task).unwrap();
    let plan = Plan::new(&model.dimensions(), Capacity::any_budget(WORLD.tiny.tokens)).unwrap();
    let test = task.self_test().expect("a self-test");
    let mut arena = vec![0u128; plan.arena_bytes().div_ceil(16)];
    let tables = Kernels::available();
    tables
        .map(|table| {
            let bytes = bytemuck::cast_slice_mut(&mut arena);
            let mut executor = Executor::new(&model, table, plan, bytes).unwrap();
            self_test::run(&mut executor, &test)
        })
        .collect()
}

#[test]
fn a_self_test_passes_on_every_table_and_finds_one_wrong_bit() {
    let results = run_self_test(&WORLD.tested(0));
    assert!(!results.is_empty() && results.iter().all(|result| *result == Ok(1)), "{results:?}");
    for result in run_self_test(&WORLD.tested(1)) {
        let Err(SelfTestError::Bits { case: 0, value: 0, expected, found }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(expected ^ found, 1);
    }
}

#[test]
fn a_task_whose_weights_changed_fails_its_self_test() {
    let task = WORLD.tested(0);
    let package = task.parse().unwrap();
    let tensor =
        package.tensors().find(|tensor| tensor.role == coda_runtime::format::Role::HeadBias);
    let offset = tensor.unwrap().bytes.as_ptr().addr() - task.as_ptr().addr();
    let mut bytes = task.to_vec();
    bytes[offset + 2] ^= 0x40;
    coda_tests::hostile::fix_checksum(&mut bytes);
    assert!(run_self_test(&PackageBytes::new(&bytes)).iter().all(Result::is_err));
}

#[test]
fn a_self_test_section_is_what_it_was_written_as_and_nothing_else_is_one() {
    let ids = [1, 2, 3];
    let values = [1.0f32.to_bits(), (-2.5f32).to_bits()];
    let case = SelfTestCase { input: CaseInput::Tokens(&ids), selected: 2, values: &values };
    let pixels = SelfTestCase { input: CaseInput::Pixels(&[7; 5]), ..case };
    let task = WORLD.packages.task.parse().unwrap();
    for cases in [&[case, case][..], &[pixels, pixels, pixels]] {
        let written = with_self_test(&task, cases).unwrap();
        let package = written.parse().unwrap();
        assert_eq!(package.self_test().unwrap().cases().collect::<Vec<_>>(), cases);
        // Again: in place of the one before.
        let again = with_self_test(&package, cases).unwrap();
        assert_eq!(&again[..], &written[..]);
        assert_eq!(package.layers().len(), task.layers().len());
        let section: Vec<u8> = encode_self_test(cases).collect();
        for cut in 0..section.len() {
            assert!(refuses(&section[..cut]), "cut at {cut}");
        }
        assert!(refuses(&[&section[..], &[0; 4]].concat()));
    }
    let many = vec![case; limits::SELF_TEST_CASES + 1];
    assert!(with_self_test(&task, &many).is_err() && with_self_test(&task, &[]).is_err());
    let not_finite = [f32::NAN.to_bits()];
    for values in [&[][..], &not_finite] {
        assert!(with_self_test(&task, &[SelfTestCase { values, ..case }]).is_err());
    }
    let mut section: Vec<u8> = encode_self_test(&[pixels]).collect();
    section[self_test_layout::CASES + self_test_layout::CASE_BYTES + 6] = 1;
    assert!(refuses(&section), "padding that is not zero");
}

/// A task whose self-test is `section` is refused by the section's name.
fn refuses(section: &[u8]) -> bool {
    let one = [1];
    let case = SelfTestCase { input: CaseInput::Tokens(&one), selected: 0, values: &one };
    let task = with_self_test(&WORLD.packages.task.parse().unwrap(), &[case]).unwrap();
    // The section is the last: everything before it stays.
    let before = task.len() - encode_self_test(&[case]).count();
    let mut bytes = [&task[..before], section].concat();
    let entry = 64 + 16 * (usize::from(bytes[14]) - 1);
    bytes[entry + 8..entry + 12].copy_from_slice(&(section.len() as u32).to_le_bytes());
    coda_tests::hostile::fix_checksum(&mut bytes);
    let bytes = PackageBytes::new(&bytes);
    matches!(
        bytes.parse(),
        Err(FormatError::SectionLength { kind: SectionKind::SelfTest, .. }
            | FormatError::InvalidField { kind: SectionKind::SelfTest, .. })
    )
}

#[test]
fn an_input_that_the_plan_does_not_hold_is_a_status() {
    let values = [0];
    let case = SelfTestCase { input: CaseInput::Tokens(&[1; 4]), selected: 0, values: &values };
    let task = with_self_test(&WORLD.packages.task.parse().unwrap(), &[case]).unwrap();
    for result in run_self_test(&task) {
        assert!(matches!(result, Err(SelfTestError::Run { case: 0, .. })), "{result:?}");
    }
}
