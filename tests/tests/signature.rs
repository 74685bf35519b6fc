//! A device that trusts a key takes what was signed with it and nothing else; each rejection of
//! `SIGNED.md` by its number.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::WeightType;
use coda_converter::sign::{SignError, Stamp, generate_key, sign, sign_key_list};
use coda_runtime::format::{ContentId, Package};
use coda_runtime::signature::{
    Change, Keys, Manifest, Scope, SignatureError, SignedKind, Trust, envelope, key_id, key_list,
};
use coda_tests::tiny::{Packages, Tiny};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use std::sync::LazyLock;

const RELEASE: u64 = 5;
const STAMP: Stamp = Stamp { release: RELEASE, product: 77, component: 3 };

/// The keys, the packages and a signed task of a product.
struct Product {
    keys: Vec<SigningKey>,
    packages: Packages,
    file: Vec<u8>,
}

static PRODUCT: LazyLock<Product> = LazyLock::new(|| {
    let packages = Tiny::vit().pack(WeightType::Int8).unwrap();
    let keys: Vec<SigningKey> = (0..3).map(|_| generate_key().unwrap()).collect();
    let file = sign(&packages.task, &[&keys[0]], STAMP).unwrap();
    Product { keys, packages, file }
});

impl Product {
    fn public(&self, index: usize) -> [u8; 32] {
        self.keys[index].verifying_key().to_bytes()
    }

    /// What the device takes: tasks for its base.
    fn scope(&self) -> Scope {
        let base = Package::parse(&self.packages.base).unwrap().content_id();
        STAMP.scope(SignedKind::Task, base)
    }

    /// The signed bytes of a file whose envelope has other bytes at `at`.
    fn restamped(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = changed(at, bytes);
        let signature = self.keys[0].sign(&file[envelope::SIGNED]);
        file[envelope::SIGNATURE].copy_from_slice(&signature.to_bytes());
        file
    }
}

fn trust_within(scope: Scope) -> Trust {
    Trust::new(&PRODUCT.public(0), scope).unwrap()
}

fn trust() -> Trust {
    trust_within(PRODUCT.scope())
}

fn refused(bytes: &[u8]) -> SignatureError {
    let error = trust().open(bytes).unwrap_err();
    // A status string for people.
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 120, "{text}");
    error
}

/// The file with bytes at `at` replaced.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = PRODUCT.file.clone();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn what_was_signed_is_taken() {
    let file = &PRODUCT.file;
    for minimum in [0, RELEASE - 1, RELEASE] {
        let scope = Scope { minimum, ..PRODUCT.scope() };
        let signed = trust_within(scope).open(file).unwrap();
        assert_eq!(signed.release(), RELEASE);
        assert_eq!(signed.package(), &file[envelope::LENGTH_BYTES..]);
    }
    // Before the package has come.
    let manifest = trust().manifest(&file[..envelope::LENGTH_BYTES]).unwrap();
    assert_eq!(manifest.package_length() as usize, file.len() - envelope::LENGTH_BYTES);
}

#[test]
fn every_rejection_has_its_number() {
    let (file, key) = (&PRODUCT.file, &PRODUCT.public(0));
    let package = &file[envelope::LENGTH_BYTES..];
    let other = generate_key().unwrap();
    let foreign = sign(&PRODUCT.packages.task, &[&other], STAMP).unwrap();
    let mut longer = file.clone();
    longer.push(0);
    let found = key_id(other.verifying_key().as_bytes());
    let length = package.len();
    let wrong_length = |found| SignatureError::WrongLength { expected: length, found };
    let cases = [
        (1, refused(package), SignatureError::Unsigned),
        (2, refused(&file[..191]), SignatureError::TooShort { needed: 192, found: 191 }),
        (2, refused(&[]), SignatureError::TooShort { needed: 192, found: 0 }),
        (3, refused(&changed(0, b"\x88")), SignatureError::BadMagic),
        (4, refused(&changed(8, &[2, 0])), SignatureError::UnsupportedVersion { found: 2 }),
        (5, refused(&changed(39, &[1])), SignatureError::NotZero { offset: 39 }),
        (6, refused(&foreign), SignatureError::AnotherKey { expected: key_id(key), found }),
        (7, refused(&changed(16, &[9])), SignatureError::BadSignature),
        (9, refused(&file[..file.len() - 1]), wrong_length(length - 1)),
        (9, refused(&longer), wrong_length(length + 1)),
        (10, refused(&changed(file.len() - 1, &[0x5a])), SignatureError::Altered),
    ];
    for (number, error, expected) in cases {
        assert_eq!(error, expected);
        assert_eq!(error.number(), number);
    }
}

#[test]
fn an_older_release_is_refused() {
    let older = trust().at_least(RELEASE + 1).open(&PRODUCT.file).unwrap_err();
    assert_eq!(older, SignatureError::Older { minimum: RELEASE + 1, found: RELEASE });
    assert_eq!(older.number(), 8);
}

#[test]
fn keys_that_are_no_points_or_of_small_order_are_refused() {
    // The identity, of small order, and a number that is no point.
    let mut weak = [0; 32];
    weak[0] = 1;
    for bad in [weak, [0; 32], [2; 32]] {
        assert_eq!(Trust::new(&bad, PRODUCT.scope()).unwrap_err(), SignatureError::BadKey);
    }
    assert_eq!(SignatureError::BadKey.number(), 11);
}

#[test]
fn the_tables_of_the_text_are_those_of_the_code() {
    let text = std::fs::read_to_string("../runtime/SIGNED.md").unwrap();
    for (range, name) in [
        (envelope::MAGIC, "magic"),
        (envelope::MAJOR, "major version"),
        (envelope::MINOR, "minor version"),
        (envelope::PACKAGE_LENGTH, "length of the package"),
        (envelope::RELEASE, "release"),
        (envelope::KEY_ID, "key id"),
        (envelope::KIND, "kind"),
        (envelope::COMPONENT, "component"),
        (envelope::RESERVED, "zero"),
        (envelope::PRODUCT, "product"),
        (envelope::BASE_ID, "content id of the base"),
        (envelope::DIGEST, "SHA-512"),
        (envelope::SIGNATURE, "Ed25519"),
    ] {
        let row = format!("| {} | {} | {name}", range.start, range.len());
        assert!(text.contains(&row), "no row {row}");
    }
    for (range, name) in [
        (key_list::MAGIC_AT, "magic"),
        (key_list::VERSION_AT, "version"),
        (key_list::COUNT_AT, "number of keys"),
        (key_list::THRESHOLD_AT, "threshold"),
        (key_list::RESERVED, "zero"),
    ] {
        let row = format!("| {} | {} | {name}", range.start, range.len());
        assert!(text.contains(&row), "no row {row}");
    }
    let kinds = [SignedKind::Base, SignedKind::Task, SignedKind::Bundle, SignedKind::KeyList];
    let kinds = kinds.map(|kind| format!("{} {}", kind as u16, kind.name())).join(", ");
    assert!(text.contains(&kinds), "{kinds}");
    assert_eq!(envelope::SIGNED.end, envelope::SIGNATURE.start);
    assert_eq!(envelope::SIGNATURE.end, envelope::LENGTH_BYTES);
}

#[test]
fn no_bit_of_a_signed_package_may_change() {
    let file = &PRODUCT.file;
    let trust = trust();
    for bit in 0..8 * envelope::LENGTH_BYTES {
        assert!(trust.manifest(&changed(bit / 8, &[file[bit / 8] ^ 1 << (bit % 8)])).is_err());
    }
    for (at, byte) in file.iter().enumerate().skip(envelope::LENGTH_BYTES) {
        let error = trust.open(&changed(at, &[byte ^ 1 << (at % 8)])).unwrap_err();
        assert_eq!(error, SignatureError::Altered);
    }
}

#[test]
fn a_signed_package_is_no_package_and_an_older_reader_says_so() {
    assert!(matches!(
        Package::parse(&PRODUCT.file),
        Err(coda_runtime::format::FormatError::BadMagic)
    ));
}

/// RFC 8032, section 7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

#[test]
fn the_golden_signed_package_is_taken_and_signed_again_to_the_bit() {
    let golden = std::fs::read("golden/bert-int8-v1.0-named.signed").unwrap();
    let package = coda_converter::pack::PackageBytes::read("golden/bert-int8-v1.0.coda".as_ref());
    let (package, key) = (package.unwrap(), SigningKey::from_bytes(&SEED));
    let stamp = Stamp { release: 7, product: 1, component: 0 };
    assert_eq!(sign(&package, &[&key], stamp).unwrap(), golden);
    let base = package.parse().unwrap().base().unwrap().content_id();
    let public = key.verifying_key();
    let trust = Trust::new(public.as_bytes(), stamp.scope(SignedKind::Bundle, base)).unwrap();
    assert_eq!(trust.open(&golden).unwrap().release(), 7);
    // An envelope of version 1.0 names nothing.
    let unnamed = std::fs::read("golden/bert-int8-v1.0.signed").unwrap();
    let error = trust.open(&unnamed).unwrap_err();
    assert_eq!(error, SignatureError::AnotherKind { expected: SignedKind::Bundle, found: 0 });
}

#[test]
fn what_is_for_another_place_is_refused_whatever_its_release() {
    let scope = PRODUCT.scope();
    let open = |scope| trust_within(scope).open(&PRODUCT.file).map(drop).unwrap_err();
    let kind = SignedKind::Base;
    let cases = [
        (
            12,
            open(Scope { kind, ..scope }),
            SignatureError::AnotherKind { expected: kind, found: 2 },
        ),
        (
            13,
            open(Scope { product: 78, ..scope }),
            SignatureError::AnotherProduct { expected: 78, found: 77 },
        ),
        (
            14,
            open(Scope { component: 0, ..scope }),
            SignatureError::AnotherComponent { expected: 0, found: 3 },
        ),
        (15, open(Scope { base: Some([9; 16]), ..scope }), SignatureError::AnotherBase),
    ];
    for (number, error, expected) in cases {
        assert_eq!((error, error.number()), (expected, number));
        assert!(!error.to_string().is_empty());
    }
    // Any base, where a device takes bases.
    assert!(trust_within(Scope { base: None, ..scope }).open(&PRODUCT.file).is_ok());
    // A base and a bundle of the same owner, of a far later release.
    let Packages { base, bundle, .. } = &PRODUCT.packages;
    for package in [base, bundle] {
        let later = Stamp { release: 1000, ..STAMP };
        let file = sign(package, &[&PRODUCT.keys[0]], later).unwrap();
        assert_eq!(trust().manifest(&file).unwrap_err().number(), 12);
    }
}

fn manifest(release: u64, package: &[u8]) -> Manifest {
    let digest = coda_runtime::signature::digest(package);
    let mut file = PRODUCT.restamped(envelope::RELEASE.start, &release.to_le_bytes());
    file[envelope::DIGEST].copy_from_slice(&digest);
    let signature = PRODUCT.keys[0].sign(&file[envelope::SIGNED]);
    file[envelope::SIGNATURE].copy_from_slice(&signature.to_bytes());
    trust_within(Scope { minimum: 0, ..PRODUCT.scope() }).manifest(&file).unwrap()
}

#[test]
fn the_package_in_use_is_nothing_to_do_and_another_of_its_release_is_refused() {
    let in_use = manifest(5, b"a task");
    for release in [4, 5] {
        assert_eq!(manifest(release, b"a task").after(&in_use), Ok(Change::Nothing));
    }
    assert_eq!(manifest(6, b"a task").after(&in_use), Ok(Change::Replace));
    assert_eq!(manifest(6, b"another").after(&in_use), Ok(Change::Replace));
    let same = manifest(5, b"another").after(&in_use).unwrap_err();
    assert_eq!((same, same.number()), (SignatureError::SameRelease { release: 5 }, 18));
    let older = manifest(4, b"another").after(&in_use).unwrap_err();
    assert_eq!(older, SignatureError::Older { minimum: 5, found: 4 });
}

#[test]
fn a_minimum_only_rises() {
    let trust = trust().at_least(RELEASE + 4).at_least(RELEASE);
    assert_eq!(trust.scope().minimum, RELEASE + 4);
}

#[test]
fn as_many_keys_as_the_threshold_must_have_signed() {
    let [first, second, third] = [0, 1, 2].map(|index| &PRODUCT.keys[index]);
    let public = [0, 1, 2].map(|index| PRODUCT.public(index));
    let trust = Trust::of(Keys::new(&public, 2).unwrap(), PRODUCT.scope());
    let task = &PRODUCT.packages.task;
    for pair in [[first, second], [third, first], [second, third]] {
        let file = sign(task, &pair, STAMP).unwrap();
        let signed = trust.open(&file).unwrap();
        assert_eq!(signed.package(), &task[..]);
        assert_eq!(signed.manifest().envelope_bytes(), 384);
        // One of them alone is not enough, and a device of one key does not take two.
        let half = &file[envelope::LENGTH_BYTES..];
        assert!(trust.open(half).is_err());
        assert!(trust.manifest(&file[..383]).is_err());
        assert!(one_key(pair[0]).open(&file).is_err());
    }
    let once = sign(task, &[first], STAMP).unwrap();
    let twice = [&once[..envelope::LENGTH_BYTES], &once].concat();
    let error = trust.open(&twice).unwrap_err();
    assert_eq!((error, error.number()), (SignatureError::Signers, 16));
    // Two releases do not add up.
    let later = sign(task, &[second], Stamp { release: RELEASE + 1, ..STAMP }).unwrap();
    let mixed = [&later[..envelope::LENGTH_BYTES], &once].concat();
    assert_eq!(trust.open(&mixed).unwrap_err(), SignatureError::Signers);
    assert!(matches!(sign(task, &[first, first], STAMP), Err(SignError::Verify(_))));
}

/// Trust of one key.
fn one_key(key: &SigningKey) -> Trust {
    Trust::new(key.verifying_key().as_bytes(), PRODUCT.scope()).unwrap()
}

#[test]
fn a_signed_list_brings_new_keys_and_revokes_others() {
    let root = generate_key().unwrap();
    let scope = STAMP.scope(SignedKind::KeyList, ContentId::default());
    let of_root = Trust::new(root.verifying_key().as_bytes(), scope).unwrap();
    let list = |keys: &[usize], release| {
        let keys: Vec<_> = keys.iter().map(|index| PRODUCT.keys[*index].verifying_key()).collect();
        sign_key_list(&keys, 1, &[&root], Stamp { release, ..STAMP }).unwrap()
    };
    let takes = |list: &[u8], signer: usize| {
        let (keys, release) = of_root.keys_of(list).unwrap();
        assert!(release >= RELEASE);
        let file = sign(&PRODUCT.packages.task, &[&PRODUCT.keys[signer]], STAMP).unwrap();
        Trust::of(keys, PRODUCT.scope()).open(&file).is_ok()
    };
    let (before, after) = (list(&[0, 1], RELEASE), list(&[1, 2], RELEASE + 1));
    assert_eq!([0, 1, 2].map(|signer| takes(&before, signer)), [true, true, false]);
    assert_eq!([0, 1, 2].map(|signer| takes(&after, signer)), [false, true, true]);
    // Once the later list is in use, the earlier does not come back.
    let later = of_root.clone().at_least(RELEASE + 1);
    assert_eq!(later.keys_of(&before).unwrap_err().number(), 8);
    // A key that may sign packages signs no lists, and a package is no list.
    let scope = STAMP.scope(SignedKind::KeyList, ContentId::default());
    let own = Trust::new(&PRODUCT.public(0), scope).unwrap();
    assert_eq!(own.keys_of(&before).unwrap_err().number(), 6);
    assert_eq!(own.keys_of(&PRODUCT.file).unwrap_err().number(), 12);
}

#[test]
fn a_key_list_that_is_none_is_refused() {
    let keys: Vec<_> = PRODUCT.keys.iter().map(SigningKey::verifying_key).collect();
    let stamp = STAMP;
    let signed = sign_key_list(&keys, 2, &[&PRODUCT.keys[0]], stamp).unwrap();
    let list = &signed[envelope::LENGTH_BYTES..];
    assert_eq!(Keys::parse(list).unwrap().threshold(), 2);
    let mut refused = 0;
    for at in (0..key_list::LENGTH_BYTES).filter(|at| !key_list::THRESHOLD_AT.contains(at)) {
        let mut list = list.to_vec();
        list[at] ^= 1;
        assert_eq!(Keys::parse(&list).unwrap_err(), SignatureError::BadKeyList, "byte {at}");
        refused += 1;
    }
    assert_eq!(refused, 62);
    for threshold in [0, 4, 255] {
        let mut list = list.to_vec();
        list[key_list::THRESHOLD_AT.start] = threshold;
        assert_eq!(Keys::parse(&list).unwrap_err().number(), 17);
    }
    for cut in [0, 63, 64, list.len() - 1] {
        assert!(Keys::parse(&list[..cut]).is_err());
    }
    let mut swapped = list.to_vec();
    swapped.copy_within(64..96, 96);
    assert!(Keys::parse(&swapped).is_err());
}

proptest! {
    #[test]
    fn bytes_by_chance_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(trust().open(&bytes).is_err());
        let mut file = PRODUCT.file.clone();
        for (to, from) in file.iter_mut().skip(12).zip(&bytes) {
            *to ^= from;
        }
        let same = file == PRODUCT.file;
        prop_assert_eq!(trust().open(&file).is_ok(), same);
    }

    #[test]
    fn keys_by_chance_never_panic(key in any::<[u8; 32]>()) {
        if let Ok(trust) = Trust::new(&key, PRODUCT.scope()) {
            prop_assert!(trust.open(&PRODUCT.file).is_err());
        }
    }

    #[test]
    fn key_lists_by_chance_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut list = key_list::MAGIC.to_vec();
        list.extend(bytes);
        prop_assert!(Keys::parse(&list).is_err());
    }
}
