//! The conformance suite: every kernel table gives the bits of the scalar one.

use coda_runtime::config::Activation;
use coda_runtime::kernels::{
    Epilogue, Kernels, NormWeights, Panels, PanelsInt8, RowsInt8, Store, scalar,
};
use coda_runtime::tensor::{Matrix, MatrixMut};
use half::f16;
use proptest::prelude::*;

/// Every table but the scalar one; a test that would compare nothing fails.
fn tables() -> Vec<&'static Kernels> {
    let tables: Vec<_> = Kernels::available().filter(|t| t.name != "scalar").collect();
    assert!(!tables.is_empty(), "no kernel table to compare with the scalar one");
    tables
}

fn equal(left: &[f32], right: &[f32]) -> bool {
    left.iter().zip(right).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
}

/// Shapes of a GEMM: rows, inputs, outputs.
fn shapes() -> impl Strategy<Value = (usize, usize, usize)> {
    (1usize..11, 1usize..70, 1usize..27)
}

fn floats(count: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-3.0f32..3.0, count)
}

/// A whole GEMM problem.
#[derive(Clone, Debug)]
struct Problem {
    rows: usize,
    inputs: usize,
    outputs: usize,
    lhs: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    scale: Vec<f32>,
    out: Vec<f32>,
    activation: Option<Activation>,
    store: usize,
}

fn problems() -> impl Strategy<Value = Problem> {
    shapes().prop_flat_map(|(rows, inputs, outputs)| {
        let padded = outputs.next_multiple_of(8);
        let activation = prop::sample::select(vec![
            None,
            Some(Activation::Relu),
            Some(Activation::GeluErf),
            Some(Activation::GeluTanh),
        ]);
        let parts = (
            floats(rows * inputs),
            floats(padded * inputs),
            floats(outputs),
            floats(outputs),
            floats(rows * outputs),
            activation,
            0usize..6,
        );
        parts.prop_map(move |(lhs, weights, bias, scale, out, activation, store)| Problem {
            rows,
            inputs,
            outputs,
            lhs,
            weights,
            bias,
            scale,
            out,
            activation,
            store,
        })
    })
}

impl Problem {
    fn epilogue(&self) -> Epilogue<'_> {
        let (bias, store): (&[f32], _) = match self.store {
            0 => (&self.bias, Store::Overwrite),
            1 => (&[], Store::Overwrite),
            2 => (&self.bias, Store::Add { scale: &self.bias }),
            3 => (&self.bias, Store::Add { scale: &[] }),
            4 => (&self.bias, Store::Add { scale: &self.scale }),
            _ => (&self.bias, Store::Multiply),
        };
        Epilogue { bias, activation: self.activation, store }
    }

    fn out(&self, run: impl Fn(&mut MatrixMut<'_>, &Epilogue<'_>)) -> Vec<f32> {
        let mut out = self.out.clone();
        run(&mut MatrixMut::new(&mut out, self.outputs), &self.epilogue());
        out
    }

    /// int8 weights in `Panel8x8` with scales, from the float weights' bits.
    fn int8(&self) -> (Vec<i8>, Vec<f32>) {
        let count = self.outputs.next_multiple_of(8) * self.inputs.next_multiple_of(8);
        let value = |index: usize| (self.weights[index % self.weights.len()] * 42.0) as i8;
        let scales = (0..self.outputs.next_multiple_of(8)).map(|i| 0.01 + i as f32 * 0.001);
        ((0..count).map(value).collect(), scales.collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn float_gemms_are_equal(problem in problems()) {
        let halves: Vec<f16> = problem.weights.iter().map(|w| f16::from_f32(*w)).collect();
        let lhs = Matrix::new(&problem.lhs, problem.inputs);
        let Problem { outputs, inputs, .. } = problem;
        let floats = Panels { values: &problem.weights[..], outputs, inputs };
        let halves = Panels { values: &halves[..], outputs, inputs };
        let single = problem.out(|out, e| scalar::gemm_f32_f32_f32w(out, lhs, floats, e));
        let half = problem.out(|out, e| scalar::gemm_f32_f32_f16w(out, lhs, halves, e));
        for table in tables() {
            let found = problem.out(|out, e| (table.gemm_f32_f32_f32w)(out, lhs, floats, e));
            prop_assert!(equal(&found, &single), "{} f32", table.name);
            let found = problem.out(|out, e| (table.gemm_f32_f32_f16w)(out, lhs, halves, e));
            prop_assert!(equal(&found, &half), "{} f16", table.name);
        }
    }

    #[test]
    fn int8_gemms_are_equal(problem in problems()) {
        let (values, scales) = problem.int8();
        let Problem { outputs, inputs, rows, .. } = problem;
        let rhs = PanelsInt8 { values: &values, scales: &scales, outputs, inputs };
        let stride = inputs.next_multiple_of(8);
        let (mut quantized, mut row_scales) = (vec![1; rows * stride], vec![0.0; rows]);
        let slots = quantized.chunks_exact_mut(stride).zip(&mut row_scales);
        for ((slot, scale), row) in slots.zip(problem.lhs.chunks_exact(inputs)) {
            *scale = scalar::quantize_row(slot, row, &[]);
        }
        let int8 = RowsInt8 { values: &quantized, scales: &row_scales, stride };
        let exact = problem.out(|out, e| scalar::gemm_f32_qd8_qc8w(out, int8, rhs, e));
        for table in tables() {
            let found = problem.out(|out, e| (table.gemm_f32_qd8_qc8w)(out, int8, rhs, e));
            prop_assert!(equal(&found, &exact), "{} qd8 qc8w", table.name);
        }
    }

    #[test]
    fn row_kernels_are_equal_on_any_floats(
        bits in prop::collection::vec(any::<u32>(), 1..100),
        tame in any::<bool>(),
        eps in prop::sample::select(vec![0.0f32, 1e-12, 1e-6]),
    ) {
        let row: Vec<f32> = bits.iter().map(|bits| match tame {
            true => (*bits as f32 / u32::MAX as f32 - 0.5) * 20.0,
            false => f32::from_bits(*bits),
        }).collect();
        let weight: Vec<f32> = row.iter().rev().map(|x| if x.is_finite() { *x } else { 1.0 }).collect();
        let norm = NormWeights { weight: &weight, bias: &weight, eps };
        let mut expected = vec![0.0; row.len()];
        let mut found = expected.clone();
        let mut quantized = (vec![0i8; row.len() + 5], vec![1i8; row.len() + 5]);
        for table in tables() {
            scalar::layer_norm(&mut expected, &row, norm);
            (table.layer_norm)(&mut found, &row, norm);
            prop_assert!(equal(&found, &expected), "{} layer norm", table.name);
            scalar::rms_norm(&mut expected, &row, norm);
            (table.rms_norm)(&mut found, &row, norm);
            prop_assert!(equal(&found, &expected), "{} rms norm", table.name);
            expected.copy_from_slice(&row);
            found.copy_from_slice(&row);
            scalar::softmax(&mut expected);
            (table.softmax)(&mut found);
            prop_assert!(equal(&found, &expected), "{} softmax", table.name);
            let dots = ((table.dot)(&row, &weight), scalar::dot(&row, &weight));
            prop_assert!(equal(&[dots.0], &[dots.1]), "{} dot", table.name);
            for factors in [&[], &weight[..]] {
                let scale = scalar::quantize_row(&mut quantized.0, &row, factors);
                let other = (table.quantize_row)(&mut quantized.1, &row, factors);
                prop_assert_eq!(scale.to_bits(), other.to_bits());
                prop_assert_eq!(&quantized.0, &quantized.1);
                prop_assert!(!quantized.0.contains(&i8::MIN));
            }
        }
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
    let run = |table: &Kernels| {
        let mut out = vec![0.0; rows * outputs];
        let epilogue = Epilogue::overwrite(&[]);
        (table.gemm_f32_qd8_qc8w)(&mut MatrixMut::new(&mut out, outputs), lhs, rhs, &epilogue);
        out
    };
    let exact = run(&scalar::KERNELS);
    for table in tables() {
        assert!(equal(&run(table), &exact), "{}", table.name);
    }
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
            let run = |table: &Kernels| {
                let mut out = vec![0.0; rows * outputs];
                let mut matrix = MatrixMut::new(&mut out, outputs);
                (table.gemm_f32_qd8_qc8w)(&mut matrix, lhs, rhs, &Epilogue::overwrite(&[]));
                out
            };
            let exact = run(&scalar::KERNELS);
            for table in tables() {
                assert!(equal(&run(table), &exact), "{} {weight} {}", table.name, sign * total);
            }
        }
    }
}

#[test]
fn every_f16_is_widened_exactly() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let ones = vec![1.0; 1];
    for table in Kernels::available() {
        let rhs = Panels { values: &all, outputs: all.len(), inputs: 1 };
        let mut out = vec![0.0; all.len()];
        let mut matrix = MatrixMut::new(&mut out, all.len());
        let lhs = Matrix::new(&ones, 1);
        (table.gemm_f32_f32_f16w)(&mut matrix, lhs, rhs, &Epilogue::overwrite(&[]));
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
