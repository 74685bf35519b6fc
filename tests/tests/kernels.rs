//! Every kernel table gives the bits of the scalar one: the conformance suite on more values and shapes
//! than it takes to other machines, and what its memory has no room for.

use coda_conformance::problem::Product;
use coda_conformance::{Workspace, check_kernels};
use coda_converter::pack::WeightType;
use coda_runtime::kernels::{
    Epilogue, INT8_PRODUCTS, Kernels, PANEL, Panels, PanelsInt8, RowsInt8, scalar,
};
use coda_runtime::tensor::{Matrix, MatrixMut};
use coda_tests::tiny::Tiny;
use half::f16;

/// Every table but the scalar one; a test that would compare nothing fails.
fn tables() -> Vec<&'static Kernels> {
    let tables: Vec<_> = Kernels::available().filter(|t| t.name != "scalar").collect();
    assert!(!tables.is_empty(), "no kernel table to compare with the scalar one");
    tables
}

/// Multiplies by each table; every result must have the bits of the scalar one.
fn compare(product: &Product<'_>, rows: usize, outputs: usize, what: &str) {
    let run = |table: &Kernels| {
        let mut out = vec![0.0; rows * outputs];
        product.run(table, &mut MatrixMut::new(&mut out, outputs), &Epilogue::overwrite(&[]));
        out.iter().map(|value: &f32| value.to_bits()).collect::<Vec<_>>()
    };
    let exact = run(&scalar::KERNELS);
    for table in tables() {
        assert!(run(table) == exact, "{}, {what}", table.name);
    }
}

#[test]
fn values_and_shapes_of_many_seeds_give_equal_bits() {
    let mut workspace = Box::new(Workspace::new());
    for (seed, table) in (1..=12).flat_map(|seed| tables().into_iter().map(move |t| (seed, t))) {
        let cases = check_kernels(table, &mut workspace, seed).unwrap_or_else(|difference| {
            panic!("seed {seed}: {difference:?}");
        });
        assert!(cases > 10_000, "only {cases} cases");
    }
}

/// Rows longer than what a table looks at beforehand, with blocks whose products fit narrow sums, just fit
/// them, or do not.
#[test]
fn int8_gemms_of_very_long_rows_are_equal() {
    let (rows, inputs, outputs) = (9, 2_200, 56);
    let mut state = 1u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i32
    };
    let level = |next: &mut dyn FnMut() -> i32| [8, 32, 33, 64, 65, 127][next() as usize % 6];
    let mut values = Vec::new();
    while values.len() < rows * inputs {
        let level = level(&mut next);
        for _ in 0..8 {
            let value = next() % (2 * level + 1) - level;
            values.push(if next() % 2 == 0 { value.signum() * level } else { value } as i8);
        }
    }
    let ends = [i8::MIN, i8::MAX, 1, -1, i8::MAX];
    let weights: Vec<i8> = (0..inputs * outputs).map(|_| ends[next() as usize % 5]).collect();
    let (row_scales, scales) = (vec![0.5; rows], vec![0.25; outputs]);
    let lhs = RowsInt8 { values: &values, scales: &row_scales, stride: inputs };
    let rhs = PanelsInt8 { values: &weights, scales: &scales, outputs, inputs };
    compare(&Product::Int8(lhs, rhs), rows, outputs, "long rows");
}

/// Equal rows whose adjacent values have every sum about what fits the narrow sums of a table, with the
/// largest weights.
#[test]
fn int8_gemms_at_the_limit_of_narrow_sums_are_equal() {
    let (rows, inputs, outputs) = (4, 128, 48);
    let (row_scales, scales) = ([1.0; 4], [1.0; 48]);
    for (weight, sign, total) in [i8::MIN, i8::MAX]
        .into_iter()
        .flat_map(|weight| [(weight, 1), (weight, -1)])
        .flat_map(|(weight, sign)| (120..=140).map(move |total| (weight, sign, total)))
    {
        // Of two values in every other block, then of four, two in each of two blocks.
        let two = |input: usize| match input / 8 % 2 {
            0 => total / 2 + total % 2 * (input as i32 % 2),
            _ => 127,
        };
        let four = |input: usize| (total + [3, 2, 1, 0][input % 2 + input / 8 % 2 * 2]) / 4;
        for value in [&two as &dyn Fn(usize) -> i32, &four] {
            let row: Vec<i8> = (0..inputs).map(|input| (sign * value(input)) as i8).collect();
            let (values, weights) = (row.repeat(rows), vec![weight; inputs * outputs]);
            let lhs = RowsInt8 { values: &values, scales: &row_scales, stride: inputs };
            let rhs = PanelsInt8 { values: &weights, scales: &scales, outputs, inputs };
            let what = format!("{weight} {}", sign * total);
            compare(&Product::Int8(lhs, rhs), rows, outputs, &what);
        }
    }
}

#[test]
fn every_f16_is_widened_exactly() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let ones = vec![1.0; 1];
    for table in Kernels::available() {
        let rhs = Panels { values: &all[..], outputs: all.len(), inputs: 1 };
        let mut out = vec![0.0; all.len()];
        let mut matrix = MatrixMut::new(&mut out, all.len());
        let product = Product::F16(Matrix::new(&ones, 1), rhs);
        product.run(table, &mut matrix, &Epilogue::overwrite(&[]));
        for (half, single) in all.iter().zip(&out) {
            let same = half.to_f32() == *single || half.is_nan() && single.is_nan();
            assert!(same, "{} {:#06x}", table.name, half.to_bits());
        }
    }
}

#[test]
fn a_table_is_found_by_its_name() {
    for table in Kernels::available() {
        assert_eq!(Kernels::by_name(table.name).map(|found| found.name), Some(table.name));
    }
    assert!(Kernels::by_name("none").is_none());
}

/// The value of a row of 127s, times a channel of one weight, for as many products as a sum holds.
#[test]
fn a_sum_of_as_many_int8_products_as_there_may_be_is_exact_in_every_table() {
    let inputs = INT8_PRODUCTS;
    for (x, weight) in [(127, -128), (127, 127), (-127, -128), (-127, 127)] {
        let (row, panel) = (vec![x; inputs], vec![weight; PANEL * inputs]);
        let lhs = RowsInt8 { values: &row, scales: &[1.0], stride: inputs };
        let rhs = PanelsInt8 { values: &panel, scales: &[1.0; PANEL], outputs: PANEL, inputs };
        let exact = i64::from(x) * i64::from(weight) * inputs as i64;
        for kernels in Kernels::available() {
            let mut out = [0.0; PANEL];
            let mut rows = MatrixMut::new(&mut out, PANEL);
            (kernels.gemm_f32_qd8_qc8w)(&mut rows, lhs, rhs, &Epilogue::overwrite(&[]));
            assert_eq!(out, [exact as f32; PANEL], "{}: {x} times {weight}", kernels.name);
        }
    }
}

#[test]
fn the_long_package_of_the_suite_is_that_of_the_tests() {
    let packed = Tiny::long().pack(WeightType::Int8).unwrap();
    assert_eq!(&packed.bundle[..], std::fs::read("conformance/long.coda").unwrap());
}
