//! The bundled part of the reference vectors, with every kernel table.

use coda_runtime::kernels::Kernels;
use coda_tests::seq2seq::is_one;
use coda_tests::vectors::{Vectors, directories};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

#[test]
fn every_bundled_case_agrees_with_the_reference_with_every_kernel_table() {
    let (mut checks, mut failures) = (0, Vec::new());
    for directory in directories(root()).unwrap().into_iter().filter(|path| !is_one(path)) {
        let vectors = Vectors::open(&directory).unwrap();
        for (name, result) in Kernels::available().flat_map(|table| vectors.check(table)) {
            checks += 1;
            if let Err(error) = result {
                failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Four directories, each 18 cases and the dense encoder.
    assert_eq!(checks, 4 * 19 * Kernels::available().count());
}
