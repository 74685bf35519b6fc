//! Packages from a hostile sender: a checksum is no signature, so it is always right here.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{PackageBytes, WeightType};
use coda_runtime::format::{Package, header};
use coda_tests::hostile::fix_checksum;
use coda_tests::tiny::{Packages, Tiny};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Every family, packed with the weights its number says.
static MODELS: LazyLock<Vec<(Tiny, Packages)>> = LazyLock::new(|| {
    let types = [WeightType::Int8, WeightType::F16, WeightType::F32, WeightType::Int4];
    let models = Tiny::all().into_iter().zip(types.into_iter().cycle());
    models
        .map(|(tiny, weights)| {
            let packages = tiny.pack(weights).unwrap();
            (tiny, packages)
        })
        .collect()
});

/// One change to a file.
#[derive(Clone, Debug)]
enum Change {
    /// A byte is replaced.
    Byte { at: prop::sample::Index, value: u8 },
    /// An aligned u32 is replaced by a number that a length or offset may be.
    Word { at: prop::sample::Index, value: u32 },
    /// A piece is written over another place.
    Copy { from: prop::sample::Index, to: prop::sample::Index, length: usize },
    /// The file is cut.
    Cut { at: prop::sample::Index },
    /// A piece is inserted.
    Insert { at: prop::sample::Index, bytes: Vec<u8> },
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.len() < 4 {
            return;
        }
        match self {
            Self::Byte { at, value } => *at.get_mut(bytes) = *value,
            Self::Word { at, value } => {
                let start = at.index(bytes.len() / 4) * 4;
                bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
            }
            Self::Copy { from, to, length } => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let length = (*length).min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + length, to);
            }
            Self::Cut { at } => bytes.truncate(at.index(bytes.len())),
            Self::Insert { at, bytes: piece } => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}

/// Small numbers, sizes of this package, powers of two and the ends of the range.
fn telling_number() -> impl Strategy<Value = u32> {
    prop_oneof![
        0u32..80,
        (0u32..200).prop_map(|index| index * 64),
        (0u32..32).prop_map(|shift| 1 << shift),
        (0u32..4).prop_map(|below| u32::MAX - below),
        Just(f32::NAN.to_bits()),
        Just(f32::INFINITY.to_bits()),
        any::<f32>().prop_map(f32::to_bits),
        any::<u32>(),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, value)| Change::Byte { at, value }),
        8 => (index(), telling_number()).prop_map(|(at, value)| Change::Word { at, value }),
        2 => (index(), index(), 1usize..128)
            .prop_map(|(from, to, length)| Change::Copy { from, to, length }),
        1 => index().prop_map(|at| Change::Cut { at }),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..65))
            .prop_map(|(at, bytes)| Change::Insert { at, bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn edited_packages_are_refused_or_harmless(
        model in any::<prop::sample::Index>(),
        part in 0..3usize,
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let (tiny, packages) = model.get(&MODELS);
        let original = [&packages.base, &packages.task, &packages.bundle][part];
        let mut bytes = original.to_vec();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        fix_checksum(&mut bytes);
        let _ = tiny.exercise(&bytes, packages);
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(PackageBytes::new(&bytes).parse().is_err());
    }

    #[test]
    fn random_bytes_behind_a_valid_header_are_refused_or_harmless(
        model in any::<prop::sample::Index>(),
        part in 0..3usize,
        body in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let (tiny, packages) = model.get(&MODELS);
        let original = [&packages.base, &packages.task, &packages.bundle][part];
        let mut bytes = original[..header::LENGTH_BYTES].to_vec();
        bytes.extend(body);
        fix_checksum(&mut bytes);
        let _ = tiny.exercise(&bytes, packages);
    }

    #[test]
    fn bytes_at_any_address_are_parsed_or_refused(
        offset in 0..16usize,
        changes in prop::collection::vec(change(), 0..2),
    ) {
        let (_, packages) = &MODELS[0];
        let mut bytes = packages.bundle.to_vec();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        fix_checksum(&mut bytes);
        let mut memory = vec![0; offset];
        memory.extend(bytes);
        let _ = Package::parse(&memory[offset..]);
    }
}
