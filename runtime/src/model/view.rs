//! Tensors as the kernels read them.

use super::error::ModelError;
use crate::format::{ALIGNMENT, Encoding, Tensor};
use crate::kernels::{INT8_PRODUCTS, Kernels};
use crate::panel::Int4Group;
#[cfg(feature = "decoder")]
use crate::panel::{INT4_GROUP, PANEL};
use crate::tensor::Part;
use bytemuck::{AnyBitPattern, try_cast_slice};
use half::f16;

/// Rows and columns of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// A linear map `y = W x + b`, weights in panels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linear<'a> {
    /// Output channels.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
    /// W, `[outputs, inputs]`.
    pub weights: Weights<'a>,
    /// b, `[outputs]`; empty for none.
    pub bias: &'a [f32],
}

/// Weights of a linear map.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// f32 panels of 8 outputs.
    F32(&'a [f32]),
    /// f16 panels of 8 outputs.
    F16(&'a [f16]),
    /// int8 `Panel8x8` with a scale for each output.
    Int8 {
        /// The panels.
        values: &'a [i8],
        /// The scales, padded to a multiple of 8.
        scales: &'a [f32],
    },
    /// int4 `Panel8x8`: groups of 32 inputs with their scales.
    Int4(&'a [Int4Group]),
}

impl Default for Weights<'_> {
    fn default() -> Self {
        Self::F16(&[])
    }
}

impl Linear<'_> {
    /// The weights are int8 or int4, which both read int8 rows.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self.weights, Weights::Int8 { .. } | Weights::Int4(_))
    }
}

/// A table whose rows are looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table<'a> {
    columns: usize,
    values: Values<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Int8 {
        values: &'a [i8],
        scales: &'a [f32],
    },
    /// Weights of an output map, of which a row is an output channel.
    #[cfg(feature = "decoder")]
    Panels(Weights<'a>),
}

impl Default for Values<'_> {
    fn default() -> Self {
        Self::F16(&[])
    }
}

impl Table<'_> {
    /// Adds row `index` to `out`, `[columns]`.
    pub fn add_row(&self, kernels: &Kernels, index: usize, out: &mut [f32]) {
        let range = index * self.columns..(index + 1) * self.columns;
        match self.values {
            Values::F32(values) => {
                let row = values.part(range);
                out.iter_mut().zip(row).for_each(|(slot, x)| *slot += x);
            }
            Values::F16(values) => {
                (kernels.add_f16)(out, values.part(range));
            }
            Values::Int8 { values, scales } => {
                let scale = scales.get(index).copied().unwrap_or(0.0);
                (kernels.add_int8)(out, values.part(range), scale);
            }
            #[cfg(feature = "decoder")]
            Values::Panels(weights) => weights.add_channel(index, self.columns, out),
        }
    }
}

#[cfg(feature = "decoder")]
impl Weights<'_> {
    /// Adds the weights of output channel `index`, `[inputs]`, to `out`: in the panels of 8 channels its
    /// values stand 8 apart, or 8 together every 64.
    fn add_channel(&self, index: usize, inputs: usize, out: &mut [f32]) {
        let (panel, lane) = (index / PANEL, index % PANEL);
        match self {
            Weights::F32(values) => {
                let panel = values.part(panel * inputs * PANEL..(panel + 1) * inputs * PANEL);
                let channel = panel.iter().skip(lane).step_by(PANEL);
                out.iter_mut().zip(channel).for_each(|(slot, x)| *slot += x);
            }
            Weights::F16(values) => {
                let panel = values.part(panel * inputs * PANEL..(panel + 1) * inputs * PANEL);
                let channel = panel.iter().skip(lane).step_by(PANEL);
                out.iter_mut().zip(channel).for_each(|(slot, x)| *slot += x.to_f32());
            }
            Weights::Int8 { values, scales } => {
                let stride = inputs.next_multiple_of(PANEL) * PANEL;
                let blocks = values.part(panel * stride..(panel + 1) * stride);
                let scale = scales.get(index).copied().unwrap_or_default();
                let blocks = blocks.chunks_exact(PANEL * PANEL);
                let channel = blocks.flat_map(|block| block.iter().skip(lane * PANEL).take(PANEL));
                let pairs = out.iter_mut().zip(channel);
                pairs.for_each(|(slot, x)| *slot += f32::from(*x) * scale);
            }
            Weights::Int4(_) => debug_assert!(false, "no table is of int4"),
        }
    }
}

#[cfg(feature = "decoder")]
impl<'a> Linear<'a> {
    /// The same map to `count` outputs from `first` on, `first` being a multiple of [`PANEL`].
    pub(crate) fn outputs_from(&self, first: usize, count: usize) -> Self {
        let (inputs, panels) = (self.inputs, first / PANEL..(first + count).div_ceil(PANEL));
        let of = |size: usize| panels.start * size..panels.end * size;
        let weights = match self.weights {
            Weights::F32(values) => Weights::F32(values.part(of(inputs * PANEL))),
            Weights::F16(values) => Weights::F16(values.part(of(inputs * PANEL))),
            Weights::Int8 { values, scales } => Weights::Int8 {
                values: values.part(of(inputs.next_multiple_of(PANEL) * PANEL)),
                scales: scales.part(of(PANEL)),
            },
            Weights::Int4(groups) => Weights::Int4(groups.part(of(inputs.div_ceil(INT4_GROUP)))),
        };
        let bias = if self.bias.is_empty() { &[] } else { self.bias.part(first..first + count) };
        Self { outputs: count, inputs, weights, bias }
    }
}

fn check_shape(tensor: &Tensor<'_>, expected: Shape) -> Result<(), ModelError> {
    let expected = (expected.rows, expected.columns);
    let found = (tensor.rows, tensor.columns);
    if found == expected {
        return Ok(());
    }
    Err(ModelError::Shape { role: tensor.role, layer: tensor.layer, expected, found })
}

fn encoding_error(tensor: &Tensor<'_>) -> ModelError {
    ModelError::Encoding { role: tensor.role, layer: tensor.layer }
}

/// The values of a tensor and its scales, typed.
fn parts<'a, T: AnyBitPattern>(tensor: &Tensor<'a>) -> Result<(&'a [T], &'a [f32]), ModelError> {
    let (values, scales) = bytes_and_scales(tensor)?;
    let values = try_cast_slice(values).map_err(|_| encoding_error(tensor))?;
    Ok((values, scales))
}

/// The same, whatever the type: once in a program.
#[inline(never)]
fn bytes_and_scales<'a>(tensor: &Tensor<'a>) -> Result<(&'a [u8], &'a [f32]), ModelError> {
    let error = encoding_error(tensor);
    let length = tensor.encoding.value_bytes(tensor.rows, tensor.columns).ok_or(error)?;
    let (values, rest) = tensor.bytes.split_at_checked(length).ok_or(error)?;
    let padding = length.next_multiple_of(ALIGNMENT) - length;
    let scales = match rest.get(padding..) {
        Some(scales) => try_cast_slice(scales).map_err(|_| error)?,
        None => &[],
    };
    Ok((values, scales))
}

/// A matrix of plain f32 rows.
pub(super) fn floats<'a>(tensor: &Tensor<'a>, shape: Shape) -> Result<&'a [f32], ModelError> {
    check_shape(tensor, shape)?;
    match tensor.encoding {
        Encoding::RowsF32 => Ok(parts(tensor)?.0),
        _ => Err(encoding_error(tensor)),
    }
}

/// A vector: one row of f32.
pub(super) fn vector<'a>(tensor: &Tensor<'a>, length: usize) -> Result<&'a [f32], ModelError> {
    floats(tensor, Shape { rows: 1, columns: length })
}

/// A linear map.
pub(super) fn linear<'a>(
    tensor: &Tensor<'a>,
    shape: Shape,
    bias: &'a [f32],
) -> Result<Linear<'a>, ModelError> {
    check_shape(tensor, shape)?;
    let weights = match tensor.encoding {
        Encoding::Panel8F32 if !cfg!(feature = "float") => {
            return Err(ModelError::LeftOut { feature: "float" });
        }
        Encoding::Panel8x8Int4 if !cfg!(feature = "int4") => {
            return Err(ModelError::LeftOut { feature: "int4" });
        }
        Encoding::Panel8F32 => Weights::F32(parts(tensor)?.0),
        Encoding::Panel8F16 => Weights::F16(parts(tensor)?.0),
        // More products would not fit the sums. Those of int4 are of 32 inputs each.
        Encoding::Panel8x8Int8 if shape.columns <= INT8_PRODUCTS => {
            let (values, scales) = parts(tensor)?;
            Weights::Int8 { values, scales }
        }
        Encoding::Panel8x8Int4 => Weights::Int4(tensor.bytes.as_chunks().0),
        _ => return Err(encoding_error(tensor)),
    };
    Ok(Linear { outputs: shape.rows, inputs: shape.columns, weights, bias })
}

/// A lookup table.
pub(super) fn table<'a>(tensor: &Tensor<'a>, shape: Shape) -> Result<Table<'a>, ModelError> {
    check_shape(tensor, shape)?;
    let values = match tensor.encoding {
        Encoding::RowsF32 => Values::F32(parts(tensor)?.0),
        Encoding::RowsF16 => Values::F16(parts(tensor)?.0),
        Encoding::RowsInt8 => {
            let (values, scales) = parts(tensor)?;
            Values::Int8 { values, scales }
        }
        #[cfg(feature = "decoder")]
        Encoding::Panel8F32 | Encoding::Panel8F16 | Encoding::Panel8x8Int8 => {
            Values::Panels(linear(tensor, shape, &[])?.weights)
        }
        _ => return Err(encoding_error(tensor)),
    };
    Ok(Table { columns: shape.columns, values })
}
