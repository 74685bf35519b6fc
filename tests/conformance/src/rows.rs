//! The kernels on rows against the scalar ones.

use crate::cases::{Comparison, Difference, Shape};
use crate::workspace::{Operands, SHIFT, Workspace};
use coda_runtime::kernels::{Kernels, NormWeights, scalar};
use coda_runtime::tensor::MatrixMut;

/// The kernels on rows of one length; returns their number.
pub(crate) fn check(
    table: &'static Kernels,
    workspace: &mut Workspace,
    length: usize,
) -> Result<usize, Difference> {
    let rows = RowCase { table, length };
    rows.norms(workspace)?;
    rows.sums(workspace)?;
    rows.quantized(workspace)?;
    if table.layer_norm_rows.is_some() {
        rows.norm_of_rows(workspace)?;
        return Ok(9);
    }
    Ok(8)
}

/// Rows of one length.
#[derive(Clone, Copy)]
struct RowCase {
    table: &'static Kernels,
    length: usize,
}

impl RowCase {
    fn compare(self, kernel: &'static str) -> Comparison {
        Comparison { table: self.table, kernel, shape: Shape::new(1, self.length, self.length) }
    }

    /// Of each length another.
    fn norm(self, weights: &[f32]) -> NormWeights<'_> {
        let (weight, bias) = weights[SHIFT..SHIFT + 2 * self.length].split_at(self.length);
        NormWeights { weight, bias, eps: [1e-6, 0.0, 1e-12][self.length % 3] }
    }

    fn norms(self, workspace: &mut Workspace) -> Result<(), Difference> {
        let (table, norm) = (self.table, self.norm(&workspace.operands.weights));
        let row = &workspace.operands.lhs[SHIFT..SHIFT + self.length];
        let found = &mut workspace.found[SHIFT..SHIFT + self.length];
        let expected = &mut workspace.expected[SHIFT..SHIFT + self.length];
        (table.layer_norm)(found, row, norm);
        scalar::layer_norm(expected, row, norm);
        self.compare("layer_norm").floats(found, expected)?;
        (table.rms_norm)(found, row, norm);
        scalar::rms_norm(expected, row, norm);
        self.compare("rms_norm").floats(found, expected)
    }

    /// Sums with rows of tables, dot products, softmax.
    fn sums(self, workspace: &mut Workspace) -> Result<(), Difference> {
        let (table, range) = (self.table, SHIFT..SHIFT + self.length);
        let (row, weight) =
            (&workspace.operands.lhs[range.clone()], &workspace.operands.weights[range.clone()]);
        let (halves, int8) =
            (&workspace.operands.halves[range.clone()], &workspace.operands.panels[range.clone()]);
        let found = &mut workspace.found[range.clone()];
        let expected = &mut workspace.expected[range];
        found.copy_from_slice(row);
        expected.copy_from_slice(row);
        (table.add_f16)(found, halves);
        scalar::add_f16(expected, halves);
        self.compare("add_f16").floats(found, expected)?;
        (table.add_int8)(found, int8, 0.37);
        scalar::add_int8(expected, int8, 0.37);
        self.compare("add_int8").floats(found, expected)?;
        let (found_dot, expected_dot) = ((table.dot)(row, weight), scalar::dot(row, weight));
        self.compare("dot").floats(&[found_dot], &[expected_dot])?;
        found.copy_from_slice(row);
        expected.copy_from_slice(row);
        (table.softmax)(found);
        scalar::softmax(expected);
        self.compare("softmax").floats(found, expected)
    }

    /// Rows that become int8.
    fn quantized(self, workspace: &mut Workspace) -> Result<(), Difference> {
        let (table, padded) = (self.table, self.length.next_multiple_of(8));
        let row = &workspace.operands.lhs[SHIFT..SHIFT + self.length];
        let weight = &workspace.operands.weights[SHIFT..SHIFT + self.length];
        let found = &mut workspace.operands.rows[SHIFT..SHIFT + padded];
        let expected = &mut workspace.operands.panels[SHIFT..SHIFT + padded];
        for factors in [&[], weight] {
            let scale = (table.quantize_row)(found, row, factors);
            let expected_scale = scalar::quantize_row(expected, row, factors);
            self.compare("quantize_row").floats(&[scale], &[expected_scale])?;
            self.compare("quantize_row").int8(found, expected)?;
        }
        self.not_finite(workspace)?;
        let row = &workspace.operands.lhs[SHIFT..SHIFT + self.length];
        let found = &mut workspace.operands.rows[SHIFT..SHIFT + padded];
        let expected = &mut workspace.operands.panels[SHIFT..SHIFT + padded];
        let scale = (table.softmax_int8)(found, row);
        let expected_scale = scalar::softmax_int8(expected, row);
        let [scale, expected_scale] = [scale, expected_scale].map(|own| [own.scale, own.offset]);
        self.compare("softmax_int8").floats(&scale, &expected_scale)?;
        self.compare("softmax_int8").int8(found, expected)
    }

    /// Rows with one value that is not finite become zeros of scale NaN.
    fn not_finite(self, workspace: &mut Workspace) -> Result<(), Difference> {
        let Some(last) = self.length.checked_sub(1) else { return Ok(()) };
        let row = &mut workspace.found[..self.length];
        let out = &mut workspace.operands.rows[SHIFT..SHIFT + self.length.next_multiple_of(8)];
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, last / 2, last] {
                row.fill(0.5);
                row[place] = bad;
                for factors in [&[], &workspace.operands.bias[..self.length.min(64)]] {
                    out.fill(1);
                    let scale = (self.table.quantize_row)(out, row, factors);
                    self.compare("quantize_row").floats(&[scale], &[f32::NAN])?;
                    out.iter().try_for_each(|x| self.compare("quantize_row").int8(&[*x], &[0]))?;
                }
            }
        }
        Ok(())
    }

    /// Some rows together; some columns stand between them.
    fn norm_of_rows(self, workspace: &mut Workspace) -> Result<(), Difference> {
        let Some(norm_rows) = self.table.layer_norm_rows else { return Ok(()) };
        let (length, stride) = (self.length, self.length + self.length % 2);
        let Workspace { operands: Operands { lhs, weights, .. }, found, expected, .. } = workspace;
        let norm = self.norm(weights);
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
        let shape = Shape::new(count, length, length);
        Comparison { shape, ..self.compare("layer_norm_rows") }.floats(found, expected)
    }
}
