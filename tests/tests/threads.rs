//! One test alone in its process: no other must have asked for a kernel table before.

use coda_runtime::executor::{ThreadPool, Workers};
use coda_runtime::kernels::{Epilogue, Kernels, PanelsInt8, RowsInt8, scalar};
use coda_runtime::tensor::MatrixMut;

const ROWS: usize = 32;
const WIDTH: usize = 64;

/// A product by a table.
fn product(kernels: &Kernels) -> Vec<f32> {
    let values: Vec<i8> = (0..ROWS * WIDTH).map(|at| (at % 251) as i8 / 2).collect();
    let weights: Vec<i8> = (0..WIDTH * WIDTH).map(|at| (at % 241) as i8).collect();
    let mut out = vec![0.0; ROWS * WIDTH];
    let lhs = RowsInt8 { values: &values, scales: &[0.5; ROWS], stride: WIDTH };
    let rhs =
        PanelsInt8 { values: &weights, scales: &[0.25; WIDTH], outputs: WIDTH, inputs: WIDTH };
    let epilogue = Epilogue::overwrite(&[]);
    (kernels.gemm_f32_qd8_qc8w)(&mut MatrixMut::new(&mut out, WIDTH), lhs, rhs, &epilogue);
    out
}

#[test]
fn threads_that_run_before_tables_are_detected_multiply_with_every_one_of_them() {
    let pool = ThreadPool::new(2).expect("two threads start");
    // Both have run something.
    pool.join(&mut || (), &mut || ());
    let expected = product(&scalar::KERNELS);
    for kernels in Kernels::available() {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        pool.join(&mut || left = product(kernels), &mut || right = product(kernels));
        assert_eq!(left, expected, "{}", kernels.name);
        assert_eq!(right, expected, "{}", kernels.name);
        let started = std::thread::scope(|scope| {
            scope.spawn(|| product(kernels)).join().expect("a thread that starts behind")
        });
        assert_eq!(started, expected, "{}", kernels.name);
    }
}
