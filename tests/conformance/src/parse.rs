//! Sizes that a hostile package names: each word of a package becomes numbers near the ends of 32 bits, with a
//! right checksum. Nothing may panic, least of all where a size is 32 bits wide and overflow is checked.

use crate::golden;
use coda_runtime::format::{Aligned, Package, checksum, header};
use coda_runtime::model::Model;

/// Bytes of the largest package that is tried.
const MOST: usize = 16 * 1024;
/// Words from the start of a package that are tried: header, table and the sections before the data.
const WORDS: usize = 400;

const NUMBERS: [u32; 8] =
    [u32::MAX, u32::MAX - 63, 1 << 31, 1 << 30, (1 << 30) - 1, (1 << 24) + 1, 1 << 17, 0x4000_0001];

/// Parses and binds every mutant; returns how many there were.
pub fn check_parse() -> usize {
    let (mut copy, mut mutants) = (Aligned([0; MOST]), 0);
    for (_, package, _) in golden::all() {
        let Some(bytes) = copy.0.get_mut(..package.len()) else { continue };
        bytes.copy_from_slice(package);
        for word in 2..WORDS.min(package.len() / 4) {
            let at = 4 * word..4 * word + 4;
            for number in NUMBERS {
                bytes[at.clone()].copy_from_slice(&number.to_le_bytes());
                let sum = checksum(bytes);
                bytes[header::CHECKSUM].copy_from_slice(&sum.to_le_bytes());
                if let Ok(package) = Package::parse(bytes) {
                    // Any status is right.
                    let _ = Model::from_package(&package).map(|model| model.dimensions());
                }
                mutants += 1;
            }
            bytes[at.clone()].copy_from_slice(&package[at]);
        }
    }
    mutants
}
