//! Kernels against the scalar ones: sizes from nothing to three tiles with every kind of tail,
//! values at their extremes, slices at odd addresses.

use crate::random::Random;
use crate::rows;
use crate::workspace::{SHIFT, Workspace};
use coda_runtime::config::Activation;
use coda_runtime::kernels::{Epilogue, Kernels, PackInt8, Store, scalar};
use coda_runtime::tensor::{Matrix, MatrixMut};

const ROWS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 25];
const OUTPUTS: [usize; 7] = [1, 7, 8, 9, 16, 24, 25];
const INPUTS: [usize; 10] = [1, 3, 7, 8, 9, 15, 16, 17, 24, 33];
/// Long rows: the largest sums of real models.
const LONG_INPUTS: [usize; 3] = [384, 1024, 1536];
const LONG_ROWS: [usize; 4] = [1, 3, 4, 9];
/// More than one panel of long rows, and more rows than a tile; from one panel to more than four, of whole
/// steps of blocks and of those with a rest.
const TALL_SHAPES: [Shape; 17] = [
    Shape::new(9, 384, 16),
    Shape::new(17, 768, 16),
    Shape::new(41, 40, 24),
    Shape::new(33, 32, 30),
    Shape::new(35, 24, 16),
    Shape::new(39, 40, 24),
    Shape::new(32, 64, 32),
    Shape::new(31, 65, 24),
    Shape::new(25, 120, 40),
    Shape::new(21, 128, 48),
    Shape::new(17, 200, 56),
    Shape::new(16, 136, 57),
    Shape::new(18, 52, 8),
    Shape::new(2, 344, 33),
    Shape::new(64, 72, 16),
    Shape::new(13, 1000, 8),
    Shape::new(4, 1720, 8),
];
/// Shapes by chance, of each kind of values.
const RANDOM_SHAPES: usize = 60;
const ROW_LENGTHS: [usize; 14] = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 384];

/// Shape of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the left side.
    pub rows: usize,
    /// Inputs: values of a row.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl Shape {
    pub(crate) const fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self { rows, inputs, outputs }
    }
}

/// A kernel that gave other bits.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub kernel: &'static str,
    /// Where.
    pub shape: Shape,
    /// First value of other bits, of the table.
    pub found: f32,
    /// That of the scalar one.
    pub expected: f32,
}

/// One comparison with the scalar table.
#[derive(Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) table: &'static Kernels,
    pub(crate) kernel: &'static str,
    pub(crate) shape: Shape,
}

impl Comparison {
    /// The same bits, or both no number.
    pub(crate) fn floats(&self, found: &[f32], expected: &[f32]) -> Result<(), Difference> {
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        let mut pairs = found.iter().copied().zip(expected.iter().copied());
        let Some((found, expected)) = pairs.find(|(a, b)| !same(*a, *b)) else { return Ok(()) };
        let Self { table, kernel, shape } = *self;
        Err(Difference { table: table.name, kernel, shape, found, expected })
    }

    /// The same values.
    pub(crate) fn int8(&self, found: &[i8], expected: &[i8]) -> Result<(), Difference> {
        let mut pairs = found.iter().zip(expected);
        pairs.try_for_each(|(a, b)| self.floats(&[f32::from(*a)], &[f32::from(*b)]))
    }
}

/// Compares every kernel of `table` on values and shapes of a seed; returns the number of calls.
pub fn check_kernels(
    table: &'static Kernels,
    workspace: &mut Workspace,
    seed: u64,
) -> Result<usize, Difference> {
    let mut random = Random::new(seed);
    let mut cases = 0;
    for wild in [false, true] {
        workspace.operands.fill(&mut random, wild);
        for shape in shapes(&mut random) {
            cases += gemms(table, workspace, shape, cases)?;
        }
        for (rows, columns) in pairs(ROWS, INPUTS) {
            cases += packs(table, workspace, rows, columns)?;
        }
        for length in ROW_LENGTHS {
            cases += rows::check(table, workspace, length)?;
        }
    }
    Ok(cases)
}

/// Shapes of GEMMs: every kind of tail, long rows, many rows, and some by chance.
fn shapes(random: &mut Random) -> impl Iterator<Item = Shape> {
    let small = pairs(ROWS, INPUTS).flat_map(|(rows, inputs)| {
        OUTPUTS.into_iter().map(move |outputs| Shape::new(rows, inputs, outputs))
    });
    let long = pairs(LONG_ROWS, LONG_INPUTS).map(|(rows, inputs)| Shape::new(rows, inputs, 8));
    let by_chance = core::iter::repeat_with(|| {
        let mut below = |end: usize| 1 + random.bits() as usize % end;
        Shape::new(below(26), below(70), below(26))
    });
    small.chain(long).chain(TALL_SHAPES).chain(by_chance.take(RANDOM_SHAPES))
}

/// Each of the first with each of the second.
fn pairs(
    first: impl IntoIterator<Item = usize>,
    second: impl IntoIterator<Item = usize> + Clone,
) -> impl Iterator<Item = (usize, usize)> {
    first.into_iter().flat_map(move |a| second.clone().into_iter().map(move |b| (a, b)))
}

/// One of every combination of bias, activation and destination, in turn.
fn epilogue<'w>(bias: &'w [f32], scale: &'w [f32], case: usize) -> Epilogue<'w> {
    let activations = [
        None,
        Some(Activation::Relu),
        Some(Activation::GeluErf),
        Some(Activation::GeluTanh),
        Some(Activation::Silu),
        Some(Activation::GeluQuick),
    ];
    let stores =
        [Store::Overwrite, Store::Add { scale: &[] }, Store::Add { scale }, Store::Multiply];
    Epilogue {
        bias: if case.is_multiple_of(5) { &[] } else { bias },
        activation: activations[case / 4 % 6],
        store: stores[case / 16 % 4],
    }
}

/// The GEMMs of one shape; returns their number.
fn gemms(
    table: &'static Kernels,
    workspace: &mut Workspace,
    shape: Shape,
    case: usize,
) -> Result<usize, Difference> {
    let Shape { rows, inputs, outputs } = shape;
    let stride = inputs.next_multiple_of(8) + (rows + inputs + outputs) % 2 * 8;
    let Workspace { operands, found, expected, .. } = workspace;
    operands.fill_rows(rows, inputs, stride, case);
    let products = operands.products(shape, stride);
    let epilogue = epilogue(&operands.bias[..outputs], &operands.scale[..outputs], case);
    for product in &products {
        for (index, (a, b)) in found.iter_mut().zip(expected.iter_mut()).enumerate() {
            (*a, *b) = (index as f32, index as f32);
        }
        let size = rows * outputs;
        product.run(table, &mut MatrixMut::new(&mut found[..size], outputs), &epilogue);
        let out = &mut MatrixMut::new(&mut expected[..size], outputs);
        product.run(&scalar::KERNELS, out, &epilogue);
        // What lies after the result must stay as it was.
        let comparison = Comparison { table, kernel: product.kernel(), shape };
        comparison.floats(&found[..], &expected[..])?;
    }
    Ok(products.len())
}

/// A kernel of a table.
type OfTable<K> = fn(&Kernels) -> K;

/// Quantised panels of the rows, and of the columns, of one matrix; it stands in a wider one.
fn packs(
    table: &'static Kernels,
    workspace: &mut Workspace,
    rows: usize,
    columns: usize,
) -> Result<usize, Difference> {
    let Workspace { operands, packed: [found_values, expected_values], .. } = workspace;
    let Workspace { found: found_scales, expected: expected_scales, .. } = workspace;
    let wide = columns + 2;
    let matrix =
        Matrix::new(&operands.lhs[SHIFT..SHIFT + rows * wide], wide).column_range(1, columns);
    let size = rows.next_multiple_of(8) * columns.next_multiple_of(8);
    let found_values = &mut found_values[SHIFT..SHIFT + size];
    let expected_values = &mut expected_values[SHIFT..SHIFT + size];
    // What was there before must not show.
    found_values.fill(1);
    expected_values.fill(2);
    let kernels: [(&str, usize, OfTable<PackInt8>); 2] =
        [("pack_rows", rows, |t| t.pack_rows), ("pack_columns", columns, |t| t.pack_columns)];
    for (kernel, channels, of) in kernels {
        let padded = channels.next_multiple_of(8);
        let (found, expected) = (&mut found_scales[..padded], &mut expected_scales[..padded]);
        of(table)(found_values, found, matrix);
        of(&scalar::KERNELS)(expected_values, expected, matrix);
        let comparison = Comparison { table, kernel, shape: Shape::new(rows, 0, columns) };
        comparison.floats(found, expected)?;
        comparison.int8(found_values, expected_values)?;
    }
    Ok(kernels.len())
}
