//! What a model reads, checked before any work.

use super::error::RunError;
#[cfg(feature = "frames")]
use super::values::all_finite;
use crate::config::Embedding;
#[cfg(feature = "grid")]
use crate::image::PatchGrid;
use crate::memory::Plan;
use crate::model::Model;

/// One input.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// Token ids; those behind `length` are padding and are not read.
    Tokens {
        /// Token ids.
        ids: &'a [u32],
        /// A token type for each id; empty for type 0 throughout.
        types: &'a [u8],
        /// True length.
        length: usize,
    },
    /// An image: rows of interleaved channels, one byte a value.
    Pixels(&'a [u8]),
    /// The values of patches as the projection reads them, already normalised: `[patches, channels *
    /// side * side]`, patches row by row, a patch channel by channel.
    #[cfg(feature = "more-families")]
    Patches(&'a [f32]),
    /// Log-mel features of an encoder of frames, `[2 n, bins]`: frame after frame, two of them a token. The
    /// number n of tokens is free, up to the model's positions.
    #[cfg(feature = "frames")]
    Features(&'a [f32]),
    /// An image of any size for an encoder of such images, its sides multiples of a patch's: rows of
    /// interleaved channels, one byte a value, which are normalised by their own mean and deviation.
    #[cfg(feature = "grid")]
    Grid {
        /// Patches from left to right.
        columns: usize,
        /// Pixels.
        pixels: &'a [u8],
    },
    /// The same as values of patches, already normalised: `[patches, side * side * channels]`, patches row
    /// by row, a patch pixel by pixel.
    #[cfg(feature = "grid")]
    GridPatches {
        /// Patches from left to right.
        columns: usize,
        /// Values of patches.
        values: &'a [f32],
    },
}

impl<'a> Input<'a> {
    /// Token ids without padding, all of type 0.
    #[must_use]
    pub const fn tokens(ids: &'a [u32]) -> Self {
        Self::Tokens { ids, types: &[], length: ids.len() }
    }

    /// Token ids of which the first `length` are the input and the rest is padding.
    #[must_use]
    pub const fn padded(ids: &'a [u32], length: usize) -> Self {
        Self::Tokens { ids, types: &[], length }
    }

    /// Token ids with a type for each, as for a pair of texts.
    #[must_use]
    pub const fn typed(ids: &'a [u32], types: &'a [u8]) -> Self {
        Self::Tokens { ids, types, length: ids.len() }
    }
}

/// Checks `input` against model and plan; returns its number of tokens.
pub(super) fn check(input: &Input<'_>, model: &Model<'_>, plan: &Plan) -> Result<usize, RunError> {
    let tokens = match (input, model.config().embedding) {
        (Input::Tokens { .. }, _) if !cfg!(feature = "tokens") => return Err(RunError::WrongInput),
        (Input::Pixels(_), _) if !cfg!(feature = "patches") => return Err(RunError::WrongInput),
        (
            Input::Tokens { ids, types, length },
            Embedding::Tokens { vocabulary, token_types, .. },
        ) => {
            check_ids(ids, *length, vocabulary)?;
            check_types(types, ids.len(), token_types)?;
            *length
        }
        (Input::Pixels(pixels), Embedding::Patches { prefix_tokens, .. }) => {
            check_pixels(pixels, model)? + prefix_tokens
        }
        #[cfg(feature = "more-families")]
        (Input::Patches(values), Embedding::Patches { prefix_tokens, .. }) => {
            check_patches(values, model)? + prefix_tokens
        }
        #[cfg(feature = "frames")]
        (Input::Features(values), Embedding::Frames { bins, .. }) => check_features(values, bins)?,
        #[cfg(feature = "grid")]
        (Input::Grid { columns, pixels }, _) => check_grid(*columns, pixels.len(), model)?,
        #[cfg(feature = "grid")]
        (Input::GridPatches { columns, values }, _) => check_grid(*columns, values.len(), model)?,
        _ => return Err(RunError::WrongInput),
    };
    if let Some(limit) = model.config().max_tokens()
        && tokens > limit
    {
        return Err(RunError::TooManyPositions { found: tokens, limit });
    }
    match plan.capacity().tokens {
        capacity if tokens > capacity => Err(RunError::TooManyTokens { found: tokens, capacity }),
        _ => Ok(tokens),
    }
}

fn check_ids(ids: &[u32], length: usize, vocabulary: usize) -> Result<(), RunError> {
    let Some(valid) = ids.get(..length) else {
        return Err(RunError::Length { length, found: ids.len() });
    };
    if valid.is_empty() {
        return Err(RunError::Empty);
    }
    match valid.iter().position(|id| *id as usize >= vocabulary) {
        Some(position) => {
            Err(RunError::TokenOutOfRange { position, id: ids[position], vocabulary })
        }
        None => Ok(()),
    }
}

fn check_types(types: &[u8], ids: usize, limit: usize) -> Result<(), RunError> {
    let fits = types.is_empty()
        || types.len() == ids && types.iter().all(|kind| usize::from(*kind) < limit);
    if fits { Ok(()) } else { Err(RunError::TokenTypes { limit }) }
}

/// Checks the values of patches; returns their number.
#[cfg(feature = "more-families")]
fn check_patches(values: &[f32], model: &Model<'_>) -> Result<usize, RunError> {
    let grid = model.patch_grid().ok_or(RunError::WrongInput)?;
    let expected = grid.image_bytes();
    match values.len() == expected {
        true => Ok(grid.patches()),
        false => Err(RunError::PatchValues { expected, found: values.len() }),
    }
}

/// Checks features; returns the number of tokens. Int8 rows would hide a value that is not finite.
#[cfg(feature = "frames")]
fn check_features(values: &[f32], bins: usize) -> Result<usize, RunError> {
    let (each, found) = (2 * bins, values.len());
    match values.len() / each.max(1) {
        0 if values.is_empty() => Err(RunError::Empty),
        tokens if tokens * each != found => Err(RunError::FeatureValues { each, found }),
        _ if !all_finite(values) => Err(RunError::NotFinite),
        tokens => Ok(tokens),
    }
}

/// Checks so many values of an image of `columns` patches in a row; returns its number of patches.
#[cfg(feature = "grid")]
fn check_grid(columns: usize, values: usize, model: &Model<'_>) -> Result<usize, RunError> {
    let most = PatchGrid::largest(&model.config().embedding).ok_or(RunError::WrongInput)?;
    let row = columns.saturating_mul(most.inputs());
    if row == 0 || values == 0 {
        return Err(RunError::Empty);
    }
    if !values.is_multiple_of(row) {
        return Err(RunError::GridValues { row, found: values });
    }
    let rows = values.checked_div(row).unwrap_or(0);
    if rows > most.rows || columns > most.columns {
        let (found, limit) = ((rows, columns), (most.rows, most.columns));
        return Err(RunError::GridSize { found, limit });
    }
    Ok(rows * columns)
}

/// Checks an image; returns its number of patches.
fn check_pixels(pixels: &[u8], model: &Model<'_>) -> Result<usize, RunError> {
    let grid = model.patch_grid().ok_or(RunError::WrongInput)?;
    if pixels.len() != grid.image_bytes() {
        return Err(RunError::ImageBytes { expected: grid.image_bytes(), found: pixels.len() });
    }
    if model.normalization().is_none() {
        return Err(RunError::NoNormalization);
    }
    Ok(grid.patches())
}
