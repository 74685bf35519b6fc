//! One field of each golden package is changed at a time, with a right checksum: refused, or run with the same
//! bits on every table. Some seconds; `CODA_MUTANT_SECONDS` says how many.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::PackageBytes;
use coda_runtime::format::{SectionKind, header, section};
use coda_tests::mutants::{Choice, Fate, exercise, fields, mutate};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn goldens() -> Vec<(String, PackageBytes)> {
    let directories = ["golden", "golden/writers"].map(|path| std::fs::read_dir(path).unwrap());
    let files = directories.into_iter().flatten().map(|entry| entry.unwrap().path());
    let packages = files.filter(|path| path.extension().is_some_and(|end| end == "coda"));
    let mut paths: Vec<PathBuf> = packages.collect();
    paths.sort();
    let read = |path: PathBuf| (path.display().to_string(), PackageBytes::read(&path).unwrap());
    paths.into_iter().map(read).collect()
}

#[test]
fn a_package_with_one_field_changed_is_refused_or_gives_every_table_the_same_bits() {
    let seconds = std::env::var("CODA_MUTANT_SECONDS").map_or(4, |text| text.parse().unwrap());
    let (goldens, end) = (goldens(), Instant::now() + Duration::from_secs(seconds));
    let (mut seed, mut fates, mut longest) = (0x9e37_79b9_7f4a_7c15, [0u64; 3], Duration::ZERO);
    while Instant::now() < end {
        for (name, package) in &goldens {
            let (choice, mut bytes) = (Choice::next(&mut seed), package.to_vec());
            if !mutate(&mut bytes, choice) {
                continue;
            }
            let (mutant, start) = (PackageBytes::new(&bytes), Instant::now());
            let fate = std::panic::catch_unwind(|| exercise(&mutant));
            let fate = fate.unwrap_or_else(|_| panic!("{name}: {choice:?}"));
            fates[fate as usize] += 1;
            longest = longest.max(start.elapsed());
        }
    }
    let [refused, large, ran] = fates;
    println!("{refused} refused, {large} too large, {ran} ran alike; the longest {longest:?}");
    assert!(refused > 50 && ran > 10, "{fates:?}");
}

#[test]
fn the_mutator_reaches_every_kind_of_field_and_leaves_right_packages_right() {
    for (name, package) in goldens() {
        let all = fields(&package);
        assert!(all.len() > 100, "{name}: {}", all.len());
        assert!(all.iter().all(|at| at.end <= package.len() && at.len() <= 4), "{name}");
        assert_eq!(exercise(&package), Fate::Ran, "{name}");
    }
}

/// A fuzzer found it: the mutator followed such a part until the stack ended.
#[test]
fn the_mutator_ends_on_a_package_that_is_its_own_part() {
    for (name, package) in goldens() {
        let (length, mut bytes) = (package.len() as u32, package.to_vec());
        let mut put = |at: Range<usize>, value: &[u8]| {
            let start = header::LENGTH_BYTES + at.start;
            bytes[start..start + value.len()].copy_from_slice(value);
        };
        put(section::KIND, &(SectionKind::Decoder as u16).to_le_bytes());
        put(section::OFFSET, &0u32.to_le_bytes());
        put(section::LENGTH, &length.to_le_bytes());
        assert!(fields(&bytes).len() <= package.len(), "{name}");
    }
}
