//! Pictures of any size as patches, as the image processor of `Pix2Struct` makes them.

use crate::picture;
use crate::preparation::{Pixels, resized_floats};
use anyhow::{Context, Result, ensure};
use coda_runtime::executor::Input;
use coda_runtime::image::{PatchGrid, Standardization};
use std::path::Path;

/// The values of an image's patches, row by row, each pixel by pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub columns: usize,
    /// `[rows * columns, side * side * channels]`.
    pub values: Vec<f32>,
}

impl Patches {
    /// Reads a picture file for a model whose largest grid is `most` and that reads so many patches.
    ///
    /// # Errors
    /// As [`picture::read`]; the error names the file.
    pub fn read(path: &Path, most: PatchGrid, patches: usize) -> Result<Self> {
        let picture = picture::read_whole(path, most.channels)?;
        Self::of(&picture, most, patches).with_context(|| format!("cannot read {}", path.display()))
    }

    /// A picture, normalised by its own mean and deviation and resized to the most patches that keep its
    /// proportions.
    ///
    /// # Errors
    /// It has no pixel, or is too large.
    pub fn of(picture: &Pixels, most: PatchGrid, patches: usize) -> Result<Self> {
        let Pixels { width, height, channels, values } = picture;
        ensure!(*width > 0 && *height > 0, "a picture of {width} by {height} pixels has no patch");
        let grid = fitting([*height, *width], most, patches);
        let standard = Standardization::of(values);
        let floats: Vec<f32> = values.iter().map(|pixel| standard.apply(*pixel)).collect();
        let to = [grid.rows * grid.side, grid.columns * grid.side];
        let floats = resized_floats(&floats, [*height, *width], *channels, to)?;
        let line = grid.side * channels;
        let row = grid.columns * line;
        let patch = |index: usize| {
            let (top, left) = (index / grid.columns * grid.side, index % grid.columns * line);
            let floats = &floats;
            (top..top + grid.side).flat_map(move |y| &floats[y * row + left..][..line])
        };
        let values = (0..grid.patches()).flat_map(patch).copied().collect();
        Ok(Self { rows: grid.rows, columns: grid.columns, values })
    }

    /// Patches with their places, as the image processor gives them: of each patch its row and column, counted
    /// from 1, then so many values. Those of row 0 are padding.
    ///
    /// # Errors
    /// They are no whole grid, row by row.
    pub fn of_flattened(flattened: &[f32], inputs: usize) -> Result<Self> {
        let each = inputs + 2;
        ensure!(
            flattened.len().is_multiple_of(each),
            "{} values are no patches of a row, a column and {inputs} values",
            flattened.len()
        );
        let real: Vec<&[f32]> = flattened.chunks(each).take_while(|patch| patch[0] > 0.0).collect();
        let columns = real.iter().take_while(|patch| patch[0] <= 1.0).count();
        let rows = real.len() / columns.max(1);
        let place = |index: usize| [index / columns + 1, index % columns + 1].map(|at| at as f32);
        let mut places = real.iter().enumerate();
        ensure!(
            columns > 0
                && rows * columns == real.len()
                && places.all(|(index, patch)| patch[..2] == place(index)),
            "the patches are no grid, row by row, counted from 1"
        );
        let values = real.iter().flat_map(|patch| &patch[2..]).copied().collect();
        Ok(Self { rows, columns, values })
    }

    /// The same with their places.
    #[must_use]
    pub fn flattened(&self) -> Vec<f32> {
        let inputs = self.values.len() / (self.rows * self.columns).max(1);
        let patches = self.values.chunks(inputs.max(1)).enumerate();
        let place = |index: usize| [index / self.columns + 1, index % self.columns + 1];
        let patch = |(index, values): (usize, &[f32])| {
            let place = place(index).map(|at| at as f32);
            place.into_iter().chain(values.iter().copied()).collect::<Vec<_>>()
        };
        patches.flat_map(patch).collect()
    }

    /// The input as the executor takes it.
    #[must_use]
    pub const fn as_input(&self) -> Input<'_> {
        Input::GridPatches { columns: self.columns, values: self.values.as_slice() }
    }
}

/// The grid of a picture of a height and width: as many patches as there may be, in its proportions, but a row and a
/// column at least.
fn fitting([height, width]: [usize; 2], most: PatchGrid, patches: usize) -> PatchGrid {
    let side = most.side as f64;
    let scale = (patches as f64 * (side / height as f64) * (side / width as f64)).sqrt();
    let count = |pixels: usize, most: usize| {
        let count = (scale * pixels as f64 / side).floor() as usize;
        count.min(patches).min(most).max(1)
    };
    PatchGrid { rows: count(height, most.rows), columns: count(width, most.columns), ..most }
}
