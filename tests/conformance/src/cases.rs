//! Kernels against the scalar ones: sizes from nothing to three tiles with every kind of tail,
//! values at their extremes, slices at odd addresses.

use crate::random::Random;
use coda_runtime::config::Activation;
use coda_runtime::kernels::{
    Epilogue, Int4Group, Kernels, NormWeights, PackInt8, Panels, PanelsInt4, PanelsInt8, RowsInt8,
    Store, scalar,
};
use coda_runtime::tensor::{Matrix, MatrixMut};
use half::f16;

const ROWS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 25];
const OUTPUTS: [usize; 7] = [1, 7, 8, 9, 16, 24, 25];
const INPUTS: [usize; 10] = [1, 3, 7, 8, 9, 15, 16, 17, 24, 33];
/// Long rows: the largest sums of real models.
const LONG_INPUTS: [usize; 3] = [384, 1024, 1536];
const LONG_ROWS: [usize; 4] = [1, 3, 4, 9];
/// Rows, inputs and outputs: more than one panel of long rows, and more rows than a tile; from one panel
/// to more than four, of whole steps of blocks and of those with a rest.
const TALL_SHAPES: [(usize, usize, usize); 17] = [
    (9, 384, 16),
    (17, 768, 16),
    (41, 40, 24),
    (33, 32, 30),
    (35, 24, 16),
    (39, 40, 24),
    (32, 64, 32),
    (31, 65, 24),
    (25, 120, 40),
    (21, 128, 48),
    (17, 200, 56),
    (16, 136, 57),
    (18, 52, 8),
    (2, 344, 33),
    (64, 72, 16),
    (13, 1000, 8),
    (4, 1720, 8),
];
const ROW_LENGTHS: [usize; 14] = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 384];

/// Largest magnitudes of a block: four of 32 and two of 64 are as much as 128, the most that an unsigned
/// weight times a row value leaves in an i16.
const LEVELS: [i8; 8] = [1, 31, 32, 33, 64, 65, 32, 127];

const LARGEST: usize = 9 * 1536;
/// int8 values of the largest packed matrix.
const LARGEST_PACKED: usize = 32 * 40;
/// What may lie between the rows of the largest matrix.
const LARGEST_GAPS: usize = 9 * 8;
/// Elements that a slice is moved by, so that its address is odd.
const SHIFT: usize = 1;

/// A kernel that gave other bits.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub kernel: &'static str,
    /// Rows, inputs and outputs.
    pub shape: (usize, usize, usize),
    /// First value of other bits, of the table and of the scalar one.
    pub values: (f32, f32),
}

/// Memory for operands and results.
#[derive(Debug)]
pub struct Workspace {
    lhs: [f32; LARGEST + SHIFT],
    weights: [f32; LARGEST + SHIFT],
    halves: [f16; LARGEST + SHIFT],
    rows: [i8; LARGEST + LARGEST_GAPS + SHIFT],
    /// Whether the blocks of a row are of different magnitudes.
    level_blocks: bool,
    panels: [i8; LARGEST + SHIFT],
    /// Panels that were found, and those expected.
    packed: [[i8; LARGEST_PACKED + SHIFT]; 2],
    groups: [Int4Group; LARGEST / 256 + 16],
    bias: [f32; 64],
    scale: [f32; 64],
    row_scales: [f32; 64],
    found: [f32; 1024],
    expected: [f32; 1024],
}

impl Workspace {
    /// Zeros, for a static.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lhs: [0.0; LARGEST + SHIFT],
            weights: [0.0; LARGEST + SHIFT],
            halves: [f16::ZERO; LARGEST + SHIFT],
            rows: [0; LARGEST + LARGEST_GAPS + SHIFT],
            level_blocks: false,
            panels: [0; LARGEST + SHIFT],
            packed: [[0; LARGEST_PACKED + SHIFT]; 2],
            groups: [[0; size_of::<Int4Group>()]; LARGEST / 256 + 16],
            bias: [0.0; 64],
            scale: [0.0; 64],
            row_scales: [0.0; 64],
            found: [0.0; 1024],
            expected: [0.0; 1024],
        }
    }

    fn fill(&mut self, random: &mut Random, wild: bool) {
        self.level_blocks = wild;
        let float = |random: &mut Random| if wild { random.wild() } else { random.tame() };
        self.lhs.iter_mut().for_each(|x| *x = float(random));
        self.weights.iter_mut().for_each(|x| *x = float(random));
        let half = |random: &mut Random| match wild {
            true => f16::from_bits(random.bits() as u16),
            false => f16::from_f32(random.tame()),
        };
        self.halves.iter_mut().for_each(|x| *x = half(random));
        self.panels.iter_mut().for_each(|x| *x = random.int8());
        for group in &mut self.groups {
            group.iter_mut().for_each(|byte| *byte = random.bits() as u8);
        }
        for values in [&mut self.bias, &mut self.scale, &mut self.row_scales] {
            values.iter_mut().for_each(|x| *x = random.tame());
        }
    }

    /// int8 rows with zeros up to a multiple of 8 inputs, and anything behind.
    fn fill_rows(&mut self, (rows, inputs): (usize, usize), stride: usize, seed: usize) {
        let mut random = Random::new(seed as u64);
        for row in self.rows[SHIFT..SHIFT + rows * stride].chunks_exact_mut(stride) {
            // The same levels in every row: what fits does so in some rows together.
            let mut levels = Random::new((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for block in row.chunks_mut(8) {
                let level = LEVELS[levels.bits() as usize % LEVELS.len()];
                let level = if self.level_blocks { level } else { i8::MAX };
                block.iter_mut().for_each(|x| *x = random.row_int8_within(level));
            }
            row[inputs..inputs.next_multiple_of(8)].fill(0);
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// The first pair of other bits.
fn difference(found: &[f32], expected: &[f32]) -> Option<(f32, f32)> {
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    let mut pairs = found.iter().copied().zip(expected.iter().copied());
    pairs.find(|(a, b)| !same(*a, *b))
}

/// Compares every kernel of `table`; returns the number of calls.
pub(crate) fn check(
    table: &'static Kernels,
    workspace: &mut Workspace,
) -> Result<usize, Difference> {
    let mut random = Random::new(0x00c0_da00);
    let mut cases = 0;
    for wild in [false, true] {
        workspace.fill(&mut random, wild);
        for rows in ROWS {
            for outputs in OUTPUTS {
                for inputs in INPUTS {
                    cases += gemms(table, workspace, (rows, inputs, outputs), cases)?;
                }
            }
            for columns in INPUTS {
                cases += packs(table, workspace, (rows, columns))?;
            }
        }
        for rows in LONG_ROWS {
            for inputs in LONG_INPUTS {
                cases += gemms(table, workspace, (rows, inputs, 8), cases)?;
            }
        }
        for shape in TALL_SHAPES {
            cases += gemms(table, workspace, shape, cases)?;
        }
        for length in ROW_LENGTHS {
            cases += rows(table, workspace, length)?;
        }
    }
    Ok(cases)
}

/// One of every combination of bias, activation and destination, in turn.
fn epilogue<'w>(bias: &'w [f32], scale: &'w [f32], case: usize) -> Epilogue<'w> {
    let activations =
        [None, Some(Activation::Relu), Some(Activation::GeluErf), Some(Activation::GeluTanh)];
    let stores =
        [Store::Overwrite, Store::Add { scale: &[] }, Store::Add { scale }, Store::Multiply];
    Epilogue {
        bias: if case.is_multiple_of(5) { &[] } else { bias },
        activation: activations[case / 4 % 4],
        store: stores[case / 16 % 4],
    }
}

/// The GEMMs of one shape; returns their number.
fn gemms(
    table: &'static Kernels,
    workspace: &mut Workspace,
    shape: (usize, usize, usize),
    case: usize,
) -> Result<usize, Difference> {
    let (rows, inputs, outputs) = shape;
    let blocks = inputs.next_multiple_of(8);
    let stride = blocks + (rows + inputs + outputs) % 2 * 8;
    workspace.fill_rows((rows, inputs), stride, case);
    let Workspace { lhs, weights, halves, rows: int8, panels, groups, .. } = workspace;
    let Workspace { bias, scale, row_scales, found, expected, .. } = workspace;
    let padded = outputs.next_multiple_of(8);
    let lhs = Matrix::new(&lhs[SHIFT..SHIFT + rows * inputs], inputs);
    let floats = Panels { values: &weights[SHIFT..SHIFT + padded * inputs], outputs, inputs };
    let halves = Panels { values: &halves[SHIFT..SHIFT + padded * inputs], outputs, inputs };
    let values = &panels[SHIFT..SHIFT + padded * blocks];
    let int8_panels = PanelsInt8 { values, scales: &scale[..padded], outputs, inputs };
    // Rows may lie behind the last one that has a scale.
    let values = &int8[SHIFT..];
    let int8_rows = RowsInt8 { values, scales: &row_scales[..rows], stride };
    let epilogue = epilogue(&bias[..outputs], &scale[..outputs], case);
    let mut compare = |kernel, run: &dyn Fn(&Kernels, &mut MatrixMut<'_>)| {
        for (index, (a, b)) in found.iter_mut().zip(expected.iter_mut()).enumerate() {
            (*a, *b) = (index as f32, index as f32);
        }
        let size = rows * outputs;
        run(table, &mut MatrixMut::new(&mut found[..size], outputs));
        run(&scalar::KERNELS, &mut MatrixMut::new(&mut expected[..size], outputs));
        // What lies behind the result must stay as it was.
        match difference(&found[..], &expected[..]) {
            None => Ok(()),
            Some(values) => Err(Difference { table: table.name, kernel, shape, values }),
        }
    };
    compare("gemm_f32_f32_f32w", &|t, out| (t.gemm_f32_f32_f32w)(out, lhs, floats, &epilogue))?;
    compare("gemm_f32_f32_f16w", &|t, out| (t.gemm_f32_f32_f16w)(out, lhs, halves, &epilogue))?;
    compare("gemm_f32_qd8_qc8w", &|t, out| {
        (t.gemm_f32_qd8_qc8w)(out, int8_rows, int8_panels, &epilogue);
    })?;
    let groups = &groups[..outputs.div_ceil(8) * inputs.div_ceil(32)];
    let int4_panels = PanelsInt4 { groups, outputs, inputs };
    compare("gemm_f32_qd8_qc4w", &|t, out| {
        (t.gemm_f32_qd8_qc4w)(out, int8_rows, int4_panels, &epilogue);
    })?;
    Ok(4)
}

/// A kernel of a table.
type OfTable<K> = fn(&Kernels) -> K;

/// Quantised panels of the rows, and of the columns, of one matrix; it stands in a wider one.
fn packs(
    table: &'static Kernels,
    workspace: &mut Workspace,
    (rows, columns): (usize, usize),
) -> Result<usize, Difference> {
    let Workspace { lhs, packed: [found_values, expected_values], .. } = workspace;
    let Workspace { found: found_scales, expected: expected_scales, .. } = workspace;
    let wide = columns + 2;
    let matrix = Matrix::new(&lhs[SHIFT..SHIFT + rows * wide], wide).column_range(1, columns);
    let (shape, size) =
        ((rows, 0, columns), rows.next_multiple_of(8) * columns.next_multiple_of(8));
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
        let differ = |values| Difference { table: table.name, kernel, shape, values };
        difference(found, expected).map_or(Ok(()), |values| Err(differ(values)))?;
        let mut pairs = found_values.iter().zip(expected_values.iter());
        let other = pairs.find(|(a, b)| a != b);
        other.map_or(Ok(()), |(a, b)| Err(differ((f32::from(*a), f32::from(*b)))))?;
    }
    Ok(kernels.len())
}

/// The kernels on rows, for one length; returns their number.
fn rows(
    table: &'static Kernels,
    workspace: &mut Workspace,
    length: usize,
) -> Result<usize, Difference> {
    let Workspace { lhs, weights, halves, rows, panels, found, expected, .. } = workspace;
    let row = &lhs[SHIFT..SHIFT + length];
    let weight = &weights[SHIFT..SHIFT + length];
    let bias = &weights[SHIFT + length..SHIFT + 2 * length];
    let norm = NormWeights { weight, bias, eps: 1e-6 };
    if let Some(norm_rows) = table.layer_norm_rows {
        // Some columns stand between the rows.
        let stride = length + length % 2;
        let count = (found.len() - SHIFT).checked_div(stride).unwrap_or(1).min(9);
        let size = count * stride;
        let (found, expected) = (&mut found[SHIFT..SHIFT + size], &mut expected[..size]);
        found.copy_from_slice(&lhs[SHIFT..SHIFT + size]);
        expected.copy_from_slice(&lhs[SHIFT..SHIFT + size]);
        norm_rows(&mut MatrixMut::new(found, stride).first_columns(length), norm);
        for index in (0..size).step_by(stride.max(1)) {
            let row = &lhs[SHIFT + index..SHIFT + index + length];
            scalar::layer_norm(&mut expected[index..index + length], row, norm);
        }
        if let Some(values) = difference(found, expected) {
            let (kernel, shape) = ("layer_norm_rows", (count, length, length));
            return Err(Difference { table: table.name, kernel, shape, values });
        }
    }
    let (found, expected) =
        (&mut found[SHIFT..SHIFT + length], &mut expected[SHIFT..SHIFT + length]);
    let shape = (1, length, length);
    let check = |kernel, found: &[f32], expected: &[f32]| match difference(found, expected) {
        None => Ok(()),
        Some(values) => Err(Difference { table: table.name, kernel, shape, values }),
    };
    (table.layer_norm)(found, row, norm);
    scalar::layer_norm(expected, row, norm);
    check("layer_norm", found, expected)?;
    (table.rms_norm)(found, row, norm);
    scalar::rms_norm(expected, row, norm);
    check("rms_norm", found, expected)?;
    let halves = &halves[SHIFT..SHIFT + length];
    found.copy_from_slice(row);
    expected.copy_from_slice(row);
    (table.add_f16)(found, halves);
    scalar::add_f16(expected, halves);
    check("add_f16", found, expected)?;
    (table.add_int8)(found, &panels[SHIFT..SHIFT + length], 0.37);
    scalar::add_int8(expected, &panels[SHIFT..SHIFT + length], 0.37);
    check("add_int8", found, expected)?;
    found.copy_from_slice(row);
    expected.copy_from_slice(row);
    (table.softmax)(found);
    scalar::softmax(expected);
    check("softmax", found, expected)?;
    let quantized = |kernel, found: &[i8], expected: &[i8]| {
        let mut pairs = found.iter().zip(expected);
        pairs.try_for_each(|(a, b)| check(kernel, &[f32::from(*a)], &[f32::from(*b)]))
    };
    check("dot", &[(table.dot)(row, weight)], &[scalar::dot(row, weight)])?;
    let padded = length.next_multiple_of(8);
    let (int8, expected_int8) =
        (&mut rows[SHIFT..SHIFT + padded], &mut panels[SHIFT..SHIFT + padded]);
    for factors in [&[], weight] {
        let scales = [
            (table.quantize_row)(int8, row, factors),
            scalar::quantize_row(expected_int8, row, factors),
        ];
        check("quantize_row", &scales[..1], &scales[1..])?;
        quantized("quantize_row", int8, expected_int8)?;
    }
    let scales = [(table.softmax_int8)(int8, row), scalar::softmax_int8(expected_int8, row)];
    let [found, expected] = scales.map(|own| [own.scale, own.offset]);
    check("softmax_int8", &found, &expected)?;
    quantized("softmax_int8", int8, expected_int8)?;
    Ok(8 + usize::from(table.layer_norm_rows.is_some()))
}
