//! Rows chosen, added and averaged.

use super::real::{dot, vectorized};
use super::{Backward, Differentiable, Gradients, Out, Real, View, apply1, apply2, apply3};
use candle_core::{Result, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// The rows `indices` of `x`.
///
/// # Errors
/// An index is not a row.
pub fn gather(x: &Tensor, indices: Arc<[u32]>) -> Result<Tensor> {
    check(&indices, x.dim(0)?)?;
    apply1(Gather(indices), x)
}

/// `base`, and `gate[i] * update[i]` added to its row `indices[i]`; no index stands twice.
///
/// **Shapes**: `base` `[n, d]`, `update` `[k, d]`, `gate` `[k, 1]`.
///
/// # Errors
/// An index is not a row.
pub fn add_gated(
    base: &Tensor,
    update: &Tensor,
    gate: &Tensor,
    indices: Arc<[u32]>,
) -> Result<Tensor> {
    check(&indices, base.dim(0)?)?;
    apply3(AddGated(indices), base, update, gate)
}

/// Rows of `first` and of `second`: the rows of `second` are numbered behind those of `first`.
///
/// # Errors
/// An index is not a row.
pub fn merge_rows(first: &Tensor, second: &Tensor, indices: Arc<[u32]>) -> Result<Tensor> {
    check(&indices, first.dim(0)? + second.dim(0)?)?;
    apply2(MergeRows(indices), first, second)
}

/// The mean of each range of rows.
///
/// # Errors
/// A range is beyond the rows.
pub fn mean_rows(x: &Tensor, ranges: Vec<Range<usize>>) -> Result<Tensor> {
    let rows = x.dim(0)?;
    if ranges.iter().any(|range| range.end > rows || range.is_empty()) {
        candle_core::bail!("a mean over rows that are not there");
    }
    apply1(MeanRows(ranges), x)
}

fn check(indices: &[u32], rows: usize) -> Result<()> {
    match indices.iter().find(|index| **index as usize >= rows) {
        Some(index) => candle_core::bail!("row {index} of {rows}"),
        None => Ok(()),
    }
}

struct Gather(Arc<[u32]>);
struct AddGated(Arc<[u32]>);
struct MergeRows(Arc<[u32]>);
struct MeanRows(Vec<Range<usize>>);

fn copy_rows<T: Real>(x: &View<'_, T>, indices: &[u32]) -> Vec<T> {
    let mut out = Vec::with_capacity(indices.len() * x.columns);
    for index in indices {
        let start = *index as usize * x.columns;
        out.extend_from_slice(&x.values[start..start + x.columns]);
    }
    out
}

#[inline(always)]
fn add_scaled<T: Real>(slots: &mut [T], values: &[T], factor: T) {
    slots.iter_mut().zip(values).for_each(|(slot, value)| *slot += factor * *value);
}

impl Differentiable<1> for Gather {
    const NAME: &'static str = "gather";

    fn forward<T: Real>(&self, [x]: [View<'_, T>; 1]) -> Result<Out<T>> {
        Ok((copy_rows(&x, &self.0), x.columns))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let (x, g) = (&pass.inputs[0], &pass.gradient);
        let mut out = vec![T::zero(); x.values.len()];
        for (index, row) in self.0.iter().zip(g.values.chunks_exact(g.columns)) {
            let start = *index as usize * x.columns;
            add_scaled(&mut out[start..start + x.columns], row, T::one());
        }
        Ok([Some(out)])
    }
}

impl Differentiable<3> for AddGated {
    const NAME: &'static str = "add gated";

    fn forward<T: Real>(&self, [base, update, gate]: [View<'_, T>; 3]) -> Result<Out<T>> {
        let (mut out, d) = (base.values.to_vec(), base.columns);
        vectorized(|| {
            let rows = update.values.chunks_exact(d).zip(gate.values);
            for (index, (row, gate)) in self.0.iter().zip(rows) {
                let start = *index as usize * d;
                add_scaled(&mut out[start..start + d], row, *gate);
            }
        });
        Ok((out, d))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 3>) -> Result<Gradients<T, 3>> {
        let ([_, update, gate], g) = (&pass.inputs, &pass.gradient);
        let d = g.columns;
        let mut of_update = copy_rows(g, &self.0);
        let mut of_gate = vec![T::zero(); gate.values.len()];
        vectorized(|| {
            let rows = of_update.chunks_exact_mut(d).zip(update.values.chunks_exact(d));
            let gates = of_gate.iter_mut().zip(gate.values);
            for ((own, update), (slot, gate)) in rows.zip(gates) {
                *slot = dot(own, update);
                own.iter_mut().for_each(|value| *value *= *gate);
            }
        });
        let [first, second, third] = pass.wanted;
        Ok([
            first.then(|| g.values.to_vec()),
            second.then_some(of_update),
            third.then_some(of_gate),
        ])
    }
}

impl Differentiable<2> for MergeRows {
    const NAME: &'static str = "merge rows";

    fn forward<T: Real>(&self, [first, second]: [View<'_, T>; 2]) -> Result<Out<T>> {
        let (d, split) = (first.columns, first.values.len());
        let mut out = Vec::with_capacity(self.0.len() * d);
        for index in self.0.iter() {
            let start = *index as usize * d;
            let row = match start.checked_sub(split) {
                None => &first.values[start..start + d],
                Some(start) => &second.values[start..start + d],
            };
            out.extend_from_slice(row);
        }
        Ok((out, d))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 2>) -> Result<Gradients<T, 2>> {
        let ([first, second], g) = (&pass.inputs, &pass.gradient);
        let (d, split) = (g.columns, first.values.len());
        let mut of_first = vec![T::zero(); split];
        let mut of_second = vec![T::zero(); second.values.len()];
        for (index, row) in self.0.iter().zip(g.values.chunks_exact(d)) {
            let start = *index as usize * d;
            let slots = match start.checked_sub(split) {
                None => &mut of_first[start..start + d],
                Some(start) => &mut of_second[start..start + d],
            };
            add_scaled(slots, row, T::one());
        }
        let [wants_first, wants_second] = pass.wanted;
        Ok([wants_first.then_some(of_first), wants_second.then_some(of_second)])
    }
}

impl Differentiable<1> for MeanRows {
    const NAME: &'static str = "mean of rows";

    fn forward<T: Real>(&self, [x]: [View<'_, T>; 1]) -> Result<Out<T>> {
        let d = x.columns;
        let mut out = vec![T::zero(); self.0.len() * d];
        for (range, slots) in self.0.iter().zip(out.chunks_exact_mut(d)) {
            let share = T::one() / T::constant(range.len() as f64);
            for row in x.values[range.start * d..range.end * d].chunks_exact(d) {
                add_scaled(slots, row, share);
            }
        }
        Ok((out, d))
    }

    fn backward<T: Real>(&self, pass: &Backward<'_, T, 1>) -> Result<Gradients<T, 1>> {
        let (x, g) = (&pass.inputs[0], &pass.gradient);
        let d = x.columns;
        let mut out = vec![T::zero(); x.values.len()];
        for (range, g) in self.0.iter().zip(g.values.chunks_exact(d)) {
            let share = T::one() / T::constant(range.len() as f64);
            for row in out[range.start * d..range.end * d].chunks_exact_mut(d) {
                add_scaled(row, g, share);
            }
        }
        Ok([Some(out)])
    }
}
