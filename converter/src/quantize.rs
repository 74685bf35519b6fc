//! f32 tensors to the encodings of the package format.

use coda_runtime::format::{ALIGNMENT, Encoding};
use coda_runtime::panel::{INT4_GROUP, PANEL};
use half::f16;

/// Encodes a `[rows, columns]` tensor; the result is [`Encoding::bytes`] long.
///
/// int8 is symmetric with one scale a row: `scale = max|w| / 127`, `q = round(w / scale)` (ties to
/// even), never -128. A row of zeros has scale 0.
///
/// int4 has one f16 scale for 32 values of a row, chosen for the smallest squared error.
///
/// # Errors
/// [`OutOfRange`] for a value that an f16 cannot hold.
pub fn encode(
    encoding: Encoding,
    rows: usize,
    columns: usize,
    values: &[f32],
) -> Result<Vec<u8>, OutOfRange> {
    let halves = matches!(encoding, Encoding::RowsF16 | Encoding::Panel8F16);
    if halves && let Some(value) = values.iter().find(|v| f16::from_f32(**v).is_infinite()) {
        return Err(OutOfRange { value: *value });
    }
    let f16_bytes = |value: f32| f16::from_f32(value).to_le_bytes();
    Ok(match encoding {
        Encoding::RowsF32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Encoding::RowsF16 => values.iter().flat_map(|value| f16_bytes(*value)).collect(),
        Encoding::Panel8F32 => panels(rows, columns, values).flat_map(f32::to_le_bytes).collect(),
        Encoding::Panel8F16 => panels(rows, columns, values).flat_map(f16_bytes).collect(),
        Encoding::RowsInt8 => {
            let (quantized, scales) = quantize_rows(columns, values);
            with_scales(quantized.iter().map(|q| *q as u8).collect(), &scales)
        }
        Encoding::Panel8x8Int8 => {
            let (quantized, mut scales) = quantize_rows(columns, values);
            scales.resize(rows.next_multiple_of(PANEL), 0.0);
            with_scales(panels8x8(rows, columns, &quantized).collect(), &scales)
        }
        Encoding::Panel8x8Int4 => int4_groups(rows, columns, values)?,
    })
}

/// A value that an f16 cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutOfRange {
    /// The value.
    pub value: f32,
}

/// Values in panel order: for each group of 8 rows, for each column, the 8 rows' values.
fn panels(rows: usize, columns: usize, values: &[f32]) -> impl Iterator<Item = f32> {
    (0..rows.div_ceil(PANEL)).flat_map(move |panel| {
        (0..columns).flat_map(move |column| {
            (0..PANEL).map(move |lane| {
                let row = panel * PANEL + lane;
                if row < rows { values[row * columns + column] } else { 0.0 }
            })
        })
    })
}

/// Values in `Panel8x8` order: blocks of 8 rows by 8 consecutive columns, row after row.
fn panels8x8(rows: usize, columns: usize, values: &[i8]) -> impl Iterator<Item = u8> {
    let blocks = columns.div_ceil(PANEL);
    (0..rows.div_ceil(PANEL) * blocks).flat_map(move |block| {
        (0..PANEL * PANEL).map(move |at| {
            let row = block / blocks * PANEL + at / PANEL;
            let column = block % blocks * PANEL + at % PANEL;
            if row < rows && column < columns { values[row * columns + column] as u8 } else { 0 }
        })
    })
}

/// int4 groups: 32 inputs of 8 rows each, scales before values.
fn int4_groups(rows: usize, columns: usize, values: &[f32]) -> Result<Vec<u8>, OutOfRange> {
    let mut bytes = Vec::new();
    for panel in 0..rows.div_ceil(PANEL) {
        for first in (0..columns).step_by(INT4_GROUP) {
            let width = INT4_GROUP.min(columns - first);
            let (mut scales, mut packed) = (Vec::new(), [0u8; PANEL * INT4_GROUP / 2]);
            for (lane, row) in (panel * PANEL..(panel + 1) * PANEL).enumerate() {
                let start = row * columns + first;
                let part = if row < rows { &values[start..start + width] } else { &[][..] };
                let (scale, quantized) = quantize_int4(part)?;
                scales.extend(scale.to_le_bytes());
                for (input, q) in quantized.iter().enumerate() {
                    let (block, at) = (input / PANEL, lane * PANEL + input % PANEL);
                    let nibble = (*q as u8 & 15) << (block % 2 * 4);
                    packed[block / 2 * PANEL * PANEL + at] |= nibble;
                }
            }
            bytes.extend(scales);
            bytes.extend(packed);
        }
    }
    Ok(bytes)
}

/// Scales tried for an int4 group, as parts of the one that reaches its largest value.
const INT4_SHRINK: [f32; 8] = [1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7];

/// One channel of an int4 group: the f16 scale of the smallest squared error, and its values.
fn quantize_int4(values: &[f32]) -> Result<(f16, Vec<i8>), OutOfRange> {
    let largest = values.iter().fold(0.0f32, |a, x| a.max(x.abs()));
    let value = largest / 7.0;
    if f16::from_f32(value).is_infinite() {
        return Err(OutOfRange { value });
    }
    let tries = INT4_SHRINK.iter().map(|part| {
        let scale = f16::from_f32(value * part);
        let quantized: Vec<i8> = values.iter().map(|x| to_int4(*x, scale.to_f32())).collect();
        let error = |(x, q): (&f32, &i8)| (x - f32::from(*q) * scale.to_f32()).powi(2);
        let error: f32 = values.iter().zip(&quantized).map(error).sum();
        (error, scale, quantized)
    });
    let best = tries.min_by(|a, b| a.0.total_cmp(&b.0));
    Ok(best.map_or((f16::ZERO, Vec::new()), |(_, scale, quantized)| (scale, quantized)))
}

/// Between -8 and 7; 0 for a scale of 0.
fn to_int4(value: f32, scale: f32) -> i8 {
    if scale > 0.0 { (value / scale).round_ties_even().clamp(-8.0, 7.0) as i8 } else { 0 }
}

fn quantize_rows(columns: usize, values: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let mut quantized = vec![0; values.len()];
    let rows = values.chunks_exact(columns).zip(quantized.chunks_exact_mut(columns));
    let quantize = coda_runtime::kernels::scalar::quantize_row;
    let scales = rows.map(|(row, out)| quantize(out, row, &[])).collect();
    (quantized, scales)
}

fn with_scales(mut bytes: Vec<u8>, scales: &[f32]) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_the_length_the_format_states() {
        for (rows, columns) in [(1, 1), (8, 8), (9, 7), (3, 20), (17, 65)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 - 7.5).collect();
            for code in 1..=7 {
                let encoding = Encoding::from_code(code).unwrap();
                let bytes = encode(encoding, rows, columns, &values).unwrap();
                assert_eq!(Some(bytes.len()), encoding.bytes(rows, columns), "{encoding:?}");
            }
        }
    }

    #[test]
    fn int8_never_holds_minus_128_and_is_off_by_half_a_step_at_most() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 3.0 - 1.0).collect();
        let (quantized, scales) = quantize_rows(16, &values);
        for (index, (value, q)) in values.iter().zip(&quantized).enumerate() {
            assert_ne!(*q, i8::MIN);
            let scale = scales[index / 16];
            assert!((value - f32::from(*q) * scale).abs() <= scale * 0.5001);
        }
    }

    #[test]
    fn a_value_beyond_f16_is_refused() {
        assert!(encode(Encoding::RowsF16, 1, 1, &[70_000.0]).is_err());
    }
}
