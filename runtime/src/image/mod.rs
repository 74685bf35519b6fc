//! Pixels to normalised patches.

#[cfg(feature = "grid")]
mod standard;

use crate::config::Embedding;
#[cfg(feature = "grid")]
pub use standard::Standardization;

/// How pixels become numbers: `(pixel * rescale - mean) / std`, channel by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputNormalization {
    /// Colour channels, 1 to 4; the rest of `mean` is 0 and of `std` is 1.
    pub channels: usize,
    /// Factor on a pixel, usually `1 / 255`.
    pub rescale: f32,
    /// Mean of each channel.
    pub mean: [f32; 4],
    /// Standard deviation of each channel, positive.
    pub std: [f32; 4],
}

/// Where the patches of an image are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchGrid {
    /// Patches from left to right.
    pub columns: usize,
    /// Patches from top to bottom.
    pub rows: usize,
    /// Side of a patch in pixels.
    pub side: usize,
    /// Colour channels.
    pub channels: usize,
}

impl PatchGrid {
    /// The grid of an encoder that reads patches; `None` where each image has its own.
    #[must_use]
    pub const fn of(embedding: &Embedding) -> Option<Self> {
        match *embedding {
            Embedding::Patches { height, width, channels, patch, .. } => {
                let side = if patch == 0 { 1 } else { patch };
                Some(Self { columns: width / side, rows: height / side, side, channels })
            }
            _ => None,
        }
    }

    /// The largest grid of an encoder of images of any size; `None` of any other.
    #[cfg(feature = "grid")]
    #[must_use]
    pub const fn largest(embedding: &Embedding) -> Option<Self> {
        match *embedding {
            Embedding::Grid { rows, columns, channels, patch: side, .. } => {
                Some(Self { columns, rows, side, channels })
            }
            _ => None,
        }
    }

    /// Number of patches.
    #[must_use]
    pub const fn patches(&self) -> usize {
        self.columns * self.rows
    }

    /// Values of a patch: channels times side times side.
    #[must_use]
    pub const fn inputs(&self) -> usize {
        self.channels * self.side * self.side
    }

    /// Bytes of an image: rows of interleaved channels, one byte a value. More than 32 bits address is
    /// the largest number there, which no image has.
    #[must_use]
    pub const fn image_bytes(&self) -> usize {
        self.patches().saturating_mul(self.inputs())
    }

    /// Writes patch `index` (row-major) of `pixels` to `out`.
    ///
    /// **Shapes**: `pixels` `[height, width, channels]` u8, interleaved; `out`
    /// `[channels, side, side]`, the order of a patch projection's weights.
    pub fn read(
        &self,
        pixels: &[u8],
        index: usize,
        normalization: &InputNormalization,
        out: &mut [f32],
    ) {
        let (columns, side) = (self.columns.max(1), self.side.max(1));
        let (top, left) = (index / columns * side, index % columns * side);
        let line = self.columns * self.side * self.channels;
        let area = self.side * self.side;
        for channel in 0..self.channels.min(4) {
            let (mean, std) = (normalization.mean[channel], normalization.std[channel]);
            let plane = out.iter_mut().skip(channel * area).take(area).enumerate();
            for (at, slot) in plane {
                let (y, x) = (top + at / side, left + at % side);
                let pixel = pixels.get(y * line + x * self.channels + channel);
                let value = f32::from(pixel.copied().unwrap_or(0));
                *slot = (value * normalization.rescale - mean) / std;
            }
        }
    }
}
