//! An image normalised by its own mean and deviation (`docs/method.md`, "Images of any size").

use super::PatchGrid;
use crate::tensor::Part;

/// How the pixels of one image become numbers: `(pixel - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standardization {
    /// Mean of every value of the image, whatever its channel.
    pub mean: f32,
    /// Their standard deviation, but at least one over the root of their number; positive.
    pub std: f32,
}

impl Standardization {
    /// That of an image. Its sums are exact, so it is the same on every CPU.
    ///
    /// An image without pixels has mean 0 and deviation 1.
    #[must_use]
    pub fn of(pixels: &[u8]) -> Self {
        let (mut sum, mut squares) = (0u64, 0u64);
        for pixel in pixels {
            sum += u64::from(*pixel);
            squares += u64::from(*pixel) * u64::from(*pixel);
        }
        let count = pixels.len().max(1) as f64;
        let mean = sum as f64 / count;
        let variance = squares as f64 / count - mean * mean;
        let std = libm::sqrt(variance.max(1.0 / count));
        Self { mean: mean as f32, std: std as f32 }
    }

    /// One value.
    #[must_use]
    pub fn apply(&self, pixel: u8) -> f32 {
        (f32::from(pixel) - self.mean) / self.std
    }

    /// Writes patch `index` (row-major) of an image to `out`. The rows of `grid` are not read.
    ///
    /// **Shapes**: `pixels` `[height, width, channels]` u8, interleaved; `out` `[side, side, channels]`.
    pub fn read(&self, pixels: &[u8], grid: &PatchGrid, index: usize, out: &mut [f32]) {
        let (columns, line) = (grid.columns.max(1), grid.side * grid.channels);
        let top = index / columns * grid.side;
        let left = index % columns * line;
        for (y, slots) in (top..).zip(out.chunks_exact_mut(line.max(1))) {
            let start = y * columns * line + left;
            let values = pixels.part(start..start + line);
            slots.iter_mut().zip(values).for_each(|(slot, pixel)| *slot = self.apply(*pixel));
        }
    }
}
