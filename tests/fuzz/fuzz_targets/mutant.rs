//! One field of a package changes, and its checksum is right again: refused, or every table gives the same bits.
//!
//! The first 8 bytes choose field and value, the rest is the package.
#![no_main]

use coda_fuzz::Aligned;
use coda_fuzz::mutants::{Choice, exercise, mutate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, package)) = bytes.split_first_chunk::<8>() else { return };
    let word = |at: usize| u32::from_le_bytes([choice[at], choice[at + 1], choice[at + 2], choice[at + 3]]);
    let mut package = package.to_vec();
    if mutate(&mut package, Choice { field: word(0), value: word(4) }) {
        let _ = exercise(Aligned::new(&package).bytes());
    }
});
