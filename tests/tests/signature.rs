//! A device that trusts a key takes what was signed with it and nothing else; each rejection of
//! `SIGNED.md` by its number.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::WeightType;
use coda_converter::sign::{generate_key, sign};
use coda_runtime::format::Package;
use coda_runtime::signature::{SignatureError, Trust, envelope, key_id};
use coda_tests::tiny::Tiny;
use proptest::prelude::*;
use std::sync::LazyLock;

const RELEASE: u64 = 5;

/// A signed task and whom a device trusts.
static SIGNED: LazyLock<(Vec<u8>, [u8; 32])> = LazyLock::new(|| {
    let task = Tiny::vit().pack(WeightType::Int8).unwrap().task;
    let key = generate_key().unwrap();
    (sign(&task, &key, RELEASE).unwrap(), key.verifying_key().to_bytes())
});

fn trust() -> Trust {
    Trust::new(&SIGNED.1).unwrap()
}

fn refused(bytes: &[u8]) -> SignatureError {
    let error = trust().at_least(RELEASE).open(bytes).unwrap_err();
    // A status string for people.
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 120, "{text}");
    error
}

/// The file with bytes at `at` replaced.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = SIGNED.0.clone();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn what_was_signed_is_taken() {
    let (file, _) = &*SIGNED;
    for minimum in [0, RELEASE - 1, RELEASE] {
        let signed = trust().at_least(minimum).open(file).unwrap();
        assert_eq!(signed.release(), RELEASE);
        assert_eq!(signed.package(), &file[envelope::LENGTH_BYTES..]);
    }
    // Before the package has come.
    let manifest = trust().manifest(&file[..envelope::LENGTH_BYTES]).unwrap();
    assert_eq!(manifest.package_length() as usize, file.len() - envelope::LENGTH_BYTES);
}

#[test]
fn every_rejection_has_its_number() {
    let (file, key) = &*SIGNED;
    let package = &file[envelope::LENGTH_BYTES..];
    let other = generate_key().unwrap();
    let aligned = coda_converter::pack::PackageBytes::new(package);
    let foreign = sign(&aligned, &other, RELEASE).unwrap();
    let mut longer = file.clone();
    longer.push(0);
    let found = key_id(other.verifying_key().as_bytes());
    let length = package.len();
    let wrong_length = |found| SignatureError::WrongLength { expected: length, found };
    let cases = [
        (1, refused(package), SignatureError::Unsigned),
        (2, refused(&file[..191]), SignatureError::TooShort { found: 191 }),
        (2, refused(&[]), SignatureError::TooShort { found: 0 }),
        (3, refused(&changed(0, b"\x88")), SignatureError::BadMagic),
        (4, refused(&changed(8, &[2, 0])), SignatureError::UnsupportedVersion { found: 2 }),
        (5, refused(&changed(63, &[1])), SignatureError::NotZero { offset: 63 }),
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
    let older = trust().at_least(RELEASE + 1).open(&SIGNED.0).unwrap_err();
    assert_eq!(older, SignatureError::Older { minimum: RELEASE + 1, found: RELEASE });
    assert_eq!(older.number(), 8);
}

#[test]
fn keys_that_are_no_points_or_of_small_order_are_refused() {
    // The identity, of small order, and a number that is no point.
    let mut weak = [0; 32];
    weak[0] = 1;
    for bad in [weak, [0; 32], [2; 32]] {
        assert_eq!(Trust::new(&bad).unwrap_err(), SignatureError::BadKey);
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
        (envelope::RESERVED, "zero"),
        (envelope::DIGEST, "SHA-512"),
        (envelope::SIGNATURE, "Ed25519"),
    ] {
        let row = format!("| {} | {} | {name}", range.start, range.len());
        assert!(text.contains(&row), "no row {row}");
    }
    assert_eq!(envelope::SIGNED.end, envelope::SIGNATURE.start);
    assert_eq!(envelope::SIGNATURE.end, envelope::LENGTH_BYTES);
}

#[test]
fn no_bit_of_a_signed_package_may_change() {
    let (file, _) = &*SIGNED;
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
    assert!(matches!(Package::parse(&SIGNED.0), Err(coda_runtime::format::FormatError::BadMagic)));
}

#[test]
fn the_golden_signed_package_is_taken_and_signed_again_to_the_bit() {
    let golden = std::fs::read("golden/bert-int8-v1.0.signed").unwrap();
    let package = coda_converter::pack::PackageBytes::read("golden/bert-int8-v1.0.coda".as_ref());
    // RFC 8032, section 7.1, test 1.
    let seed = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    assert_eq!(sign(&package.unwrap(), &key, 7).unwrap(), golden);
    let trust = Trust::new(key.verifying_key().as_bytes()).unwrap().at_least(7);
    assert_eq!(trust.open(&golden).unwrap().release(), 7);
}

proptest! {
    #[test]
    fn bytes_by_chance_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(trust().open(&bytes).is_err());
        let mut file = SIGNED.0.clone();
        for (to, from) in file.iter_mut().skip(12).zip(&bytes) {
            *to ^= from;
        }
        let same = file == SIGNED.0;
        prop_assert_eq!(trust().open(&file).is_ok(), same);
    }

    #[test]
    fn keys_by_chance_never_panic(key in any::<[u8; 32]>()) {
        if let Ok(trust) = Trust::new(&key) {
            prop_assert!(trust.open(&SIGNED.0).is_err());
        }
    }
}
