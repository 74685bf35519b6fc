//! The epilogue of a GEMM for some adjacent panels: bias, activation, destination.

use super::Lanes;
use crate::config::Activation;
use crate::kernels::{Epilogue, PANEL, Precision, Store, math};
use crate::tensor::MatrixMut;

/// The epilogue of some adjacent panels, its vectors loaded.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct LoadedEpilogue<const PANELS: usize> {
    /// First output channel.
    pub(in crate::kernels) column: usize,
    pub(in crate::kernels) bias: Option<[Lanes; PANELS]>,
    pub(in crate::kernels) activation: Option<Activation>,
    pub(in crate::kernels) precision: Precision,
    pub(in crate::kernels) store: LoadedStore<PANELS>,
}

/// [`Store`] of some adjacent panels.
#[derive(Clone, Copy)]
pub(in crate::kernels) enum LoadedStore<const PANELS: usize> {
    Overwrite,
    Add(Option<[Lanes; PANELS]>),
    Multiply,
}

impl<const PANELS: usize> LoadedEpilogue<PANELS> {
    #[inline(always)]
    pub(in crate::kernels) fn new(
        epilogue: &Epilogue<'_>,
        precision: Precision,
        column: usize,
    ) -> Self {
        let lanes = |values: &[f32]| {
            let values = values.get(column..).filter(|values| !values.is_empty())?;
            Some(padded(values))
        };
        let store = match epilogue.store {
            Store::Overwrite => LoadedStore::Overwrite,
            Store::Add { scale } => LoadedStore::Add(lanes(scale)),
            Store::Multiply => LoadedStore::Multiply,
        };
        let (bias, activation) = (lanes(epilogue.bias), epilogue.activation);
        Self { column, bias, activation, precision, store }
    }

    /// Finishes the values of some rows, all together: one after the other, each would wait for the
    /// long chain of an activation.
    #[inline(always)]
    pub(in crate::kernels) fn store<const ROWS: usize>(
        &self,
        out: &mut MatrixMut<'_>,
        first: usize,
        mut values: [[Lanes; PANELS]; ROWS],
    ) {
        if let Some(bias) = &self.bias {
            for values in &mut values {
                let lanes = values.as_flattened_mut().iter_mut().zip(bias.as_flattened());
                lanes.for_each(|(value, bias)| *value += bias);
            }
        }
        let all = values.as_flattened_mut().as_flattened_mut();
        if let Some(activation) = self.activation {
            activate_all(all, activation, self.precision);
        }
        for (row, values) in out.rows_from(first).zip(&values) {
            let slots = row.get_mut(self.column..).unwrap_or_default();
            match slots.as_chunks_mut::<PANEL>().0.first_chunk_mut::<PANELS>() {
                Some(slots) => self.store_row(slots, *values),
                None => self.store_tail(slots, *values),
            }
        }
    }

    /// Stores the first values of a row, where the output ends within the panels. Not part of the loop,
    /// which would prepare for it with every row.
    #[cold]
    #[inline(never)]
    fn store_tail(self, slots: &mut [f32], values: [Lanes; PANELS]) {
        let mut lanes = padded_tail(slots);
        self.store_row(&mut lanes, values);
        let lanes = lanes.as_flattened().iter();
        slots.iter_mut().zip(lanes).for_each(|(slot, lane)| *slot = *lane);
    }

    /// Stores the values of a row where they go.
    #[inline(always)]
    fn store_row(&self, slots: &mut [Lanes; PANELS], mut values: [Lanes; PANELS]) {
        match &self.store {
            LoadedStore::Overwrite => *slots = values,
            LoadedStore::Add(scale) => {
                let values = values.as_flattened_mut();
                if let Some(scale) = scale {
                    let lanes = values.iter_mut().zip(scale.as_flattened());
                    lanes.for_each(|(value, scale)| *value *= scale);
                }
                let lanes = slots.as_flattened_mut().iter_mut().zip(values);
                lanes.for_each(|(slot, value)| *slot += *value);
            }
            LoadedStore::Multiply => {
                let lanes = slots.as_flattened_mut().iter_mut().zip(values.as_flattened());
                lanes.for_each(|(slot, value)| *slot *= value);
            }
        }
    }
}

/// The first values of some panels, with zeros where there are fewer.
#[inline(always)]
pub(in crate::kernels::portable) fn padded<const PANELS: usize>(values: &[f32]) -> [Lanes; PANELS] {
    match values.as_chunks::<PANEL>().0.first_chunk() {
        Some(lanes) => *lanes,
        None => padded_tail(values),
    }
}

/// Fewer values than those of the panels. Were it inlined, both ways would become one `memcpy`.
#[cold]
#[inline(never)]
fn padded_tail<const PANELS: usize>(values: &[f32]) -> [Lanes; PANELS] {
    let mut lanes = [[0.0; PANEL]; PANELS];
    let slots = lanes.as_flattened_mut().iter_mut().zip(values);
    slots.for_each(|(lane, value)| *lane = *value);
    lanes
}

/// One activation of many values: a loop for each, or it would be chosen anew for every value.
#[inline(always)]
pub(in crate::kernels) fn activate_all(
    values: &mut [f32],
    activation: Activation,
    precision: Precision,
) {
    let values = values.iter_mut();
    match (activation, precision) {
        (Activation::Relu, _) => values.for_each(|x| *x = math::relu(*x)),
        (Activation::GeluErf, Precision::F32) => values.for_each(|x| *x = math::gelu_erf(*x)),
        (Activation::GeluErf, Precision::Int8) => values.for_each(|x| *x = math::gelu_erf_8bit(*x)),
        #[cfg(feature = "more-families")]
        (Activation::Silu, _) => values.for_each(|x| *x = math::swish(*x, 1.0)),
        #[cfg(feature = "more-families")]
        (Activation::GeluQuick, _) => values.for_each(|x| *x = math::swish(*x, math::QUICK)),
        // The tanh form: no package has what a build leaves out.
        _ => values.for_each(|x| *x = math::gelu_tanh(*x)),
    }
}
