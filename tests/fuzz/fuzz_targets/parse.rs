//! Any bytes, as they are and with a right checksum: parsing never panics, and what it accepts can
//! be read to the last byte.
#![no_main]

use coda_fuzz::Aligned;
use coda_fuzz::hostile::read_everything;
use coda_runtime::format::Package;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for bytes in [Aligned::new(bytes), Aligned::sealed(bytes)] {
        match Package::parse(bytes.bytes()) {
            Ok(package) => read_everything(&package),
            Err(error) => {
                assert!((1..=29).contains(&error.number()), "{error}");
            }
        }
    }
});
