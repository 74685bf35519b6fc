//! Memory for operands and results of the largest case, without an allocator.

use crate::cases::Shape;
use crate::problem::Product;
use crate::random::Random;
use coda_runtime::kernels::{Int4Group, Panels, PanelsInt4, PanelsInt8, RowsInt8};
use coda_runtime::tensor::Matrix;
use half::f16;

/// Values of the largest left side, and weights of the largest right side.
pub(crate) const LARGEST: usize = 9 * 1536;
/// int8 values of the largest packed matrix.
const LARGEST_PACKED: usize = 32 * 40;
/// What may lie between the rows of the largest matrix.
const LARGEST_GAPS: usize = 9 * 8;
/// Elements that a slice is moved by, so that its address is odd.
pub(crate) const SHIFT: usize = 1;
/// Largest magnitudes of a block: four of 32 and two of 64 are as much as 128, the most that an unsigned
/// weight times a row value leaves in an i16.
const LEVELS: [i8; 8] = [1, 31, 32, 33, 64, 65, 32, 127];

/// Memory for operands and results.
#[derive(Debug)]
pub struct Workspace {
    pub(crate) operands: Operands,
    /// Panels that were found, and those expected.
    pub(crate) packed: [[i8; LARGEST_PACKED + SHIFT]; 2],
    pub(crate) found: [f32; 1024],
    pub(crate) expected: [f32; 1024],
}

/// Values of every type.
#[derive(Debug)]
pub(crate) struct Operands {
    pub(crate) lhs: [f32; LARGEST + SHIFT],
    pub(crate) weights: [f32; LARGEST + SHIFT],
    pub(crate) halves: [f16; LARGEST + SHIFT],
    pub(crate) rows: [i8; LARGEST + LARGEST_GAPS + SHIFT],
    /// Whether the blocks of a row are of different magnitudes.
    level_blocks: bool,
    pub(crate) panels: [i8; LARGEST + SHIFT],
    pub(crate) groups: [Int4Group; LARGEST / 256 + 16],
    pub(crate) bias: [f32; 64],
    pub(crate) scale: [f32; 64],
    pub(crate) row_scales: [f32; 64],
}

impl Workspace {
    /// Zeros, for a static.
    pub const fn new() -> Self {
        Self {
            operands: Operands::new(),
            packed: [[0; LARGEST_PACKED + SHIFT]; 2],
            found: [0.0; 1024],
            expected: [0.0; 1024],
        }
    }
}

impl Operands {
    const fn new() -> Self {
        Self {
            lhs: [0.0; LARGEST + SHIFT],
            weights: [0.0; LARGEST + SHIFT],
            halves: [f16::ZERO; LARGEST + SHIFT],
            rows: [0; LARGEST + LARGEST_GAPS + SHIFT],
            level_blocks: false,
            panels: [0; LARGEST + SHIFT],
            groups: [[0; size_of::<Int4Group>()]; LARGEST / 256 + 16],
            bias: [0.0; 64],
            scale: [0.0; 64],
            row_scales: [0.0; 64],
        }
    }

    /// Fills every operand: with any floats at all if `wild`.
    pub(crate) fn fill(&mut self, random: &mut Random, wild: bool) {
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
        if wild {
            // A row or channel that held an infinity or a NaN.
            for scales in [&mut self.scale, &mut self.row_scales] {
                scales[random.bits() as usize % 16] = f32::NAN;
            }
        }
    }

    /// int8 rows with zeros up to a multiple of 8 inputs, and anything after them.
    pub(crate) fn fill_rows(&mut self, rows: usize, inputs: usize, stride: usize, seed: usize) {
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

    /// A product of each kind of weights, of one shape.
    pub(crate) fn products(&self, shape: Shape, stride: usize) -> [Product<'_>; 4] {
        let Shape { rows, inputs, outputs } = shape;
        let padded = outputs.next_multiple_of(8);
        let floats = SHIFT..SHIFT + padded * inputs;
        let lhs = Matrix::new(&self.lhs[SHIFT..SHIFT + rows * inputs], inputs);
        // Rows may lie after the last one that has a scale.
        let (values, scales) = (&self.rows[SHIFT..], &self.row_scales[..rows]);
        let int8 = RowsInt8 { values, scales, stride };
        let values = &self.panels[SHIFT..SHIFT + padded * inputs.next_multiple_of(8)];
        let int8_panels = PanelsInt8 { values, scales: &self.scale[..padded], outputs, inputs };
        let groups = &self.groups[..outputs.div_ceil(8) * inputs.div_ceil(32)];
        let (values, halves) = (&self.weights[floats.clone()], &self.halves[floats]);
        [
            Product::F32(lhs, Panels { values, outputs, inputs }),
            Product::F16(lhs, Panels { values: halves, outputs, inputs }),
            Product::Int8(int8, int8_panels),
            Product::Int4(int8, PanelsInt4 { groups, outputs, inputs }),
        ]
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}
