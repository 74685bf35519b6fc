//! Float weights, float rows, by the sums of an instruction set; see
//! [`Kernels::gemm_f32_f32_f32w`](crate::kernels::Kernels::gemm_f32_f32_f32w).

use super::{Lanes, LoadedEpilogue, PortableSums, RowTile, for_row_tiles};
use crate::kernels::{Epilogue, PANEL, Panels, Precision};
use crate::tensor::{Matrix, MatrixMut};
use core::marker::PhantomData;
use half::f16;

/// The GEMM of an instruction set with weights of type `W`, `TILE` rows at a time.
#[inline(always)]
pub(in crate::kernels) fn gemm_float<const TILE: usize, W: Copy, S: FloatSums<W>>(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Panels<'_, W>,
    epilogue: &Epilogue<'_>,
) {
    let (steps, _) = rhs.values.as_chunks::<PANEL>();
    for (index, panel) in steps.chunks_exact(rhs.inputs.max(1)).enumerate() {
        let epilogue = LoadedEpilogue::new(epilogue, Precision::F32, index * PANEL);
        let mut tile = FloatTile { out, lhs, panel, epilogue, by: PhantomData::<S> };
        for_row_tiles::<TILE>(lhs.rows(), &mut tile);
    }
}

/// What an instruction set brings to the float GEMM with weights of type `W`.
pub(in crate::kernels) trait FloatSums<W> {
    /// Sums of `ROWS` rows with the 8 channels of one panel, each in ascending order of the input;
    /// every row is as long as the panel.
    fn sums<const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[W; PANEL]]) -> [Lanes; ROWS];
}

/// Rows times one panel.
struct FloatTile<'t, 'o, 'a, W, S> {
    out: &'t mut MatrixMut<'o>,
    lhs: Matrix<'a>,
    panel: &'a [[W; PANEL]],
    epilogue: LoadedEpilogue<1>,
    by: PhantomData<S>,
}

impl<W, S: FloatSums<W>> RowTile for FloatTile<'_, '_, '_, W, S> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let rows = float_rows::<ROWS>(&self.lhs, first, self.panel.len());
        let Some(rows) = rows else { return };
        self.epilogue.store(self.out, first, S::sums(rows, self.panel).map(|lanes| [lanes]));
    }
}

/// Rows `first` to `first + ROWS`; `None` if one of them is not `inputs` long.
#[inline(always)]
pub(in crate::kernels) fn float_rows<'a, const ROWS: usize>(
    lhs: &Matrix<'a>,
    first: usize,
    inputs: usize,
) -> Option<[&'a [f32]; ROWS]> {
    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
    for (offset, row) in rows.iter_mut().enumerate() {
        *row = lhs.row(first + offset).get(..inputs)?;
    }
    Some(rows)
}

/// A weight that widens to f32 exactly.
pub(in crate::kernels) trait FloatWeight: Copy {
    /// Its value.
    fn widen(self) -> f32;

    /// The values of eight.
    #[inline(always)]
    fn widen_all(weights: &[Self; PANEL]) -> Lanes {
        weights.map(Self::widen)
    }
}

impl FloatWeight for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl FloatWeight for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        widen(self)
    }

    #[cfg(all(cortex_m, target_abi = "eabihf"))]
    #[inline(always)]
    fn widen_all(weights: &[Self; PANEL]) -> Lanes {
        let [a, b, c, d, e, f, g, h] = *weights;
        let pair = |low: f16, high: f16| {
            let bits = u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
            crate::kernels::cortex_m::widen_pair(bits)
        };
        let ([a, b], [c, d], [e, f], [g, h]) = (pair(a, b), pair(c, d), pair(e, f), pair(g, h));
        [a, b, c, d, e, f, g, h]
    }
}

impl<W: FloatWeight> FloatSums<W> for PortableSums {
    #[inline(always)]
    fn sums<const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[W; PANEL]]) -> [Lanes; ROWS] {
        let mut sums = [[0.0; PANEL]; ROWS];
        for (index, weights) in panel.iter().enumerate() {
            let mut wide = [0.0; PANEL];
            wide.iter_mut().zip(weights).for_each(|(slot, weight)| *slot = weight.widen());
            for (sum, row) in sums.iter_mut().zip(&rows) {
                let x = row.get(index).copied().unwrap_or(0.0);
                sum.iter_mut().zip(wide).for_each(|(lane, weight)| *lane += x * weight);
            }
        }
        sums
    }
}

/// f16 to f32, exact, without branches on the value so that it vectorises.
#[inline(always)]
pub(in crate::kernels::portable) fn widen(value: f16) -> f32 {
    #[cfg(all(cortex_m, target_abi = "eabihf"))]
    return crate::kernels::cortex_m::widen_pair(u32::from(value.to_bits()))[0];
    #[cfg(not(all(cortex_m, target_abi = "eabihf")))]
    widen_bits(u32::from(value.to_bits()))
}

#[cfg(not(all(cortex_m, target_abi = "eabihf")))]
#[inline(always)]
fn widen_bits(bits: u32) -> f32 {
    let sign = (bits & 0x8000) << 16;
    let rest = (bits & 0x7fff) << 13;
    // Adding 112 to the exponent of a normal number; a subnormal one is the difference of two
    // normal floats; infinities and NaNs get the largest exponent.
    let normal = f32::from_bits(rest + (112 << 23));
    let subnormal = f32::from_bits(rest + (113 << 23)) - f32::from_bits(113 << 23);
    let special = f32::from_bits(rest | 0x7f80_0000);
    let magnitude = if rest < (1 << 23) {
        subnormal
    } else if rest < (31 << 23) {
        normal
    } else {
        special
    };
    f32::from_bits(magnitude.to_bits() | sign)
}
