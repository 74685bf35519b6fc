//! Any bytes, as they are and with a right checksum: parsing never panics, and what it accepts can
//! be read to the last byte.
#![no_main]

use coda_fuzz::Aligned;
use coda_runtime::format::{Package, PackageKind};
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

fn read_everything(package: &Package<'_>) {
    for tensor in package.tensors() {
        let length = tensor.encoding.bytes(tensor.rows, tensor.columns);
        assert_eq!(length, Some(tensor.bytes.len()));
        let found = package.tensor(tensor.role, tensor.layer).map(|found| found.bytes);
        assert_eq!(found, Some(tensor.bytes));
    }
    if let Some(labels) = package.labels() {
        assert_eq!(labels.iter().count(), labels.len());
    }
    if let Some(vocabulary) = package.vocabulary() {
        for id in 0..vocabulary.len() as u32 {
            // An added token may be written like another.
            let Some(token) = vocabulary.token(id) else { continue };
            let found = vocabulary.id(token).expect("a token is found");
            assert!(found == id || vocabulary.token(found) == Some(token));
        }
    }
    assert!(package.pinned().is_sorted());
    assert_eq!(package.layers().count(), package.layers().len());
    if package.kind() == PackageKind::Bundle {
        read_everything(&package.base().expect("a bundle has a base"));
        read_everything(&package.task().expect("a bundle has a task"));
    }
}
